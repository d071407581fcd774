"""The 16-bit scan of `compiled`, in numba: packing, the inner tile as vector code, and the float64 settling.

The inner tile is written as LLVM instructions (through `numba.extending.intrinsic`), because the compiler does not
find this register blocking by itself: ROWS rows times VECTORS vectors of LANES codes, 12 accumulators, which is what
16 vector registers hold. The instructions are generic; x86 gets `vpmaddwd` for them.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import int32, njit, types
from numba.extending import intrinsic

LANES, VECTORS, ROWS = 8, 2, 6
TILE = LANES * VECTORS
BLOCK = 10 * ROWS  # rows whose integers and running minima stay in the first cache
NORM = 32000.0  # the norm of the longest vector, as integers
FAR = 2**31 - 1
_EPS = 2.0**-52

Array = np.ndarray[Any, Any]


def pack(codebook: Array) -> tuple[Array, ...]:
    """Codebook (K, D) float64 -> what `scan` wants.

    Returns:
        codebook (K, D); centre (D,); integers (tiles, pairs, TILE, 2) int16, two dimensions of 16 codes after another;
        half_norms (tiles * TILE,), infinite where there is no code; figures (4,): the scale of the integers, the
        longest norm of a code, the largest norm of a rounding error, the norm of the centre.
    """
    size, dim = codebook.shape
    tiles, pairs = -(-size // TILE), -(-dim // 2)
    centre = codebook.mean(0)
    codes = np.zeros((tiles * TILE, pairs * 2))
    codes[:size, :dim] = codebook - centre
    norms = np.sqrt(np.square(codes).sum(1))
    scale = norms.max() / NORM or 1.0
    integers = np.rint(codes / scale)
    error = np.sqrt(np.square(codes - integers * scale).sum(1)).max()
    # Of opposite sign, so that the tile, which only adds, yields |c|^2 / 2 - x.c.
    packed = (-integers).astype(np.int16).reshape(tiles, TILE, pairs, 2).transpose(0, 2, 1, 3)
    half_norms = np.square(norms) / 2
    half_norms[size:] = np.inf
    figures = np.array([scale, norms.max(), error, np.sqrt(np.square(centre).sum())])
    return codebook, centre, np.ascontiguousarray(packed), half_norms, figures


@intrinsic
def _tile(typing: Any, x: Any, pairs: Any, codes: Any, bias: Any, state: Any, number: Any, mask: Any) -> Any:
    """Scores ROWS rows against one tile and updates their running minima.

    Arguments are addresses (x: ROWS x pairs x 2 int16; codes: pairs x TILE x 2 int16; bias: TILE int32; state:
    ROWS x (best, second) x LANES int32), the number of pairs, the tile's number, and the mask that frees the low bits.
    """
    signature = types.void(*[types.intp] * 5, types.int32, types.int32)
    return signature, _emit_tile


def _emit_tile(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    x, pairs, codes, bias, state, number, mask = args
    emit = _Emitter(builder)
    first = [emit.load(bias, v * LANES * 4, emit.sums) for v in range(VECTORS)]
    before = builder.block
    loop, done = (builder.function.append_basic_block(name) for name in ("pair", "minima"))
    builder.branch(loop)
    builder.position_at_end(loop)
    pair = builder.phi(emit.i64)
    pair.add_incoming(emit.offset(0), before)
    sums = [builder.phi(emit.sums) for _ in range(ROWS * VECTORS)]
    for i, phi in enumerate(sums):
        phi.add_incoming(first[i % VECTORS], before)
    here = builder.add(codes, builder.mul(pair, emit.offset(TILE * 4)))
    column = [emit.load(here, v * LANES * 4, emit.pairs) for v in range(VECTORS)]
    stride = builder.mul(pairs, emit.offset(4))
    row = builder.add(x, builder.mul(pair, emit.offset(4)))
    totals = []
    for r in range(ROWS):
        value = builder.bitcast(emit.splat(emit.load(row, 0, emit.i32)), emit.pairs)
        row = builder.add(row, stride)
        totals += [builder.add(sums[r * VECTORS + v], emit.pair_dot(value, column[v])) for v in range(VECTORS)]
    following = builder.add(pair, emit.offset(1))
    pair.add_incoming(following, loop)
    for phi, total in zip(sums, totals, strict=True):
        phi.add_incoming(total, loop)
    builder.cbranch(builder.icmp_signed("<", following, pairs), loop, done)
    builder.position_at_end(done)
    number, mask = emit.splat(number), emit.splat(mask)
    for r in range(ROWS):
        score = totals[r * VECTORS]
        for v in range(1, VECTORS):
            score = emit.smaller(score, totals[r * VECTORS + v])
        score = builder.or_(builder.and_(score, mask), number)
        at_best, at_second = (2 * r * LANES * 4, (2 * r + 1) * LANES * 4)
        best, second = emit.load(state, at_best, emit.sums), emit.load(state, at_second, emit.sums)
        emit.store(emit.smaller(second, emit.larger(score, best)), state, at_second)
        emit.store(emit.smaller(score, best), state, at_best)
    return context.get_dummy_value()


class _Emitter:
    """The few vector instructions that the tile is made of."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder
        self.i32, self.i64 = ir.IntType(32), ir.IntType(64)
        self.sums = ir.VectorType(self.i32, LANES)
        self.pairs = ir.VectorType(ir.IntType(16), 2 * LANES)

    def offset(self, value: int) -> Any:
        return ir.Constant(self.i64, value)

    def _at(self, base: Any, offset: int, kind: Any) -> Any:
        return self.builder.inttoptr(self.builder.add(base, self.offset(offset)), kind.as_pointer())

    def load(self, base: Any, offset: int, kind: Any) -> Any:
        return self.builder.load(self._at(base, offset, kind), align=4)

    def store(self, value: Any, base: Any, offset: int) -> None:
        self.builder.store(value, self._at(base, offset, value.type), align=4)

    def splat(self, scalar: Any) -> Any:
        nothing = ir.Constant(self.sums, ir.Undefined)
        one = self.builder.insert_element(nothing, scalar, ir.Constant(self.i32, 0))
        return self.builder.shuffle_vector(one, nothing, ir.Constant(self.sums, [0] * LANES))

    def pair_dot(self, a: Any, b: Any) -> Any:
        wide = ir.VectorType(self.i32, 2 * LANES)
        product = self.builder.mul(self.builder.sext(a, wide), self.builder.sext(b, wide))
        nothing = ir.Constant(wide, ir.Undefined)
        even, odd = (ir.Constant(self.sums, list(range(start, 2 * LANES, 2))) for start in (0, 1))
        return self.builder.add(
            self.builder.shuffle_vector(product, nothing, even), self.builder.shuffle_vector(product, nothing, odd)
        )

    def smaller(self, a: Any, b: Any) -> Any:
        return self.builder.select(self.builder.icmp_signed("<", a, b), a, b)

    def larger(self, a: Any, b: Any) -> Any:
        return self.builder.select(self.builder.icmp_signed(">", a, b), a, b)


