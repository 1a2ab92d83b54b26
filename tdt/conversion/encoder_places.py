"""Where the encoder's weights are, found from its output backwards: a FastConformer's branches, layer by layer.

A branch is known by its end: its layer norm must read the very value that the branch is added to. What a layer is
called in the graph does not matter.

Source: NeMo 3.0.0 `asr/parts/submodules/conformer_modules.py`, `multi_head_attention.py`, `subsampling.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tdt.conversion.recipes import Recipe
from tdt.conversion.tracing import Found, Place, Tracer
from tdt.onnxfile import StructureError

if TYPE_CHECKING:
    import onnx

    from tdt.surgery import EditableGraph

MOST_LAYERS = 256
_BATCH_NORM = ("weight", "bias", "running_mean", "running_var")

_Reader = Callable[[str, str], Found]


@dataclass(frozen=True, slots=True)
class EncoderPlaces:
    """The encoder's weights, and what its structure says about it.

    Parameters
    ----------
    places : tuple of Place
    layers : int
    scaled : bool
        Whether its input is multiplied by a number before the first layer.
    """

    places: tuple[Place, ...]
    layers: int
    scaled: bool


def encoder_places(graph: EditableGraph) -> EncoderPlaces:
    """Find the weights of an encoder.

    Raises
    ------
    StructureError
        Where it is built in another way than a FastConformer with relative positions.
    """
    reader = _Encoder(graph)
    value = reader.trace.strip(reader.trace.outputs[0])
    layers: list[tuple[Found, ...]] = []
    while reader.is_norm(value):
        if len(layers) == MOST_LAYERS:
            raise StructureError(f"more than {MOST_LAYERS} layers")
        found = reader.layer(value)
        layers.append(found)
        value = reader.trace.strip(found[-1].source)
    if not layers:
        raise StructureError("the encoder's output does not come from a layer norm")
    unscaled = reader.trace.unscaled(reader.trace.maker(value))
    places = list(reader.front(value if unscaled is None else unscaled))
    for index, layer in enumerate(reversed(layers)):
        for branch in layer:
            places += [_numbered(place, index) for place in branch.places]
    return EncoderPlaces(tuple(places), len(layers), unscaled is not None)


def _numbered(place: Place, index: int) -> Place:
    recipe = place.recipe
    names, optional = ([f"encoder.layers.{index}.{name}" for name in part] for part in (recipe.names, recipe.optional))
    return Place(place.node, place.index, Recipe(recipe.way, tuple(names), tuple(optional)))


class _Encoder:
    def __init__(self, graph: EditableGraph) -> None:
        self.trace = Tracer(graph)

    def is_norm(self, value: str) -> bool:
        try:
            self.trace.layer_norm(value, "norm_out")
        except StructureError:
            return False
        return True

    def layer(self, value: str) -> tuple[Found, ...]:
        """Return the parts of the layer whose output is `value`; the last one's source is the layer's input."""
        norm = self.trace.layer_norm(value, "norm_out")
        second = self._branch(norm.source, "feed_forward2", self._feed_forward)
        convolution = self._branch(second.source, "conv", self._convolution)
        attention = self._branch(convolution.source, "self_attn", self._attention)
        first = self._branch(attention.source, "feed_forward1", self._feed_forward)
        return norm, second, convolution, attention, first

    def _branch(self, value: str, role: str, read: _Reader) -> Found:
        """Read the branch that is added to a residual; its source is the residual."""
        node = self.trace.maker(self.trace.strip(value))
        if node.op_type != "Add":
            raise StructureError(f"a {node.op_type} node stands where {role} is added to its input")
        problem = ""
        for branch, residual in (tuple(node.input), tuple(node.input)[::-1]):
            try:
                found = read(branch, role)
            except StructureError as error:
                problem = problem or str(error)
                continue
            if self.trace.strip(found.source) == self.trace.strip(residual):
                return Found(found.places, residual)
        raise StructureError(problem or f"{role} does not start from what it is added to")

    def _feed_forward(self, value: str, role: str) -> Found:
        second = self.trace.linear(self.trace.skip(value), f"{role}.linear2")
        first = self.trace.linear(self._swish(second.source), f"{role}.linear1")
        norm = self.trace.layer_norm(first.source, f"norm_{role}")
        return Found((*norm.places, *first.places, *second.places), norm.source)

    def _swish(self, value: str) -> str:
        """Return x of x · sigmoid(x), two nodes or one."""
        node = self.trace.maker(self.trace.strip(value))
        if node.op_type in {"Swish", "Silu"}:
            return str(node.input[0])
        if node.op_type == "Mul":
            for one, other in (tuple(node.input), tuple(node.input)[::-1]):
                if self.trace.op(other) == "Sigmoid" and self.trace.maker(other).input[0] == one:
                    return str(one)
        raise StructureError(f"a {node.op_type} node stands where x · sigmoid(x) is expected")

    def _attention(self, value: str, role: str) -> Found:
        trace = self.trace
        out = trace.linear(value, f"{role}.linear_out")
        mix = self._product(out.source)
        softmax = trace.maker(trace.skip(mix.input[0]))
        if softmax.op_type != "Softmax":
            raise StructureError(f"a {softmax.op_type} node stands where attention's softmax is expected")
        values = trace.linear(trace.skip(mix.input[1]), f"{role}.linear_v")
        total = trace.maker(trace.skip(softmax.input[0]))
        if total.op_type != "Add":
            raise StructureError("attention does not add scores by content and by position")
        norm = trace.layer_norm(values.source, "norm_self_att")
        places = [*norm.places, *out.places, *values.places]
        kinds = set()
        for side in total.input:
            scores = self._product(trace.skip(side))
            keys = trace.linear(trace.skip(scores.input[1]), "keys")
            by_content = trace.strip(keys.source) == trace.strip(values.source)
            kinds.add(by_content)
            places += trace.linear(trace.skip(scores.input[1]), f"{role}.linear_{'k' if by_content else 'pos'}").places
            places += self._queries(scores.input[0], role, "u" if by_content else "v", values.source)
        if kinds != {True, False}:
            raise StructureError("attention has not one score by content and one by position")
        return Found(tuple(places), norm.source)

    def _product(self, value: str) -> onnx.NodeProto:
        """Return the MatMul node of two values that both depend on the audio."""
        node = self.trace.maker(self.trace.skip(value))
        if node.op_type != "MatMul" or any(self.trace.constant(name) for name in node.input):
            raise StructureError(f"a {node.op_type} node stands where attention multiplies two values")
        return node

    def _queries(self, value: str, role: str, bias: str, source: str) -> tuple[Place, ...]:
        """Return the places of the query's layer and of the bias that is added to it."""
        node = self.trace.maker(self.trace.skip(value))
        split = self.trace.split(node) if node.op_type == "Add" else None
        if split is None:
            raise StructureError(f"no bias is added to the queries (pos_bias_{bias})")
        queries = self.trace.linear(split[1], f"{role}.linear_q")
        if self.trace.strip(queries.source) != self.trace.strip(source):
            raise StructureError("queries and values start from different inputs")
        return (*queries.places, Place(node, split[0], Recipe("plain", (f"{role}.pos_bias_{bias}",))))

    def _convolution(self, value: str, role: str) -> Found:
        trace = self.trace
        second = trace.linear(value, f"{role}.pointwise_conv2")
        normed = trace.maker(trace.strip(self._swish(trace.strip(second.source))))
        depthwise, places = self._depthwise(normed, role)
        gate = trace.maker(trace.skip(depthwise.input[0]))
        halves = [trace.skip(name) for name in gate.input] if gate.op_type == "Mul" else []
        gates = [trace.maker(name) for name in halves if trace.op(name) == "Sigmoid"]
        if len(halves) != 2 or len(gates) != 1:
            raise StructureError(f"a {gate.op_type} node stands where the gated linear unit is expected")
        first = trace.linear(self._whole(gates[0].input[0]), f"{role}.pointwise_conv1")
        norm = trace.layer_norm(first.source, "norm_conv")
        return Found((*norm.places, *first.places, *places, *second.places), norm.source)

    def _whole(self, half: str) -> str:
        """Return the value that a half is split or sliced from."""
        node = self.trace.maker(self.trace.strip(half))
        return str(node.input[0]) if node.op_type in {"Split", "Slice"} else half

    def _depthwise(self, node: onnx.NodeProto, role: str) -> tuple[onnx.NodeProto, tuple[Place, ...]]:
        """Return the depthwise convolution and its places, the batch norm behind it folded into it or not."""
        weight, bias = f"{role}.depthwise_conv.weight", f"{role}.depthwise_conv.bias"
        norms = tuple(f"{role}.batch_norm.{name}" for name in _BATCH_NORM)
        if node.op_type == "BatchNormalization":
            convolution = self.trace.maker(self.trace.strip(node.input[0]))
            places = [Place(node, index, Recipe("plain", (name,))) for index, name in enumerate(norms, 1)]
            places += self.trace.convolution(convolution, f"{role}.depthwise_conv")
        else:
            convolution = node
            if node.op_type != "Conv" or len(node.input) < 3 or not node.input[2]:
                raise StructureError(f"a {node.op_type} node stands where the depthwise convolution is expected")
            places = [
                Place(node, 1, Recipe("folded weight", (weight, *norms), (bias,))),
                Place(node, 2, Recipe("folded bias", (weight, *norms), (bias,))),
            ]
        if convolution.op_type != "Conv":
            raise StructureError(f"a {convolution.op_type} node stands where the depthwise convolution is expected")
        return convolution, tuple(places)

    def front(self, value: str) -> tuple[Place, ...]:
        """Return the places of the convolutions that shorten the input, and of the layer behind them."""
        out = self.trace.linear(value, "encoder.pre_encode.out")
        places, index = list(out.places), 0
        for node in self._convolutions(out.source):
            places += self.trace.convolution(node, f"encoder.pre_encode.conv.{index}")
            # In torch's Sequential, an activation stands after the first one and after each pointwise one.
            depthwise = any(item.name == "group" and item.i > 1 for item in node.attribute)
            index += 1 if depthwise else 2
        return tuple(places)

    def _convolutions(self, value: str) -> list[onnx.NodeProto]:
        """Return the convolutions that a value depends on, the first one first."""
        found: list[onnx.NodeProto] = []
        seen: set[str] = set()
        pending = [(value, False)]
        while pending:
            name, done = pending.pop()
            node = self.trace.graph.producers.get(name)
            if node is None or (name in seen and not done):
                continue
            if done:
                found += [node] if node.op_type == "Conv" else []
                continue
            seen.add(name)
            pending.append((name, True))
            pending.extend((item, False) for item in node.input if item and item not in seen)
        if not found:
            raise StructureError("no convolutions shorten the input")
        return found
