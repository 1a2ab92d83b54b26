"""Read the state that `torch.save` pickled, without running what a pickle can ask for.

A pickle is a program for a small machine that can import and call anything. This machine is another one: it has the
instructions that a dictionary of tensors needs, and knows a handful of names, none of which it imports: it takes
note of them. Whatever else is named (`os.system`, a class of the training code) ends the reading with an error that
says the name. Nothing is called, no attribute is set, and sizes are compared with the file before they are believed.

Source: PyTorch `torch/_weights_only_unpickler.py` (which names a state needs), `torch/serialization.py` (the zip file's
members and persistent ids), `torch/_utils.py: _rebuild_tensor_v2`; Python's `pickletools` for the instructions.
"""

from __future__ import annotations

import pickletools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tdt.conversion.tensors import DTYPES, StoredTensor
from tdt.conversion.zipped import read_zip
from tdt.errors import CheckpointError, ModelFileCorruptError, UnsafeCheckpointError
from tdt.showing import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

MOST_PICKLE_BYTES = 8 << 20  # 1 700 tensors take 300 KB
MOST_INSTRUCTIONS = 300_000  # 1 700 tensors take 80 000
_STORAGES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool",
}  # fmt: skip
_REBUILD, _PARAMETER, _ORDERED = (
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    "collections OrderedDict",
)
_KNOWN = frozenset({_REBUILD, _PARAMETER, _ORDERED, *(f"torch {name}" for name in _STORAGES)})
_MARK = object()


@dataclass(frozen=True, slots=True)
class _Name:
    """A name that the pickle asked for, taken note of and not imported."""

    name: str


@dataclass(frozen=True, slots=True)
class _Storage:
    dtype: str
    data: memoryview


class _MalformedError(Exception):
    """The pickle is no program that this machine can run; the message says why."""


def read_state(content: memoryview, path: Path) -> Mapping[str, StoredTensor]:
    """Return the tensors of a checkpoint by name.

    Parameters
    ----------
    content : memoryview
        The file that `torch.save` wrote: a zip file with `data.pkl` and a member for each storage.
    path : Path
        Named in errors.

    Raises
    ------
    UnsafeCheckpointError
        Where the pickle names anything but tensors and plain containers; says the name.
    ModelFileCorruptError, CheckpointError
        Where the file is damaged, or in torch's older formats.
    """
    if bytes(content[:4]) != b"PK\x03\x04":
        raise CheckpointError(path, _other_format(bytes(content[:512])), "Save it again with torch 1.6 or later")
    members = read_zip(content, path)
    program = members.get("data.pkl")
    if program is None:
        held = ", ".join(sorted(members)[:6]) or "nothing"
        raise CheckpointError(path, f"its checkpoint holds no data.pkl, but {shown(held)}")
    if len(program) > MOST_PICKLE_BYTES:
        raise CheckpointError(path, f"its pickle has {len(program)} bytes; {MOST_PICKLE_BYTES} are more than enough")
    order = bytes(members.get("byteorder", memoryview(b"little"))[:8])
    machine = _Machine(members, path, big_endian=order == b"big")
    try:
        state = machine.run(bytes(program))
    except CheckpointError:
        raise
    except (_MalformedError, LookupError, ValueError, TypeError, OverflowError) as error:
        raise ModelFileCorruptError(path, f"its pickle is damaged ({error})") from error
    return _tensors(state, path)


def _other_format(head: bytes) -> str:
    if head[257:262] == b"ustar":
        return "its checkpoint is in torch's tar format of before 2018, which is not read"
    if head[:1] == b"\x80":
        return "its checkpoint is in torch's pickle format of before 1.6, which is not read"
    return "its checkpoint is no file of torch"


def _tensors(state: object, path: Path) -> dict[str, StoredTensor]:
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):  # as Lightning saves it
        state = state["state_dict"]
    if not isinstance(state, dict):
        raise CheckpointError(path, f"its pickle holds a {type(state).__name__}, not a dictionary of tensors")
    found = {key: value for key, value in state.items() if isinstance(key, str) and isinstance(value, StoredTensor)}
    if not found:
        raise CheckpointError(path, "its pickle holds no tensors")
    return found