@njit(nogil=True, cache=True, error_model="numpy")
def scan(
    x: Array,
    codebook: Array,
    centre: Array,
    packed: Array,
    half_norms: Array,
    figures: Array,
    index: Array,
    doubtful: Array,
) -> None:
    """Writes the nearest code of each row of x (n, D) to `index` (n,), or sets `doubtful` (n,) where it can't say."""
    tiles, pairs = packed.shape[0], packed.shape[1]
    low = 1
    while low < tiles:
        low *= 2
    low -= 1  # the bits that hold the number of a tile
    integers = np.zeros((BLOCK, pairs * 2), np.int16)
    bias = np.empty(tiles * TILE, np.int32)
    state = np.empty((BLOCK, 2, LANES), np.int32)
    errors = np.empty(BLOCK)
    for start in range(0, len(x), BLOCK):
        rows = x[start : start + BLOCK]
        unit = _round_rows(rows, centre, figures, integers, errors)
        for k in range(len(half_norms)):
            bias[k] = int32(np.rint(half_norms[k] / unit)) if half_norms[k] < np.inf else int32(FAR)
        state[:] = FAR
        filled = -(-len(rows) // ROWS) * ROWS
        for t in range(tiles):
            for r in range(0, filled, ROWS):
                _tile(
                    integers.ctypes.data + r * pairs * 4,
                    pairs,
                    packed.ctypes.data + t * pairs * TILE * 4,
                    bias.ctypes.data + t * TILE * 4,
                    state.ctypes.data + r * 2 * LANES * 4,
                    int32(t),
                    int32(~low),
                )
        for r in range(len(rows)):
            reach = int(np.ceil(2 * errors[r] / unit)) + 4 + low
            _settle(rows[r], codebook, state[r], reach, low, index[start : start + BLOCK], doubtful[start:], r)


@njit(nogil=True, cache=True, error_model="numpy")
def _round_rows(rows: Array, centre: Array, figures: Array, integers: Array, errors: Array) -> float:
    """Rounds rows (b, D) to integers, bounds the error of their scores (b,), and returns the unit of a score."""
    scale, longest, code_error, offset = figures[0], figures[1], figures[2], figures[3]
    dim = rows.shape[1]
    largest = 0.0
    for r in range(len(rows)):
        square = 0.0
        for d in range(dim):
            value = np.float64(rows[r, d]) - centre[d]
            square += value * value
        errors[r] = np.sqrt(square)
        largest = max(largest, errors[r])
    row_scale = max(largest / NORM, longest / 65536)  # the second keeps |c|^2 / 2 within 30 bits
    if row_scale == 0.0:
        row_scale = 1.0
    for r in range(len(rows)):
        square = 0.0
        for d in range(dim):
            value = np.float64(rows[r, d]) - centre[d]
            whole = np.rint(value / row_scale)
            integers[r, d] = np.int16(whole)
            square += (value - whole * row_scale) ** 2
        norm = errors[r]
        # What float64 itself rounds away, in taking off the centre and in the norms, is added to the errors.
        here = np.sqrt(square) * (1 + 1e-9) + _EPS * (norm + 2 * offset)
        there = code_error * (1 + 1e-9) + _EPS * (longest + 2 * offset)
        errors[r] = (
            here * longest + (norm + here) * there + longest * _EPS * ((dim + 4) * (longest + norm) + 2 * offset)
        )
    return row_scale * scale


@njit(nogil=True, cache=True, error_model="numpy")
def _settle(
    row: Array, codebook: Array, state: Array, reach: int, low: int, index: Array, doubtful: Array, at: int
) -> None:
    """Chooses among the candidates of one row by the plain difference in float64."""
    least = int(state[0, 0])
    for lane in range(1, LANES):
        least = min(least, int(state[0, lane]))
    reach += least
    best, found = np.inf, 0
    for lane in range(LANES):
        if state[1, lane] <= reach:
            doubtful[at] = True
            return
        if state[0, lane] <= reach:
            first = int(state[0, lane] & low) * TILE + lane
            for code in range(first, min(first + TILE, len(codebook)), LANES):
                distance = 0.0
                for d in range(len(row)):
                    difference = np.float64(row[d]) - codebook[code, d]
                    distance += difference * difference
                if distance < best or (distance == best and code < found):
                    best, found = distance, code
    index[at] = found
