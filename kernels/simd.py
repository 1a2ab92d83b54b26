"""Dot products of weight rows with activations, as intrinsics: float32 in a fixed order, 8-bit on the best instructions.

All operands are addresses (int64) of rows padded with zeros to a whole number of vectors: 16 floats or 64 bytes. A
*strip* is 8 rows by one activation vector, a *tile* 4 rows by 4 vectors. Sums of float32 run over 16 lanes, each lane in
order of k with FMA, then lanes i and i + 8, + 4, + 2, + 1; strip, tile and single row give the same bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llvmlite import ir

from . import vector_ir as v
from .jit import cpu_features, intrinsic, types

if TYPE_CHECKING:
    from collections.abc import Callable

# Instruction sets for 8-bit dot products, as run-time values; larger is preferred.
PORTABLE, AVX2, AVXVNNI, VNNI = 0, 1, 2, 3
ISA_NAMES = ("portable", "avx2", "avxvnni", "vnni")
STRIP_ROWS = 8
TILE_ROWS = 4
TILE_COLUMNS = 4


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


def _dispatch(builder: Any, isa: Any, choices: list[int], emit: Callable[[str], None]) -> None:
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


def _float_block(builder: Any, features: frozenset[str], operands: tuple[Any, ...], shape: tuple[int, int]) -> None:
    """Emit out[b, r] += w[r] · x[b] for a block of `shape` rows by columns."""
    w, w_stride, x, x_stride, k, out, out_stride = operands
    rows, columns = shape
    w_rows = [builder.add(w, v.bytes_at(builder, w_stride, 4 * r)) for r in range(rows)]
    x_rows = [builder.add(x, v.bytes_at(builder, x_stride, 4 * b)) for b in range(columns)]
    vectors = builder.sdiv(k, ir.Constant(v.I64, v.LANES))

    def step(index: Any, totals: list[Any]) -> list[Any]:
        offset = v.bytes_at(builder, index, 4 * v.LANES)
        xs = [v.load(builder, base, offset, v.V16F) for base in x_rows]
        ws = [v.load(builder, base, offset, v.V16F) for base in w_rows]
        return [
            v.multiply_add(builder, features, ws[r], xs[b], totals[b * rows + r])
            for b in range(columns)
            for r in range(rows)
        ]

    totals = v.counted_loop(builder, vectors, [v.constant(0.0)] * (rows * columns), step)
    sums = v.sum_lanes(builder, v.add_floats(builder), totals)
    for b in range(columns):
        part = _part(builder, sums, b * rows, rows)
        base = builder.add(out, v.bytes_at(builder, out_stride, 4 * b))
        before = v.load(builder, base, ir.Constant(v.I64, 0), part.type)
        v.store(builder, builder.fadd(before, part), base, ir.Constant(v.I64, 0))


def _part(builder: Any, vector: Any, start: int, count: int) -> Any:
    mask = ir.Constant(ir.VectorType(v.I32, count), list(range(start, start + count)))
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), mask)


def _split(
    shape: tuple[int, int], limit: tuple[int, int], operands: tuple[Any, ...], sizes: tuple[int, int], builder: Any
) -> list[tuple[Any, ...]]:
    """Cut a block into smaller ones that fit the machine's registers; `sizes` are bytes of an operand and a result."""
    w, w_stride, x, x_stride, k, out, out_stride = operands
    pieces = []
    for b in range(0, shape[1], limit[1]):
        for r in range(0, shape[0], limit[0]):
            w_part = builder.add(w, v.bytes_at(builder, w_stride, sizes[0] * r))
            x_part = builder.add(x, v.bytes_at(builder, x_stride, sizes[0] * b))
            out_part = builder.add(out, v.bytes_at(builder, out_stride, sizes[1] * b))
            out_part = builder.add(out_part, ir.Constant(v.I64, sizes[1] * r))
            pieces.append((w_part, w_stride, x_part, x_stride, k, out_part, out_stride))
    return pieces


def _float_codegen(shape: tuple[int, int]) -> Any:
    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        features = cpu_features(context)
        wide = "avx512f" in features
        limit = shape if wide else (min(4, shape[0]) if shape[1] == 1 else 2, min(2, shape[1]))
        for piece in _split(shape, limit, args, (4, 4), builder):
            _float_block(builder, features, piece, limit)
        return context.get_dummy_value()

    return generate


