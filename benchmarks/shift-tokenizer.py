"""Times the lookup, the statistics and a training step of shift-tokenizer beside what a user would write or install.

    python benchmarks/shift-tokenizer.py lookup [--model FOLDER --features FILE.npy] [--threads 2] [--rounds 7]
    python benchmarks/shift-tokenizer.py statistics
    python benchmarks/shift-tokenizer.py memory
    python benchmarks/shift-tokenizer.py step [--rounds 2]
    python benchmarks/shift-tokenizer.py speed

Peers (`pip install "shift-tokenizer[bench]"`; one that is missing is left out): the full-matrix formula
x^2 - 2xc + c^2, `torch.cdist().argmin()`, vector-quantize-pytorch, and faiss `IndexFlatL2`. All run in turns in one
process; the table has medians by the clock and in processor time, which neighbours on a busy machine disturb less.
Random Gaussian rows and codes are the hardest case for any lookup that prunes; with --model and --features (N, 198) the
rows are latents of a trained encoder, and the codes 4096 means of such latents.
"""

from __future__ import annotations

import argparse
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from shift_tokenizer import (
    Backend,
    ShiftConfig,
    ShiftTokenizer,
    TokenizerTraining,
    codebook_statistics,
    register_backend,
    train_tokenizer,
    vq_lookup,
)
from shift_tokenizer.lookup import BACKENDS
from shift_tokenizer.networks import TimeConv
from torch import Tensor

N, K, D = 18432, 4096, 64
Arms = dict[str, Callable[[], object]]


def full_matrix(x: Tensor, codebook: Tensor) -> Tensor:
    """What most implementations do: all N x K distances at once."""
    return ((x**2).sum(1, keepdim=True) - 2 * x @ codebook.T + (codebook**2).sum(1)).argmin(1)


def one_hot_statistics(x: Tensor, indices: Tensor, size: int, *, deterministic: bool = False) -> tuple[Tensor, Tensor]:
    """What most implementations do for running means."""
    hot = torch.nn.functional.one_hot(indices, size).to(x.dtype)
    return hot.sum(0), hot.T @ x


def in_turns(arms: Arms, rounds: int) -> dict[str, tuple[float, float]]:
    """Median seconds of each arm, by the clock and of the processor, after one round to warm up."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in arms}
    for turn in range(rounds + 1):
        for name, work in arms.items():
            clock, processor = time.perf_counter(), time.process_time()
            work()
            if turn:
                taken[name].append((time.perf_counter() - clock, time.process_time() - processor))
    return {name: (statistics.median(c for c, _ in t), statistics.median(p for _, p in t)) for name, t in taken.items()}


def show(medians: dict[str, tuple[float, float]], baseline: str) -> None:
    print(f"| {'':34} | clock ms | times faster | processor ms | times faster |\n|---|---:|---:|---:|---:|")
    clock, processor = medians[baseline]
    for name, (c, p) in medians.items():
        print(f"| {name:34} | {c * 1e3:8.1f} | {clock / c:12.2f} | {p * 1e3:12.1f} | {processor / p:12.2f} |")


def lookup_arms(x: Tensor, codebook: Tensor) -> Arms:
    arms: Arms = {
        "x^2 - 2xc + c^2, argmin": lambda: full_matrix(x, codebook),
        "torch.cdist().argmin()": lambda: torch.cdist(x, codebook).argmin(1),
    }
    try:
        from vector_quantize_pytorch import VectorQuantize

        module = VectorQuantize(dim=x.shape[1], codebook_size=len(codebook)).eval()
        module._codebook.embed.data.copy_(codebook[None])
        arms["vector-quantize-pytorch, eval"] = lambda: module(x[None])
    except ImportError:
        pass
    try:
        import faiss

        faiss.omp_set_num_threads(torch.get_num_threads())
        index = faiss.IndexFlatL2(x.shape[1])
        index.add(codebook.numpy())
        arms["faiss IndexFlatL2"] = lambda: index.search(x.numpy(), 1)
    except ImportError:
        pass
    scores = torch.empty(128, len(codebook))
    arms["matrix product alone"] = lambda: [
        torch.mm(part, codebook.T, out=scores[: len(part)]) for part in x.split(128)
    ]
    for name in ("cpu", "compiled"):
        if BACKENDS[name].supports(x, codebook):
            arms[f"vq_lookup, {name}"] = partial(vq_lookup, x, codebook, backend=name)
    return arms


def disagreements(x: Tensor, codebook: Tensor) -> dict[str, tuple[int, int]]:
    """Per method: rows that disagree with float64, and those of them that are no near-tie (relative gap over 1e-6)."""
    distances = [
        torch.cdist(part.double(), codebook.double(), compute_mode="donot_use_mm_for_euclid_dist")
        for part in x.split(512)
    ]
    truth = torch.cat([d.argmin(1) for d in distances])
    best = torch.cat([d.amin(1) for d in distances]).square()
    found = {
        "x^2 - 2xc + c^2, argmin": full_matrix(x, codebook),
        "torch.cdist().argmin()": torch.cdist(x, codebook).argmin(1),
    }
    for name in ("cpu", "compiled"):
        if BACKENDS[name].supports(x, codebook):
            found[f"vq_lookup, {name}"] = vq_lookup(x, codebook, backend=name)[0]
    result = {}
    for name, indices in found.items():
        wrong = indices != truth
        got = (x[wrong].double() - codebook[indices[wrong]].double()).square().sum(1)
        result[name] = int(wrong.sum()), int((got > best[wrong] * (1 + 1e-6)).sum())
    return result


def encoder_latents(model: str, features: str) -> tuple[Tensor, Tensor]:
    """Latents (18432, D) of a trained encoder's pose stream, and 4096 codes: means after three steps of k-means."""
    tokenizer = ShiftTokenizer.from_pretrained(model)
    motion = torch.from_numpy(np.load(features, mmap_mode="r")[: 3 * 64 * 1024].copy()).float()
    windows = motion[: len(motion) // 64 * 64].view(-1, 64, 198)
    with torch.no_grad():
        latents = [tokenizer(tokenizer.normalize(part)).latents[1].flatten(0, 1) for part in windows.split(64)]
    rows = torch.cat(latents)
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))]
    x, codebook = rows[:N].contiguous(), rows[-K:].clone()
    for _ in range(3):
        counts, sums = codebook_statistics(rows, vq_lookup(rows, codebook)[0], K)
        codebook = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], codebook)
    return x, codebook


