"""LLVM IR for vector kernels: loops, fixed-order reductions, exponentials, 8-bit dot products.

Every float kernel works on vectors of 16 lanes, whatever the machine's registers are: LLVM splits them as needed, so
the order of all sums, and with it every float32 result, is the same on AVX-512, AVX2 and portable code with FMA.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llvmlite import ir

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LANES = 16
I1 = ir.IntType(1)
I8 = ir.IntType(8)
I16 = ir.IntType(16)
I32 = ir.IntType(32)
I64 = ir.IntType(64)
F32 = ir.FloatType()
F64 = ir.DoubleType()
V16F = ir.VectorType(F32, LANES)
V16I = ir.VectorType(I32, LANES)

# Rounds a float32 of magnitude below 2^22 to the nearest integer, ties to even, when added and taken away again.
ROUNDER = 12582912.0

# exp(r) on |r| <= ln2 / 2: a polynomial of degree 6, relative error below 2e-7.
EXP_POLYNOMIAL = (1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 0.5, 1.0, 1.0)
LOG2_E = 1.4426950408889634
LN2_HIGH = 0.693145751953125
LN2_LOW = 1.428606765330187e-06
EXP_FLOOR = -87.0
EXP_CEILING = 88.0


def splat(builder: Any, scalar: Any, lanes: int = LANES) -> Any:
    """Return a vector that holds `scalar` in every lane."""
    kind = ir.VectorType(scalar.type, lanes)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.Constant(I32, 0))
    mask = ir.Constant(ir.VectorType(I32, lanes), [0] * lanes)
    return builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), mask)


def constant(value: float) -> Any:
    """Return a float32 vector of 16 equal constants."""
    return ir.Constant(V16F, [value] * LANES)


def address(builder: Any, base: Any, offset: Any, kind: Any) -> Any:
    """Return a pointer to `kind`, `offset` bytes after the integer address `base`."""
    return builder.inttoptr(builder.add(base, offset), ir.PointerType(kind))


def load(builder: Any, base: Any, offset: Any, kind: Any, align: int = 4) -> Any:
    """Load a value of `kind` from `offset` bytes after `base`; vectors need no more than `align`."""
    return builder.load(address(builder, base, offset, kind), align=align)


def store(builder: Any, value: Any, base: Any, offset: Any, align: int = 4) -> None:
    """Store `value` at `offset` bytes after `base`."""
    builder.store(value, address(builder, base, offset, value.type), align=align)


def bytes_at(builder: Any, index: Any, size: int) -> Any:
    """Return `index` times `size` as a byte offset."""
    return builder.mul(index, ir.Constant(I64, size))


def multiply_add(builder: Any, features: frozenset[str], a: Any, b: Any, c: Any) -> Any:
    """Return a × b + c, rounded once where the machine has FMA."""
    if "fma" in features or "neon" in features:
        module = builder.module
        function = module.declare_intrinsic(f"llvm.fma.v{a.type.count}f32", (), ir.FunctionType(a.type, [a.type] * 3))
        return builder.call(function, [a, b, c])
    return builder.fadd(builder.fmul(a, b), c)


def counted_loop(
    builder: Any, count: Any, initial: Sequence[Any], body: Callable[[Any, list[Any]], list[Any]]
) -> list[Any]:
    """Emit ``for index in range(count): carried = body(index, carried)`` and return what is carried out."""
    before = builder.block
    head = builder.append_basic_block("loop")
    after = builder.append_basic_block("done")
    builder.cbranch(builder.icmp_signed(">", count, ir.Constant(I64, 0)), head, after)
    builder.position_at_end(head)
    index = builder.phi(I64)
    carried = [builder.phi(value.type) for value in initial]
    results = body(index, carried)
    latch = builder.block
    following = builder.add(index, ir.Constant(I64, 1))
    builder.cbranch(builder.icmp_signed("<", following, count), head, after)
    index.add_incoming(ir.Constant(I64, 0), before)
    index.add_incoming(following, latch)
    builder.position_at_end(after)
    out = []
    for phi, start, result in zip(carried, initial, results, strict=True):
        phi.add_incoming(start, before)
        phi.add_incoming(result, latch)
        final = builder.phi(start.type)
        final.add_incoming(start, before)
        final.add_incoming(result, latch)
        out.append(final)
    return out


def _fold(builder: Any, add: Any, vector: Any) -> Any:
    """Add lane i + h to lane i for h = n/2 … 1; return the scalar of lane 0."""
    half = vector.type.count // 2
    while half >= 1:
        undefined = ir.Constant(vector.type, ir.Undefined)
        kind = ir.VectorType(I32, half)
        low = builder.shuffle_vector(vector, undefined, ir.Constant(kind, list(range(half))))
        high = builder.shuffle_vector(vector, undefined, ir.Constant(kind, list(range(half, 2 * half))))
        vector = add(low, high)
        half //= 2
    return builder.extract_element(vector, ir.Constant(I32, 0))


def _combine(builder: Any, add: Any, pair: tuple[Any, Any], lanes: tuple[list[int], list[int]], half: int) -> Any:
    """Fold two vectors at distance `half` at once; the lanes of the result belong half to each.

    `lanes` names, for each physical lane, which sum it is part of; the caller keeps track of the shuffles through it.
    """
    width = pair[0].type.count
    bases = range(0, width, 2 * half)
    # Wide blocks of one source side by side, narrow ones interleaved: x86 has single instructions for these shuffles.
    starts = [b + s for s in (0, width) for b in bases] if half >= 4 else [b + s for b in bases for s in (0, width)]
    low = [start + i for start in starts for i in range(half)]
    high = [lane + half for lane in low]
    kind = ir.VectorType(I32, width)
    owners = lanes[0] + lanes[1]
    picked = [owners[lane] for lane in low]
    folded = add(
        builder.shuffle_vector(*pair, ir.Constant(kind, low)), builder.shuffle_vector(*pair, ir.Constant(kind, high))
    )
    return folded, picked


def sum_lanes(builder: Any, add: Any, vectors: Sequence[Any]) -> Any:
    """Sum the lanes of each of n vectors (n a power of two, at most the lanes), all with the association of `_fold`.

    Returns
    -------
    vector of n scalars, in the order of `vectors`; or the scalar for n = 1
    """
    if len(vectors) == 1:
        return _fold(builder, add, vectors[0])
    width = vectors[0].type.count
    work = [(vector, [index] * width) for index, vector in enumerate(vectors)]
    half = width // 2
    while len(work) > 1:
        half_count = len(work) // 2
        work = [
            _combine(builder, add, (a[0], b[0]), (a[1], b[1]), half)
            for a, b in zip(work[:half_count], work[half_count:], strict=True)
        ]
        half //= 2
    vector, owners = work[0]
    while half >= 1:
        low = [lane for lane in range(len(owners)) if lane % (2 * half) < half]
        kind = ir.VectorType(I32, len(low))
        undefined = ir.Constant(vector.type, ir.Undefined)
        vector = add(
            builder.shuffle_vector(vector, undefined, ir.Constant(kind, low)),
            builder.shuffle_vector(vector, undefined, ir.Constant(kind, [lane + half for lane in low])),
        )
        owners = [owners[lane] for lane in low]
        half //= 2
    order = [owners.index(index) for index in range(len(vectors))]
    undefined = ir.Constant(vector.type, ir.Undefined)
    return builder.shuffle_vector(vector, undefined, ir.Constant(ir.VectorType(I32, len(order)), order))


def lanes_of(builder: Any, vector: Any, start: int, count: int) -> Any:
    """Return `count` lanes from `start`."""
    mask = ir.Constant(ir.VectorType(I32, count), list(range(start, start + count)))
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), mask)


def largest(builder: Any, vector: Any) -> Any:
    """Return the largest lane (no NaN handling)."""
    return _fold(builder, lambda a, b: builder.select(builder.fcmp_ordered(">", a, b), a, b), vector)


def add_floats(builder: Any) -> Callable[[Any, Any], Any]:
    """Return the addition of floats for the reductions."""
    add: Callable[[Any, Any], Any] = builder.fadd
    return add


def add_integers(builder: Any) -> Callable[[Any, Any], Any]:
    """Return the addition of integers for the reductions."""
    add: Callable[[Any, Any], Any] = builder.add
    return add


def exponential(builder: Any, features: frozenset[str], x: Any) -> Any:
    """Return exp(x) for 16 lanes, relative error below 3e-7; 0 below -87, NaN stays NaN."""
    tiny = builder.fcmp_ordered("<", x, constant(EXP_FLOOR))
    huge = builder.fcmp_ordered(">", x, constant(EXP_CEILING))
    x = builder.select(huge, constant(EXP_CEILING), x)
    safe = builder.select(tiny, constant(EXP_FLOOR), x)
    shifted = multiply_add(builder, features, safe, constant(LOG2_E), constant(ROUNDER))
    whole = builder.fsub(shifted, constant(ROUNDER))
    rest = multiply_add(builder, features, whole, constant(-LN2_HIGH), safe)
    rest = multiply_add(builder, features, whole, constant(-LN2_LOW), rest)
    value = constant(EXP_POLYNOMIAL[0])
    for coefficient in EXP_POLYNOMIAL[1:]:
        value = multiply_add(builder, features, value, rest, constant(coefficient))
    # The low bits of `shifted` hold the integer exponent: move them onto the exponent field.
    bits = builder.shl(builder.bitcast(shifted, V16I), ir.Constant(V16I, [23] * LANES))
    scaled = builder.bitcast(builder.add(builder.bitcast(value, V16I), bits), V16F)
    return builder.select(tiny, constant(0.0), scaled)


def dot_bytes(builder: Any, isa: str, total: Any, unsigned: Any, signed: Any) -> Any:
    """Add to `total` (int32) the products of unsigned bytes (1..255) and signed bytes (-127..127), four to a lane.

    Parameters
    ----------
    isa : {"vnni", "avxvnni", "avx2", "portable"}
        The instructions to use; all give the same integers once the lanes are summed and, for "avx2", 128 × the sum of
        the signed bytes is added (there the unsigned byte enters as its value minus 128).
    """
    if isa in {"vnni", "avxvnni"}:
        bits = 512 if isa == "vnni" else 256
        kind = ir.VectorType(I32, bits // 32)
        function = builder.module.declare_intrinsic(
            f"llvm.x86.avx512.vpdpbusd.{bits}", (), ir.FunctionType(kind, [kind] * 3)
        )
        return builder.call(function, [total, builder.bitcast(unsigned, kind), builder.bitcast(signed, kind)])
    lanes = unsigned.type.count
    bytes_kind, words, doubles = (
        ir.VectorType(I8, lanes),
        ir.VectorType(I16, lanes // 2),
        ir.VectorType(I32, lanes // 4),
    )
    if isa == "avx2":
        module = builder.module
        sign = module.declare_intrinsic("llvm.x86.avx2.psign.b", (), ir.FunctionType(bytes_kind, [bytes_kind] * 2))
        pairs = module.declare_intrinsic("llvm.x86.avx2.pmadd.ub.sw", (), ir.FunctionType(words, [bytes_kind] * 2))
        quads = module.declare_intrinsic("llvm.x86.avx2.pmadd.wd", (), ir.FunctionType(doubles, [words] * 2))
        # |w| × sign(u - 128, w): both factors within 127, so a pair's sum of 32258 fits int16.
        centred = builder.xor(unsigned, ir.Constant(bytes_kind, [-128] * lanes))
        products = builder.call(pairs, [builder.call(sign, [signed, signed]), builder.call(sign, [centred, signed])])
        return builder.add(total, builder.call(quads, [products, ir.Constant(words, [1] * (lanes // 2))]))
    wide = ir.VectorType(I32, lanes)
    products = builder.mul(builder.zext(unsigned, wide), builder.sext(signed, wide))
    return builder.add(total, products)
