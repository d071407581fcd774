import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shift_tokenizer import BACKENDS, Backend, codebook_statistics, register_backend, vq_lookup
from shift_tokenizer.errors import BackendError, ShapeError
from shift_tokenizer.lookup import blocked, duplicates
from shift_tokenizer.lookup.registry import choose_backend

SIZES = st.sampled_from([1, 2, 17, 77, 99])
ON_CPU = [
    "reference",
    "cpu",
    pytest.param("compiled", marks=pytest.mark.skipif(not find_spec("numba"), reason="no numba")),
]


@pytest.fixture(autouse=True)
def few_rows_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """`cpu` compares a few rows plainly; here, its matrix products are meant."""
    monkeypatch.setattr(blocked, "_FEW", 0)


def test_a_few_rows_are_compared_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocked, "_FEW", 2 * 24 * 4)
    asked = []
    monkeypatch.setattr(blocked, "reference", lambda x, c: asked.append(len(x)) or brute_force(x, c).argmin(1))
    x, codebook = torch.randn(3, 4), torch.randn(24, 4)
    for rows in (x[:2], x):
        assert torch.equal(vq_lookup(rows, codebook, backend="cpu")[0], brute_force(rows, codebook).argmin(1))
    assert asked == [2]


def brute_force(x: torch.Tensor, codebook: torch.Tensor) -> torch.Tensor:
    """Squared distances (N, K) in float64."""
    return torch.cdist(x.double(), codebook.double(), compute_mode="donot_use_mm_for_euclid_dist").square()