def run_lookup(args: argparse.Namespace) -> None:
    square = torch.randn(2048, 2048)
    seconds, _ = in_turns({"": lambda: square @ square}, args.rounds)[""]
    print(f"Float32 matrix product of 2048 x 2048: {2 * 2048**3 / seconds / 1e9:.0f} GFLOP/s")
    generator = torch.Generator().manual_seed(0)
    data = {"Gaussian": (torch.randn(N, D, generator=generator), torch.randn(K, D, generator=generator))}
    if args.model:
        data["Encoder latents"] = encoder_latents(args.model, args.features)
    for name, (x, codebook) in data.items():
        print(f"\n{name}: N {len(x)}, K {len(codebook)}, D {x.shape[1]}, float32, {torch.get_num_threads()} threads\n")
        show(in_turns(lookup_arms(x, codebook), args.rounds), "x^2 - 2xc + c^2, argmin")
        print("\nRows that disagree with float64 (and are no near-ties, relative gap over 1e-6):")
        for method, (wrong, clear) in disagreements(x, codebook).items():
            print(f"  {method}: {wrong} ({clear})")


def run_statistics(args: argparse.Namespace) -> None:
    x, indices = torch.randn(N, D), torch.randint(0, K, (N,))
    arms: Arms = {
        "one-hot matrix": lambda: one_hot_statistics(x, indices, K),
        "codebook_statistics": lambda: codebook_statistics(x, indices, K),
    }
    print(f"Counts and sums: N {N}, K {K}, D {D}, float32, {torch.get_num_threads()} threads\n")
    show(in_turns(arms, args.rounds), "one-hot matrix")


def peak_growth(method: str, n: int, k: int) -> None:
    """Prints by how many bytes one lookup raises the peak of this process. Run in a process of its own."""
    work = full_matrix if method == "full" else lambda x, c: vq_lookup(x, c, backend=method)
    work(torch.randn(64, D), torch.randn(64, D))  # libraries and compiled code are loaded
    x, codebook = torch.randn(n, D), torch.randn(k, D)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    work(x, codebook)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)


def run_memory(args: argparse.Namespace) -> None:
    print(f"Growth of the process's peak in one lookup, D {D}, in MB; N x K x 4 bytes beside it\n")
    print("| N | K | N x K | full matrix | vq_lookup, cpu | vq_lookup, compiled |\n|---:|---:|---:|---:|---:|---:|")
    for n, k in ((N, K), (2 * N, K), (4 * N, K), (N, 2 * K), (N, 4 * K)):
        cells = []
        for method in ("full", "cpu", "compiled"):
            command = [sys.executable, __file__, "peak", "--method", method, "--rows", str(n), "--codes", str(k)]
            run = subprocess.run([*command, "--threads", str(args.threads)], capture_output=True, text=True, check=True)
            cells.append(f"{int(run.stdout) / 1e6:.0f}")
        print(f"| {n} | {k} | {n * k * 4 / 1e6:.0f} | {' | '.join(cells)} |", flush=True)


