import itertools

import pytest
import torch
from shift_tokenizer.fsq import FiniteScalarQuantizer
from shift_tokenizer.quantizer import EmaQuantizer, ResidualQuantizer


def quantizer(size: int = 4, dim: int = 2, **changes: float) -> EmaQuantizer:
    settings = {"decay": 0.9, "reset_every": 1000, "reset_threshold": 0.2, **changes}
    return EmaQuantizer(size, dim, **settings)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_codes_are_drawn_from_latents_once() -> None:
    made = quantizer()
    latents = torch.tensor([[10.0, 0.0], [0.0, 10.0]])
    made.initialise(latents, generator())
    drawn = made.codebook.clone()
    assert float(torch.cdist(drawn, latents).amin(1).max()) < 0.5
    made.initialise(latents + 100, generator(1))
    assert torch.equal(made.codebook, drawn)


def test_running_means_follow_the_latents_of_each_code() -> None:
    made = quantizer()
    made.counts.copy_(torch.tensor([2.0, 1.0, 1.0, 1.0]))
    made.sums.copy_(made.codebook * made.counts[:, None])
    latents = torch.tensor([[1.0, 1.0], [3.0, 3.0], [5.0, 7.0]])
    before_counts, before_sums = made.counts.clone(), made.sums.clone()
    made.update(latents, torch.tensor([0, 0, 2]), latents, generator())
    counts = 0.9 * before_counts + 0.1 * torch.tensor([2.0, 0.0, 1.0, 0.0])
    sums = 0.9 * before_sums + 0.1 * torch.tensor([[4.0, 4.0], [0.0, 0.0], [5.0, 7.0], [0.0, 0.0]])
    torch.testing.assert_close(made.counts, counts)
    torch.testing.assert_close(made.codebook, sums / counts[:, None])


def test_codes_settle_on_the_means_of_clusters() -> None:
    made = quantizer(decay=0.5)
    centres = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0], [5.0, 5.0]])
    random = generator()
    latents = centres.repeat(20, 1) + 0.1 * torch.randn(80, 2, generator=random)
    made.codebook.copy_(centres + 1)
    for _ in range(30):
        made.update(latents, made(latents)[0], latents, random)
    means = torch.stack([latents[i::4].mean(0) for i in range(4)])
    torch.testing.assert_close(made.codebook, means, atol=1e-4, rtol=0)


def test_a_dead_code_comes_back_with_a_count_of_its_own() -> None:
    made = quantizer(reset_every=2)
    latents = torch.full((40, 2), 3.0)
    made.codebook.copy_(torch.tensor([[3.0, 3.0], [50.0, 50.0], [60.0, 60.0], [70.0, 70.0]]))
    made.counts.copy_(torch.tensor([10.0, 0.0, 0.0, 10.0]))
    made.sums.copy_(made.codebook * made.counts[:, None])
    made.update(latents, made(latents)[0], latents, generator())
    assert torch.equal(made.codebook[3], torch.tensor([70.0, 70.0]))
    made.update(latents, made(latents)[0], latents, generator())
    threshold = 0.2 * 40 / 4
    torch.testing.assert_close(made.codebook[1:3], torch.full((2, 2), 3.0))
    torch.testing.assert_close(made.counts[1:3], torch.full((2,), 1.5 * threshold))
    torch.testing.assert_close(made.codebook[3], torch.tensor([70.0, 70.0]))


def test_without_a_pool_no_code_is_reset_and_none_turns_into_nan() -> None:
    made = quantizer(reset_every=1)
    made.counts.zero_()
    made.sums.zero_()
    made.update(torch.ones(3, 2), torch.zeros(3, dtype=torch.int64), torch.empty(0, 2), generator())
    assert bool(made.codebook.isfinite().all())
    torch.testing.assert_close(made.codebook[0], torch.ones(2))


