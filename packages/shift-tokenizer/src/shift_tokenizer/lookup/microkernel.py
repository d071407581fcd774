"""The 16-bit scan of `compiled`, in numba: packing, the inner tile as vector code, and the float64 settling.

Most rows are settled from their running minima. Those of which the minima do not name every candidate are scored once
more, and each code within reach is compared as it is met.

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
def _minima(typing: Any, x: Any, pairs: Any, codes: Any, bias: Any, state: Any, number: Any, mask: Any) -> Any:
    """Scores ROWS rows against one tile and updates their running minima.

    Arguments are addresses (x: ROWS x pairs x 2 int16; codes: pairs x TILE x 2 int16; bias: TILE int32; state:
    ROWS x (best, second) x LANES int32), the number of pairs, the tile's number, and the mask that frees the low bits.
    """
    return types.void(*[types.intp] * 5, types.int32, types.int32), _emit_minima


@intrinsic
def _scores(typing: Any, x: Any, pairs: Any, codes: Any, bias: Any, scores: Any) -> Any:
    """Writes the scores of ROWS rows against one tile: ROWS x TILE int32. Arguments as of `_minima`."""
    return types.void(*[types.intp] * 5), _emit_scores


def _emit_scores(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    emit = _Emitter(builder)
    for i, total in enumerate(_emit_totals(emit, *args[:4])):
        emit.store(total, args[4], i * LANES * 4)
    return context.get_dummy_value()


def _emit_minima(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    x, pairs, codes, bias, state, number, mask = args
    emit = _Emitter(builder)
    totals = _emit_totals(emit, x, pairs, codes, bias)
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


def _emit_totals(emit: "_Emitter", x: Any, pairs: Any, codes: Any, bias: Any) -> list[Any]:
    """The scores of ROWS rows against one tile, VECTORS vectors a row, in registers."""
    builder = emit.builder
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
    return totals


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
    x: Array, codebook: Array, centre: Array, packed: Array, half_norms: Array, figures: Array, index: Array
) -> None:
    """Writes the nearest code of each row of x (n, D) to `index` (n,)."""
    tiles, pairs = packed.shape[0], packed.shape[1]
    low = 1
    while low < tiles:
        low *= 2
    low -= 1  # the bits that hold the number of a tile
    integers = np.zeros((BLOCK, pairs * 2), np.int16)
    bias = np.empty(tiles * TILE, np.int32)
    state = np.empty((BLOCK, 2, LANES), np.int32)
    norms, roundings = np.empty(BLOCK), np.empty(BLOCK)
    unsettled, limits = np.empty(BLOCK, np.int64), np.full(BLOCK, -FAR)
    for start in range(0, len(x), BLOCK):
        rows, found = x[start : start + BLOCK], index[start : start + BLOCK]
        unit = _round_rows(rows, centre, figures, integers, norms, roundings)
        for k in range(len(half_norms)):
            bias[k] = int32(np.rint(half_norms[k] / unit)) if half_norms[k] < np.inf else int32(FAR)
        state[:] = FAR
        filled = -(-len(rows) // ROWS) * ROWS
        for t in range(tiles):
            for r in range(0, filled, ROWS):
                _minima(
                    integers.ctypes.data + r * pairs * 4,
                    pairs,
                    packed.ctypes.data + t * pairs * TILE * 4,
                    bias.ctypes.data + t * TILE * 4,
                    state.ctypes.data + r * 2 * LANES * 4,
                    int32(t),
                    int32(~low),
                )
        left = 0
        for r in range(len(rows)):
            # A stored score may be `low` above or below the true one.
            least = state[r, 0].min()
            error = _bound(norms[r], roundings[r], figures, rows.shape[1], (least + low + 2) * unit)
            reach = int(np.ceil(2 * error / unit)) + 4 + low
            found[r] = _settle(rows[r], codebook, state[r], least + reach + low, low)
            if found[r] < 0:
                integers[left] = integers[r]  # those before it are settled
                unsettled[left], limits[left] = r, least + reach
                left += 1
        _settle_all(rows, codebook, integers, packed, bias, unsettled[:left], limits, found)


@njit(nogil=True, cache=True, error_model="numpy")
def _round_rows(rows: Array, centre: Array, figures: Array, integers: Array, norms: Array, roundings: Array) -> float:
    """Rounds rows (b, D) to integers; their norms and those of the rounding (b,). Returns the unit of a score."""
    scale, longest = figures[0], figures[1]
    dim = rows.shape[1]
    largest = 0.0
    for r in range(len(rows)):
        square = 0.0
        for d in range(dim):
            value = np.float64(rows[r, d]) - centre[d]
            square += value * value
        norms[r] = np.sqrt(square)
        largest = max(largest, norms[r])
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
        roundings[r] = np.sqrt(square)
    return row_scale * scale


@njit(nogil=True, cache=True, error_model="numpy")
def _bound(norm: float, rounding: float, figures: Array, dim: int, least: float) -> float:
    """A bound on the error of a row's scores with the codes that matter, given the least score (from above).

    The nearest code and the one with the least score are at most as long as the row and their distance from it
    together. That is often far less than the longest code.
    """
    longest = figures[1]
    error = _error(norm, rounding, figures, dim, longest)
    distance = np.sqrt(max(0.0, norm * norm + 2 * (least + error)))
    return _error(norm, rounding, figures, dim, min(longest, (norm + distance) * (1 + 1e-9)))


@njit(nogil=True, cache=True, error_model="numpy")
def _error(norm: float, rounding: float, figures: Array, dim: int, longest: float) -> float:
    """A bound on the error of a row's scores with codes up to the norm `longest`."""
    code_rounding, offset = figures[2], figures[3]
    # What float64 itself rounds away, in taking off the centre and in the norms, is added to the errors.
    here = rounding * (1 + 1e-9) + _EPS * (norm + 2 * offset)
    there = code_rounding * (1 + 1e-9) + _EPS * (figures[1] + 2 * offset)
    return here * longest + (norm + here) * there + longest * _EPS * ((dim + 4) * (longest + norm) + 2 * offset)