@contextmanager
def plain_quantizer() -> Iterator[None]:
    """The same package with the full-matrix lookup and the one-hot statistics."""
    register_backend(Backend("full", 99, lambda x, codebook: True, full_matrix))
    users = [
        m
        for name, m in sys.modules.items()
        if name.startswith("shift_tokenizer.") and hasattr(m, "codebook_statistics")
    ]
    for module in users:
        setattr(module, "codebook_statistics", one_hot_statistics)  # noqa: B010
    try:
        yield
    finally:
        del BACKENDS["full"]
        for module in users:
            setattr(module, "codebook_statistics", codebook_statistics)  # noqa: B010


@contextmanager
def plain_model() -> Iterator[None]:
    """The same model as most implementations have it: the plain quantizer, and torch's own convolutions."""
    own = TimeConv.forward

    def forward(self: TimeConv, x: Tensor) -> Tensor:
        weight = self.weight.permute(2, 1, 0)
        y = torch.nn.functional.conv1d(x.mT, weight, self.bias, self.stride, self.padding, self.dilation)
        return y.mT

    TimeConv.forward = forward  # type: ignore[method-assign]
    try:
        with plain_quantizer():
            yield
    finally:
        TimeConv.forward = own  # type: ignore[method-assign]


def step_seconds(rounds: int) -> list[tuple[float, float]]:
    """Seconds of each step after the first, by the clock and of the processor: published sizes, 64 windows of 64."""
    generator = np.random.default_rng(0)
    rest = np.tile(np.concatenate([np.tile([1, 0, 0, 0, 1, 0], 16), np.zeros(3)]), 2)
    clips = [
        {"source": "procedural", "features": (rest + 0.1 * generator.normal(size=(64, 198))).astype(np.float32)}
        for _ in range(64)
    ]
    training = TokenizerTraining(steps=rounds + 1, batch_size=64, window=64, log_every=1, device="cpu")
    stamps: list[tuple[float, float]] = []
    train_tokenizer(
        clips,
        ShiftConfig.paper(),
        training,
        on_log=lambda *_: stamps.append((time.perf_counter(), time.process_time())),
    )
    return [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(stamps)]


def run_step(args: argparse.Namespace) -> None:
    arms: dict[str, Callable[[], AbstractContextManager[None]]]
    arms = {"Conv1d, full matrix, one-hot": plain_model, "full matrix, one-hot": plain_quantizer, "ours": nullcontext}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in arms}
    for _ in range(args.rounds):
        for name, context in arms.items():
            with context():
                taken[name] += step_seconds(1)
    print(f"One training step, published sizes, 64 x 64 frames, {torch.get_num_threads()} threads\n")
    medians = {name: tuple(statistics.median(column) for column in zip(*t, strict=True)) for name, t in taken.items()}
    show(medians, next(iter(arms)))
    for name, context in list(arms.items())[1:]:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile, context():
            step_seconds(1)
        print(f"\nTwo steps, {name}:\n{profile.key_averages().table(sort_by='self_cpu_time_total', row_limit=12)}")


def round_trip(tokenizer: ShiftTokenizer, batch: torch.Tensor) -> torch.Tensor:
    return tokenizer.decode(tokenizer.encode(batch))


def run_speed(args: argparse.Namespace) -> None:
    """Encoding and decoding do the same work whatever the weights are, so fresh ones do."""
    batch = torch.randn(32, 64, 198, generator=torch.Generator().manual_seed(0))
    arms: Arms = {}
    for name, config in (("published size", ShiftConfig.paper()), ("demo's size", ShiftConfig())):
        tokenizer = ShiftTokenizer(config).eval()
        for stream in tokenizer.stream_list():
            for level in stream.quantizer.quantizers():
                level.ready.fill_(True)
        arms[name] = partial(round_trip, tokenizer, batch)
    medians = in_turns(arms, args.rounds)
    print(f"Encode and decode 32 clips of 64 frames (two hands), {torch.get_num_threads()} threads\n")
    show(medians, "published size")
    for name, (clock, _) in medians.items():
        print(f"{name}: {batch.shape[0] * batch.shape[1] / clock:.0f} frames/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["lookup", "statistics", "memory", "step", "speed", "peak"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", help="folder of a trained tokenizer")
    parser.add_argument("--features", help="its motion features (N, 198), as .npy")
    parser.add_argument("--method", choices=["full", "cpu", "compiled"], default="cpu", help="for peak")
    parser.add_argument("--rows", type=int, default=N, help="for peak")
    parser.add_argument("--codes", type=int, default=K, help="for peak")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.what == "peak":
        return peak_growth(args.method, args.rows, args.codes)
    print(f"{platform.machine()}, torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}")
    runs = {"lookup": run_lookup, "statistics": run_statistics, "memory": run_memory, "step": run_step}
    {**runs, "speed": run_speed}[args.what](args)


if __name__ == "__main__":
    main()
