"""Vector kernels of beam search, as intrinsics: the normaliser of a row of logits, and what it leaves to be computed.

Operands are addresses (int64); counts are multiples of 16.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from . import vector_ir as v
from .jit import cpu_features, intrinsic, types
from .rows import F4, I8, ZERO

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
