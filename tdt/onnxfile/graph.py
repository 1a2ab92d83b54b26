"""Look into an ONNX file: ports, metadata, shapes of weights, kind of quantisation. No weights are loaded."""

from __future__ import annotations

import mmap
import os
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tdt.errors import ModelFileCorruptError
from tdt.onnxfile.content import foreign_content, size_of
from tdt.onnxfile.external import ExternalRef, check_external, declared_external
from tdt.onnxfile.proto import Model, read_model
from tdt.onnxfile.wire import WireError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tdt.onnxfile.graph_parts import Node, Port, Tensor

Quantization = Literal["float", "half", "dynamic", "qdq", "weight-only"]
Body = Literal["float32", "float16", "bfloat16"]

_DYNAMIC_OPS = frozenset(
    {
        "ConvInteger",
        "DynamicQuantizeLinear",
        "DynamicQuantizeLSTM",
        "DynamicQuantizeMatMul",
        "MatMulInteger",
        "MatMulIntegerToFloat",
    }
)
_STATIC_OPS = frozenset({"QuantizeLinear", "QLinearConv", "QLinearMatMul", "QLinearAdd", "QGemm"})
_WEIGHT_OPS = frozenset({"DequantizeLinear", "MatMulNBits", "GatherBlockQuantized"})
_LOOKUPS = frozenset({"Gather", "GatherBlockQuantized"})
_LINEAR_OPS = frozenset({"MatMul", "Gemm", "MatMulInteger", "Conv", "Add"})
# Their second input is a constant whose type is that of the result.
_TYPED_OPS = frozenset({"Conv", "DequantizeLinear", "Gemm", "MatMul"})
_TRANSPARENT_OPS = frozenset({"Cast", "DequantizeLinear", "Identity", "QuantizeLinear"})


