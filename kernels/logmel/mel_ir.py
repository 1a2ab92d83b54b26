"""Vector code of the CPU features: 16 frames side by side, one lane each, so that every step is a plain vector step.

All operands are addresses (int64). A *row* is 16 float32 lanes at a multiple of 64 bytes; sizes are in rows or bytes.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from ..vector import vector_ir as v
from ..vector.jit import cpu_features, intrinsic, types

ROW_BYTES = 4 * v.LANES
_ALIGNED = 64

# log(1 + f) / f^3 on 0.7071 <= 1 + f < 1.4142: Cephes logf, relative error of the logarithm below 1e-7.
LOG_POLYNOMIAL = (
    7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1,
    2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
)  # fmt: skip
LN2_HIGH = 0.693359375
LN2_LOW = -2.12194440e-4
SQRT_HALF_BITS = 0x3F3504F3


def _load_row(builder: Any, base: Any, offset: Any) -> Any:
    return v.load(builder, base, offset, v.V16F, align=_ALIGNED)


def _store_row(builder: Any, value: Any, base: Any, offset: Any) -> None:
    v.store(builder, value, base, offset, align=_ALIGNED)


def _scalar(builder: Any, base: Any, constant_bytes: int) -> Any:
    return v.splat(builder, v.load(builder, base, ir.Constant(v.I64, constant_bytes), v.F32))


def transpose(builder: Any, rows: list[Any]) -> list[Any]:
    """Transpose 16 vectors of 16 lanes: swap ever smaller blocks across the diagonal."""
    rows = list(rows)
    half = v.LANES // 2
    kind = ir.VectorType(v.I32, v.LANES)
    lanes = range(v.LANES)
    while half:
        upper = ir.Constant(kind, [lane + v.LANES - half if lane & half else lane for lane in lanes])
        lower = ir.Constant(kind, [lane + v.LANES if lane & half else lane + half for lane in lanes])
        for i in lanes:
            if not i & half:
                a, b = rows[i], rows[i + half]
                rows[i] = builder.shuffle_vector(a, b, upper)
                rows[i + half] = builder.shuffle_vector(a, b, lower)
        half //= 2
    return rows


@intrinsic
def window_frames(_typing: Any, source: Any, frame_bytes: Any, window: Any, re: Any, im: Any) -> Any:
    """Take 16 samples of 16 frames, times the window, into 8 rows of even samples (re) and 8 of odd ones (im).

    Parameters
    ----------
    source, frame_bytes : int
        First of the samples in the first frame, and the distance of the frames.
    window : int
        Window of the 16 samples.
    re, im : int
        Where the rows go.
    """

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        base, stride, weights, even, odd = args
        zero = ir.Constant(v.I64, 0)
        rows = []
        for _ in range(v.LANES):
            rows.append(v.load(builder, base, zero, v.V16F))
            base = builder.add(base, stride)
        for i, row in enumerate(transpose(builder, rows)):
            value = builder.fmul(row, _scalar(builder, weights, 4 * i))
            _store_row(builder, value, odd if i % 2 else even, ir.Constant(v.I64, i // 2 * ROW_BYTES))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), generate


@intrinsic
def clear_rows(_typing: Any, base: Any, count: Any) -> Any:
    """Store zeros in `count` rows."""

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        start, rows = args

        def step(index: Any, _carried: list[Any]) -> list[Any]:
            _store_row(builder, v.constant(0.0), start, v.bytes_at(builder, index, ROW_BYTES))
            return []

        v.counted_loop(builder, rows, [], step)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


def _rotate(builder: Any, features: frozenset[str], value: tuple[Any, Any], turn: tuple[Any, Any]) -> tuple[Any, Any]:
    """Return the complex product of `value` and `turn`."""
    (x, y), (c, s) = value, turn
    real = v.multiply_add(builder, features, x, c, builder.fneg(builder.fmul(y, s)))
    return real, v.multiply_add(builder, features, x, s, builder.fmul(y, c))


@intrinsic
def butterfly(_typing: Any, re: Any, im: Any, quarter_bytes: Any, turns: Any) -> Any:
    """Do one radix-4 butterfly (decimation in frequency) in place.

    Parameters
    ----------
    re, im : int
        First of four rows, `quarter_bytes` apart.
    quarter_bytes : int
    turns : int
        cos and sin of the three rotations: c1, s1, c2, s2, c3, s3.
    """

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        features = cpu_features(context)
        re_base, im_base, stride, table = args
        offsets = [builder.mul(stride, ir.Constant(v.I64, i)) for i in range(4)]
        (ar, br, cr, dr), (ai, bi, ci, di) = (
            [_load_row(builder, base, offset) for offset in offsets] for base in (re_base, im_base)
        )
        add, sub = builder.fadd, builder.fsub
        sum_ac, dif_ac = (add(ar, cr), add(ai, ci)), (sub(ar, cr), sub(ai, ci))
        sum_bd, dif_bd = (add(br, dr), add(bi, di)), (sub(br, dr), sub(bi, di))
        turned = [
            (add(dif_ac[0], dif_bd[1]), sub(dif_ac[1], dif_bd[0])),
            (sub(sum_ac[0], sum_bd[0]), sub(sum_ac[1], sum_bd[1])),
            (sub(dif_ac[0], dif_bd[1]), add(dif_ac[1], dif_bd[0])),
        ]
        values = [(add(sum_ac[0], sum_bd[0]), add(sum_ac[1], sum_bd[1]))]
        for i, value in enumerate(turned):
            turn = (_scalar(builder, table, 8 * i), _scalar(builder, table, 8 * i + 4))
            values.append(_rotate(builder, features, value, turn))
        for (real, imaginary), offset in zip(values, offsets, strict=True):
            _store_row(builder, real, re_base, offset)
            _store_row(builder, imaginary, im_base, offset)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), generate


@intrinsic
def power_pair(
    _typing: Any, re: Any, im: Any, low_bytes: Any, high_bytes: Any, turn: Any, low_out: Any, high_out: Any
) -> Any:
    """Store the power of bins k and 256 - k of the real signal whose even and odd samples were transformed together.

    Parameters
    ----------
    re, im : int
        Rows of the complex spectrum.
    low_bytes, high_bytes : int
        Where the rows of k and 256 - k lie in them.
    turn : int
        cos and sin of 2 pi k / 512.
    low_out, high_out : int
        Rows of the two powers.
    """

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        features = cpu_features(context)
        re_base, im_base, low, high, table, low_power, high_power = args
        zr, mr = _load_row(builder, re_base, low), _load_row(builder, re_base, high)
        zi, mi = _load_row(builder, im_base, low), _load_row(builder, im_base, high)
        half = v.constant(0.5)
        even_r, even_i = builder.fmul(half, builder.fadd(zr, mr)), builder.fmul(half, builder.fsub(zi, mi))
        odd_r, odd_i = builder.fmul(half, builder.fadd(zi, mi)), builder.fmul(half, builder.fsub(mr, zr))
        c, s = _scalar(builder, table, 0), _scalar(builder, table, 4)
        turned_r, turned_i = _rotate(builder, features, (odd_r, odd_i), (c, builder.fneg(s)))
        for combine, out in ((builder.fadd, low_power), (builder.fsub, high_power)):
            real, imaginary = combine(even_r, turned_r), combine(even_i, turned_i)
            power = v.multiply_add(builder, features, real, real, builder.fmul(imaginary, imaginary))
            _store_row(builder, power, out, ir.Constant(v.I64, 0))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 7), generate


def logarithm(builder: Any, features: frozenset[str], x: Any) -> Any:
    """Return ln(x) for 16 lanes of positive normal numbers, relative error below 2e-7."""
    bits = builder.bitcast(x, v.V16I)
    shift = ir.Constant(v.V16I, [23] * v.LANES)
    exponent = builder.ashr(builder.sub(bits, ir.Constant(v.V16I, [SQRT_HALF_BITS] * v.LANES)), shift)
    mantissa = builder.bitcast(builder.sub(bits, builder.shl(exponent, shift)), v.V16F)
    whole = builder.sitofp(exponent, v.V16F)
    f = builder.fsub(mantissa, v.constant(1.0))
    square = builder.fmul(f, f)
    value = v.constant(LOG_POLYNOMIAL[0])
    for coefficient in LOG_POLYNOMIAL[1:]:
        value = v.multiply_add(builder, features, value, f, v.constant(coefficient))
    value = builder.fmul(builder.fmul(value, f), square)
    value = v.multiply_add(builder, features, whole, v.constant(LN2_LOW), value)
    value = v.multiply_add(builder, features, square, v.constant(-0.5), value)
    return v.multiply_add(builder, features, whole, v.constant(LN2_HIGH), builder.fadd(f, value))


@intrinsic
def log_energy(_typing: Any, power: Any, weights: Any, count: Any, guard: Any, out: Any) -> Any:
    """Store ln(guard + sum of weights times `count` rows of power), 16 lanes, at `out` (any alignment).

    Parameters
    ----------
    power, weights : int
        First row, and its weight.
    count : int
    guard : float32
    out : int
    """

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        features = cpu_features(context)
        base, table, rows, least, target = args

        def step(index: Any, totals: list[Any]) -> list[Any]:
            weight = v.splat(builder, v.load(builder, table, v.bytes_at(builder, index, 4), v.F32))
            row = _load_row(builder, base, v.bytes_at(builder, index, ROW_BYTES))
            return [v.multiply_add(builder, features, weight, row, totals[0])]

        (energy,) = v.counted_loop(builder, rows, [v.constant(0.0)], step)
        value = logarithm(builder, features, builder.fadd(energy, v.splat(builder, least)))
        v.store(builder, value, target, ir.Constant(v.I64, 0))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.float32, types.int64), generate


@intrinsic
def address_of(_typing: Any, array: Any) -> Any:
    """Return the address of a contiguous array's first element; the caller's caller keeps the array alive."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.ptrtoint(data, v.I64)

    return types.int64(array), generate
