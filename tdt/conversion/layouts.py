"""The two layouts of a model: what their files are called, their metadata, and decoder and joint in one graph or two.

onnx-asr has prediction network and joint in one graph and the numbers in `config.json`; sherpa-onnx has two graphs, and
the numbers in the encoder's metadata. The graphs are cut, or joined, at the value that the joint projects: the top LSTM
layer's output. Nothing else of them changes, in float32 or in 8 bits.

Sources: NeMo 3.0.0 `rnnt.py: RNNTDecoderJoint` (the fused export); sherpa-onnx `scripts/nemo/parakeet-tdt-0.6b-v3` and
`csrc/offline-transducer-nemo-model.cc` (ports by position, metadata).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tdt.errors import UnsupportedLayoutError
from tdt.surgery import EditableGraph, in_one_opset

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import onnx

    from tdt.spec import Layout, ModelSpec, Precision

    Graphs = dict[str, EditableGraph]

VOCABULARY: dict[Layout, str] = {"onnx-asr": "vocab.txt", "sherpa-onnx": "tokens.txt"}
STEMS: dict[Layout, dict[str, str]] = {
    "onnx-asr": {"encoder": "encoder-model", "decoder_joint": "decoder_joint-model"},
    "sherpa-onnx": {"encoder": "encoder", "decoder": "decoder", "joiner": "joiner"},
}
_SUFFIX: dict[Precision, str] = {
    "float32": "", "float16": ".fp16", "int8": ".int8", "int4": ".int4", "int2": ".int2",
}  # fmt: skip
_LSTM = frozenset({"LSTM", "DynamicQuantizeLSTM"})
_FUSED_INPUTS = ("encoder_outputs", "targets", "target_length", "input_states_1", "input_states_2")
_FUSED_OUTPUTS = ("outputs", "prednet_lengths", "output_states_1", "output_states_2")


def file_names(layout: Layout, role: str, precision: Precision) -> tuple[str, str]:
    """Return the names of a graph's file and of the file for its external weights."""
    stem = STEMS[layout][role] + _SUFFIX[precision]
    return f"{stem}.onnx", f"{stem}.onnx.data" if layout == "onnx-asr" else f"{stem}.weights"


def config_json(spec: ModelSpec) -> bytes:
    """Return the content of `config.json` in the onnx-asr layout."""
    values = {
        "model_type": "nemo-conformer-tdt",
        "features_size": spec.n_mels,
        "subsampling_factor": spec.subsampling,
        "max_tokens_per_step": spec.max_symbols,
        "durations": list(spec.durations),
    }
    return (json.dumps(values) + "\n").encode()


def sherpa_metadata(spec: ModelSpec, name: str) -> dict[str, str]:
    """Return the metadata of the encoder in the sherpa-onnx layout; sherpa-onnx knows TDT by "tdt" in `url`."""
    values = {
        "vocab_size": str(spec.blank_id),
        "normalize_type": "per_feature" if spec.normalize == "per_feature" else "NA",
        "pred_rnn_layers": str(spec.predictor_layers),
        "pred_hidden": str(spec.predictor_hidden),
        "subsampling_factor": str(spec.subsampling),
        "model_type": "EncDecRNNTBPEModel",
        "version": "2",
        "model_author": "NeMo",
        "url": name if "tdt" in name else f"tdt: {name}",
        "comment": "Only the transducer branch is exported",
        "feat_dim": str(spec.n_mels),
    }
    usual = spec.durations == tuple(range(len(spec.durations)))
    return values if usual else {**values, "durations": ",".join(map(str, spec.durations))}


def set_metadata(model: onnx.ModelProto, values: Mapping[str, str]) -> None:
    """Let a model's metadata be `values` and nothing else."""
    del model.metadata_props[:]
    for key, value in values.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value


def in_layout(graphs: Graphs, layout: Layout, path: Path) -> Graphs:
    """Return a model's graphs as `layout` has them; `graphs` are edited and not to be used again.

    Raises
    ------
    UnsupportedLayoutError
        Where the prediction network's end is not found, or the graphs' operator sets cannot be brought together.
    """
    if layout == "sherpa-onnx" and "decoder_joint" in graphs:
        decoder, joiner = _split(graphs["decoder_joint"], path)
        return {"encoder": graphs["encoder"], "decoder": decoder, "joiner": joiner}
    if layout == "onnx-asr" and "joiner" in graphs:
        return {"encoder": graphs["encoder"], "decoder_joint": _fused(graphs["decoder"], graphs["joiner"], path)}
    return graphs


def _copy(graph: EditableGraph) -> EditableGraph:
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(graph.model)
    return EditableGraph(copy, graph.folder)


