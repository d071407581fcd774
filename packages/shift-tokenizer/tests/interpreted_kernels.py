"""The Triton kernels, interpreted on the CPU. test_triton.py runs this file in a process with TRITON_INTERPRET=1.

Outputs are filled with nonsense before each launch, so that what a kernel leaves out shows.
"""

import pytest
import torch
from shift_tokenizer import codebook_statistics, vq_lookup
from shift_tokenizer.lookup import reference, triton_lookup
from shift_tokenizer.lookup.triton_statistics import codebook_statistics as fused_statistics

# N, K, D: each of 1, 17, 77, 99, 1023 in each place, within what an interpreter does in a second.
SHAPES = [
    (1, 1, 1),
    (17, 77, 99),
    (77, 99, 17),
    (99, 17, 77),
    (1023, 99, 1),
    (99, 1023, 17),
    (17, 17, 1023),
    (1, 1023, 64),
    (65, 33, 64),
    (0, 17, 5),
]


@pytest.fixture(autouse=True)
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    empty = torch.empty

    def filled(*size: object, **options: object) -> torch.Tensor:
        tensor = empty(*size, **options)
        return tensor.fill_(torch.nan if tensor.is_floating_point() else -1)

    monkeypatch.setattr(torch, "empty", filled)


def data(n: int, k: int, d: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(n + k + d)
    return torch.randn(n, d, generator=generator), torch.randn(k, d, generator=generator)


def check(x: torch.Tensor, codebook: torch.Tensor) -> None:
    indices, quantized, sq_error = vq_lookup(x, codebook, backend="triton")
    expected = reference.nearest(x, codebook) if len(x) else torch.zeros(0, dtype=torch.int64)
    assert torch.equal(indices, expected)
    assert torch.equal(quantized, codebook[expected].to(x.dtype))
    exact = (x.double() - codebook[expected].double()).square().sum(1)
    torch.testing.assert_close(sq_error.double(), exact, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("n", "k", "d"), SHAPES)
def test_lookup_is_the_reference_on_odd_shapes(n: int, k: int, d: int) -> None:
    check(*data(n, k, d))


@pytest.mark.parametrize("config", range(len(triton_lookup.CONFIGS[90])))
def test_lookup_is_the_reference_at_every_configuration(config: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_lookup, "CONFIGS", {80: triton_lookup.CONFIGS[90][config:]})
    check(*data(130, 99, 20))


def test_lookup_takes_views() -> None:
    x, codebook = data(60, 34, 40)
    check(x.T[::2, :17], codebook[::2, 3:20])
    check(x[:, ::3], codebook[:, ::3])


def test_lookup_takes_bfloat16_rows() -> None:
    x, codebook = data(40, 20, 8)
    indices, quantized, _ = vq_lookup(x.bfloat16(), codebook, backend="triton")
    assert torch.equal(indices, reference.nearest(x.bfloat16(), codebook))
    assert quantized.dtype == torch.bfloat16


def test_ties_go_to_the_lowest_index() -> None:
    codes = data(40, 1, 6)[0]
    check(codes.clone(), torch.cat([codes, codes, codes]))
    assert vq_lookup(torch.zeros(5, 1), torch.tensor([[3.0], [1.0], [-1.0], [1.0]]), backend="triton")[0].eq(1).all()


def test_a_far_away_cloud_is_settled() -> None:
    x, codebook = data(100, 50, 16)
    check(x * 1e-3 + 100, codebook * 1e-3 + 100)
    check(x * 1e-6 + 100, codebook * 1e-6 + 100)


def test_the_first_pass_alone_is_right_where_it_marks_no_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    class Skipped:
        def __getitem__(self, grid: object) -> object:
            return lambda *args, **options: doubts.append(args[5].clone())

    doubts: list[torch.Tensor] = []
    monkeypatch.setattr(triton_lookup, "settle_kernel", Skipped())
    x, codebook = data(500, 200, 16)
    codebook[7] = codebook[3] + 1e-6  # both nearest to the same rows
    indices = vq_lookup(x, codebook, backend="triton")[0]
    doubt = doubts[0].bool()
    near = torch.isin(reference.nearest(x, codebook), torch.tensor([3, 7]))
    assert doubt[near].all()
    assert not doubt[~near].all()
    assert torch.equal(indices[~doubt], reference.nearest(x, codebook)[~doubt])


def test_gradients_pass_through_the_fused_kernel() -> None:
    x, codebook = (tensor.requires_grad_() for tensor in data(20, 9, 5))
    for backend in ("triton", "reference"):
        _, quantized, sq_error = vq_lookup(x, codebook, backend=backend)
        (quantized.sin().sum() + sq_error.mean()).backward()
        if backend == "triton":
            kept = x.grad.clone(), codebook.grad.clone()
            x.grad = codebook.grad = None
    torch.testing.assert_close((x.grad, codebook.grad), kept)


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize(("n", "k", "d"), [(1, 1, 1), (17, 19, 77), (1023, 17, 3), (99, 77, 17), (0, 5, 4)])
def test_statistics_are_those_of_a_one_hot_matrix(n: int, k: int, d: int, fixed: bool) -> None:
    wide = torch.randn(d, 2 * n, generator=torch.Generator().manual_seed(n))
    x = wide.T[::2]
    indices = torch.randint(0, k, (n,), generator=torch.Generator().manual_seed(d))
    counts, sums = fused_statistics(x, indices, k, fixed)
    hot = torch.nn.functional.one_hot(indices, k).double()
    assert torch.equal(counts.double(), hot.sum(0))
    torch.testing.assert_close(sums.double(), hot.T @ x.double(), rtol=1e-5, atol=1e-5)
    assert torch.equal(codebook_statistics(x, indices, k, deterministic=fixed)[0], counts)


def test_statistics_in_a_fixed_order_ignore_where_the_other_codes_rows_stand() -> None:
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    indices = torch.randint(0, 7, (200,), generator=torch.Generator().manual_seed(1))
    together = torch.argsort(indices, stable=True)
    counts, sums = fused_statistics(x, indices, 7, True)
    again = fused_statistics(x[together], indices[together], 7, True)
    assert torch.equal(counts, again[0])
    assert torch.equal(sums, again[1])
