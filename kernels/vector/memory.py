"""Reading and writing memory by address from compiled code, as intrinsics.

The decoder's functions hand each other addresses instead of arrays: an array is seven values in compiled code, the
decoder works on some fifty of them, and compiling it that way took half a minute instead of seconds. All addresses come
from :mod:`.task`, whose arrays the caller keeps alive.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from . import vector_ir as v
from .jit import cpu_features, intrinsic, types

I8 = types.int64


def _reader(kind: Any, stored: Any, widen: Any) -> Any:
    """Make the generator of a read of element `index` after an address."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        value = v.load(builder, args[0], v.bytes_at(builder, args[1], stored), kind, align=stored)
        return value if widen is None else getattr(builder, widen)(value, v.I64)

    return generate


def _writer(kind: Any, stored: Any, *, narrow: bool) -> Any:
    """Make the generator of a write of element `index` after an address."""

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        value = builder.trunc(args[2], kind) if narrow else args[2]
        v.store(builder, value, args[0], v.bytes_at(builder, args[1], stored), align=stored)
        return context.get_dummy_value()

    return generate


@intrinsic
def get_float(_typing: Any, address: Any, index: Any) -> Any:
    """Return float32 element `index`."""
    return types.float32(I8, I8), _reader(v.F32, 4, None)


@intrinsic
def set_float(_typing: Any, address: Any, index: Any, value: Any) -> Any:
    """Store a float32."""
    return types.void(I8, I8, types.float32), _writer(v.F32, 4, narrow=False)


@intrinsic
def get_double(_typing: Any, address: Any, index: Any) -> Any:
    """Return float64 element `index`."""
    return types.float64(I8, I8), _reader(v.F64, 8, None)


@intrinsic
def set_double(_typing: Any, address: Any, index: Any, value: Any) -> Any:
    """Store a float64."""
    return types.void(I8, I8, types.float64), _writer(v.F64, 8, narrow=False)


@intrinsic
def get_int(_typing: Any, address: Any, index: Any) -> Any:
    """Return int64 element `index`."""
    return I8(I8, I8), _reader(v.I64, 8, None)


@intrinsic
def set_int(_typing: Any, address: Any, index: Any, value: Any) -> Any:
    """Store an int64."""
    return types.void(I8, I8, I8), _writer(v.I64, 8, narrow=False)


@intrinsic
def get_int32(_typing: Any, address: Any, index: Any) -> Any:
    """Return int32 element `index`."""
    return I8(I8, I8), _reader(v.I32, 4, "sext")


@intrinsic
def set_int32(_typing: Any, address: Any, index: Any, value: Any) -> Any:
    """Store an int64 as int32."""
    return types.void(I8, I8, I8), _writer(v.I32, 4, narrow=True)


@intrinsic
def get_byte(_typing: Any, address: Any, index: Any) -> Any:
    """Return uint8 element `index`."""
    return I8(I8, I8), _reader(v.I8, 1, "zext")


@intrinsic
def set_byte(_typing: Any, address: Any, index: Any, value: Any) -> Any:
    """Store an int64 as uint8."""
    return types.void(I8, I8, I8), _writer(v.I8, 1, narrow=True)


@intrinsic
def read_flag(_typing: Any, address: Any, index: Any) -> Any:
    """Return uint8 element `index`; what was written before the flag was raised is seen after this."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        pointer = v.address(builder, args[0], args[1], v.I8)
        return builder.zext(builder.load_atomic(pointer, "acquire", 1), v.I64)

    return I8(I8, I8), generate


@intrinsic
def raise_flag(_typing: Any, address: Any, index: Any) -> Any:
    """Set uint8 element `index` to 1, after all that was written before."""

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        pointer = v.address(builder, args[0], args[1], v.I8)
        builder.store_atomic(ir.Constant(v.I8, 1), pointer, "release", 1)
        return context.get_dummy_value()

    return types.void(I8, I8), generate


@intrinsic
def load_acquire(_typing: Any, address: Any, index: Any) -> Any:
    """Return int64 element `index`; what was written before its release is seen after this."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.load_atomic(v.address(builder, args[0], v.bytes_at(builder, args[1], 8), v.I64), "acquire", 8)

    return I8(I8, I8), generate


@intrinsic
def store_release(_typing: Any, address: Any, index: Any, value: Any) -> Any:
    """Store an int64 after all that was written before."""

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        pointer = v.address(builder, args[0], v.bytes_at(builder, args[1], 8), v.I64)
        builder.store_atomic(args[2], pointer, "release", 8)
        return context.get_dummy_value()

    return types.void(I8, I8, I8), generate


@intrinsic
def compare_and_set(_typing: Any, address: Any, index: Any, expected: Any, value: Any) -> Any:
    """Store an int64 where `expected` stands, and return whether it stood there: of several threads one succeeds."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        pointer = v.address(builder, args[0], v.bytes_at(builder, args[1], 8), v.I64)
        found = builder.cmpxchg(pointer, args[2], args[3], "acq_rel", "acquire")
        return builder.zext(builder.extract_value(found, 1), v.I64)

    return I8(I8, I8, I8, I8), generate


@intrinsic
def fence(_typing: Any) -> Any:
    """Let no read or write pass to the other side of this."""

    def generate(context: Any, builder: Any, _signature: Any, _args: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def call_system(_typing: Any, function: Any, value: Any) -> Any:
    """Call a function of the C library that takes one int or nothing, by its address."""

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(v.I32, [v.I32])
        builder.call(builder.inttoptr(args[0], ir.PointerType(kind)), [builder.trunc(args[1], v.I32)])
        return context.get_dummy_value()

    return types.void(I8, I8), generate


@intrinsic
def pause(_typing: Any) -> Any:
    """Let a spinning core rest a moment, where it can be told to."""

    def generate(context: Any, builder: Any, _signature: Any, _args: Any) -> Any:
        if "sse2" in cpu_features(context):
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(builder.module.declare_intrinsic("llvm.x86.sse2.pause", (), kind), [])
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def get_mask(_typing: Any, address: Any, index: Any) -> Any:
    """Return uint16 element `index`."""
    return I8(I8, I8), _reader(v.I16, 2, "zext")


@intrinsic
def copy_floats(_typing: Any, target: Any, source: Any, count: Any) -> Any:
    """Copy `count` floats, a multiple of 16."""

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        target_, source_, count_ = args

        def body(index: Any, _carried: list[Any]) -> list[Any]:
            offset = v.bytes_at(builder, index, 64)
            v.store(builder, v.load(builder, source_, offset, v.V16F), target_, offset)
            return []

        v.counted_loop(builder, builder.sdiv(count_, ir.Constant(v.I64, v.LANES)), [], body)
        return context.get_dummy_value()

    return types.void(I8, I8, I8), generate


@intrinsic
def ticks(_typing: Any) -> Any:
    """Return a steady counter: the time stamp counter on x86, the system counter elsewhere."""

    def generate(context: Any, builder: Any, _signature: Any, _args: Any) -> Any:
        name = "llvm.readcyclecounter" if "64bit" in cpu_features(context) else "llvm.readsteadycounter"
        function = builder.module.declare_intrinsic(name, (), ir.FunctionType(v.I64, []))
        return builder.call(function, [])

    return I8(), generate


@intrinsic
def keep_apart(_typing: Any) -> Any:
    """Keep LLVM from inlining the calling function: large leaf kernels are wanted once, not at every call."""

    def generate(context: Any, builder: Any, _signature: Any, _args: Any) -> Any:
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), generate
