"""AdamW on all, or Muon on matrices: which weight is stepped how."""

import math

import pytest
import torch
from clutch_llm import PretrainConfig
from clutch_llm.errors import ConfigError
from clutch_llm.optimizers import Muon, MuonWithAdamW, new_optimizer, orthogonal, parameter_groups


def small() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Embedding(5, 3), torch.nn.Linear(3, 8), torch.nn.LayerNorm(8))


def test_matrices_decay_and_embeddings_biases_and_norms_do_not() -> None:
    shapes = [[tuple(p.shape) for p in group] for group in parameter_groups(small())]
    assert shapes == [[(8, 3)], [], [(5, 3), (8,), (8,), (8,)]]
    groups = new_optimizer(small(), PretrainConfig(weight_decay=0.1)).param_groups
    assert [(group["weight_decay"], len(group["params"])) for group in groups] == [(0.1, 1), (0.0, 4)]
    muon = new_optimizer(small(), PretrainConfig(weight_decay=0.1, optimizer="muon")).param_groups
    assert [(group["weight_decay"], len(group["params"])) for group in muon] == [(0.1, 1), (0.1, 0), (0.0, 4)]


def test_what_is_not_trained_is_in_no_group() -> None:
    model = small()
    model[1].weight.requires_grad_(False)
    assert [len(group) for group in parameter_groups(model)] == [0, 0, 4]


def test_muon_turns_a_matrix_by_one_size_in_all_directions_and_adamw_steps_the_rest() -> None:
    model, gradients = small(), {}
    for name, parameter in model.named_parameters():
        parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name)))
        gradients[name] = parameter.grad.clone()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = new_optimizer(model, PretrainConfig(optimizer="muon", weight_decay=0.0, learning_rate=0.01))
    assert isinstance(optimizer, MuonWithAdamW)
    for group in optimizer.param_groups:
        group["lr"] = 0.002  # as the schedule sets it
    optimizer.step()
    changed = {name: before[name] - p.detach() for name, p in model.named_parameters()}
    for name in ("0.weight", "1.bias", "2.weight", "2.bias"):  # AdamW's first step: the sign, times the rate
        torch.testing.assert_close(changed[name], 0.002 * gradients[name].sign(), atol=1e-6, rtol=1e-3)
    left, _, right = torch.linalg.svd(gradients["1.weight"], full_matrices=False)
    stepped = changed["1.weight"] / (0.002 * 0.2 * math.sqrt(8))  # the size of AdamW's steps: 0.2 sqrt(longer side)
    sizes = torch.diagonal(left.T @ stepped @ right.T)
    assert 0.6 < float(sizes.min()) <= float(sizes.max()) < 1.3
    torch.testing.assert_close(left @ torch.diag(sizes) @ right, stepped, atol=1e-4, rtol=0)


@pytest.mark.parametrize("shape", [(3, 8, 5), (2, 4, 9), (1, 6, 6)])
def test_orthogonal_is_the_quintic_of_the_singular_values_in_single_precision(shape: tuple[int, int, int]) -> None:
    """Against the same polynomial of the singular values alone, in double precision."""
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    left, sizes, right = torch.linalg.svd(matrices.double(), full_matrices=False)
    sizes = sizes / sizes.norm(dim=1, keepdim=True)
    for _ in range(5):
        sizes = 3.4445 * sizes - 4.7750 * sizes**3 + 2.0315 * sizes**5
    expected = left @ torch.diag_embed(sizes) @ right
    torch.testing.assert_close(orthogonal(matrices).double(), expected, atol=2e-5, rtol=0)  # bfloat16 is off by 1e-2


def test_muon_steps_as_torchs_does() -> None:
    own, theirs = ([torch.nn.Parameter(torch.eye(4, 6)), torch.nn.Parameter(torch.ones(6, 4))] for _ in range(2))
    ours = Muon(own, lr=0.01, weight_decay=0.1)
    reference = torch.optim.Muon(theirs, lr=0.01, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    generator = torch.Generator().manual_seed(4)
    for _ in range(4):
        for p, q in zip(own, theirs, strict=True):
            p.grad = torch.randn(p.shape, generator=generator)
            q.grad = p.grad.clone()
        ours.step()
        reference.step()
    for p, q, begun in zip(own, theirs, (torch.eye(4, 6), torch.ones(6, 4)), strict=True):
        assert (p - begun).abs().max() > 0.004
        torch.testing.assert_close(p, q, atol=3e-4, rtol=0)  # torch's rounds to bfloat16


def test_muon_leaves_what_has_no_gradient_and_takes_matrices_alone() -> None:
    still, moved = torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(2, 2))
    moved.grad = torch.tensor([[1.0, 2.0], [3.0, 5.0]])
    Muon([still, moved], lr=0.1, weight_decay=0.5).step()
    assert torch.equal(still, torch.ones(2, 2))
    assert not torch.equal(moved, torch.ones(2, 2))
    with pytest.raises(ValueError, match=r"matrices for Muon.*\(3,\)"):
        Muon([torch.nn.Parameter(torch.ones(3))], lr=0.1)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_saved_state_goes_on_as_if_nothing_had_happened(optimizer: str) -> None:
    config = PretrainConfig(optimizer=optimizer, learning_rate=0.01)
    generator = torch.Generator().manual_seed(1)

    def steps(model: torch.nn.Module, own: torch.optim.Optimizer, count: int) -> None:
        for _ in range(count):
            for parameter in model.parameters():
                parameter.grad = torch.randn(parameter.shape, generator=generator)
            own.step()

    model = small()
    whole = new_optimizer(model, config)
    steps(model, whole, 3)
    half, seen = whole.state_dict(), generator.get_state()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    half = {**half, "state": {k: {n: v.clone() for n, v in one.items()} for k, one in half["state"].items()}}
    steps(model, whole, 2)
    again = small()
    again.load_state_dict(weights)
    other = new_optimizer(again, config)
    other.load_state_dict(half)
    generator.set_state(seen)
    steps(again, other, 2)
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


@pytest.mark.parametrize("taken_apart", [{"zero_stage": 1}, {"precision": "bf16"}])
def test_muon_is_refused_where_matrices_are_taken_apart(taken_apart: dict) -> None:
    with pytest.raises(ConfigError, match=r"PretrainConfig\.optimizer .*'adamw' with ZeRO or bf16.* got 'muon'"):
        PretrainConfig(optimizer="muon", **taken_apart)
    with pytest.raises(ConfigError, match=r"one of .*adamw.*muon.*got .sgd."):
        PretrainConfig(optimizer="sgd")
