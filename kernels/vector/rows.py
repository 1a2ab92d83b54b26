"""Elementwise vector kernels of the decoder, as intrinsics: screening, exponential sums, LSTM cell, quantisation.

Operands are addresses (int64); counts are multiples of 16, the padding chosen by the caller to be neutral.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from . import vector_ir as v
from .jit import cpu_features, intrinsic, types

NEGATIVE_INFINITY = ir.Constant(v.V16F, [float("-inf")] * v.LANES)
ZERO = ir.Constant(v.I64, 0)
F4 = types.float32
I8 = types.int64


def certified_error(builder: Any, features: frozenset[str], row: Any, offset: Any, norms: tuple[Any, Any, Any]) -> Any:
    """Return the certified error of 16 rows: weight error × |x| + row norm × |activation error| + constant."""
    weight_error, row_norm = row
    x_norm, x_error, base = norms
    first = v.multiply_add(builder, features, v.load(builder, weight_error, offset, v.V16F), x_norm, base)
    return v.multiply_add(builder, features, v.load(builder, row_norm, offset, v.V16F), x_error, first)


@intrinsic
def estimate(
    _typing: Any, dots: Any, count: Any, zero: Any, step: Any, rows: Any, stride: Any, norms: Any, out: Any
) -> Any:
    """Turn integer dot products into estimated logits and return the best certified lower bound.

    `rows` is the address of five float32/int32 tables of `stride` elements: scale, bias, sum of the row's bytes, weight
    error, row norm. `norms` is the address of three floats: |x|, |activation error|, constant error.
    """

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        features = cpu_features(context)
        dots_, count_, zero_, step_, rows_, stride_, norms_, out_ = args
        tables = [builder.add(rows_, v.bytes_at(builder, stride_, 4 * i)) for i in range(5)]
        scalars = [v.load(builder, norms_, ir.Constant(v.I64, 4 * i), v.F32) for i in range(3)]
        vectors = tuple(v.splat(builder, scalar) for scalar in scalars)
        zeros, steps = v.splat(builder, builder.trunc(zero_, v.I32)), v.splat(builder, step_)

        def body(index: Any, carried: list[Any]) -> list[Any]:
            offset = v.bytes_at(builder, index, 64)
            dot = v.load(builder, dots_, offset, v.V16I)
            total = builder.sub(dot, builder.mul(zeros, v.load(builder, tables[2], offset, v.V16I)))
            scale = builder.fmul(v.load(builder, tables[0], offset, v.V16F), steps)
            bias = v.load(builder, tables[1], offset, v.V16F)
            logit = v.multiply_add(builder, features, builder.sitofp(total, v.V16F), scale, bias)
            v.store(builder, logit, out_, offset)
            low = builder.fsub(logit, certified_error(builder, features, (tables[3], tables[4]), offset, vectors))
            return [builder.select(builder.fcmp_ordered(">", low, carried[0]), low, carried[0])]

        blocks = builder.sdiv(count_, ir.Constant(v.I64, v.LANES))
        (best,) = v.counted_loop(builder, blocks, [NEGATIVE_INFINITY], body)
        return v.largest(builder, best)

    return F4(I8, I8, I8, F4, I8, I8, I8, I8), generate


@intrinsic
def add_scaled(_typing: Any, dots: Any, count: Any, zero: Any, step: Any, scales: Any, sums: Any, out: Any) -> Any:
    """Add (dot - zero × sum) × (scale × step) to each of `count` results."""

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        features = cpu_features(context)
        dots_, count_, zero_, step_, scales_, sums_, out_ = args
        zeros, steps = v.splat(builder, builder.trunc(zero_, v.I32)), v.splat(builder, step_)

        def body(index: Any, _carried: list[Any]) -> list[Any]:
            offset = v.bytes_at(builder, index, 64)
            dot = v.load(builder, dots_, offset, v.V16I)
            total = builder.sub(dot, builder.mul(zeros, v.load(builder, sums_, offset, v.V16I)))
            scale = builder.fmul(v.load(builder, scales_, offset, v.V16F), steps)
            before = v.load(builder, out_, offset, v.V16F)
            v.store(
                builder, v.multiply_add(builder, features, builder.sitofp(total, v.V16F), scale, before), out_, offset
            )
            return []

        v.counted_loop(builder, builder.sdiv(count_, ir.Constant(v.I64, v.LANES)), [], body)
        return context.get_dummy_value()

    return types.void(I8, I8, I8, F4, I8, I8, I8), generate


@intrinsic
def mark_candidates(
    _typing: Any, logits: Any, count: Any, rows: Any, stride: Any, norms: Any, best: Any, masks: Any
) -> Any:
    """Store a uint16 mask for every 16 rows: which upper bounds reach `best`; return how many do."""

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        features = cpu_features(context)
        logits_, count_, rows_, stride_, norms_, best_, masks_ = args
        tables = [builder.add(rows_, v.bytes_at(builder, stride_, 4 * i)) for i in (3, 4)]
        scalars = [v.load(builder, norms_, ir.Constant(v.I64, 4 * i), v.F32) for i in range(3)]
        vectors = tuple(v.splat(builder, scalar) for scalar in scalars)
        limit = v.splat(builder, best_)
        popcount = builder.module.declare_intrinsic("llvm.ctpop", [v.I16], ir.FunctionType(v.I16, [v.I16]))

        def body(index: Any, carried: list[Any]) -> list[Any]:
            offset = v.bytes_at(builder, index, 64)
            logit = v.load(builder, logits_, offset, v.V16F)
            high = builder.fadd(logit, certified_error(builder, features, (tables[0], tables[1]), offset, vectors))
            mask = builder.bitcast(builder.fcmp_ordered(">=", high, limit), v.I16)
            v.store(builder, mask, masks_, v.bytes_at(builder, index, 2), align=2)
            return [builder.add(carried[0], builder.zext(builder.call(popcount, [mask]), v.I64))]

        blocks = builder.sdiv(count_, ir.Constant(v.I64, v.LANES))
        (found,) = v.counted_loop(builder, blocks, [ZERO], body)
        return found

    return I8(I8, I8, I8, I8, I8, F4, I8), generate


@intrinsic
def exponential_sums(_typing: Any, logits: Any, count: Any, top: Any, power: Any, cut: Any, out: Any) -> Any:
    """Store four float32 sums over rows at `out`, with p = exp(l - top) and t = p^power.

    Σ p and Σ t over all rows, Σ p² and Σ t² over the rows with l < top - cut.
    """

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        features = cpu_features(context)
        logits_, count_, top_, power_, cut_, out_ = args
        tops, powers, limit = v.splat(builder, top_), v.splat(builder, power_), v.splat(builder, builder.fneg(cut_))

        def body(index: Any, carried: list[Any]) -> list[Any]:
            below = builder.fsub(v.load(builder, logits_, v.bytes_at(builder, index, 64), v.V16F), tops)
            values = [v.exponential(builder, features, x) for x in (below, builder.fmul(below, powers))]
            far = builder.fcmp_ordered("<", below, limit)
            kept = [builder.select(far, value, v.constant(0.0)) for value in values]
            sums = [builder.fadd(total, value) for total, value in zip(carried, values, strict=False)]
            squares = zip(kept, carried[2:], strict=True)
            return sums + [v.multiply_add(builder, features, value, value, total) for value, total in squares]

        blocks = builder.sdiv(count_, ir.Constant(v.I64, v.LANES))
        totals = v.counted_loop(builder, blocks, [v.constant(0.0)] * 4, body)
        for i, total in enumerate(totals):
            scalar = v.sum_lanes(builder, v.add_floats(builder), [total])
            v.store(builder, scalar, out_, ir.Constant(v.I64, 4 * i))
        return context.get_dummy_value()

    return types.void(I8, I8, F4, F4, F4, I8), generate


@intrinsic
def lstm_cell(_typing: Any, gates: Any, width: Any, cell_in: Any, cell_out: Any, hidden_out: Any) -> Any:
    """Apply the LSTM cell to gates i, o, f, g of `width` floats each (ONNX order, before their functions)."""

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        features = cpu_features(context)
        gates_, width_, cell_in_, cell_out_, hidden_out_ = args
        bases = [builder.add(gates_, v.bytes_at(builder, width_, 4 * i)) for i in range(4)]
        one, two = v.constant(1.0), v.constant(2.0)

        def sigmoid(x: Any) -> Any:
            return builder.fdiv(one, builder.fadd(one, v.exponential(builder, features, builder.fneg(x))))

        def tanh(x: Any) -> Any:
            doubled = v.exponential(builder, features, builder.fmul(two, x))
            return builder.fsub(one, builder.fdiv(two, builder.fadd(doubled, one)))

        def body(index: Any, _carried: list[Any]) -> list[Any]:
            offset = v.bytes_at(builder, index, 64)
            i, o, f, g = (v.load(builder, base, offset, v.V16F) for base in bases)
            kept = builder.fmul(sigmoid(f), v.load(builder, cell_in_, offset, v.V16F))
            cell = v.multiply_add(builder, features, sigmoid(i), tanh(g), kept)
            v.store(builder, cell, cell_out_, offset)
            v.store(builder, builder.fmul(sigmoid(o), tanh(cell)), hidden_out_, offset)
            return []

        v.counted_loop(builder, builder.sdiv(width_, ir.Constant(v.I64, v.LANES)), [], body)
        return context.get_dummy_value()

    return types.void(I8, I8, I8, I8, I8), generate


@intrinsic
def add_relu(_typing: Any, a: Any, b: Any, count: Any, out: Any) -> Any:
    """Store max(a + b, 0); NaN stays NaN."""

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        a_, b_, count_, out_ = args

        def body(index: Any, _carried: list[Any]) -> list[Any]:
            offset = v.bytes_at(builder, index, 64)
            total = builder.fadd(v.load(builder, a_, offset, v.V16F), v.load(builder, b_, offset, v.V16F))
            negative = builder.fcmp_ordered("<", total, v.constant(0.0))
            v.store(builder, builder.select(negative, v.constant(0.0), total), out_, offset)
            return []

        v.counted_loop(builder, builder.sdiv(count_, ir.Constant(v.I64, v.LANES)), [], body)
        return context.get_dummy_value()

    return types.void(I8, I8, I8, I8), generate


def _extremes(builder: Any, features: frozenset[str], x: Any, blocks: Any) -> tuple[Any, Any, Any]:
    """Return the lowest value (at most 0), the highest (at least 0) and the sum of squares, as scalars."""

    def body(index: Any, carried: list[Any]) -> list[Any]:
        value = v.load(builder, x, v.bytes_at(builder, index, 64), v.V16F)
        low = builder.select(
            builder.fcmp_ordered(">", builder.fneg(value), carried[0]), builder.fneg(value), carried[0]
        )
        high = builder.select(builder.fcmp_ordered(">", value, carried[1]), value, carried[1])
        return [low, high, v.multiply_add(builder, features, value, value, carried[2])]

    low, high, squares = v.counted_loop(builder, blocks, [v.constant(0.0)] * 3, body)
    total = v.sum_lanes(builder, v.add_floats(builder), [squares])
    return builder.fneg(v.largest(builder, low)), v.largest(builder, high), total


@intrinsic
def quantize_row(_typing: Any, x: Any, count: Any, out: Any, result: Any) -> Any:
    """Quantise a row to bytes 1..255 with one step and zero point; 0 is kept exactly.

    Stores at `result` four floats: step, zero point, sum of squares of x, sum of squares of the rounding errors.
    """

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        features = cpu_features(context)
        x_, count_, out_, result_ = args
        blocks = builder.sdiv(count_, ir.Constant(v.I64, v.LANES))
        low, high, squares = _extremes(builder, features, x_, blocks)
        step = builder.fdiv(builder.fsub(high, low), ir.Constant(v.F32, 254.0))
        usable = builder.fcmp_ordered(">", step, ir.Constant(v.F32, 1e-30))
        step = builder.select(usable, step, ir.Constant(v.F32, 1.0))
        inverse = builder.fdiv(ir.Constant(v.F32, 1.0), step)
        rounder = ir.Constant(v.F32, v.ROUNDER)
        zero = builder.fsub(builder.fadd(builder.fmul(builder.fneg(low), inverse), rounder), rounder)
        zero = builder.fadd(zero, ir.Constant(v.F32, 1.0))
        steps, inverses, zeros = (v.splat(builder, scalar) for scalar in (step, inverse, zero))

        def body(index: Any, carried: list[Any]) -> list[Any]:
            value = v.load(builder, x_, v.bytes_at(builder, index, 64), v.V16F)
            scaled = builder.fadd(builder.fmul(value, inverses), v.constant(v.ROUNDER))
            level = builder.fadd(builder.fsub(scaled, v.constant(v.ROUNDER)), zeros)
            level = builder.select(builder.fcmp_ordered(">", level, v.constant(255.0)), v.constant(255.0), level)
            level = builder.select(builder.fcmp_ordered(">", level, v.constant(1.0)), level, v.constant(1.0))
            stored = builder.trunc(builder.fptosi(level, v.V16I), ir.VectorType(v.I8, v.LANES))
            v.store(builder, stored, out_, v.bytes_at(builder, index, v.LANES), align=1)
            wrong = builder.fsub(value, builder.fmul(steps, builder.fsub(level, zeros)))
            return [v.multiply_add(builder, features, wrong, wrong, carried[0])]

        (wrong,) = v.counted_loop(builder, blocks, [v.constant(0.0)], body)
        errors = v.sum_lanes(builder, v.add_floats(builder), [wrong])
        for i, scalar in enumerate((step, zero, squares, errors)):
            v.store(builder, scalar, result_, ir.Constant(v.I64, 4 * i))
        return context.get_dummy_value()

    return types.void(I8, I8, I8, I8), generate