@pytest.mark.parametrize("backend", [*ON_CPU, "auto"])
@settings(max_examples=25, deadline=None)
@given(n=SIZES, k=SIZES, d=SIZES, seed=st.integers(0, 10_000), offset=st.sampled_from([0.0, 30.0]))
def test_lookup_finds_the_nearest_code_on_odd_shapes(
    backend: str, n: int, k: int, d: int, seed: int, offset: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=generator) + offset
    codebook = torch.randn(k, d, generator=generator) + offset
    indices, quantized, sq_error = vq_lookup(x, codebook, backend=backend)
    distances = brute_force(x, codebook)
    torch.testing.assert_close(distances[torch.arange(n), indices], distances.amin(1), rtol=1e-12, atol=1e-12)
    assert torch.equal(quantized, codebook[indices])
    torch.testing.assert_close(sq_error.double(), distances.amin(1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backend", ON_CPU)
def test_ties_go_to_the_lowest_index(backend: str) -> None:
    codes = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    codebook = torch.cat([codes, codes, codes])
    indices, _, sq_error = vq_lookup(codes + 0.0, codebook, backend=backend)
    assert torch.equal(indices, torch.arange(40))
    assert torch.equal(sq_error, torch.zeros(40))
    halfway = vq_lookup(torch.zeros(5, 1), torch.tensor([[3.0], [1.0], [-1.0], [1.0]]), backend=backend)[0]
    assert torch.equal(halfway, torch.ones(5, dtype=torch.int64))


@pytest.mark.parametrize("backend", ["cpu", "gemm", *ON_CPU[2:]])
def test_blocks_do_not_change_the_answer(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    x, codebook = torch.randn(300, 3, generator=generator), torch.randn(9001, 3, generator=generator)
    assert torch.equal(BACKENDS[backend].nearest(x, codebook), brute_force(x, codebook).argmin(1))


@pytest.mark.parametrize("backend", ON_CPU)
def test_a_far_away_cloud_is_told_apart(backend: str) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 16, generator=generator) * 1e-3 + 100
    codebook = torch.randn(50, 16, generator=generator) * 1e-3 + 100
    assert torch.equal(vq_lookup(x, codebook, backend=backend)[0], brute_force(x, codebook).argmin(1))


@pytest.mark.parametrize("backend", ON_CPU)
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_rows_and_codes_of_very_different_lengths_are_told_apart(backend: str, scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.logspace(-3, 3, 200, dtype=torch.float64).float()[:, None]
    x = torch.randn(200, 8, generator=generator) * lengths
    codebook = torch.randn(60, 8, generator=generator) * lengths[:60] * scale
    assert torch.equal(vq_lookup(x, codebook, backend=backend)[0], brute_force(x, codebook).argmin(1))


@pytest.mark.parametrize("backend", ON_CPU)
def test_codes_that_differ_by_one_rounding_are_told_apart(backend: str) -> None:
    code = torch.randn(9, generator=torch.Generator().manual_seed(0))
    codebook = torch.stack([code, torch.nextafter(code, torch.full_like(code, 9.0)), code + 1e-5, code])
    x = torch.cat([codebook, (codebook[:1] + codebook[2:3]) / 2])
    assert torch.equal(vq_lookup(x, codebook, backend=backend)[0], brute_force(x, codebook).argmin(1))


@pytest.mark.parametrize("backend", ON_CPU)
def test_equal_codes_and_rows_without_length_are_no_trouble(backend: str) -> None:
    assert vq_lookup(torch.zeros(7, 3), torch.zeros(40, 3), backend=backend)[0].tolist() == [0] * 7
    assert vq_lookup(torch.ones(7, 3), torch.ones(40, 3), backend=backend)[2].tolist() == [0] * 7


@pytest.mark.parametrize("backend", ON_CPU)
def test_codes_that_were_reset_to_the_same_latent_go_to_the_lowest_index(backend: str) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 8, generator=generator)
    codebook = x[torch.randint(0, 20, (5000,), generator=generator)] + 0.1
    assert torch.equal(vq_lookup(x, codebook, backend=backend)[0], brute_force(x, codebook).argmin(1))


@pytest.mark.parametrize("backend", ["cpu", *ON_CPU[2:]])
def test_equal_codes_are_looked_up_once(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "_WORTHWHILE", 1)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 8, generator=generator)
    codebook = torch.randn(40, 8, generator=generator)[torch.randint(0, 40, (90,), generator=generator)]
    asked = []
    lookup = duplicates.without_duplicates(lambda x, c: asked.append(len(c)) or brute_force(x, c).argmin(1))
    assert torch.equal(lookup(x, codebook), brute_force(x, codebook).argmin(1))
    assert asked == [len(codebook.unique(dim=0))]
    assert torch.equal(vq_lookup(x, codebook, backend=backend)[0], brute_force(x, codebook).argmin(1))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    codes=st.integers(1, 300),
    dim=st.integers(1, 20),
    spread=st.sampled_from([0.0, 0.5, 3.0]),
)
@pytest.mark.skipif(not find_spec("numba"), reason="no numba")
def test_crowded_codes_are_told_apart_by_the_compiled_scan(seed: int, codes: int, dim: int, spread: float) -> None:
    """Lengths over several decades, and many codes within the rounding of each other."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(5, dim, generator=generator) * torch.exp(spread * torch.randn(5, 1, generator=generator))
    pick = [torch.randint(0, 5, (n,), generator=generator) for n in (codes, 80)]
    tiny = [10.0 ** -torch.randint(3, 8, (n, 1), generator=generator) for n in (codes, 80)]
    codebook, x = (
        centres[p] + t * torch.randn(len(p), dim, generator=generator) for p, t in zip(pick, tiny, strict=True)
    )
    assert torch.equal(vq_lookup(x, codebook, backend="compiled")[0], brute_force(x, codebook).argmin(1))


@pytest.mark.skipif(not find_spec("numba"), reason="no numba")
def test_several_threads_share_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    generator = torch.Generator().manual_seed(0)
    x, codebook = torch.randn(200, 5, generator=generator), torch.randn(70, 5, generator=generator)
    assert torch.equal(vq_lookup(x, codebook, backend="compiled")[0], brute_force(x, codebook).argmin(1))
    assert torch.equal(vq_lookup(x[:2], codebook, backend="compiled")[0], brute_force(x[:2], codebook).argmin(1))


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_a_coarser_matrix_product_only_widens_the_doubt(precision: str) -> None:
    generator = torch.Generator().manual_seed(0)
    x, codebook = torch.randn(99, 7, generator=generator), torch.randn(77, 7, generator=generator)
    torch.set_float32_matmul_precision(precision)
    try:
        found = vq_lookup(x, codebook, backend="cpu")[0]
    finally:
        torch.set_float32_matmul_precision("highest")
    assert torch.equal(found, brute_force(x, codebook).argmin(1))


def test_auto_takes_the_compiled_backend_only_where_it_pays() -> None:
    small, large = torch.zeros(10, 4), torch.zeros(1 << 16, 64)
    codebook = torch.zeros(4096, 64)
    assert choose_backend(small, codebook[:, :4], "auto").name == "cpu"
    assert choose_backend(large, codebook, "auto").name == ("compiled" if find_spec("numba") else "cpu")


@pytest.mark.parametrize("backend", ON_CPU)
def test_lookup_takes_views_and_nothing(backend: str) -> None:
    generator = torch.Generator().manual_seed(0)
    wide, codes = torch.randn(2 * 7, 30, generator=generator), torch.randn(7, 11, generator=generator).T
    view = wide.T[::2]  # (15, 14), both strides odd
    expected = brute_force(view[:, :7], codes).argmin(1)
    assert torch.equal(vq_lookup(view[:, :7], codes, backend=backend)[0], expected)
    indices, quantized, sq_error = vq_lookup(torch.empty(0, 7), codes, backend=backend)
    assert indices.shape == (0,)
    assert indices.dtype == torch.int64
    assert quantized.shape == (0, 7)
    assert sq_error.shape == (0,)


def test_half_types_are_compared_in_float32() -> None:
    x = torch.randn(50, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    codebook = torch.randn(20, 8, generator=torch.Generator().manual_seed(1))
    indices, quantized, _ = vq_lookup(x, codebook)
    assert torch.equal(indices, brute_force(x, codebook).argmin(1))
    assert quantized.dtype == torch.bfloat16


@pytest.mark.parametrize("backend", ON_CPU)
def test_gradients_are_straight_through_and_of_the_commitment(backend: str) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(12, 4, generator=generator, requires_grad=True)
    codebook = torch.randn(5, 4, generator=generator, requires_grad=True)
    weight = torch.randn(12, 4, generator=generator)
    indices, quantized, sq_error = vq_lookup(x, codebook, backend=backend)
    (quantized * weight).sum().backward(retain_graph=True)
    assert torch.equal(x.grad, weight)
    assert torch.equal(codebook.grad, torch.zeros_like(codebook))
    x.grad = None
    sq_error.sum().backward()
    plain_x, plain_codes = x.detach().requires_grad_(), codebook.detach().requires_grad_()
    (plain_x - plain_codes[indices]).square().sum().backward()
    torch.testing.assert_close(x.grad, plain_x.grad)
    torch.testing.assert_close(codebook.grad, plain_codes.grad)


def test_gradients_match_finite_differences_of_the_error() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    codebook = torch.randn(4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: vq_lookup(a, b)[2], (x, codebook))


def test_the_codebook_may_change_between_forward_and_backward() -> None:
    x, codebook = torch.tensor([[1.0, 2.0]], requires_grad=True), torch.zeros(2, 2)
    error = vq_lookup(x, codebook)[2]
    codebook.fill_(7.0)
    error.sum().backward()
    assert x.grad.tolist() == [[2.0, 4.0]]


@pytest.mark.parametrize("compiler", ["eager", "aot_eager"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_compile_passes_through_without_a_graph_break(compiler: str, dtype: torch.dtype) -> None:
    def loss(x: torch.Tensor, codebook: torch.Tensor) -> torch.Tensor:
        indices, quantized, sq_error = vq_lookup(x, codebook)
        counts, sums = codebook_statistics(x.detach(), indices, len(codebook))
        return (quantized.square() + x).sum() + sq_error.mean() + counts.max() + sums.mean()

    generator = torch.Generator().manual_seed(0)
    codebook = torch.randn(5, 4, generator=generator, requires_grad=True)
    compiled = torch.compile(loss, fullgraph=True, backend=compiler)
    for rows in (12, 7):
        values = torch.randn(rows, 4, generator=generator).to(dtype)
        plain, traced = values.clone().requires_grad_(), values.clone().requires_grad_()
        expected, got = loss(plain, codebook), compiled(traced, codebook)
        torch.testing.assert_close(got, expected)
        (expected_x, expected_codes) = torch.autograd.grad(expected, (plain, codebook))
        (got_x, got_codes) = torch.autograd.grad(got, (traced, codebook))
        torch.testing.assert_close(got_x, expected_x)
        torch.testing.assert_close(got_codes, expected_codes)


@pytest.mark.parametrize("check", ["test_schema", "test_autograd_registration", "test_faketensor"])
def test_the_operators_are_registered_as_torch_wants_them(check: str) -> None:
    x, codebook = torch.randn(6, 4, requires_grad=True), torch.randn(3, 4, requires_grad=True)
    torch.library.opcheck(torch.ops.shift_tokenizer.vq_lookup.default, (x, codebook, "auto"), test_utils=check)
    rows, indices = x.detach(), torch.tensor([0, 2, 2, 1, 0, 0])
    operator = torch.ops.shift_tokenizer.codebook_statistics.default
    torch.library.opcheck(operator, (rows, indices, 3, False), test_utils=check)


def test_statistics_count_and_sum_the_rows_of_each_code() -> None:
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    counts, sums = codebook_statistics(x, torch.tensor([2, 0, 2]), 4)
    assert counts.tolist() == [1, 0, 2, 0]
    assert sums.tolist() == [[3, 4], [0, 0], [6, 8], [0, 0]]
    with pytest.raises(ShapeError, match="under 2, got 2"):
        codebook_statistics(x, torch.tensor([2, 0, 2]), 2)
    with pytest.raises(ShapeError, match="Flatten both"):
        codebook_statistics(x, torch.tensor([2, 0]), 4)


@pytest.mark.parametrize(
    ("x", "codebook"),
    [
        (torch.zeros(3, 4), torch.zeros(5, 3)),
        (torch.zeros(3), torch.zeros(5, 3)),
        (torch.zeros(3, 4), torch.zeros(0, 4)),
        (torch.zeros(3, 4, dtype=torch.int64), torch.zeros(5, 4)),
    ],
)
def test_what_does_not_fit_is_refused(x: torch.Tensor, codebook: torch.Tensor) -> None:
    with pytest.raises(ShapeError, match=r"Expected .* got"):
        vq_lookup(x, codebook)


def test_a_backend_can_be_added_and_is_taken_by_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    last = Backend("last", 99, lambda x, c: len(x) > 2, lambda x, c: torch.full((len(x),), len(c) - 1))
    monkeypatch.setitem(BACKENDS, "last", last)
    codebook = torch.zeros(4, 2)
    assert vq_lookup(torch.zeros(3, 2), codebook)[0].tolist() == [3, 3, 3]
    assert vq_lookup(torch.zeros(2, 2), codebook)[0].tolist() == [0, 0]
    with pytest.raises(BackendError, match="supports"):
        vq_lookup(torch.zeros(2, 2), codebook, backend="last")
    with pytest.raises(BackendError, match="'nearest'"):
        vq_lookup(torch.zeros(2, 2), codebook, backend="nearest")


def test_registering_replaces_the_backend_of_that_name() -> None:
    before = BACKENDS["reference"]
    replacement = Backend("reference", 0, before.supports, lambda x, c: torch.zeros(len(x), dtype=torch.int64))
    try:
        register_backend(replacement)
        assert vq_lookup(torch.ones(2, 1), torch.tensor([[0.0], [1.0]]), backend="reference")[0].tolist() == [0, 0]
    finally:
        register_backend(before)


def test_the_package_needs_neither_triton_nor_numba_until_a_kernel_runs() -> None:
    program = """
import sys
for name in ABSENT:
    sys.modules[name] = None
import torch
loaded = set(sys.modules)
import shift_tokenizer
assert not {"triton", "numba", "llvmlite"} & (set(sys.modules) - loaded)
x, codebook = torch.zeros(1 << 14, 64), torch.zeros(512, 64)
assert shift_tokenizer.vq_lookup(x, codebook)[0].sum() == 0
if ABSENT:
    assert "compiled" in shift_tokenizer.BACKENDS
    try:
        shift_tokenizer.vq_lookup(x, codebook, backend="compiled")
    except shift_tokenizer.BackendError as error:
        assert "on this machine" in str(error)
    else:
        raise AssertionError("expected a BackendError")
"""
    for absent in ([], ["triton", "numba"]):
        command = [sys.executable, "-W", "error", "-c", f"ABSENT = {absent}\n{program}"]
        run = subprocess.run(command, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
