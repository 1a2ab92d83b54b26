"""The protobuf wire format, read in place: enough to look into an ONNX file without loading its weights.

Nothing is copied but names and small numbers; weights are passed over by their length. Every length is checked against
its enclosing message, so a cut or garbled file is found here and not inside a native parser.

Source: protobuf "Encoding" specification; field numbers from onnx/onnx.proto3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import mmap
    from collections.abc import Iterator

    Buffer = bytes | mmap.mmap

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5


class WireError(ValueError):
    """The bytes are not a protobuf message."""


class Field(NamedTuple):
    """One field of a message.

    Parameters
    ----------
    number : int
        Field number.
    kind : int
        Wire type.
    start, stop : int
        Byte range of the payload; for a varint, `start` is the value itself.
    """

    number: int
    kind: int
    start: int
    stop: int


def varint(buffer: Buffer, position: int, stop: int) -> tuple[int, int]:
    """Return the unsigned integer at `position` and the position after it.

    Raises
    ------
    WireError
        Where the integer runs past `stop` or is longer than 64 bits.
    """
    value = 0
    shift = 0
    while position < stop:
        byte = buffer[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            break
    raise WireError(f"no integer ends before byte {stop}")


def signed(value: int) -> int:
    """Return a 64-bit two's complement value as Python has it."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >= 1 << 63 else value


def fields(buffer: Buffer, start: int, stop: int) -> Iterator[Field]:
    """Yield the fields of the message in ``buffer[start:stop]``, in file order.

    Raises
    ------
    WireError
        Where a field has an unknown wire type or runs past `stop`.
    """
    position = start
    while position < stop:
        key = buffer[position]
        position += 1
        if key >= 0x80:
            key, position = varint(buffer, position - 1, stop)
        kind = key & 7
        number = key >> 3
        if number == 0:
            raise WireError(f"byte {position} starts no field")
        if kind == LENGTH:
            # Nearly all lengths are one byte; a call for each would be half of the time.
            if position < stop and (length := buffer[position]) < 0x80:
                position += 1
            else:
                length, position = varint(buffer, position, stop)
        elif kind == VARINT:
            value, position = varint(buffer, position, stop)
            yield Field(number, kind, value, position)
            continue
        elif kind == FIXED32:
            length = 4
        elif kind == FIXED64:
            length = 8
        else:
            raise WireError(f"byte {position} has a field of unknown type {kind}")
        end = position + length
        if end > stop:
            raise WireError(f"a field of {length} bytes at byte {position} runs past byte {stop}")
        yield Field(number, kind, position, end)
        position = end


def integers(buffer: Buffer, field: Field) -> Iterator[int]:
    """Yield the signed integers of a repeated field, packed or not."""
    if field.kind == VARINT:
        yield signed(field.start)
        return
    position = field.start
    while position < field.stop:
        value, position = varint(buffer, position, field.stop)
        yield signed(value)


def text(buffer: Buffer, field: Field) -> str:
    """Return a string field.

    Raises
    ------
    WireError
        Where the field is no string, or not UTF-8 as the format demands.
    """
    if field.kind != LENGTH:
        raise WireError(f"field {field.number} is not a string")
    try:
        return buffer[field.start : field.stop].decode("utf-8")
    except UnicodeDecodeError as error:
        raise WireError(f"a name at byte {field.start} is not UTF-8") from error
