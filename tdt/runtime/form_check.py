"""Which providers can run the forms in which a graph holds its weights; asked before anything is built.

What is claimed, and why. CUDA: the kernels that onnxruntime-gpu 1.31's library registers (MatMulNBits of 2, 4 and 8
bits, GatherBlockQuantized, DequantizeLinear of 8 and 4 bits and float8; none for quantisation at run time), and the
placement of such graphs by the real provider over a runtime that does nothing. TensorRT: what the parser of
TensorRT-RTX 1.7, which is of one family with TensorRT 10's, says to them: MatMulNBits is refused; Q/DQ has to be int8,
or int4 of whole blocks, without zero points; uint8 and uint4 are refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdt.errors import ProviderError
from tdt.onnxfile import load_model, weight_forms
from tdt.runtime.placement import DYNAMIC_QUANTISATION, dynamic_quantisation

if TYPE_CHECKING:
    from tdt.onnxfile import GraphInfo
    from tdt.runtime.backend import Backend

_BLOCK_OPERATORS = ("MatMulNBits", "GatherBlockQuantized")
_ROUNDERS = ("QuantizeLinear", "DequantizeLinear")
_NO_CUDA_LEVELS = frozenset({"int16", "uint16", "int2", "uint2"})
_TENSORRT_LEVELS = frozenset({"int8", "int4", "float8e4m3fn"})


def require_kernels(graph: GraphInfo, backend: Backend) -> None:
    """Refuse a graph whose weights are in a form that a provider cannot run.

    Raises
    ------
    ProviderError
        With the reason and the cure.
    """
    problem = form_problem(graph, backend.provider)
    if not problem:
        return
    if any(graph.ops.get(name) for name in DYNAMIC_QUANTISATION):
        raise dynamic_quantisation(graph.path.name, str(backend), graph.ops)
    elsewhere = 'provider="cuda" or "cpu"' if not form_problem(graph, "cuda") else 'provider="cpu"'
    raise ProviderError(
        f"{graph.path.name} cannot run on {backend}: {problem}. Load it with {elsewhere}, or use the float32 model on "
        f"{backend}, as it is or made static Q/DQ by `tdt quantize`."
    )


def form_problem(graph: GraphInfo, provider: str) -> str:
    """Return why a provider cannot run a graph's forms; nothing where it can.

    Parameters
    ----------
    graph : GraphInfo
    provider : {"cpu", "cuda", "tensorrt", "tensorrt-rtx"}
    """
    if provider == "cpu":
        return ""
    dynamic = [f"{graph.ops[name]} {name}" for name in DYNAMIC_QUANTISATION if graph.ops.get(name)]
    if dynamic:
        return f"no device has kernels for {', '.join(dynamic)}"
    if provider == "cuda":
        levels = {form.dtype for form in weight_forms(graph) if form.operator in _ROUNDERS} & _NO_CUDA_LEVELS
        return f"CUDA has no kernels for Q/DQ of {', '.join(sorted(levels))}" if levels else ""
    return _tensorrt_problem(graph)


def _tensorrt_problem(graph: GraphInfo) -> str:
    forms = weight_forms(graph)
    blocks = [
        f"{form.count} {form.operator} of {form.bits} bits" for form in forms if form.operator in _BLOCK_OPERATORS
    ]
    if blocks:
        return f"TensorRT's parser knows no {' and no '.join(blocks)}"
    levels = {form.dtype for form in forms if form.operator in _ROUNDERS} - _TENSORRT_LEVELS
    if levels:
        return f"its Q/DQ nodes are of {', '.join(sorted(levels))}, and TensorRT takes int8, and int4 weights, alone"
    if _broken_blocks(graph):
        return "its weights are in blocks that do not divide their length, and TensorRT takes whole blocks alone"
    if any(form.operator in _ROUNDERS and form.zero_points for form in forms) and _shifted(graph):
        return "its Q/DQ nodes have zero points other than 0, and TensorRT takes symmetric ones alone"
    return ""


def _broken_blocks(graph: GraphInfo) -> bool:
    for node in graph.nodes:
        block, axis = (node.ints.get(name, (usual,))[0] for name, usual in (("block_size", 0), ("axis", 1)))
        stored = graph.tensors.get(node.inputs[0]) if node.op_type == "DequantizeLinear" and block else None
        if stored is not None and (not -len(stored.shape) <= axis < len(stored.shape) or stored.shape[axis] % block):
            return True
    return False


def _shifted(graph: GraphInfo) -> bool:
    """Return whether a Q or DQ node has a zero point other than 0, as far as they lie in the file itself."""
    from onnx import TensorProto, numpy_helper

    model = load_model(graph.path, weights=False)
    names = {node.input[2] for node in model.graph.node if node.op_type in _ROUNDERS and len(node.input) > 2}
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    tensors |= {
        node.output[0]: item.t
        for node in model.graph.node
        if node.op_type == "Constant"
        for item in node.attribute
        if item.name == "value"
    }
    zeros = [tensors[name] for name in names if name in tensors]
    return any(
        numpy_helper.to_array(tensor).astype("int32").any()
        for tensor in zeros
        if tensor.data_location != TensorProto.EXTERNAL
    )