@dataclass(slots=True)
class _Machine:
    """The machine: a stack, a memo, and what it may know of."""

    members: Mapping[str, memoryview]
    path: Path
    big_endian: bool
    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def run(self, program: bytes) -> Any:
        """Run the program and return what it leaves."""
        number = 0
        for number, (opcode, argument, _) in enumerate(pickletools.genops(program)):
            if number > MOST_INSTRUCTIONS:
                raise _MalformedError(f"more than {MOST_INSTRUCTIONS} instructions")
            if opcode.name == "STOP":
                return self.pop()
            if opcode.name in _PLAIN:
                self.stack.append(argument)
            elif opcode.name in _INSTRUCTIONS:
                _INSTRUCTIONS[opcode.name](self, argument)
            elif opcode.name not in {"PROTO", "FRAME"}:
                raise UnsafeCheckpointError(
                    self.path, f"its pickle has the instruction {opcode.name}, which builds other things than tensors"
                )
        raise _MalformedError("it does not end")

    def pop(self) -> Any:
        """Take the topmost value."""
        value = self.stack.pop()
        if value is _MARK:
            raise _MalformedError("a mark where a value is expected")
        return value

    def pop_mark(self) -> list[Any]:
        """Take all values down to the topmost mark, which goes, too."""
        for at in range(len(self.stack) - 1, -1, -1):
            if self.stack[at] is _MARK:
                values = self.stack[at + 1 :]
                del self.stack[at:]
                return values
        raise _MalformedError("no mark where one is expected")

    def take(self, count: int) -> tuple[Any, ...]:
        """Take so many values, as a tuple."""
        return tuple(self.pop() for _ in range(count))[::-1]

    def remember(self, key: int) -> None:
        """Put the topmost value into the memo."""
        self.memo[key] = self.stack[-1]

    def name(self, name: str) -> None:
        """Take note of a name, or refuse it."""
        if name not in _KNOWN:
            raise UnsafeCheckpointError(self.path, f"its pickle names {shown(name.replace(' ', '.', 1), 120)}")
        self.stack.append(_Name(name))

    def stack_name(self) -> None:
        """Take note of the name that lies on the stack in two parts."""
        module, name = self.take(2)
        if not (isinstance(module, str) and isinstance(name, str)):
            raise _MalformedError("a name that is no text")
        self.name(f"{module} {name}")

    def append(self, values: list[Any]) -> None:
        """Append to the list below."""
        if not isinstance(self.stack[-1], list):
            raise _MalformedError("an append to what is no list")
        self.stack[-1].extend(values)

    def set_items(self, values: list[Any]) -> None:
        """Put pairs into the dictionary below; keys are texts or numbers, never nested tuples."""
        target = self.stack[-1]
        if not isinstance(target, dict) or len(values) % 2:
            raise _MalformedError("items for what is no dictionary")
        for key, value in zip(values[::2], values[1::2], strict=True):
            # Long numbers can be chosen so that all their hashes are one.
            if not isinstance(key, str) and not (isinstance(key, int) and abs(key) < 1 << 31):
                raise _MalformedError(f"a key that is a {type(key).__name__}")
            target[key] = value

    def call(self) -> None:
        """Do what one of the known names stands for."""
        callee, arguments = self.take(2)
        if not isinstance(callee, _Name) or not isinstance(arguments, tuple):
            raise UnsafeCheckpointError(self.path, f"its pickle calls a {type(callee).__name__}")
        if callee.name == _ORDERED and not arguments:
            self.stack.append({})
        elif callee.name == _REBUILD and len(arguments) in {6, 7}:
            self.stack.append(self._tensor(*arguments[:4]))
        elif callee.name == _PARAMETER and arguments and isinstance(arguments[0], StoredTensor):
            self.stack.append(arguments[0])
        else:
            raise _MalformedError(f"a call of {callee.name.replace(' ', '.')} with {len(arguments)} arguments")

    def build(self) -> None:
        """Drop the attributes of a dictionary, `_metadata` in a module's state; nothing else may have any."""
        self.pop()
        if not isinstance(self.stack[-1], dict):
            raise UnsafeCheckpointError(self.path, f"its pickle sets attributes of a {type(self.stack[-1]).__name__}")

    def storage(self) -> None:
        """Find the bytes that a persistent id stands for: ("storage", its type, its key, a device, its elements)."""
        given = self.pop()
        if not (isinstance(given, tuple) and len(given) == 5 and given[0] == "storage"):
            raise _MalformedError("a persistent id of another form")
        kind, key, count = given[1], given[2], given[4]
        dtype = _STORAGES.get(kind.name.removeprefix("torch ")) if isinstance(kind, _Name) else None
        if dtype is None or not isinstance(key, str) or not isinstance(count, int):
            raise _MalformedError("a persistent id of another form")
        data = self.members.get(f"data/{key}")
        if data is None or count < 0 or count * DTYPES[dtype].itemsize > len(data):
            raise _MalformedError(f"the storage {shown(key, 40)} is missing or shorter than it says")
        self.stack.append(_Storage(dtype, data[: count * DTYPES[dtype].itemsize]))

    def _tensor(self, storage: Any, offset: Any, shape: Any, strides: Any) -> StoredTensor:
        sizes = isinstance(shape, tuple) and isinstance(strides, tuple)
        if not isinstance(storage, _Storage) or not sizes:
            raise _MalformedError("a tensor of something else than a storage")
        if not all(type(number) is int for number in (offset, *shape, *strides)):
            raise _MalformedError("a tensor whose sizes are no whole numbers")
        try:
            return StoredTensor(storage.dtype, shape, storage.data, offset, strides, self.big_endian)
        except ValueError as error:
            raise _MalformedError(f"a tensor with {error}") from error