def _byte_block(builder: Any, isa: str, operands: tuple[Any, ...], shape: tuple[int, int]) -> None:
    """Emit out[b, r] = w[r] · x[b] in int32 for a block of `shape` rows by columns."""
    w, w_stride, x, x_stride, k, out, out_stride = operands
    rows, columns = shape
    width = {"vnni": 64, "portable": 16}.get(isa, 32)
    kind = ir.VectorType(v.I8, width)
    total_kind = ir.VectorType(v.I32, 16 if isa in {"vnni", "portable"} else 8)
    w_rows = [builder.add(w, v.bytes_at(builder, w_stride, r)) for r in range(rows)]
    x_rows = [builder.add(x, v.bytes_at(builder, x_stride, b)) for b in range(columns)]
    vectors = builder.sdiv(k, ir.Constant(v.I64, width))

    def step(index: Any, totals: list[Any]) -> list[Any]:
        offset = v.bytes_at(builder, index, width)
        xs = [v.load(builder, base, offset, kind, align=1) for base in x_rows]
        ws = [v.load(builder, base, offset, kind, align=1) for base in w_rows]
        return [
            v.dot_bytes(builder, isa, totals[b * rows + r], xs[b], ws[r]) for b in range(columns) for r in range(rows)
        ]

    nothing = ir.Constant(total_kind, [0] * total_kind.count)
    totals = v.counted_loop(builder, vectors, [nothing] * (rows * columns), step)
    sums = v.sum_lanes(builder, v.add_integers(builder), totals)
    for b in range(columns):
        base = builder.add(out, v.bytes_at(builder, out_stride, 4 * b))
        v.store(builder, _part(builder, sums, b * rows, rows), base, ir.Constant(v.I64, 0))


def _byte_codegen(shape: tuple[int, int]) -> Any:
    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        isa, operands = args[0], args[1:]

        def emit(name: str) -> None:
            limit = shape if name == "vnni" else (min(4, shape[0]), min(2, shape[1]))
            w, w_stride, x, x_stride, k, out, out_stride = operands
            for b in range(0, shape[1], limit[1]):
                for r in range(0, shape[0], limit[0]):
                    w_part = builder.add(w, v.bytes_at(builder, w_stride, r))
                    x_part = builder.add(x, v.bytes_at(builder, x_stride, b))
                    out_part = builder.add(out, v.bytes_at(builder, out_stride, 4 * b))
                    out_part = builder.add(out_part, ir.Constant(v.I64, 4 * r))
                    piece = (w_part, w_stride, x_part, x_stride, k, out_part, out_stride)
                    _byte_block(builder, name, piece, limit)

        _dispatch(builder, isa, available(cpu_features(context)), emit)
        return context.get_dummy_value()

    return generate


@intrinsic
def float_strip(_typing: Any, w: Any, w_stride: Any, x: Any, x_stride: Any, k: Any, out: Any, out_stride: Any) -> Any:
    """Add to out[0, r] the float32 dot product of row r of 8 with one vector; strides in elements."""
    return types.void(*[types.int64] * 7), _float_codegen((STRIP_ROWS, 1))


@intrinsic
def float_tile(_typing: Any, w: Any, w_stride: Any, x: Any, x_stride: Any, k: Any, out: Any, out_stride: Any) -> Any:
    """Add to out[b, r] the float32 dot product of row r of 4 with vector b of 4; strides in elements."""
    return types.void(*[types.int64] * 7), _float_codegen((TILE_ROWS, TILE_COLUMNS))


@intrinsic
def byte_strip(
    _typing: Any, isa: Any, w: Any, w_stride: Any, x: Any, x_stride: Any, k: Any, out: Any, out_stride: Any
) -> Any:
    """Store in out[0, r] (int32) the dot product of signed row r of 8 with one unsigned vector (minus 128 on AVX2)."""
    return types.void(*[types.int64] * 8), _byte_codegen((STRIP_ROWS, 1))


@intrinsic
def byte_tile(
    _typing: Any, isa: Any, w: Any, w_stride: Any, x: Any, x_stride: Any, k: Any, out: Any, out_stride: Any
) -> Any:
    """Store in out[b, r] (int32) the dot product of signed row r of 4 with unsigned vector b of 4."""
    return types.void(*[types.int64] * 8), _byte_codegen((TILE_ROWS, TILE_COLUMNS))


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
def address_of(_typing: Any, array: Any, index: Any) -> Any:
    """Return the address of element `index` of a flat view of a contiguous array, as int64."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = signature.args[0]
        data = context.make_array(kind)(context, builder, args[0]).data
        size = context.get_abi_sizeof(context.get_data_type(kind.dtype))
        return builder.add(builder.ptrtoint(data, v.I64), v.bytes_at(builder, args[1], size))

    return types.int64(array, types.int64), generate


@intrinsic
def ticks(_typing: Any) -> Any:
    """Return a steady counter: the time stamp counter on x86, the system counter elsewhere."""

    def generate(context: Any, builder: Any, _signature: Any, _args: Any) -> Any:
        name = "llvm.readcyclecounter" if "64bit" in cpu_features(context) else "llvm.readsteadycounter"
        function = builder.module.declare_intrinsic(name, (), ir.FunctionType(v.I64, []))
        return builder.call(function, [])

    return types.int64(), generate
