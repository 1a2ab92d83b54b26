"""Dot products of weight rows with activations, as intrinsics: float32 in a fixed order, 8-bit on the best unit.

All operands are addresses (int64) of rows padded with zeros to a whole number of vectors: 16 floats or 64 bytes. A
*strip* is 8 rows by one activation vector, a *tile* 8 rows by 2 vectors; strides are in elements. Sums of float32 run
over 16 lanes, each lane in order of k with FMA, then lanes i and i + 8, + 4, + 2, + 1; strip, tile and single row give
the same bits.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from llvmlite import ir

from . import vector_ir as v
from .jit import cpu_features, intrinsic, types

if TYPE_CHECKING:
    from collections.abc import Callable

# Instruction sets for 8-bit dot products, as run-time values; larger is preferred.
PORTABLE, AVX2, AVXVNNI, VNNI = 0, 1, 2, 3
ISA_NAMES = ("portable", "avx2", "avxvnni", "vnni")
ROWS = 8
TILE_COLUMNS = 2
FLOAT_STEP, BYTE_STEP = 16, 64  # elements of a row that a step of the inner loop takes: 64 bytes
ZERO = ir.Constant(v.I64, 0)


class Block(NamedTuple):
    """Rows × columns of a product, as LLVM values: addresses, and strides in elements.

    Row r holds its elements of step s at w + r × w_stride + s × w_step: (K, step) for plain rows,
    (step, 8 × step) where blocks of 8 rows are interleaved, so that the weights are one stream.
    """

    w: Any
    w_stride: Any
    w_step: Any
    x: Any
    x_stride: Any
    k: Any
    out: Any
    out_stride: Any
    shape: tuple[int, int]


def available(features: frozenset[str]) -> list[int]:
    """Return the instruction sets for 8-bit dot products among `features`, worst first."""
    found = [PORTABLE]
    if "avx2" in features:
        found.append(AVX2)
    if "avxvnni" in features and "avx2" in features:
        found.append(AVXVNNI)
    if {"avx512vnni", "avx512bw", "avx512f"} <= features:
        found.append(VNNI)
    return found


def dispatch(builder: Any, isa: Any, choices: list[int], emit: Callable[[str], None]) -> None:
    """Emit one version of the code for each instruction set and choose among them by the run-time value `isa`."""
    done = builder.append_basic_block("isa.done")
    blocks = {choice: builder.append_basic_block(f"isa.{ISA_NAMES[choice]}") for choice in choices}
    switch = builder.switch(isa, blocks[PORTABLE])
    for choice, block in blocks.items():
        if choice != PORTABLE:
            switch.add_case(ir.Constant(v.I64, choice), block)
        builder.position_at_end(block)
        emit(ISA_NAMES[choice])
        builder.branch(done)
    builder.position_at_end(done)


def _block(builder: Any, operands: Block, size: int, dot: Callable[[list[Any], list[Any]], Any]) -> None:
    """Hand the addresses of a block's rows and columns, and where each column's results go, to `dot`."""
    rows, columns = operands.shape
    w_rows = [builder.add(operands.w, v.bytes_at(builder, operands.w_stride, size * r)) for r in range(rows)]
    x_rows = [builder.add(operands.x, v.bytes_at(builder, operands.x_stride, size * b)) for b in range(columns)]
    sums = dot(w_rows, x_rows)
    for b in range(columns):
        part = v.lanes_of(builder, sums, b * rows, rows)
        base = builder.add(operands.out, v.bytes_at(builder, operands.out_stride, 4 * b))
        if part.type.element == v.F32:
            part = builder.fadd(v.load(builder, base, ZERO, part.type), part)
        v.store(builder, part, base, ZERO)


def _pieces(builder: Any, whole: Block, limit: tuple[int, int], size: int) -> list[Block]:
    """Cut a block into smaller ones that fit the machine's registers."""
    pieces = []
    for b in range(0, whole.shape[1], limit[1]):
        for r in range(0, whole.shape[0], limit[0]):
            w = builder.add(whole.w, v.bytes_at(builder, whole.w_stride, size * r))
            x = builder.add(whole.x, v.bytes_at(builder, whole.x_stride, size * b))
            out = builder.add(whole.out, v.bytes_at(builder, whole.out_stride, 4 * b))
            out = builder.add(out, ir.Constant(v.I64, 4 * r))
            pieces.append(whole._replace(w=w, x=x, out=out, shape=limit))
    return pieces


def _float_codegen(shape: tuple[int, int]) -> Any:
    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        features = cpu_features(context)
        # 16 accumulators need AVX-512's 32 registers; elsewhere a vector is two registers of 16.
        limit = shape if "avx512f" in features else (min(4, shape[0]) if shape[1] == 1 else 2, min(2, shape[1]))
        for piece in _pieces(builder, Block._make([*args, shape]), limit, 4):
            _block(builder, piece, 4, partial(_float_sums, builder, features, piece))
        return context.get_dummy_value()

    return generate


def _float_sums(builder: Any, features: frozenset[str], block: Block, w_rows: list[Any], x_rows: list[Any]) -> Any:
    """Return the dot products of all columns with all rows, column after column, as one vector."""

    def step(index: Any, totals: list[Any]) -> list[Any]:
        x_offset = v.bytes_at(builder, index, 4 * v.LANES)
        w_offset = builder.mul(index, v.bytes_at(builder, block.w_step, 4))
        xs = [v.load(builder, base, x_offset, v.V16F) for base in x_rows]
        ws = [v.load(builder, base, w_offset, v.V16F) for base in w_rows]
        pairs = [(w, x) for x in xs for w in ws]
        return [v.multiply_add(builder, features, *pair, total) for pair, total in zip(pairs, totals, strict=True)]

    steps = builder.sdiv(block.k, ir.Constant(v.I64, v.LANES))
    totals = v.counted_loop(builder, steps, [v.constant(0.0)] * (len(w_rows) * len(x_rows)), step)
    return v.sum_lanes(builder, v.add_floats(builder), totals)