@njit(nogil=True, cache=True, error_model="numpy")
def _settle(row: Array, codebook: Array, state: Array, limit: int, low: int) -> int:
    """The nearest of one row's candidates, by the plain difference in float64; -1 if `state` may not name them all."""
    best, found = np.inf, -1
    for lane in range(LANES):
        if state[1, lane] <= limit:
            return -1
        if state[0, lane] <= limit:
            first = int(state[0, lane] & low) * TILE + lane
            for code in range(first, min(first + TILE, len(codebook)), LANES):
                distance = _square_distance(row, codebook[code])
                if distance < best or (distance == best and code < found):
                    best, found = distance, code
    return found


@njit(nogil=True, cache=True, error_model="numpy")
def _settle_all(
    rows: Array,
    codebook: Array,
    integers: Array,
    packed: Array,
    bias: Array,
    unsettled: Array,
    limits: Array,
    index: Array,
) -> None:
    """Settles the rows number `unsettled` (u,), whose `integers` and `limits` come first: all their codes again."""
    tiles, pairs = packed.shape[0], packed.shape[1]
    scores, best = np.empty((ROWS, TILE), np.int32), np.empty(ROWS)
    for start in range(0, len(unsettled), ROWS):
        group = unsettled[start : start + ROWS]
        best[:] = np.inf
        for t in range(tiles):
            _scores(
                integers.ctypes.data + start * pairs * 4,
                pairs,
                packed.ctypes.data + t * pairs * TILE * 4,
                bias.ctypes.data + t * TILE * 4,
                scores.ctypes.data,
            )
            for r in range(len(group)):
                limit, least = limits[start + r], scores[r, 0]
                for i in range(1, TILE):
                    least = min(least, scores[r, i])
                if least > limit:
                    continue
                for i in range(min(TILE, len(codebook) - t * TILE)):
                    if scores[r, i] <= limit:
                        distance = _square_distance(rows[group[r]], codebook[t * TILE + i])
                        if distance < best[r]:  # codes come in order, so the lowest of equals stays
                            best[r], index[group[r]] = distance, t * TILE + i


@njit(nogil=True, cache=True, error_model="numpy")
def _square_distance(row: Array, code: Array) -> float:
    distance = 0.0
    for d in range(len(row)):
        difference = np.float64(row[d]) - code[d]
        distance += difference * difference
    return distance