@dataclass(frozen=True)
class GraphInfo:
    """What an ONNX file says about itself.

    Parameters
    ----------
    path : Path
        The file, as it was given.
    inputs, outputs : tuple of Port
        In graph order; initializers that old exporters list among the inputs are left out.
    metadata : mapping of str to str
        The model's custom metadata.
    nodes : tuple of Node
        Nodes of the main graph; those of subgraphs count in `ops` only.
    tensors : mapping of str to Tensor
        Initializers and constants of the main graph by name.
    ops : mapping of str to int
        Operators by count, subgraphs and functions included.
    external : tuple of ExternalRef
        External weights, all checked to lie inside the model's folder.
    file_bytes : int
        Size of the file itself.
    """

    path: Path
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    metadata: Mapping[str, str]
    nodes: tuple[Node, ...]
    tensors: Mapping[str, Tensor]
    ops: Mapping[str, int]
    external: tuple[ExternalRef, ...]
    file_bytes: int
    ir_version: int
    opsets: Mapping[str, int]
    producer: str

    @property
    def quantization(self) -> Quantization:
        """Kind of quantisation, told by the operators; "half" where most of a float graph's weights are float16."""
        if any(op in self.ops for op in _DYNAMIC_OPS):
            return "dynamic"
        if any(op in self.ops for op in _STATIC_OPS):
            return "qdq"
        if any(op in self.ops for op in _WEIGHT_OPS):
            return "weight-only"
        sizes = Counter[str]()
        for tensor in self.tensors.values():
            sizes[tensor.dtype] += tensor.bytes
        return "half" if sizes["float16"] > sizes["float32"] else "float"

    @property
    def body(self) -> Body:
        """Numbers that most products are stated in: those of constant matrices, or of the scales of 8-bit ones."""
        counts: dict[Body, int] = dict.fromkeys(("float32", "float16", "bfloat16"), 0)
        for node in self.nodes:
            if node.op_type in _TYPED_OPS and len(node.inputs) > 1:
                tensor = self.tensors.get(node.inputs[1])
                for known in counts:
                    counts[known] += tensor is not None and tensor.dtype == known
        return max(counts, key=lambda known: counts[known])

    @property
    def external_bytes(self) -> int:
        """Bytes of weights outside the file."""
        return sum(ref.bytes for ref in self.external)

    @property
    def weights_folder(self) -> Path:
        """Folder that holds the external weights: the graph's own, unless links lead all of them to another one.

        Runtimes refuse links out of a model's folder, as the hub's cache has them; :func:`load_model` names the files
        that lie in this folder.
        """
        home = Path(os.path.realpath(self.path.parent))
        homes = {ref.file.parent for ref in self.external if not ref.file.is_relative_to(home)}
        return homes.pop() if len(homes) == 1 else self.path.parent

    @cached_property
    def producers(self) -> dict[str, Node]:
        """The node that makes each value of the main graph."""
        return {name: node for node in self.nodes for name in node.outputs if name}

    @property
    def position_rows(self) -> int | None:
        """Encoder frames the relative-position table reaches, or None where there is no such table.

        NeMo's table has shape ``[1, 2 L - 1, d]`` and is sliced to the length at hand; encoders of `tdt quantize`
        hold half of it and say L in their metadata.
        """
        stated = self.metadata.get("max_encoder_frames", "")
        if stated.isdecimal() and int(stated) > 0:
            return int(stated)
        reaches = []
        for node in self.nodes:
            if node.op_type == "Slice" and node.inputs:
                tensor = self.constant_behind(node.inputs[0])
                if tensor is not None and tensor.is_float and len(tensor.shape) == 3 and tensor.shape[0] == 1:
                    rows = tensor.shape[1]
                    if rows % 2 == 1 and rows > 1:
                        reaches.append((rows + 1) // 2)
        return min(reaches, default=None)

    @property
    def embedding_rows(self) -> int | None:
        """Rows of the prediction network's embedding, or None where none is found."""
        rows = []
        for node in self.nodes:
            if node.op_type in _LOOKUPS and node.inputs:
                tensor = self.constant_behind(node.inputs[0])
                if tensor is not None and len(tensor.shape) == 2:
                    rows.append(tensor.shape[0])
        return max(rows, default=None)

    @property
    def time_stride(self) -> int:
        """Product of the convolutions' strides along time: the subsampling of a convolutional front end."""
        product = 1
        for node in self.nodes:
            strides = node.ints.get("strides", ()) if node.op_type.startswith(("Conv", "QLinearConv")) else ()
            product *= strides[0] if strides and strides[0] > 0 else 1
        return product

    def constant_behind(self, name: str) -> Tensor | None:
        """Return the weight that value `name` is, seen through casts and dequantisation."""
        for _ in range(8):
            if name in self.tensors:
                return self.tensors[name]
            node = self.producers.get(name)
            if node is None or node.op_type not in _TRANSPARENT_OPS or not node.inputs:
                return None
            name = node.inputs[0]
        return None

    def width_of(self, name: str) -> int | None:
        """Return the last dimension of value `name`, from the weights of the linear layer that makes it."""
        for _ in range(16):
            node = self.producers.get(name)
            if node is None or not node.inputs:
                return None
            if node.op_type == "MatMulNBits" and "N" in node.ints:
                return node.ints["N"][0]
            if node.op_type in _LINEAR_OPS:
                shapes = [tensor.shape for tensor in map(self.constant_behind, node.inputs) if tensor is not None]
                widths = [shape[-1] for shape in shapes if shape]
                if widths:
                    return widths[0]
            name = next((value for value in node.inputs if value in self.producers), "")
        return None


def read_graph(path: Path, *, check: bool = True) -> GraphInfo:
    """Read the structure of the ONNX file at `path`; weights stay on disk.

    Parameters
    ----------
    path : Path
        The file.
    check : bool
        Whether external weights have to be there already; without, only their locations are checked.

    Raises
    ------
    ModelFileNotFoundError
        Where there is no such file.
    ModelFileCorruptError
        Where the file is empty, cut short, or is something else.
    ExternalDataError
        Where external weights are missing, too short, or outside the model's folder.
    """
    size = size_of(path)
    try:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as buffer:
            problem = foreign_content(buffer[:512])
            model = Model() if problem else read_model(buffer)
    except WireError as error:
        raise ModelFileCorruptError(path, f"it is not a whole ONNX graph ({error})") from error
    except (OSError, ValueError) as error:
        raise ModelFileCorruptError(path, f"the system refuses ({error})") from error
    if problem:
        raise ModelFileCorruptError(path, problem)
    outside = [tensor for tensor in model.all_tensors if tensor.external is not None]
    external = check_external(path, outside) if check else declared_external(path, outside)
    return _info(path, size, model, external)


def _info(path: Path, size: int, model: Model, external: tuple[ExternalRef, ...]) -> GraphInfo:
    if not model.nodes or not model.outputs:
        raise ModelFileCorruptError(path, "it holds no graph with nodes and outputs (an ONNX file that was cut short?)")
    return GraphInfo(
        path=path,
        inputs=tuple(port for port in model.inputs if port.name not in model.initializers),
        outputs=tuple(model.outputs),
        metadata=model.metadata,
        nodes=tuple(model.nodes),
        tensors=model.initializers | model.constants,
        ops=Counter(model.ops),
        external=external,
        file_bytes=size,
        ir_version=model.ir_version,
        opsets=model.opsets,
        producer=model.producer,
    )