def test_looking_up_changes_nothing() -> None:
    made = quantizer().train()
    before = {name: value.clone() for name, value in made.state_dict().items()}
    made(torch.randn(10, 2, generator=generator()))
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())


def test_residual_levels_leave_less_and_less_over() -> None:
    levels = [quantizer(16, 3, reset_threshold=0.1, decay=0.5) for _ in range(3)]
    stack = ResidualQuantizer(levels)
    latents = torch.randn(200, 3, generator=generator())
    random = generator(1)
    stack.initialise(latents, random)
    visible = torch.ones(200, dtype=torch.bool)
    for _ in range(10):
        stack.update(latents, stack(latents)[0], visible, random)
    indices, quantized, error = stack(latents)
    assert indices.shape == (200, 3)
    left_over = [float((latents - stack.embed(indices)[:, :]).square().mean())]
    left_over.insert(0, float((latents - levels[0].codebook[indices[:, 0]]).square().mean()))
    assert left_over[1] < 0.5 * left_over[0]
    torch.testing.assert_close(quantized, stack.embed(indices))
    assert error.shape == (200,)


def test_a_level_learns_what_the_codes_that_were_chosen_left_over() -> None:
    first, second = (quantizer(1, 1, decay=0.5, reset_every=100) for _ in range(2))
    for level, code in ((first, 0.0), (second, 1.0)):
        level.codebook.fill_(code)
        level.sums.fill_(code)
        level.ready.fill_(True)
    stack = ResidualQuantizer([first, second])
    seen = torch.ones(1, dtype=torch.bool)
    stack.update(torch.tensor([[4.0]]), torch.zeros(1, 2, dtype=torch.int64), seen, generator())
    assert float(first.codebook) == 2.0  # half of the way from 0 to 4
    assert float(second.codebook) == 2.5  # from 1 to the 4 that the code 0, not the new 2, left over


def test_the_error_of_residual_levels_is_their_mean() -> None:
    """All codes are at zero, so that either of two levels is off by the whole latent: 3^2 + 4^2."""
    levels = [quantizer(), quantizer()]
    for level in levels:
        level.codebook.zero_()
    assert ResidualQuantizer(levels)(torch.tensor([[3.0, 4.0]]))[2].tolist() == [25.0]


def test_residual_gradient_is_straight_through() -> None:
    stack = ResidualQuantizer([quantizer(8, 3), quantizer(8, 3)])
    latents = torch.randn(5, 3, generator=generator(), requires_grad=True)
    weight = torch.randn(5, 3, generator=generator(1))
    (stack(latents)[1] * weight).sum().backward()
    torch.testing.assert_close(latents.grad, weight)


def test_cosine_codes_compare_directions_alone() -> None:
    made = EmaQuantizer(6, 3, decay=0.9, reset_every=1000, reset_threshold=0.2, cosine=True)
    latents = torch.randn(50, 3, generator=generator())
    made.initialise(latents, generator())
    indices, quantized, error = made(latents)
    scaled, *_ = made(latents * torch.linspace(0.1, 40, 50)[:, None])
    assert torch.equal(indices, scaled)
    cosines = torch.nn.functional.cosine_similarity(latents[:, None], made.codebook, dim=-1)
    assert torch.equal(indices, cosines.argmax(1))
    torch.testing.assert_close(error, 2 * 3 * (1 - cosines.amax(1)), atol=1e-5, rtol=1e-4)
    for _ in range(20):
        made.update(latents, made(latents)[0], latents, generator())
        torch.testing.assert_close(made.codebook.norm(dim=1), torch.full((6,), 3**0.5))
    torch.testing.assert_close(quantized.norm(dim=1), torch.full((50,), 3**0.5))


