"""What needs a CUDA device: a tokenizer there gives what it gives on the CPU, and trains by default."""

import dataclasses

import pytest
import torch
from shift_tokenizer import (
    ShiftConfig,
    ShiftTokenizer,
    TokenizerTraining,
    codebook_statistics,
    find_device,
    train_tokenizer,
    vq_lookup,
)

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def test_the_device_that_is_there_is_found() -> None:
    assert find_device() == find_device("cuda") == torch.device("cuda", 0)


def test_a_tokenizer_on_the_gpu_decodes_what_it_does_on_the_cpu(tokenizer: ShiftTokenizer) -> None:
    tokens = torch.randint(24, (4, 9, 4), generator=torch.Generator().manual_seed(0))
    mask = torch.arange(9) < torch.tensor([[9], [2], [5], [1]])
    expected = tokenizer.decode(tokens, mask)
    torch.testing.assert_close(tokenizer.to("cuda").decode(tokens, mask).cpu(), expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("backend", ["auto", "gemm", "reference", "triton"])
def test_every_backend_finds_the_nearest_code(backend: str) -> None:
    if backend == "triton":
        pytest.importorskip("triton")
    generator = torch.Generator().manual_seed(0)
    x, codebook = torch.randn(1023, 64, generator=generator), torch.randn(512, 64, generator=generator)
    expected = vq_lookup(x, codebook, backend="reference")[0]
    found = vq_lookup(x.cuda(), codebook.cuda(), backend=backend)[0]
    assert torch.equal(found.cpu(), expected)
    counts, sums = codebook_statistics(x.cuda(), found, 512)
    wanted = codebook_statistics(x, expected, 512)
    torch.testing.assert_close(counts.cpu(), wanted[0])
    torch.testing.assert_close(sums.cpu(), wanted[1], atol=1e-4, rtol=1e-4)


def test_training_takes_the_gpu_and_learns_what_the_cpu_learns(clips: list[dict], config: ShiftConfig) -> None:
    training = TokenizerTraining(steps=20, batch_size=6, window=16, log_every=10)
    there, history = train_tokenizer(clips, config, training, val_clips=clips[:3])
    _, here = train_tokenizer(clips, config, dataclasses.replace(training, device="cpu"), val_clips=clips[:3])
    assert there.mean.device.type == "cuda"
    assert history[0]["loss"] == pytest.approx(here[0]["loss"], rel=0.1)
    assert history[-1]["val_reconstruction"] == pytest.approx(here[-1]["val_reconstruction"], rel=0.1)
    tokens = there.encode_list([clip["features"] for clip in clips])
    assert {t.device.type for t in tokens} == {"cuda"}
