"""The float encoder to be quantised: its prepared graph, and a session that gives its activations."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tdt.errors import QuantizationError
from tdt.onnxfile import weight_forms
from tdt.quantization.parts import Linear, find_linears
from tdt.quantization.placing import PLACED_BYTES, SINGLE_FILE_BYTES, WeightFile
from tdt.surgery import EditableGraph, SurgeryReport, prepare_encoder, widen

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt
    import onnx

    from tdt.model import FoundModel
    from tdt.onnxfile import GraphInfo
    from tdt.runtime import Backend
    from tdt.spec import ModelSpec
    from tdt.stages import Features, Float32


@dataclass(frozen=True, slots=True)
class SourceModel:
    """A float model and its encoder graph in float32, after the exact rewrites.

    Parameters
    ----------
    found : FoundModel
        Files, numbers and graphs of the model.
    encoder : onnx.ModelProto
        The rewritten graph; large weights that no rewrite touched are references into `folder`.
    folder : Path
        Where external weights lie.
    linears : tuple of Linear
        Its matrix products with constant matrices.
    surgery : SurgeryReport
        What the rewrites did.
    """

    found: FoundModel
    encoder: onnx.ModelProto
    folder: Path
    linears: tuple[Linear, ...]
    surgery: SurgeryReport

    @property
    def spec(self) -> ModelSpec:
        """The model's numbers."""
        return self.found.spec

    def graph(self) -> EditableGraph:
        """Return a copy of the encoder for editing."""
        import onnx

        copy = onnx.ModelProto()
        copy.CopyFrom(self.encoder)
        return EditableGraph(copy, self.folder)


@contextmanager
def open_source(model: str | Path | None) -> Iterator[SourceModel]:
    """Find a float model and rewrite its encoder; a context, in which the weights of a large one may be read.

    An encoder in float16 is turned into float32 first, with the numbers that it has. Where that makes it large, its
    weights lie in the system's folder for temporary files until the context ends.

    Parameters
    ----------
    model : str, Path or None
        A folder or name; None for the bundled model. Of several precisions float32 is taken, else float16.

    Raises
    ------
    QuantizationError
        Where a graph is quantised already, or the encoder has no matrix products to quantise.
    ModelError
        Where the model cannot be read.
    """
    from tdt.model import inspect_model
    from tdt.onnxfile import load_model

    found = inspect_model(model)
    for role, graph in found.graphs.items():
        if graph.quantization not in ("float", "half"):
            raise _already(role, graph)
    info = found.graphs["encoder"]
    encoder, folder = load_model(found.files.encoder, weights=False), info.weights_folder
    with ExitStack() as stack:
        if _is_narrow(info):
            folder = _widened(EditableGraph(encoder, folder), info, stack)
        surgery = prepare_encoder(encoder, folder)
        linears = tuple(find_linears(EditableGraph(encoder, folder)))
        if not linears:
            raise QuantizationError(
                f"{found.files.encoder} has no matrix product with constant weights, so nothing can be quantised. "
                "A FastConformer encoder as NeMo exports it was expected; check the model with `tdt inspect`."
            )
        yield SourceModel(found, encoder, folder, linears, surgery)


def _is_narrow(info: GraphInfo) -> bool:
    return any(tensor.dtype in ("float16", "bfloat16") for tensor in info.tensors.values())


def _widened(graph: EditableGraph, info: GraphInfo, stack: ExitStack) -> Path:
    """Turn an encoder into float32, in place, and return the folder of its weights."""
    from onnx import numpy_helper

    if info.file_bytes + info.external_bytes <= SINGLE_FILE_BYTES // 2 and not info.external:
        widen(graph)
        return info.weights_folder
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tdt-float32-")))
    with WeightFile(folder / "encoder.data") as file:
        widen(
            graph,
            lambda name, array: (
                file.place(name, array) if array.nbytes >= PLACED_BYTES else numpy_helper.from_array(array, name)
            ),
        )
    return folder


def _already(role: str, graph: GraphInfo) -> QuantizationError:
    """Return the error for a graph that is not in floating point, which names its forms."""
    forms = "; ".join(map(str, weight_forms(graph)))
    return QuantizationError(
        f"{graph.path} is quantised already ({forms}); float32 or float16 was expected of the {role}. Give the model "
        "that it was made from."
    )


class EncoderProbe:
    """Runs the float encoder of a source model and gives chosen inner tensors.

    Parameters
    ----------
    source : SourceModel
        The model.
    tensors : sequence of str
        Names of inner values; the encoder's output comes on top, under its own name.
    backend : Backend
        Where it runs.
    threads : int, optional
        Threads inside an operator.
    """

    def __init__(
        self, source: SourceModel, tensors: Sequence[str], backend: Backend, threads: int | None = None
    ) -> None:
        from tdt.encoding import FeatureExtractor

        self._extract = FeatureExtractor(source.spec.n_mels, normalize=source.spec.normalize)
        self._tensors = list(tensors)
        self.session = _session(_with_outputs(source.encoder, self._tensors), source, backend, threads)
        self.output = self.session.outputs[0].name

    def features(self, samples: Float32) -> Features:
        """Return the model's features of one piece of audio."""
        return self._extract([samples])

    def run(self, features: Features) -> dict[str, Float32]:
        """Return the chosen tensors and the encoder's output for a batch."""
        wanted = [*self._tensors, self.output]
        values = self.session.run(feeds_of(self.session.inputs, features), wanted)
        return dict(zip(wanted, values, strict=True))

    def activations(self, samples: Float32) -> dict[str, Float32]:
        """Return the chosen tensors for one piece of audio."""
        values = self.run(self.features(samples))
        return {name: values[name] for name in self._tensors}

    def close(self) -> None:
        """Release the session."""
        self.session.close()


def feeds_of(inputs: Sequence[Any], features: Features) -> dict[str, npt.NDArray[Any]]:
    """Return an encoder's inputs by name."""
    return {
        inputs[0].name: np.ascontiguousarray(features.frames, np.float32),
        inputs[1].name: np.ascontiguousarray(features.lengths, np.int64),
    }


def _with_outputs(model: onnx.ModelProto, tensors: Sequence[str]) -> onnx.ModelProto:
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for name in tensors:
        copy.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    return copy


def _session(model: onnx.ModelProto, source: SourceModel, backend: Backend, threads: int | None) -> Any:
    from tdt.runtime import Session

    return Session(
        model.SerializeToString(),
        backend,
        threads=threads,
        external_folder=source.folder,
        name=source.found.files.encoder.name,
    )