def _byte_codegen(shape: tuple[int, int]) -> Any:
    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        whole = Block._make([*args[1:], shape])

        def emit(isa: str) -> None:
            limit = shape if isa == "vnni" else (min(4, shape[0]), min(2, shape[1]))
            for piece in _pieces(builder, whole, limit, 1):
                _block(builder, piece, 1, partial(_byte_sums, builder, isa, whole))

        dispatch(builder, args[0], available(cpu_features(context)), emit)
        return context.get_dummy_value()

    return generate


def _byte_sums(builder: Any, isa: str, block: Block, w_rows: list[Any], x_rows: list[Any]) -> Any:
    """Return the integer dot products of all columns with all rows, column after column, as one vector."""
    width = {"vnni": 64, "portable": 16}.get(isa, 32)
    kind = ir.VectorType(v.I8, width)
    total_kind = ir.VectorType(v.I32, 16 if isa in {"vnni", "portable"} else 8)

    def step(index: Any, totals: list[Any]) -> list[Any]:
        for part in range(0, BYTE_STEP, width):
            within = ir.Constant(v.I64, part)
            x_offset = builder.add(v.bytes_at(builder, index, BYTE_STEP), within)
            w_offset = builder.add(builder.mul(index, block.w_step), within)
            xs = [v.load(builder, base, x_offset, kind, align=1) for base in x_rows]
            ws = [v.load(builder, base, w_offset, kind, align=1) for base in w_rows]
            pairs = [(x, w) for x in xs for w in ws]
            totals = [v.dot_bytes(builder, isa, total, *pair) for pair, total in zip(pairs, totals, strict=True)]
        return totals

    nothing = ir.Constant(total_kind, [0] * total_kind.count)
    steps = builder.sdiv(block.k, ir.Constant(v.I64, BYTE_STEP))
    totals = v.counted_loop(builder, steps, [nothing] * (len(w_rows) * len(x_rows)), step)
    return v.sum_lanes(builder, v.add_integers(builder), totals)


@intrinsic
def float_strip(
    _typing: Any, w: Any, w_stride: Any, w_step: Any, x: Any, x_stride: Any, k: Any, out: Any, out_stride: Any
) -> Any:
    """Add to out[0, r] the float32 dot product of row r of 8 with one vector."""
    return types.void(*[types.int64] * 8), _float_codegen((ROWS, 1))


@intrinsic
def float_tile(
    _typing: Any, w: Any, w_stride: Any, w_step: Any, x: Any, x_stride: Any, k: Any, out: Any, out_stride: Any
) -> Any:
    """Add to out[b, r] the float32 dot product of row r of 8 with vector b of 2."""
    return types.void(*[types.int64] * 8), _float_codegen((ROWS, TILE_COLUMNS))


@intrinsic
def byte_strip(
    _typing: Any, isa: Any, w: Any, w_stride: Any, w_step: Any, x: Any, x_stride: Any, k: Any, out: Any, out_stride: Any
) -> Any:
    """Store in out[0, r] (int32) the dot product of signed row r of 8 with one unsigned vector (minus 128 on AVX2)."""
    return types.void(*[types.int64] * 9), _byte_codegen((ROWS, 1))


@intrinsic
def byte_tile(
    _typing: Any, isa: Any, w: Any, w_stride: Any, w_step: Any, x: Any, x_stride: Any, k: Any, out: Any, out_stride: Any
) -> Any:
    """Store in out[b, r] (int32) the dot product of signed row r of 8 with unsigned vector b of 2 (AVX2: - 128)."""
    return types.void(*[types.int64] * 9), _byte_codegen((ROWS, TILE_COLUMNS))


@intrinsic
def float_dot(_typing: Any, w: Any, x: Any, k: Any) -> Any:
    """Return the float32 dot product of one row and one vector, with the bits that a strip gives."""

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        features = cpu_features(context)
        w_base, x_base, count = args

        def step(index: Any, totals: list[Any]) -> list[Any]:
            offset = v.bytes_at(builder, index, 4 * v.LANES)
            loaded = [v.load(builder, base, offset, v.V16F) for base in (w_base, x_base)]
            return [v.multiply_add(builder, features, loaded[0], loaded[1], totals[0])]

        vectors = builder.sdiv(count, ir.Constant(v.I64, v.LANES))
        (total,) = v.counted_loop(builder, vectors, [v.constant(0.0)], step)
        return v.sum_lanes(builder, v.add_floats(builder), [total])

    return types.float32(types.int64, types.int64, types.int64), generate


@intrinsic
def float_dots(_typing: Any, first: Any, second: Any, third: Any, fourth: Any, x: Any, k: Any, out: Any) -> Any:
    """Store the float32 dot products of four rows and one vector, each with the bits that a strip gives."""

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        *rows, x_base, count, out_base = args
        step = ir.Constant(v.I64, FLOAT_STEP)
        block = Block(None, None, step, None, None, count, None, None, (len(rows), 1))
        sums = _float_sums(builder, cpu_features(context), block, rows, [x_base])
        v.store(builder, sums, out_base, ZERO)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 7), generate
