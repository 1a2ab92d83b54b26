"""Vector kernels of beam search, as intrinsics: bounds on the best of a row, what reaches them, the row's normaliser.

Operands are addresses (int64); counts are multiples of 16. The tables of a row's certified errors and the norms that
they are multiplied by are those of :mod:`.rows`.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from . import vector_ir as v
from .jit import cpu_features, intrinsic, types
from .rows import F4, I8, NEGATIVE_INFINITY, ZERO, certified_error


def _greater(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


def _bounds(builder: Any, features: frozenset[str], rows: Any, stride: Any, norms: Any) -> Any:
    """Return a function that gives the certified errors of 16 rows at an offset."""
    tables = tuple(builder.add(rows, v.bytes_at(builder, stride, 4 * i)) for i in (3, 4))
    scalars = [v.load(builder, norms, ir.Constant(v.I64, 4 * i), v.F32) for i in range(3)]
    vectors = tuple(v.splat(builder, scalar) for scalar in scalars)
    return lambda offset: certified_error(builder, features, tables, offset, vectors)


@intrinsic
def lane_bounds(_typing: Any, logits: Any, count: Any, rows: Any, stride: Any, norms: Any, bonus: Any, out: Any) -> Any:
    """Store at `out` 16 certified lower bounds of logit + bonus, each the best of other rows; return the top logit.

    Each lane keeps the best of every sixteenth row, so that the n-th best of the 16 bounds the n-th best of all.
    """

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        features = cpu_features(context)
        logits_, count_, rows_, stride_, norms_, bonus_, out_ = args
        errors = _bounds(builder, features, rows_, stride_, norms_)

        def body(index: Any, carried: list[Any]) -> list[Any]:
            offset = v.bytes_at(builder, index, 64)
            logit = v.load(builder, logits_, offset, v.V16F)
            low = builder.fadd(builder.fsub(logit, errors(offset)), v.load(builder, bonus_, offset, v.V16F))
            return [_greater(builder, low, carried[0]), _greater(builder, logit, carried[1])]

        blocks = builder.sdiv(count_, ir.Constant(v.I64, v.LANES))
        best, top = v.counted_loop(builder, blocks, [NEGATIVE_INFINITY] * 2, body)
        v.store(builder, best, out_, ZERO)
        return v.largest(builder, top)

    return F4(I8, I8, I8, I8, I8, I8, I8), generate


@intrinsic
def mark_reaching(
    _typing: Any, logits: Any, count: Any, rows: Any, stride: Any, norms: Any, bonus: Any, limit: Any, masks: Any
) -> Any:
    """Store a uint16 mask for every 16 rows: where upper bounds of logit + bonus reach `limit`; return how many do."""

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        features = cpu_features(context)
        logits_, count_, rows_, stride_, norms_, bonus_, limit_, masks_ = args
        errors = _bounds(builder, features, rows_, stride_, norms_)
        limits = v.splat(builder, limit_)
        popcount = builder.module.declare_intrinsic("llvm.ctpop", [v.I16], ir.FunctionType(v.I16, [v.I16]))

        def body(index: Any, carried: list[Any]) -> list[Any]:
            offset = v.bytes_at(builder, index, 64)
            logit = v.load(builder, logits_, offset, v.V16F)
            high = builder.fadd(builder.fadd(logit, errors(offset)), v.load(builder, bonus_, offset, v.V16F))
            mask = builder.bitcast(builder.fcmp_ordered(">=", high, limits), v.I16)
            v.store(builder, mask, masks_, v.bytes_at(builder, index, 2), align=2)
            return [builder.add(carried[0], builder.zext(builder.call(popcount, [mask]), v.I64))]

        blocks = builder.sdiv(count_, ir.Constant(v.I64, v.LANES))
        (found,) = v.counted_loop(builder, blocks, [ZERO], body)
        return found

    return I8(I8, I8, I8, I8, I8, I8, F4, I8), generate


CUTS = 4


@intrinsic
def cut_sums(_typing: Any, logits: Any, count: Any, top: Any, cut: Any, step: Any, out: Any) -> Any:
    """Store 2 CUTS + 1 float32 sums over rows at `out`, with p = exp(l - top).

    Σ p over all rows, then Σ p and Σ p² over those with l < top - cut - i × step, for i from 0 on.
    """

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        features = cpu_features(context)
        logits_, count_, top_, cut_, step_, out_ = args
        limits, limit = [], builder.fneg(cut_)
        for _ in range(CUTS):
            limits.append(v.splat(builder, limit))
            limit = builder.fsub(limit, step_)
        tops, nothing = v.splat(builder, top_), v.constant(0.0)

        def body(index: Any, carried: list[Any]) -> list[Any]:
            below = builder.fsub(v.load(builder, logits_, v.bytes_at(builder, index, 64), v.V16F), tops)
            value = v.exponential(builder, features, below)
            sums = [builder.fadd(carried[0], value)]
            for i, limit in enumerate(limits):
                far = builder.select(builder.fcmp_ordered("<", below, limit), value, nothing)
                sums.append(builder.fadd(carried[1 + 2 * i], far))
                sums.append(v.multiply_add(builder, features, far, far, carried[2 + 2 * i]))
            return sums

        blocks = builder.sdiv(count_, ir.Constant(v.I64, v.LANES))
        for i, total in enumerate(v.counted_loop(builder, blocks, [nothing] * (2 * CUTS + 1), body)):
            scalar = v.sum_lanes(builder, v.add_floats(builder), [total])
            v.store(builder, scalar, out_, ir.Constant(v.I64, 4 * i))
        return context.get_dummy_value()

    return types.void(I8, I8, F4, F4, F4, I8), generate


@intrinsic
def mark_between(_typing: Any, logits: Any, count: Any, low: Any, high: Any, masks: Any) -> Any:
    """Store a uint16 mask for every 16 rows: where low <= logit < high; return how many there are."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        logits_, count_, low_, high_, masks_ = args
        lows, highs = v.splat(builder, low_), v.splat(builder, high_)
        popcount = builder.module.declare_intrinsic("llvm.ctpop", [v.I16], ir.FunctionType(v.I16, [v.I16]))

        def body(index: Any, carried: list[Any]) -> list[Any]:
            logit = v.load(builder, logits_, v.bytes_at(builder, index, 64), v.V16F)
            within = builder.and_(builder.fcmp_ordered(">=", logit, lows), builder.fcmp_ordered("<", logit, highs))
            mask = builder.bitcast(within, v.I16)
            v.store(builder, mask, masks_, v.bytes_at(builder, index, 2), align=2)
            return [builder.add(carried[0], builder.zext(builder.call(popcount, [mask]), v.I64))]

        blocks = builder.sdiv(count_, ir.Constant(v.I64, v.LANES))
        (found,) = v.counted_loop(builder, blocks, [ZERO], body)
        return found

    return I8(I8, I8, F4, F4, I8), generate


