"""ONNX messages as far as a model loader needs them, read from the wire without copying weights.

Why not `onnx.load(path, load_external_data=False)`: it reads all that lies inside the file, and a published 8-bit
encoder has its 650 MB there. Measured on such a file and on the bundled encoder, each in a fresh process (2-core AMD
EPYC (Zen 3)): 2.0 s and 1275 MiB against 0.09 s; 0.44 s (most of it the import of `onnx`) and 66 MiB against 0.13 s
and 11 MiB. A model's graphs are looked into at every load, so people would feel it.

Field numbers: onnx/onnx.proto3.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING

from tdt.onnxfile.graph_parts import DTYPES, Node, Port, Tensor
from tdt.onnxfile.wire import LENGTH, VARINT, Field, WireError, fields, integers, signed, text

if TYPE_CHECKING:
    from tdt.onnxfile.wire import Buffer

# A published encoder of 42 layers has some 15 000 nodes; the limits only keep a hostile file from filling the memory.
MAX_NODES = 200_000
MAX_TENSORS = 200_000
MAX_DEPTH = 8


@dataclass(slots=True)
class Model:
    """What was found in a file."""

    inputs: list[Port] = field(default_factory=list)
    outputs: list[Port] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    initializers: dict[str, Tensor] = field(default_factory=dict)
    constants: dict[str, Tensor] = field(default_factory=dict)
    all_tensors: list[Tensor] = field(default_factory=list)
    ops: Counter[str] = field(default_factory=Counter)
    metadata: dict[str, str] = field(default_factory=dict)
    opsets: dict[str, int] = field(default_factory=dict)
    ir_version: int = 0
    producer: str = ""
    nodes_read: int = 0

    def keep(self, tensor: Tensor) -> Tensor:
        """Remember a tensor, wherever it stands."""
        self.all_tensors.append(tensor)
        if len(self.all_tensors) > MAX_TENSORS:
            raise WireError(f"more than {MAX_TENSORS} tensors")
        return tensor


def read_model(buffer: Buffer) -> Model:
    """Read a ModelProto.

    Parameters
    ----------
    buffer : bytes or mmap
        The whole file.

    Raises
    ------
    WireError
        Where the bytes are not such a message, or hold more than the limits allow.
    """
    model = Model()
    for item in fields(buffer, 0, len(buffer)):
        if item.number == 1 and item.kind == VARINT:
            model.ir_version = signed(item.start)
        elif item.number == 2:
            model.producer = text(buffer, item)
        elif item.number == 7:
            _graph(buffer, _message(item), model, depth=0)
        elif item.number == 8:
            domain, version = _opset(buffer, _message(item))
            model.opsets[domain] = version
        elif item.number == 14:
            key, value = _entry(buffer, _message(item))
            model.metadata[key] = value
        elif item.number == 25:  # FunctionProto.node
            for part in fields(buffer, item.start, _message(item).stop):
                if part.number == 7:
                    _node(buffer, _message(part), model, depth=1)
    return model


def _message(item: Field) -> Field:
    if item.kind != LENGTH:
        raise WireError(f"field {item.number} is not a message")
    return item


def _graph(buffer: Buffer, message: Field, model: Model, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise WireError(f"subgraphs nested deeper than {MAX_DEPTH}")
    for item in fields(buffer, message.start, message.stop):
        if item.number == 1:
            node = _node(buffer, _message(item), model, depth)
            if depth == 0:
                model.nodes.append(node)
        elif item.number == 5:
            tensor = model.keep(_tensor(buffer, _message(item)))
            if depth == 0:
                model.initializers[tensor.name] = tensor
        elif item.number in {11, 12, 13} and depth == 0:
            port = _port(buffer, _message(item))
            if item.number != 13:
                (model.inputs if item.number == 11 else model.outputs).append(port)
        elif item.number == 15:  # SparseTensorProto: values and indices are tensors
            for part in fields(buffer, item.start, _message(item).stop):
                if part.number in {1, 2}:
                    model.keep(_tensor(buffer, _message(part)))


def _node(buffer: Buffer, message: Field, model: Model, depth: int) -> Node:
    inputs: list[str] = []
    outputs: list[str] = []
    attributes: list[Field] = []
    op_type = ""
    for item in fields(buffer, message.start, message.stop):
        if item.number == 1:
            inputs.append(text(buffer, item))
        elif item.number == 2:
            outputs.append(text(buffer, item))
        elif item.number == 4:
            op_type = text(buffer, item)
        elif item.number in {3, 7}:
            text(buffer, item)  # name and domain are of no use here, but have to be text for what comes later
        elif item.number == 5:
            attributes.append(_message(item))
    model.ops[op_type] += 1
    model.nodes_read += 1
    if model.nodes_read > MAX_NODES:
        raise WireError(f"more than {MAX_NODES} nodes")
    ints: dict[str, tuple[int, ...]] = {}
    for attribute in attributes:
        name, values, tensor = _attribute(buffer, attribute, model, depth)
        if values:
            ints[name] = values
        if tensor is not None and op_type == "Constant" and name == "value" and outputs and depth == 0:
            model.constants[outputs[0]] = tensor
    return Node(op_type, tuple(inputs), tuple(outputs), ints)


def _attribute(buffer: Buffer, message: Field, model: Model, depth: int) -> tuple[str, tuple[int, ...], Tensor | None]:
    name = ""
    values: list[int] = []
    tensor = None
    for item in fields(buffer, message.start, message.stop):
        if item.number == 1:
            name = text(buffer, item)
        elif item.number == 3 and item.kind == VARINT:
            values.append(signed(item.start))
        elif item.number == 8 and len(values) < 64:
            for value in integers(buffer, item):
                values.append(value)
                if len(values) >= 64:
                    break
        elif item.number in {5, 10}:
            tensor = model.keep(_tensor(buffer, _message(item)))
        elif item.number in {6, 11}:
            _graph(buffer, _message(item), model, depth + 1)
        elif item.number in {22, 23}:  # sparse tensors
            for part in fields(buffer, item.start, _message(item).stop):
                if part.number in {1, 2}:
                    model.keep(_tensor(buffer, _message(part)))
    return name, tuple(values), tensor


def _tensor(buffer: Buffer, message: Field) -> Tensor:
    name = ""
    shape: list[int] = []
    dtype = 0
    raw: int | None = None
    external: dict[str, str] = {}
    located = 0
    for item in fields(buffer, message.start, message.stop):
        if item.number == 1:
            shape.extend(integers(buffer, item))
            if len(shape) > 16:
                raise WireError("a tensor of more than 16 dimensions")
        elif item.number == 2 and item.kind == VARINT:
            dtype = item.start
        elif item.number == 8:
            name = text(buffer, item)
        elif item.number == 9:
            raw = item.stop - item.start
        elif item.number == 13:
            key, value = _entry(buffer, _message(item))
            external[key] = value
        elif item.number == 14 and item.kind == VARINT:
            located = item.start
    kind, bits = DTYPES.get(dtype, ("unknown", 0))
    if any(size < 0 for size in shape):
        raise WireError(f"tensor {name!r} has a negative dimension")
    expected = (prod(shape) * bits + 7) // 8
    if located != 1 and raw is not None and bits and raw != expected:
        raise WireError(f"tensor {name!r} holds {raw} bytes where its shape {tuple(shape)} needs {expected}")
    return Tensor(name, kind, tuple(shape), expected, external if located == 1 else None)


def _port(buffer: Buffer, message: Field) -> Port:
    name = ""
    dtype = "unknown"
    shape: tuple[int | str | None, ...] | None = None
    for item in fields(buffer, message.start, message.stop):
        if item.number == 1:
            name = text(buffer, item)
        elif item.number == 2:
            for kind in fields(buffer, item.start, _message(item).stop):
                if kind.number == 1:
                    dtype, shape = _tensor_type(buffer, _message(kind))
    return Port(name, dtype, shape)


def _tensor_type(buffer: Buffer, message: Field) -> tuple[str, tuple[int | str | None, ...] | None]:
    dtype = "unknown"
    shape: list[int | str | None] | None = None
    for item in fields(buffer, message.start, message.stop):
        if item.number == 1 and item.kind == VARINT:
            dtype = DTYPES.get(item.start, ("unknown", 0))[0]
        elif item.number == 2:
            shape = []
            for part in fields(buffer, item.start, _message(item).stop):
                if part.number == 1:
                    shape.append(_dimension(buffer, _message(part)))
    return dtype, None if shape is None else tuple(shape)


def _dimension(buffer: Buffer, message: Field) -> int | str | None:
    size: int | str | None = None
    for item in fields(buffer, message.start, message.stop):
        if item.number == 1 and item.kind == VARINT:
            size = signed(item.start)
        elif item.number == 2:
            size = text(buffer, item)
    return size


def _opset(buffer: Buffer, message: Field) -> tuple[str, int]:
    domain, version = "", 0
    for item in fields(buffer, message.start, message.stop):
        if item.number == 1:
            domain = text(buffer, item)
        elif item.number == 2 and item.kind == VARINT:
            version = signed(item.start)
    return domain, version


def _entry(buffer: Buffer, message: Field) -> tuple[str, str]:
    key = value = ""
    for item in fields(buffer, message.start, message.stop):
        if item.number == 1:
            key = text(buffer, item)
        elif item.number == 2:
            value = text(buffer, item)
    return key, value