def _split(fused: EditableGraph, path: Path) -> tuple[EditableGraph, EditableGraph]:
    """Cut a fused graph where the top LSTM layer's output [U, B, H] goes on to the joint."""
    decoder, joiner = fused, _copy(fused)
    encoder, *label_side = decoder.graph.input
    top = _top(decoder, path)
    width = label_side[-1].type.tensor_type.shape.dim[2].dim_value
    batch, steps = "B", "U"

    logits, *states = decoder.graph.output
    frame_port, logits_port = _like(encoder), _like(logits)
    _rename(decoder, "outputs", "outputs/joint")
    decoder.add("Transpose", [top], "outputs", outputs=["outputs"], perm=[1, 2, 0])
    _set_ports(decoder.graph.input, label_side)
    _set_ports(decoder.graph.output, [_port("outputs", [batch, width, steps]), *states])
    decoder.reindex()
    decoder.finish()

    producer = joiner.producers[top]
    producer.output[list(producer.output).index(top)] = f"{top}/cut"
    joiner.add("Transpose", ["decoder_outputs"], top, outputs=[top], perm=[2, 0, 1])
    _set_ports(joiner.graph.input, [frame_port, _port("decoder_outputs", [batch, width, steps])])
    _set_ports(joiner.graph.output, [logits_port])
    joiner.reindex()
    joiner.finish()
    return decoder, joiner


def _top(graph: EditableGraph, path: Path) -> str:
    """Return the squeezed output [U, B, H] of the top LSTM layer."""
    layers = [node for node in graph.graph.node if node.op_type in _LSTM]
    for node in reversed(layers):
        for reader in graph.consumers.get(node.output[0], []):
            if reader.op_type == "Squeeze" and not _reaches(graph, reader.output[0], layers):
                return str(reader.output[0])
    raise UnsupportedLayoutError(f"{path}: the prediction network does not end in an LSTM layer as NeMo exports it.")


def _reaches(graph: EditableGraph, name: str, nodes: Sequence[onnx.NodeProto]) -> bool:
    """Return whether a value goes, through nodes that only reshape or quantise it, into one of `nodes`."""
    wanted = {id(node) for node in nodes}
    pending, seen = [name], set[str]()
    while pending:
        value = pending.pop()
        for reader in graph.consumers.get(value, []):
            if id(reader) in wanted:
                return True
            if reader.op_type in {"Identity", "Cast", "Squeeze", "Unsqueeze", "DynamicQuantizeLinear"}:
                pending += [item for item in reader.output if item not in seen]
                seen.update(reader.output)
    return False


def _fused(decoder: EditableGraph, joiner: EditableGraph, path: Path) -> EditableGraph:
    """Let the joint read the prediction network's output, in one graph with the ports of NeMo's fused export."""
    import onnx

    models = in_one_opset(decoder.model, joiner.model, path)
    folders = decoder.folder, joiner.folder
    decoder, joiner = (EditableGraph(model, folder) for model, folder in zip(models, folders, strict=True))
    _prefix(joiner, "joint/")
    _prefix(decoder, "decoder/")
    prediction = decoder.graph.output[0].name
    frames, projected = joiner.graph.input
    inputs = [_like(frames), *(_like(port) for port in decoder.graph.input)]
    outputs = [_like(joiner.graph.output[0]), *(_like(port) for port in decoder.graph.output[1:])]
    for node in joiner.graph.node:
        node.input[:] = [prediction if name == projected.name else name for name in node.input]
    fused = onnx.ModelProto()
    fused.CopyFrom(decoder.model)
    fused.graph.node.extend(joiner.graph.node)
    fused.graph.initializer.extend(joiner.graph.initializer)
    known = {entry.domain for entry in fused.opset_import}
    fused.opset_import.extend(entry for entry in joiner.model.opset_import if entry.domain not in known)
    fused.ir_version = max(fused.ir_version, joiner.model.ir_version)
    _set_ports(fused.graph.input, inputs)
    _set_ports(fused.graph.output, outputs)
    graph = EditableGraph(fused, decoder.folder)
    for port, name in zip((*fused.graph.input, *fused.graph.output), (*_FUSED_INPUTS, *_FUSED_OUTPUTS), strict=True):
        _rename(graph, port.name, name)
        port.name = name
    # Traced with one utterance, the second state's batch is a constant 1, which is not what the graph can do.
    states_in = graph.graph.input[-2:]
    states_in[1].type.tensor_type.shape.dim[1].dim_param = states_in[0].type.tensor_type.shape.dim[1].dim_param or "B"
    graph.reindex()
    graph.finish()
    return graph


def _prefix(graph: EditableGraph, prefix: str) -> None:
    for node in graph.graph.node:
        node.name = prefix + node.name if node.name else ""
        for names in (node.input, node.output):
            names[:] = [prefix + name if name else "" for name in names]
    for item in (*graph.graph.initializer, *graph.graph.input, *graph.graph.output):
        item.name = prefix + item.name
    graph.reindex()


def _rename(graph: EditableGraph, old: str, new: str) -> None:
    for node in graph.graph.node:
        for names in (node.input, node.output):
            if old in names:
                names[:] = [new if name == old else name for name in names]


def _port(name: str, shape: Sequence[int | str]) -> onnx.ValueInfoProto:
    from onnx import TensorProto, helper

    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))


def _like(port: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    import onnx

    copy = onnx.ValueInfoProto()
    copy.CopyFrom(port)
    return copy


def _set_ports(field: object, ports: Sequence[onnx.ValueInfoProto]) -> None:
    copies = [_like(port) for port in ports]
    del field[:]  # type: ignore[attr-defined]
    field.extend(copies)  # type: ignore[attr-defined]
