"""Which provider runs which node, and whether a node on the CPU does more than work out shapes."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tdt.errors import ProviderError
from tdt.protocols import Node

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import onnx

# ONNX Runtime keeps integer arithmetic on shapes on the CPU on purpose: a device would have to send it back.
SHAPE_OPERATORS = frozenset([
    "Add", "And", "Cast", "Concat", "Constant", "ConstantOfShape", "Div", "Equal", "Expand", "Floor", "Gather",
    "Greater", "GreaterOrEqual", "Identity", "Less", "LessOrEqual", "Max", "Min", "Mod", "Mul", "Not", "Or", "Range",
    "ReduceProd", "Reshape", "ScatterND", "Shape", "Size", "Slice", "Split", "Squeeze", "Sub", "Tile", "Transpose",
    "Unsqueeze", "Where",
])  # fmt: skip
DYNAMIC_QUANTISATION = ("DynamicQuantizeLinear", "MatMulInteger", "ConvInteger", "DynamicQuantizeLSTM")
_FLOATS = frozenset({1, 10, 11, 16})  # float32, float16, float64, bfloat16
_FLOAT, _INT64, _BOOL = 1, 7, 9
_FIXED_TYPES = {
    **dict.fromkeys(("ArgMax", "ArgMin", "NonZero", "Shape", "Size"), _INT64),
    **dict.fromkeys(("And", "Equal", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less", "LessOrEqual"), _BOOL),
    **dict.fromkeys(("Not", "Or"), _BOOL),
    **dict.fromkeys(("ConvInteger", "MatMulInteger"), 6),
    "DynamicQuantizeLinear": _FLOAT,
    "QuantizeLinear": 3,
}
_CPU = "CPUExecutionProvider"


def classify(assigned: Iterable[tuple[str, str, str]], floats: Mapping[str, bool] | None = None) -> list[Node]:
    """Tell shape arithmetic from computation.

    Parameters
    ----------
    assigned : iterable of (provider, name, operator)
    floats : mapping of str to bool, optional
        Whether a node, by name, puts out floating-point numbers: such a node is no shape arithmetic,
        whatever its operator.
    """
    known = floats or {}
    return [
        Node(name, operator, provider, operator not in SHAPE_OPERATORS or known.get(name, False))
        for provider, name, operator in assigned
    ]


def float_outputs(model: onnx.ModelProto) -> dict[str, bool]:
    """Return by name whether nodes of shape operators put out floating-point tensors; others are not told.

    ONNX's own inference of all shapes would take most of a second for an encoder of 24 layers; here types alone are
    followed back, to a Cast, a constant, a port or an operator that fixes its type.
    """
    graph = model.graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.value_info)}
    types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    for node in graph.node:  # in the order of computation: what a node reads is known
        types |= dict.fromkeys(filter(None, node.output), _type_of(node, types))
    return {
        node.name: types.get(node.output[0]) in _FLOATS
        for node in graph.node
        if node.name and node.op_type in SHAPE_OPERATORS
    }


def _type_of(node: onnx.NodeProto, types: Mapping[str, int]) -> int:
    """Return the element type that a node puts out, as ONNX numbers it; 0 where it is not known."""
    if node.op_type in _FIXED_TYPES:
        return _FIXED_TYPES[node.op_type]
    for attribute in node.attribute:
        if node.op_type == "Cast" and attribute.name == "to":
            return int(attribute.i)
        if node.op_type in ("Constant", "ConstantOfShape"):
            numbers = {"value": attribute.t.data_type, "value_int": _INT64, "value_ints": _INT64}
            return int(numbers.get(attribute.name, _FLOAT))
    if node.op_type == "ConstantOfShape":
        return _FLOAT
    first = 1 if node.op_type in ("DequantizeLinear", "Where") else 0
    return next((types[name] for name in node.input[first:] if types.get(name)), 0)


def count(nodes: Iterable[Node]) -> dict[str, Counter[str]]:
    """Return operators and how many, by provider."""
    table: dict[str, Counter[str]] = {}
    for node in nodes:
        table.setdefault(node.provider, Counter())[node.operator] += 1
    return table


def computing_on_cpu(nodes: Iterable[Node]) -> Counter[str]:
    """Return the operators that compute on the CPU, and how many."""
    return Counter(node.operator for node in nodes if node.provider == _CPU and node.computes)


def require_on_device(nodes: Iterable[Node], graph: str, provider: str) -> None:
    """Refuse a graph of which a computing node lands on the CPU.

    Raises
    ------
    ProviderError
        Naming the operators, and what to do.
    """
    found = computing_on_cpu(nodes)
    if not found:
        return
    listed = ", ".join(f"{number} {operator}" for operator, number in found.most_common(8))
    if any(operator in found for operator in DYNAMIC_QUANTISATION):
        raise dynamic_quantisation(graph, provider, found)
    raise ProviderError(
        f"{graph} does not run on {provider} alone: {found.total()} computing nodes land on the CPU ({listed}). Every "
        'step would copy back and forth. Use a float32 or a static Q/DQ export of the model, or provider="cpu".'
    )


def dynamic_quantisation(graph: str, provider: str, operators: Mapping[str, int]) -> ProviderError:
    """Return the error for a dynamically quantised graph on a device."""
    listed = ", ".join(f"{operators[name]} {name}" for name in DYNAMIC_QUANTISATION if operators.get(name))
    return ProviderError(
        f"{graph} is dynamically quantised ({listed}): no device has kernels for these nodes, they would run on the "
        f"CPU with copies around each, slower than the CPU alone. On {provider} use the float32 model "
        '(precision="float32") or make a static Q/DQ one with `tdt quantize`; the 8-bit model as it is runs with '
        'provider="cpu".'
    )