def test_k_means_puts_the_codes_on_the_clusters_of_the_first_batch() -> None:
    centres = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0], [9.0, 9.0]])
    random = generator()
    latents = centres.repeat(25, 1) + 0.1 * torch.randn(100, 2, generator=random)
    errors = []
    for kmeans in (False, True):
        made = EmaQuantizer(12, 2, decay=0.9, reset_every=1000, reset_threshold=0.2, kmeans=kmeans)
        made.initialise(latents, generator(3))
        errors.append(float(made(latents)[2].sum()))
        torch.testing.assert_close(made.sums / made.counts[:, None], made.codebook)
    assert errors[1] < 0.8 * errors[0]


@pytest.mark.parametrize("levels", [(8, 8, 8), (3, 5), (3,), (4, 6)])
def test_scalars_reach_every_code_and_each_code_is_its_own_nearest(levels: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    made = FiniteScalarQuantizer(levels, 6, decay=0.9).double()
    grid = torch.tensor(list(itertools.product(*(range(n) for n in levels))))
    half = torch.tensor([n // 2 for n in levels])
    with torch.no_grad():
        made.project_in.weight.copy_(torch.eye(6)[: len(levels)])
        made.project_in.bias.zero_()
    low, high = (
        -made._bound(torch.full((len(levels),), -20.0).double()),
        made._bound(torch.full((len(levels),), 20.0).double()),
    )
    assert bool((low < half + 0.5).all())
    assert bool((high < torch.tensor([(n - 1) // 2 for n in levels]) + 0.5).all())
    centred = (grid - half).double()
    reach = (torch.tensor(levels) - 1) * (1 + 1e-3) / 2
    offset = (torch.tensor(levels) % 2 == 0) * 0.5
    latents = torch.zeros(len(grid), 6, dtype=torch.float64)
    latents[:, : len(levels)] = torch.atanh((centred + offset) / reach) - torch.atanh(offset / reach)
    indices, codes, error = made(latents)
    assert sorted(indices.tolist()) == list(range(made.size))
    assert torch.equal(indices[:, None] // made.bases % made.levels, grid)
    torch.testing.assert_close(codes, made.codebook[indices])
    assert float(error.sum()) == 0


def test_the_first_latents_spread_over_the_levels() -> None:
    torch.manual_seed(0)
    made = FiniteScalarQuantizer((4, 4), 8, decay=0.9)
    latents = 0.01 * torch.randn(300, 8) + 5
    assert len(made(latents)[0].unique()) < 4
    made.initialise(latents, generator())
    indices = made(latents)[0]
    assert len(indices.unique()) == 16
    made.initialise(latents * 7, generator())
    assert torch.equal(made(latents)[0], indices)


def test_scalars_pass_their_gradient_through_the_rounding() -> None:
    torch.manual_seed(0)
    made = FiniteScalarQuantizer((5, 5), 4, decay=0.9)
    latents = torch.randn(9, 4, requires_grad=True)
    made(latents)[1].square().sum().backward()
    assert float(latents.grad.abs().sum()) > 0
    assert float(made.project_out.weight.grad.abs().sum()) > 0
    assert float(made.project_in.weight.grad.abs().sum()) > 0


def test_running_moments_and_counts_of_scalars_move_by_what_decay_leaves() -> None:
    made = FiniteScalarQuantizer((4, 4), 2, decay=0.9)
    with torch.no_grad():
        made.project_in.weight.copy_(torch.eye(2))
        made.project_in.bias.zero_()
    latents = torch.tensor([[1.0, 3.0], [3.0, 7.0]])  # means 2 and 5, standard deviations 1 and 2
    made.update(latents, torch.tensor([0, 5]), latents, generator())
    torch.testing.assert_close(made.mean, torch.tensor([0.2, 0.5]))
    torch.testing.assert_close(made.std, torch.tensor([1.0, 1.1]))
    assert made.counts[[0, 5, 1]].tolist() == pytest.approx([1.0, 1.0, 0.9])
    made.ready.fill_(False)
    made.initialise(latents, generator())  # the first latents' own
    torch.testing.assert_close(made.mean, torch.tensor([2.0, 5.0]))
    torch.testing.assert_close(made.std, torch.tensor([1.0, 2.0]))