@intrinsic
def parted_sums(_typing: Any, logits: Any, count: Any, top: Any, power: Any, cut: Any, out: Any) -> Any:
    """Store six float32 sums over rows at `out`, with p = exp(l - top) and t = p^power.

    Σ p and Σ t over the rows with l >= top - cut, then Σ p, Σ t, Σ p² and Σ t² over the others.
    """

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        features = cpu_features(context)
        logits_, count_, top_, power_, cut_, out_ = args
        tops, powers, limit = v.splat(builder, top_), v.splat(builder, power_), v.splat(builder, builder.fneg(cut_))
        nothing = v.constant(0.0)

        def body(index: Any, carried: list[Any]) -> list[Any]:
            below = builder.fsub(v.load(builder, logits_, v.bytes_at(builder, index, 64), v.V16F), tops)
            values = [v.exponential(builder, features, x) for x in (below, builder.fmul(below, powers))]
            far = builder.fcmp_ordered("<", below, limit)
            near_part = [builder.select(far, nothing, value) for value in values]
            far_part = [builder.select(far, value, nothing) for value in values]
            sums = [builder.fadd(a, b) for a, b in zip(carried, [*near_part, *far_part], strict=False)]
            squares = zip(far_part, carried[4:], strict=True)
            return sums + [v.multiply_add(builder, features, value, value, total) for value, total in squares]

        blocks = builder.sdiv(count_, ir.Constant(v.I64, v.LANES))
        for i, total in enumerate(v.counted_loop(builder, blocks, [nothing] * 6, body)):
            scalar = v.sum_lanes(builder, v.add_floats(builder), [total])
            v.store(builder, scalar, out_, ir.Constant(v.I64, 4 * i))
        return context.get_dummy_value()

    return types.void(I8, I8, F4, F4, F4, I8), generate
