"""Vector kernels over rows of scores that something is added to: bonuses of automata, masks.

Operands are addresses (int64); counts are multiples of 16. What is added may be -inf, where a token is out of question.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from . import vector_ir as v
from .jit import cpu_features, intrinsic, types
from .rows import NEGATIVE_INFINITY, ZERO, certified_error

F4 = types.float32
I8 = types.int64
# What float32 additions of a logit, its error and a bonus may be off, relative to the bonus and to the sum: some ten
# roundings of 2^-24, doubled.
ADDED_SLACK = 1.2e-6


@intrinsic
def scale_shifted(_typing: Any, row: Any, count: Any, shift: Any, scale: Any, out: Any) -> Any:
    """Store scale × (shift + row): two float32 operations an element, in this order."""

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        row_, count_, shift_, scale_, out_ = args
        shifts, scales = v.splat(builder, shift_), v.splat(builder, scale_)

        def body(index: Any, _carried: list[Any]) -> list[Any]:
            offset = v.bytes_at(builder, index, 64)
            total = builder.fadd(shifts, v.load(builder, row_, offset, v.V16F))
            v.store(builder, builder.fmul(scales, total), out_, offset)
            return []

        v.counted_loop(builder, builder.sdiv(count_, ir.Constant(v.I64, v.LANES)), [], body)
        return context.get_dummy_value()

    return types.void(I8, I8, F4, F4, I8), generate


@intrinsic
def add_row(_typing: Any, row: Any, count: Any, out: Any) -> Any:
    """Add `row` to `out`."""

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        row_, count_, out_ = args

        def body(index: Any, _carried: list[Any]) -> list[Any]:
            offset = v.bytes_at(builder, index, 64)
            total = builder.fadd(v.load(builder, out_, offset, v.V16F), v.load(builder, row_, offset, v.V16F))
            v.store(builder, total, out_, offset)
            return []

        v.counted_loop(builder, builder.sdiv(count_, ir.Constant(v.I64, v.LANES)), [], body)
        return context.get_dummy_value()

    return types.void(I8, I8, I8), generate


def _greater(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


def _sum_and_error(builder: Any, features: frozenset[str], at: tuple[Any, ...], offset: Any, norms: Any) -> Any:
    """Return the logit of 16 rows, logit + added, and how far that may be off."""
    logits, tables, added = at
    logit = v.load(builder, logits, offset, v.V16F)
    bonus = v.load(builder, added, offset, v.V16F)
    error = certified_error(builder, features, tables, offset, norms)
    absolute = builder.module.declare_intrinsic("llvm.fabs.v16f32", (), ir.FunctionType(v.V16F, [v.V16F]))
    magnitude = builder.call(absolute, [bonus])
    error = v.multiply_add(builder, features, magnitude, v.constant(ADDED_SLACK), error)
    return logit, builder.fadd(logit, bonus), error


def _operands(builder: Any, logits: Any, rows: Any, stride: Any, norms: Any, added: Any) -> tuple[Any, Any]:
    tables = tuple(builder.add(rows, v.bytes_at(builder, stride, 4 * i)) for i in (3, 4))
    scalars = [v.load(builder, norms, ir.Constant(v.I64, 4 * i), v.F32) for i in range(3)]
    return (logits, tables, added), tuple(v.splat(builder, scalar) for scalar in scalars)


@intrinsic
def lane_bounds(_typing: Any, logits: Any, count: Any, rows: Any, stride: Any, norms: Any, added: Any, out: Any) -> Any:
    """Store at `out` 16 certified lower bounds of logit + added, each the best of other rows; return the top logit.

    Each lane keeps the best of every sixteenth row, so that the n-th best of the 16 bounds the n-th best of all.
    `rows`, `stride` and `norms` as in :func:`.rows.estimate`.
    """

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        features = cpu_features(context)
        logits_, count_, rows_, stride_, norms_, added_, out_ = args
        at, vectors = _operands(builder, logits_, rows_, stride_, norms_, added_)

        def body(index: Any, carried: list[Any]) -> list[Any]:
            logit, total, error = _sum_and_error(builder, features, at, v.bytes_at(builder, index, 64), vectors)
            low = builder.fsub(total, error)
            return [_greater(builder, low, carried[0]), _greater(builder, logit, carried[1])]

        blocks = builder.sdiv(count_, ir.Constant(v.I64, v.LANES))
        best, top = v.counted_loop(builder, blocks, [NEGATIVE_INFINITY] * 2, body)
        v.store(builder, best, out_, ZERO)
        return v.largest(builder, top)

    return F4(I8, I8, I8, I8, I8, I8, I8), generate


@intrinsic
def mark_reaching(
    _typing: Any, logits: Any, count: Any, rows: Any, stride: Any, norms: Any, added: Any, limit: Any, masks: Any
) -> Any:
    """Store a uint16 mask for every 16 rows: which upper bounds of logit + added reach `limit`; return how many do."""

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        features = cpu_features(context)
        logits_, count_, rows_, stride_, norms_, added_, limit_, masks_ = args
        at, vectors = _operands(builder, logits_, rows_, stride_, norms_, added_)
        limits = v.splat(builder, limit_)
        popcount = builder.module.declare_intrinsic("llvm.ctpop", [v.I16], ir.FunctionType(v.I16, [v.I16]))

        def body(index: Any, carried: list[Any]) -> list[Any]:
            _, total, error = _sum_and_error(builder, features, at, v.bytes_at(builder, index, 64), vectors)
            # -inf + inf is NaN, which reaches nothing.
            mask = builder.bitcast(builder.fcmp_ordered(">=", builder.fadd(total, error), limits), v.I16)
            v.store(builder, mask, masks_, v.bytes_at(builder, index, 2), align=2)
            return [builder.add(carried[0], builder.zext(builder.call(popcount, [mask]), v.I64))]

        blocks = builder.sdiv(count_, ir.Constant(v.I64, v.LANES))
        (found,) = v.counted_loop(builder, blocks, [ZERO], body)
        return found

    return I8(I8, I8, I8, I8, I8, I8, F4, I8), generate
