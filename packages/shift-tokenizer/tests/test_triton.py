"""The Triton kernels without a GPU: interpreted for their answers, compiled for what they would use."""

import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

triton = pytest.importorskip("triton")

from shift_tokenizer.lookup import triton_lookup, triton_statistics  # noqa: E402
from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

HERE = Path(__file__).parent
CUOBJDUMP = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
SHARED_MEMORY = {80: 163 * 1024, 90: 227 * 1024}  # what a program may use, in bytes
REGISTERS = 65536  # of one multiprocessor

LOOKUP_TYPES = {
    **dict.fromkeys(["x", "codebook", "codes", "half_norms", "centre", "longest", "quantized", "error"], "*fp32"),
    **{"index": "*i64", "doubt": "*i8", "N": "i32", "K": "i32"},
}
SETTLE_TYPES = {name: LOOKUP_TYPES[name] for name in triton_lookup.settle_kernel.arg_names if name in LOOKUP_TYPES}


def test_kernels_interpreted_give_the_reference() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE / "interpreted_kernels.py")]
    run = subprocess.run(command, env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("dim", [64, 99])
@pytest.mark.parametrize(
    ("arch", "config"),
    [(arch, config) for arch, configs in triton_lookup.CONFIGS.items() for config in configs],
    ids=str,
)
def test_the_lookup_keeps_to_registers_at_every_configuration(arch: int, config: object, dim: int) -> None:
    shared = {"UNIT": triton_lookup.UNITS["tf32x3"], "PRECISION": "tf32x3", "D": dim}
    shared |= {"BLOCK_D": triton_lookup.chunk_size(dim), "TAIL_D": triton_lookup.TAIL_D}
    used = resources(
        triton_lookup.nearest_kernel,
        arch,
        LOOKUP_TYPES,
        config.kwargs | shared,
        num_warps=config.num_warps,
        num_stages=config.num_stages,
    )
    assert used.stack == 0, used
    assert used.registers * 32 * config.num_warps <= REGISTERS, used
    assert used.shared <= SHARED_MEMORY[arch], used


@pytest.mark.parametrize("arch", [80, 90])
@pytest.mark.parametrize("name", ["settle", "scatter", "segment"])
def test_the_small_kernels_keep_to_registers(name: str, arch: int) -> None:
    kernel, types, constants = {
        "settle": (triton_lookup.settle_kernel, SETTLE_TYPES, triton_lookup.SETTLE | {"D": 99}),
        "scatter": (triton_statistics.scatter_kernel, statistics_types("index"), triton_statistics.SCATTER),
        "segment": (triton_statistics.segment_kernel, statistics_types("order", "offsets"), triton_statistics.SEGMENT),
    }[name]
    types = {key: value for key, value in types.items() if key in kernel.arg_names}
    used = resources(kernel, arch, types, constants, num_warps=4, num_stages=2)
    assert used.stack == 0, used
    assert used.registers <= 128, used
    assert used.shared <= 48 * 1024, used


def statistics_types(*integers: str) -> dict[str, str]:
    floats = dict.fromkeys(["x", "counts", "sums"], "*fp32")
    return floats | dict.fromkeys(integers, "*i64") | {"N": "i32", "D": "i32", "stride_n": "i64", "stride_d": "i64"}


@dataclass(frozen=True)
class Resources:
    """What one program of a kernel uses: registers a thread, bytes of stack a thread, bytes of shared memory."""

    registers: int
    stack: int
    shared: int


def resources(
    kernel: Any, arch: int, types: dict[str, str], constants: dict[str, object], *, num_warps: int, num_stages: int
) -> Resources:
    """Compiles for compute capability `arch` (80, 90); needs no GPU and no other compiler."""
    signature = {name: types.get(name, "constexpr") for name in kernel.arg_names}
    source = ASTSource(kernel, signature, constants)
    options = {"num_warps": num_warps, "num_stages": num_stages}
    compiled = triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)
    with tempfile.TemporaryDirectory() as folder:
        cubin = Path(folder) / "kernel.cubin"
        cubin.write_bytes(compiled.asm["cubin"])
        command = [str(CUOBJDUMP), "--dump-resource-usage", str(cubin)]
        report = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    used = {name: int(value) for name, value in re.findall(r"(REG|STACK):(\d+)", report)}
    return Resources(used["REG"], used["STACK"], compiled.metadata.shared)
