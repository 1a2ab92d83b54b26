"""The output layer's 8-bit products by columns: only those of activations that are not zero are read.

The joint's activation is a ReLU: about half of its outputs are zero on real speech, and with them half of the largest
matrix that a step reads. The integers are those of the products by rows.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from ..vector import vector_ir as v
from ..vector.jit import cpu_features, inline, intrinsic, types
from ..vector.memory import get_byte, get_int, keep_apart, set_byte, set_int
from ..vector.simd import available, dispatch
from . import task as f
from .tables import GROUP_ROWS

QUAD = 4  # columns that enter a product together: four bytes make a 32-bit lane
ZERO_LEVEL = 1  # how a zero activation is quantised (rows.quantize_row)
I8 = types.int64


@inline
def _lists(task: Any, b: int, width: int) -> Any:
    """Return where vector `b`'s columns and levels are listed; the last four may be spare."""
    return task[f.COLUMNS] + 8 * b * (width + QUAD), task[f.COLUMN_LEVELS] + b * (width + QUAD)


@inline
def list_columns(task: Any, b: int, width: int) -> int:
    """List the columns and levels of vector `b`'s activations that are not zero, in fours; return how many there are.

    Levels are counted from zero here, which is why the zero point of these products is 0.
    """
    levels = task[f.LEVELS] + b * task[f.LEVEL_WIDTH]
    places, kept = _lists(task, b, width)
    count = 0
    for column in range(width):
        level = get_byte(levels, column)
        set_int(places, count, column)
        set_byte(kept, count, level - ZERO_LEVEL)
        count += int(level != ZERO_LEVEL)
    for spare in range(count, (count + QUAD - 1) // QUAD * QUAD):
        set_int(places, spare, 0)
        set_byte(kept, spare, 0)
    set_int(task[f.COLUMN_COUNTS], b, count)
    return count


@inline
def multiply_columns(task: Any, b: int, first: int, groups: int, width: int, dots: int) -> None:
    """Store the integer products of vector `b` with `groups` groups of rows from group `first` on at `dots`."""
    keep_apart()
    places, kept = _lists(task, b, width)
    quads = (get_int(task[f.COLUMN_COUNTS], b) + QUAD - 1) // QUAD
    for row in range(groups * GROUP_ROWS // 2):
        set_int(dots, row, 0)
    add_columns(task[f.ISA], task[f.OUTPUT_COLUMNS] + first * GROUP_ROWS * width, groups, places, kept, quads, dots)


@intrinsic
def add_columns(_typing: Any, isa: Any, w: Any, groups: Any, places: Any, levels: Any, quads: Any, dots: Any) -> Any:
    """Add the products of the listed columns of a block at `w` to the block's `dots` (int32), four at a time."""

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        isa_, *operands = args

        def emit(name: str) -> None:
            _add_columns(builder, name, *operands)

        dispatch(builder, isa_, available(cpu_features(context)), emit)
        return context.get_dummy_value()

    return types.void(*[I8] * 7), generate


def _add_columns(builder: Any, isa: str, w: Any, groups: Any, places: Any, levels: Any, quads: Any, dots: Any) -> None:
    stride = v.bytes_at(builder, groups, GROUP_ROWS)

    def quad(index: Any, _carried: list[Any]) -> list[Any]:
        listed = builder.add(places, v.bytes_at(builder, index, 8 * QUAD))
        columns = [v.load(builder, listed, ir.Constant(v.I64, 8 * i), v.I64, align=8) for i in range(QUAD)]
        bases = [builder.add(w, builder.mul(column, stride)) for column in columns]
        factors = _factors(builder, isa, v.load(builder, levels, v.bytes_at(builder, index, QUAD), v.I32))

        def group(place: Any, _carried: list[Any]) -> list[Any]:
            rows = builder.add(dots, v.bytes_at(builder, place, 4 * GROUP_ROWS))
            offset = v.bytes_at(builder, place, GROUP_ROWS)
            _PRODUCTS[isa](builder, isa, bases, offset, factors, rows)
            return []

        v.counted_loop(builder, groups, [], group)
        return []

    v.counted_loop(builder, quads, [], quad)


def _factors(builder: Any, isa: str, word: Any) -> list[Any]:
    """Return four levels in every 32-bit lane; as two halves of at most 127 for AVX2, singly for portable code."""
    if isa == "portable":
        byte = [builder.lshr(word, ir.Constant(v.I32, 8 * i)) for i in range(QUAD)]
        return [v.splat(builder, builder.and_(one, ir.Constant(v.I32, 255))) for one in byte]
    lanes = 16 if isa == "vnni" else 8
    if isa != "avx2":
        return [v.splat(builder, word, lanes)]
    half = builder.and_(builder.lshr(word, ir.Constant(v.I32, 1)), ir.Constant(v.I32, 0x7F7F7F7F))
    return [v.splat(builder, part, lanes) for part in (half, builder.sub(word, half))]


def _interleaved(builder: Any, isa: str, bases: list[Any], offset: Any, factors: list[Any], rows: Any) -> None:
    """Multiply 64 rows of four columns, their bytes interleaved to 32-bit lanes of one row each."""
    width = 64 if isa == "vnni" else 32
    kind = ir.VectorType(v.I8, width)
    for half in range(GROUP_ROWS // width):
        start = builder.add(offset, ir.Constant(v.I64, half * width))
        a, b, c, d = (v.load(builder, base, start, kind) for base in bases)
        pairs = [_unpack(builder, *two, 1, high) for high in (False, True) for two in ((a, b), (c, d))]
        for j in range(QUAD):
            signed = _unpack(builder, pairs[j // 2 * 2], pairs[j // 2 * 2 + 1], 2, bool(j % 2))
            place = ir.Constant(v.I64, 64 * j + 32 * half)
            total = v.load(builder, rows, place, ir.VectorType(v.I32, width // 4))
            v.store(builder, _dot(builder, isa, total, factors, signed), rows, place)


def _unpack(builder: Any, a: Any, b: Any, size: int, high: bool) -> Any:
    """Interleave elements of `size` bytes of the low or high halves of each 16 bytes of two vectors."""
    width = a.type.count
    elements = 8 // size
    order = [
        side * width + lane * 16 + (element + elements * high) * size + byte
        for lane in range(width // 16)
        for element in range(elements)
        for side in (0, 1)
        for byte in range(size)
    ]
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(v.I32, width), order))


def _dot(builder: Any, isa: str, total: Any, factors: list[Any], signed: Any) -> Any:
    if isa != "avx2":
        return v.dot_bytes(builder, isa, total, factors[0], signed)
    words, lanes = ir.VectorType(v.I16, signed.type.count // 2), total.type
    pairs = builder.module.declare_intrinsic("llvm.x86.avx2.pmadd.ub.sw", (), ir.FunctionType(words, [signed.type] * 2))
    quads = builder.module.declare_intrinsic("llvm.x86.avx2.pmadd.wd", (), ir.FunctionType(lanes, [words] * 2))
    ones = ir.Constant(words, [1] * words.count)
    for factor in factors:  # two factors within 127: a pair's sum of 32258 fits int16
        products = builder.call(pairs, [builder.bitcast(factor, signed.type), signed])
        total = builder.add(total, builder.call(quads, [products, ones]))
    return total


def _singly(builder: Any, _isa: str, bases: list[Any], offset: Any, factors: list[Any], rows: Any) -> None:
    """Multiply 64 rows of four columns in portable code."""
    kind = ir.VectorType(v.I8, GROUP_ROWS)
    columns = [v.load(builder, base, offset, kind) for base in bases]
    for j in range(4):
        order = ir.Constant(v.V16I, [16 * part + 4 * j + i for part in range(4) for i in range(4)])
        place = ir.Constant(v.I64, 64 * j)
        total = v.load(builder, rows, place, v.V16I)
        for column, factor in zip(columns, factors, strict=True):
            picked = builder.sext(builder.shuffle_vector(column, ir.Constant(kind, ir.Undefined), order), v.V16I)
            total = builder.add(total, builder.mul(picked, factor))
        v.store(builder, total, rows, place)


_PRODUCTS = {"vnni": _interleaved, "avxvnni": _interleaved, "avx2": _interleaved, "portable": _singly}
