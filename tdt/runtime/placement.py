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
    """Return by node name whether a node of the graph puts out floating-point tensors; unknown types are left out."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(model).graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.output)}
    return {
        node.name: any(types[name] in _FLOATS for name in node.output if name in types)
        for node in graph.node
        if node.name
    }


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