# Their argument is the value.
_PLAIN = frozenset({
    "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "SHORT_BINBYTES", "BINBYTES",
})  # fmt: skip
_INSTRUCTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "NONE": lambda m, _: m.stack.append(None),
    "NEWTRUE": lambda m, _: m.stack.append(True),
    "NEWFALSE": lambda m, _: m.stack.append(False),
    "MARK": lambda m, _: m.stack.append(_MARK),
    "POP": lambda m, _: m.stack.pop() and None,
    "EMPTY_TUPLE": lambda m, _: m.stack.append(()),
    "EMPTY_LIST": lambda m, _: m.stack.append([]),
    "EMPTY_DICT": lambda m, _: m.stack.append({}),
    "TUPLE": lambda m, _: m.stack.append(tuple(m.pop_mark())),
    "TUPLE1": lambda m, _: m.stack.append(m.take(1)),
    "TUPLE2": lambda m, _: m.stack.append(m.take(2)),
    "TUPLE3": lambda m, _: m.stack.append(m.take(3)),
    "APPEND": lambda m, _: m.append([m.pop()]),
    "APPENDS": lambda m, _: m.append(m.pop_mark()),
    "SETITEM": lambda m, _: m.set_items(list(m.take(2))),
    "SETITEMS": lambda m, _: m.set_items(m.pop_mark()),
    "BINPUT": lambda m, key: m.remember(key),
    "LONG_BINPUT": lambda m, key: m.remember(key),
    "MEMOIZE": lambda m, _: m.remember(len(m.memo)),
    "BINGET": lambda m, key: m.stack.append(m.memo[key]),
    "LONG_BINGET": lambda m, key: m.stack.append(m.memo[key]),
    "GLOBAL": lambda m, name: m.name(name),
    "STACK_GLOBAL": lambda m, _: m.stack_name(),
    "REDUCE": lambda m, _: m.call(),
    "BUILD": lambda m, _: m.build(),
    "BINPERSID": lambda m, _: m.storage(),
}
