"""An ONNX graph under edit: who makes a value, who reads it, what is constant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import numpy.typing as npt
    import onnx

    Array = npt.NDArray[Any]

# Constants up to this many elements may be read as values while editing; larger ones are weights.
SMALL_ELEMENTS = 4096
SWAP = [0, 2, 1]


class EditableGraph:
    """The main graph of a model with its indices kept up to date under edits.

    Constant nodes become initializers on entry, so that a constant has one form only. Nodes are appended in any order;
    :meth:`finish` drops what no output needs and sorts the rest.

    Parameters
    ----------
    model : onnx.ModelProto
        Edited in place.
    folder : Path, optional
        Where external weights lie; they are read only when asked for, so a model of any size can be edited.
    """

    def __init__(self, model: onnx.ModelProto, folder: Path | None = None) -> None:
        self.model = model
        self.folder = folder
        self._folder = str(folder or "")
        self.graph = model.graph
        self._fresh = 0
        self._lift_constants()
        self.reindex()

    def _lift_constants(self) -> None:
        kept = []
        for node in self.graph.node:
            if node.op_type == "Constant" and len(node.attribute) == 1 and node.attribute[0].name == "value":
                tensor = self.graph.initializer.add()
                tensor.CopyFrom(node.attribute[0].t)
                tensor.name = node.output[0]
            else:
                kept.append(node)
        if len(kept) != len(self.graph.node):
            del self.graph.node[:]
            self.graph.node.extend(kept)

    def reindex(self) -> None:
        """Build the indices anew, after edits made past this class."""
        self.initializers = {tensor.name: tensor for tensor in self.graph.initializer}
        self.producers = {name: node for node in self.graph.node for name in node.output if name}
        self.consumers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.graph.node:
            for name in node.input:
                if name:
                    self.consumers.setdefault(name, []).append(node)
        self.output_names = {value.name for value in self.graph.output}

    def constant(self, name: str, limit: int = SMALL_ELEMENTS) -> Array | None:
        """Return the value of a constant of at most `limit` elements, else None."""
        from onnx import numpy_helper

        tensor = self.initializers.get(name)
        if tensor is None or int(np.prod(list(tensor.dims), dtype=np.int64)) > limit:
            return None
        return np.asarray(numpy_helper.to_array(tensor, self._folder))

    def weight(self, name: str) -> Array:
        """Return the initializer `name` as an array, whatever its size."""
        from onnx import numpy_helper

        return np.asarray(numpy_helper.to_array(self.initializers[name], self._folder))

    def make_inline(self, name: str) -> None:
        """Bring the external weights of initializer `name` into the model."""
        from onnx import TensorProto
        from onnx.external_data_helper import load_external_data_for_tensor

        tensor = self.initializers[name]
        if tensor.data_location == TensorProto.EXTERNAL:
            load_external_data_for_tensor(tensor, self._folder)
            tensor.data_location = TensorProto.DEFAULT
            del tensor.external_data[:]

    def is_external(self, name: str) -> bool:
        """Return whether the bytes of initializer `name` lie outside the file."""
        from onnx import TensorProto

        return bool(self.initializers[name].data_location == TensorProto.EXTERNAL)

    def scalar(self, name: str) -> float | None:
        """Return the value of a constant of one element, else None."""
        value = self.constant(name, 1)
        return None if value is None or value.size != 1 else float(value.ravel()[0])

    def shape_of(self, name: str) -> tuple[int, ...] | None:
        """Return the shape of an initializer, else None."""
        tensor = self.initializers.get(name)
        return None if tensor is None else tuple(tensor.dims)

    def fresh(self, hint: str) -> str:
        """Return a value name that is not in use."""
        while True:
            self._fresh += 1
            name = f"{hint}_{self._fresh}"
            if name not in self.producers and name not in self.initializers:
                return name

    def add_constant(self, hint: str, value: Array, *, exact_name: bool = False) -> str:
        """Add an initializer and return its name."""
        from onnx import numpy_helper

        name = hint if exact_name else self.fresh(hint)
        value = np.asarray(value, order="C")  # ascontiguousarray makes scalars 1-D
        return self.add_tensor(numpy_helper.from_array(value, name))

    def add_tensor(self, tensor: onnx.TensorProto) -> str:
        """Add an initializer, or replace the one of its name, and return that name."""
        if tensor.name in self.initializers:
            self.initializers[tensor.name].CopyFrom(tensor)
        else:
            self.graph.initializer.append(tensor)
            self.initializers[tensor.name] = self.graph.initializer[-1]
        return str(tensor.name)

    def add(
        self, op_type: str, inputs: Sequence[str], hint: str, *, outputs: Sequence[str] = (), **attributes: Any
    ) -> str:
        """Append a node and return its first output, named after `hint` where `outputs` does not name it."""
        from onnx import helper

        names = list(outputs) or [self.fresh(hint)]
        node = self.graph.node.add()
        node.CopyFrom(helper.make_node(op_type, list(inputs), names, name=f"{names[0]}/{op_type}", **attributes))
        for name in names:
            self.producers[name] = node
        for name in inputs:
            if name:
                self.consumers.setdefault(name, []).append(node)
        return names[0]

    def replace_uses(self, old: str, new: str, *, only: Iterable[onnx.NodeProto] | None = None) -> None:
        """Let the readers of `old` (all, or those in `only`) read `new`; a graph output of that name stays `old`."""
        readers = list(self.consumers.get(old, [])) if only is None else list(only)
        for node in readers:
            for index, name in enumerate(node.input):
                if name == old:
                    node.input[index] = new
            self.consumers.setdefault(new, []).append(node)
        gone = {id(node) for node in readers}
        self.consumers[old] = [node for node in self.consumers.get(old, []) if id(node) not in gone]

    def finish(self) -> None:
        """Drop nodes and initializers that no output needs, and sort the nodes so that values precede their use."""
        ordered = self._sorted_needed()
        copies = [_copy(node) for node in ordered]
        del self.graph.node[:]
        self.graph.node.extend(copies)
        used = {name for node in ordered for name in _inputs_with_subgraphs(node)} | self.output_names
        unused = [index for index, tensor in enumerate(self.graph.initializer) if tensor.name not in used]
        for index in reversed(unused):
            del self.graph.initializer[index]
        del self.graph.value_info[:]
        self.reindex()

    def _sorted_needed(self) -> list[onnx.NodeProto]:
        order: list[onnx.NodeProto] = []
        state: dict[int, bool] = {}
        stack = [
            (self.producers[value.name], False) for value in reversed(self.graph.output) if value.name in self.producers
        ]
        while stack:
            node, expanded = stack.pop()
            if expanded:
                if not state.get(id(node), False):
                    state[id(node)] = True
                    order.append(node)
                continue
            if id(node) in state:
                continue
            state[id(node)] = False
            stack.append((node, True))
            parents = [self.producers[name] for name in _inputs_with_subgraphs(node) if name in self.producers]
            stack.extend((parent, False) for parent in reversed(parents) if not state.get(id(parent), False))
        return order


def is_swap(node: onnx.NodeProto | None) -> bool:
    """Return whether a node exchanges the last two of three axes: [B, C, T] and [B, T, C]."""
    return node is not None and node.op_type == "Transpose" and list(node.attribute[0].ints) == SWAP


def _copy(node: onnx.NodeProto) -> onnx.NodeProto:
    import onnx

    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return copy


def _inputs_with_subgraphs(node: onnx.NodeProto) -> list[str]:
    names = [name for name in node.input if name]
    for attribute in node.attribute:
        if attribute.HasField("g"):
            for inner in attribute.g.node:
                names.extend(_inputs_with_subgraphs(inner))
    return names
