"""Walking a graph backwards to its weights, whatever they are called, without reading them.

What is found is the place where a node takes a constant, not the constant: exporters let nodes share one where two
weights happened to be equal, and new weights need not be.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from tdt.conversion.recipes import Recipe
from tdt.onnxfile import StructureError

if TYPE_CHECKING:
    import onnx

    from tdt.surgery import EditableGraph

MAX_STEPS = 64
# Hand on their first input's numbers, whatever they do to its shape or type.
_RESHAPING = frozenset({"Transpose", "Unsqueeze", "Squeeze", "Reshape", "Identity", "Cast", "Flatten", "Dropout"})
_CUTTING = frozenset({"Slice", "Pad"})
_MOST_ANCESTORS = 10_000


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node takes a weight.

    Parameters
    ----------
    node : NodeProto
    index : int
        Which of its inputs.
    recipe : Recipe
        What belongs there.
    """

    node: onnx.NodeProto
    index: int
    recipe: Recipe


@dataclass(frozen=True, slots=True)
class Found:
    """A layer: its places, and the value that goes into it."""

    places: tuple[Place, ...]
    source: str


class Tracer:
    """Answers questions about the values of a graph.

    Parameters
    ----------
    graph : EditableGraph
    """

    def __init__(self, graph: EditableGraph) -> None:
        self.graph = graph
        self.inputs = [port.name for port in graph.graph.input if port.name not in graph.initializers]
        self.outputs = [port.name for port in graph.graph.output]
        self._constant: dict[str, bool] = {}

    def maker(self, name: str) -> onnx.NodeProto:
        """Return the node that makes a value.

        Raises
        ------
        StructureError
            Where it is an input or a constant.
        """
        node: onnx.NodeProto | None = self.graph.producers.get(name)
        if node is None:
            raise StructureError(f"{name!r} is an input or a constant where a layer is expected")
        return node

    def op(self, name: str) -> str:
        """Return the operator that makes a value; empty for inputs and constants."""
        node = self.graph.producers.get(name)
        return "" if node is None else node.op_type

    def constant(self, name: str) -> bool:
        """Return whether a value depends on no input of the graph."""
        pending, seen = [name], 0
        while pending:
            value = pending.pop()
            if value in self._constant:
                continue
            node = self.graph.producers.get(value)
            if node is None or not node.input:
                self._constant[value] = node is not None or value in self.graph.initializers
                continue
            seen += 1
            if seen > _MOST_ANCESTORS:
                raise StructureError(f"{name!r} depends on very many values, or on itself")
            unknown = [item for item in node.input if item and item not in self._constant]
            if unknown:
                pending.extend([value, *unknown])
            else:
                for output in node.output:
                    self._constant[output] = all(self._constant[item] for item in node.input if item)
        return self._constant[name]

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Return the shape of a constant, where it is an initializer, transposed or under other names."""
        node = self.graph.producers.get(name)
        if node is None:
            return self.graph.shape_of(name)
        if node.op_type in {"Identity", "Cast"}:
            return self.shape(node.input[0])
        if node.op_type == "Transpose":
            inner = self.shape(node.input[0])
            perm = next((list(item.ints) for item in node.attribute if item.name == "perm"), None)
            return None if inner is None else tuple(inner[axis] for axis in perm or reversed(range(len(inner))))
        return None

    def strip(self, name: str) -> str:
        """Pass over the nodes that only reshape and return the value they start from."""
        for _ in range(MAX_STEPS):
            node = self.graph.producers.get(name)
            if node is None or node.op_type not in _RESHAPING:
                return name
            name = node.input[0]
        raise StructureError(f"more than {MAX_STEPS} reshaping nodes in a row")

    def skip(self, name: str) -> str:
        """Pass over what keeps or cuts numbers, scales them all alike, or masks them."""
        for _ in range(MAX_STEPS):
            node = self.graph.producers.get(name)
            if node is None:
                return name
            before = self._before(node)
            if before is None:
                return name
            name = before
        raise StructureError(f"more than {MAX_STEPS} nodes in a row that only reshape and mask")

    def _before(self, node: onnx.NodeProto) -> str | None:
        if node.op_type in _RESHAPING or node.op_type in _CUTTING:
            return str(node.input[0])
        if node.op_type == "Where":
            sides = [name for name in node.input[1:] if not self.constant(name)]
            return sides[0] if len(sides) == 1 else None
        if node.op_type == "Concat":  # the older way to shift positions: zeros before
            sides = [name for name in node.input if not self.constant(name) and self.op(name) != "ConstantOfShape"]
            return sides[0] if len(sides) == 1 else None
        return self.unscaled(node)

    def unscaled(self, node: onnx.NodeProto) -> str | None:
        """Return the value that a Mul or Div node scales by one number, or None."""
        if node.op_type not in {"Mul", "Div"}:
            return None
        sides = [name for name in node.input if not self.constant(name)]
        numbers = [name for name in node.input if self.constant(name)]
        if len(sides) != 1 or len(numbers) != 1 or (node.op_type == "Div" and node.input[0] != sides[0]):
            return None
        shape = self.shape(numbers[0])
        return sides[0] if shape is None or prod(shape) == 1 else None

    def split(self, node: onnx.NodeProto) -> tuple[int, str] | None:
        """Return which input of an Add or Mul node is constant, and the other one, or None."""
        constants = [index for index, name in enumerate(node.input) if self.constant(name)]
        return (constants[0], node.input[1 - constants[0]]) if len(node.input) == 2 and len(constants) == 1 else None

    def linear(self, name: str, role: str) -> Found:
        """Recognise y = W x + b at a value: MatMul or Gemm, or a convolution over one position.

        Raises
        ------
        StructureError
            Where the value is made in another way.
        """
        node, places = self.maker(self.strip(name)), []
        if node.op_type == "Add" and (split := self.split(node)) is not None:
            places.append(Place(node, split[0], Recipe("plain", (f"{role}.bias",))))
            node = self.maker(self.strip(split[1]))
        if node.op_type == "Conv" and self.constant(node.input[1]):
            return Found((*self.convolution(node, role), *places), node.input[0])
        if node.op_type not in {"MatMul", "Gemm"} or not self.constant(node.input[1]):
            raise StructureError(f"a {node.op_type} node stands where the layer {role} is expected")
        options = {item.name: item for item in node.attribute}
        plain = node.op_type == "Gemm" and "transB" in options and bool(options["transB"].i)
        if any(options[key].f != 1 for key in ("alpha", "beta") if key in options) or (
            "transA" in options and options["transA"].i
        ):
            raise StructureError(f"a Gemm node with a factor or a transposed input makes {role}")
        places.append(Place(node, 1, Recipe("plain" if plain else "transposed", (f"{role}.weight",))))
        if len(node.input) > 2 and node.input[2]:
            places.append(Place(node, 2, Recipe("plain", (f"{role}.bias",))))
        return Found(tuple(places), node.input[0])

    def convolution(self, node: onnx.NodeProto, role: str) -> tuple[Place, ...]:
        """Return the places of a Conv node's weight and bias."""
        places = [Place(node, 1, Recipe("plain", (f"{role}.weight",)))]
        if len(node.input) > 2 and node.input[2]:
            places.append(Place(node, 2, Recipe("plain", (f"{role}.bias",))))
        return tuple(places)

    def layer_norm(self, name: str, role: str) -> Found:
        """Recognise a layer norm, one node or its parts.

        Raises
        ------
        StructureError
            Where the value is made in another way.
        """
        name = self.strip(name)
        node = self.maker(name)
        if node.op_type == "LayerNormalization":
            places = [Place(node, 1, Recipe("plain", (f"{role}.weight",)))]
            if len(node.input) > 2 and node.input[2]:
                places.append(Place(node, 2, Recipe("plain", (f"{role}.bias",))))
            return Found(tuple(places), node.input[0])
        shift = self.split(node) if node.op_type == "Add" else None
        scaled = self.maker(shift[1]) if shift is not None else node
        scale = self.split(scaled) if shift is not None and scaled.op_type == "Mul" else None
        if shift is None or scale is None or self.op(scale[1]) != "Div":
            raise StructureError(f"a {node.op_type} node stands where the layer norm {role} is expected")
        centred = self.maker(self.strip(self.maker(scale[1]).input[0]))
        if centred.op_type != "Sub" or self.op(centred.input[1]) != "ReduceMean":
            raise StructureError(f"what makes {role} divides something else than centred numbers")
        return Found(
            (
                Place(scaled, scale[0], Recipe("plain", (f"{role}.weight",))),
                Place(node, shift[0], Recipe("plain", (f"{role}.bias",))),
            ),
            centred.input[0],
        )
