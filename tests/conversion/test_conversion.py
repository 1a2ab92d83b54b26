"""The micro checkpoint, converted onto exports of many forms, gives what NeMo gives."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import tdt
from tdt.conversion import convert
from tdt.conversion.checkpoint import read_checkpoint
from tdt.conversion.pipeline import default_graph
from tdt.decoding.greedy import OnnxEngine
from tdt.decoding.native import NativeEngine
from tdt.errors import CheckpointError, OptionError, OtherModelError
from tdt.model import find_model
from tdt.model.hub import NAMES
from tdt.runtime import Backend
from tdt.stages import Encoded

from . import making, micro

if TYPE_CHECKING:
    from collections.abc import Callable

FULL = "TDT_FINE_TUNED"  # a folder with the fine-tuned tiny model and NeMo's tokens; too large for the repository
GOLDENS = Path(__file__).resolve().parents[1] / "data/goldens"


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """A copy of the export to convert onto."""
    return Path(shutil.copytree(micro.GRAPH, tmp_path / "graph"))


def edited(path: Path, edit: Callable[[onnx.ModelProto], None]) -> None:
    """Edit a graph's file; the order of its nodes is put right."""
    from tdt.surgery import EditableGraph

    model = onnx.load_model(path)
    edit(model)
    EditableGraph(model).finish()
    onnx.checker.check_model(model)
    onnx.save_model(model, path)


@pytest.mark.parametrize("layout", ["onnx-asr", "sherpa-onnx"])
def test_the_converted_model_is_nemos(tmp_path: Path, layout: Any) -> None:
    done = convert(micro.NEMO, tmp_path / "out", graph=micro.GRAPH, layout=layout)
    micro.agree(tmp_path / "out")
    assert done.source == "NeMo"
    assert sum(done.replaced.values()) == 62 + 13
    assert [name.split()[0] for name in done.kept["encoder"]] == ["onnx::Slice_607"]  # the table of positions
    assert set(done.unused) == {
        "preprocessor.featurizer.window", "preprocessor.featurizer.fb",
        *(f"encoder.layers.{layer}.conv.batch_norm.num_batches_tracked" for layer in (0, 1)),
    }  # fmt: skip
    tensors = read_checkpoint(micro.NEMO).tensors
    assert sorted((*done.used, *done.unused)) == sorted(tensors)


def test_the_numbers_and_the_vocabulary_are_the_checkpoints(tmp_path: Path) -> None:
    convert(micro.NEMO, tmp_path / "out", graph=micro.GRAPH)
    _, spec = find_model(tmp_path / "out")
    _, base = find_model(micro.GRAPH)
    assert (spec.pieces, spec.durations, spec.n_mels, spec.subsampling) == (base.pieces, (0, 1, 2, 3, 4), 128, 8)
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["durations"] == [0, 1, 2, 3, 4]
    assert (tmp_path / "out/vocab.txt").read_bytes() == (micro.GRAPH / "vocab.txt").read_bytes()


@pytest.mark.parametrize("kind", ["native", "onnx"])
def test_greedy_tokens_are_nemos(tmp_path: Path, kind: str) -> None:
    convert(micro.NEMO, tmp_path / "out", graph=micro.GRAPH)
    expected = json.loads((micro.FOLDER / "expected.json").read_text())["clips"]
    frames, lengths = micro.encoded(tmp_path / "out")
    files, spec = find_model(tmp_path / "out")
    engine = NativeEngine(files, spec) if kind == "native" else OnnxEngine(files, spec, Backend.parse("cpu"))
    try:
        for frame, length, clip in zip(frames, lengths, expected, strict=True):
            hypothesis = engine.decode(Encoded(np.ascontiguousarray(frame[None, :length]), np.array([length])))[0][0]
            assert list(hypothesis.token_ids) == clip["token_ids"]
            assert list(hypothesis.frames) == clip["frames"]
    finally:
        engine.close()


def scrambled(model: onnx.ModelProto) -> None:
    """No name says anything any more."""
    ports = {port.name for port in (*model.graph.input, *model.graph.output)}
    new: dict[str, str] = {}
    for node in model.graph.node:
        node.name = ""
        for names in (node.input, node.output):
            names[:] = [name if name in ports or not name else new.setdefault(name, f"v{len(new)}") for name in names]
    for tensor in model.graph.initializer:
        tensor.name = new.setdefault(tensor.name, f"v{len(new)}")
    del model.graph.value_info[:]


def swapped(model: onnx.ModelProto) -> None:
    """The operands of every sum of two values, the other way round."""
    for node in model.graph.node:
        if node.op_type in {"Add", "Mul"}:
            node.input[:] = reversed(node.input)


def unfolded_transposes(model: onnx.ModelProto) -> None:
    """Matrices as torch has them, with the Transpose that an exporter without folding leaves."""
    for tensor in list(model.graph.initializer):
        readers = [node for node in model.graph.node if tensor.name in node.input]
        if len(tensor.dims) == 2 and [node.op_type for node in readers] == ["MatMul"]:
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).T.copy(), f"{name}/rows"))
            model.graph.node.append(helper.make_node("Transpose", [f"{name}/rows"], [name], perm=[1, 0]))


def taken_apart(model: onnx.ModelProto) -> None:
    """Layer norms as exporters before opset 17 wrote them."""
    two, epsilon = np.float32(2.0), np.float32(1e-5)
    model.graph.initializer.extend([numpy_helper.from_array(two, "two"), numpy_helper.from_array(epsilon, "tiny")])
    for node in [node for node in model.graph.node if node.op_type == "LayerNormalization"]:
        value, scale, shift = node.input
        made = node.output[0]
        mark = [f"{made}/{step}" for step in range(7)]
        model.graph.node.extend([
            helper.make_node("ReduceMean", [value], [mark[0]], axes=[-1]),
            helper.make_node("Sub", [value, mark[0]], [mark[1]]),
            helper.make_node("Pow", [mark[1], "two"], [mark[2]]),
            helper.make_node("ReduceMean", [mark[2]], [mark[3]], axes=[-1]),
            helper.make_node("Add", [mark[3], "tiny"], [mark[4]]),
            helper.make_node("Sqrt", [mark[4]], [mark[5]]),
            helper.make_node("Div", [mark[1], mark[5]], [mark[6]]),
            helper.make_node("Mul", [mark[6], scale], [f"{made}/scaled"]),
            helper.make_node("Add", [f"{made}/scaled", shift], [made]),
        ])  # fmt: skip
        model.graph.node.remove(node)


def norms_kept(model: onnx.ModelProto) -> None:
    """Batch norms that are nodes of their own, behind convolutions without a bias."""
    for node in [node for node in model.graph.node if node.op_type == "Conv" and "depthwise" in node.name]:
        made = node.output[0]
        width = 32
        names = [f"{made}/{part}" for part in ("scale", "shift", "mean", "variance")]
        model.graph.initializer.extend(numpy_helper.from_array(np.ones(width, np.float32), name) for name in names)
        del node.input[2:]
        node.output[0] = f"{made}/raw"
        model.graph.node.append(helper.make_node("BatchNormalization", [f"{made}/raw", *names], [made], epsilon=1e-5))


def shared(model: onnx.ModelProto) -> None:
    """Everything of one shape is one constant: nothing distinguishes two weights but who reads them."""
    first: dict[tuple[int, ...], str] = {}
    renamed = {}
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            renamed[tensor.name] = first.setdefault(tuple(tensor.dims), tensor.name)
    for node in model.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]


FORMS = {edit.__name__: edit for edit in (scrambled, swapped, unfolded_transposes, taken_apart, norms_kept, shared)}


@pytest.mark.parametrize("form", FORMS)
def test_weights_find_their_places_in_any_form(tmp_path: Path, graph: Path, form: str) -> None:
    edited(graph / "encoder-model.onnx", FORMS[form])
    if form in {"scrambled", "swapped", "unfolded_transposes", "shared"}:
        edited(graph / "decoder_joint-model.onnx", FORMS[form])
    convert(micro.NEMO, tmp_path / "out", graph=graph)
    micro.agree(tmp_path / "out")


BIASED = (
    *(f"feed_forward{half}.linear{layer}" for half in (1, 2) for layer in (1, 2)),
    *(f"self_attn.linear_{part}" for part in ("q", "k", "v", "out")),
    *(f"conv.{part}" for part in ("pointwise_conv1", "pointwise_conv2", "depthwise_conv")),
)


def with_biases(model: onnx.ModelProto) -> None:
    """An encoder of `use_bias: true`, as the 110m model's is."""
    for node in list(model.graph.node):
        path = node.name.replace("/", ".")
        part = next((part for part in BIASED if path.endswith((f"{part}.MatMul", f"{part}.Conv"))), "")
        if part and len(node.input) == 2:
            weight = next(tensor for tensor in model.graph.initializer if tensor.name == node.input[1])
            width = weight.dims[1] if node.op_type == "MatMul" else weight.dims[0]
            name, made = f"{node.name}/bias", node.output[0]
            model.graph.initializer.append(numpy_helper.from_array(np.zeros(width, np.float32), name))
            if node.op_type == "Conv":
                node.input.append(name)
            else:
                node.output[0] = f"{made}/product"
                model.graph.node.append(helper.make_node("Add", [f"{made}/product", name], [made]))


def biased_checkpoint(path: Path, scale: float) -> Path:
    tensors = {name: np.array(item.values()) for name, item in read_checkpoint(micro.NEMO).tensors.items()}
    rng = np.random.default_rng(7)
    for layer in (0, 1):
        for part in BIASED:
            name = f"encoder.layers.{layer}.{part}"
            tensors[f"{name}.bias"] = (scale * rng.standard_normal(len(tensors[f"{name}.weight"]))).astype(np.float32)
    path.write_bytes(making.archived({**making.members(micro.NEMO), "model_weights.ckpt": making.saved(tensors)}))
    return path


def test_encoders_with_biases(tmp_path: Path, graph: Path) -> None:
    """Biases of zeros change nothing; others do, alike whether a batch norm is folded or not."""
    edited(graph / "encoder-model.onnx", with_biases)
    nought, some = (biased_checkpoint(tmp_path / f"{scale}.nemo", scale) for scale in (0.0, 0.3))
    assert convert(nought, tmp_path / "nought", graph=graph).replaced["encoder"] == 62 + 2 * 10
    micro.agree(tmp_path / "nought")
    convert(some, tmp_path / "folded", graph=graph)
    edited(graph / "encoder-model.onnx", norms_kept)
    with pytest.raises(CheckpointError, match=r"no place for 2 .*depthwise_conv.bias"):
        convert(some, tmp_path / "kept", graph=graph)
    edited(graph / "encoder-model.onnx", depthwise_biases)
    convert(some, tmp_path / "kept", graph=graph)
    frames = [micro.encoded(tmp_path / name)[0] for name in ("nought", "folded", "kept")]
    np.testing.assert_allclose(frames[1], frames[2], atol=1e-4)
    assert np.abs(frames[0] - frames[1]).max() > 0.1


def depthwise_biases(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        if node.op_type == "Conv" and "depthwise" in node.name and len(node.input) == 2:
            model.graph.initializer.append(numpy_helper.from_array(np.zeros(32, np.float32), f"{node.name}/bias"))
            node.input.append(f"{node.name}/bias")


def test_lstm_weights_that_the_graph_computes(tmp_path: Path, graph: Path) -> None:
    def computed(model: onnx.ModelProto) -> None:
        model.graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), "axis"))
        for tensor in list(model.graph.initializer):
            if tensor.name.startswith("onnx::LSTM"):
                name, plain = tensor.name, numpy_helper.to_array(tensor)[0]
                tensor.CopyFrom(numpy_helper.from_array(plain, f"{name}/plain"))
                model.graph.node.append(helper.make_node("Unsqueeze", [f"{name}/plain", "axis"], [name]))

    edited(graph / "decoder_joint-model.onnx", computed)
    convert(micro.NEMO, tmp_path / "out", graph=graph)
    micro.agree(tmp_path / "out")


@pytest.mark.parametrize("layout", ["onnx-asr", "sherpa-onnx"])
def test_weights_outside_the_file_stay_outside(tmp_path: Path, graph: Path, layout: Any) -> None:
    model = onnx.load_model(graph / "encoder-model.onnx")
    onnx.save_model(
        model, graph / "encoder-model.onnx", save_as_external_data=True, location="weights", size_threshold=512
    )
    convert(micro.NEMO, tmp_path / "out", graph=graph, layout=layout)
    micro.agree(tmp_path / "out")
    data = "encoder-model.onnx.data" if layout == "onnx-asr" else "encoder.weights"
    assert (tmp_path / "out" / data).stat().st_size > 100_000


def test_half_precision_graphs_take_half_precision_weights(tmp_path: Path, graph: Path) -> None:
    from tdt.quantization import Options, to_half

    to_half(graph, tmp_path / "half", audio=(), decoder_weights="float", options=Options())
    done = convert(micro.NEMO, tmp_path / "out", graph=tmp_path / "half", precision="float16")
    files, _ = find_model(tmp_path / "out", precision="float16")
    assert done.replaced["encoder"] == 62
    expected = np.load(micro.FOLDER / "expected.npz")
    frames = micro.run(files.encoder, expected["features"], expected["feature_lengths"])[0].transpose(0, 2, 1)
    assert np.abs(frames[0] - expected["encoder"][0]).max() <= 0.05


def transformers_folder(folder: Path, **changes: Any) -> Path:
    """Write the micro checkpoint as Transformers saves `ParakeetForTDT`."""
    renames = (
        ("encoder.pre_encode.conv.", "encoder.subsampling.layers."),
        ("encoder.pre_encode.out.", "encoder.subsampling.linear."),
        (".conv.batch_norm.", ".conv.norm."), (".linear_q.", ".q_proj."), (".linear_k.", ".k_proj."),
        (".linear_v.", ".v_proj."), (".linear_out.", ".o_proj."), (".linear_pos.", ".relative_k_proj."),
        ("pos_bias_", "bias_"), ("decoder.prediction.embed.", "decoder.embedding."),
        ("decoder.prediction.dec_rnn.lstm.", "decoder.lstm."), ("joint.enc.", "encoder_projector."),
        ("joint.pred.", "decoder.decoder_projector."), ("joint.joint_net.2.", "joint.head."),
    )  # fmt: skip
    found = {}
    for name, tensor in read_checkpoint(micro.NEMO).tensors.items():
        theirs = name
        for old, new in renames:
            theirs = theirs.replace(old, new)
        if not name.startswith("preprocessor"):
            found[theirs] = np.array(tensor.values())
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(making.safetensors(found))
    encoder = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_mel_bins": 128,
               "subsampling_factor": 8, "scale_input": False}  # fmt: skip
    config = {"model_type": "parakeet_tdt", "vocab_size": 257, "decoder_hidden_size": 32, "num_decoder_layers": 2,
              "durations": [0, 1, 2, 3, 4], "encoder_config": encoder}  # fmt: skip
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    pieces = [line.split(" ")[0] for line in (micro.GRAPH / "vocab.txt").read_text().splitlines()][:-1]
    tokenizer = {"model": {"type": "BPE", "vocab": {piece: index for index, piece in enumerate(pieces)}},
                 "added_tokens": [{"id": 256, "content": "<blank>"}]}  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return folder


@pytest.mark.parametrize("file", ["", "model.safetensors"])
def test_a_checkpoint_of_transformers(tmp_path: Path, file: str) -> None:
    done = convert(transformers_folder(tmp_path / "hf") / file, tmp_path / "out", graph=micro.GRAPH)
    micro.agree(tmp_path / "out")
    assert done.source == "Transformers"
    assert (tmp_path / "out/vocab.txt").read_bytes() == (micro.GRAPH / "vocab.txt").read_bytes()


@pytest.mark.parametrize("kind", ["parakeet_ctc", "parakeet_rnnt", "whisper"])
def test_another_model_of_transformers(tmp_path: Path, kind: str) -> None:
    with pytest.raises(OtherModelError, match=kind):
        convert(transformers_folder(tmp_path / "hf", model_type=kind), tmp_path / "out", graph=micro.GRAPH)


def test_without_a_graph_the_published_one_of_the_architecture_is_taken(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"none of the published models.*--graph"):
        convert(micro.NEMO, tmp_path / "out")


@pytest.mark.parametrize(("width", "layers", "pieces", "name"), [
    (144, 8, 256, None), (1024, 24, 8192, "parakeet-tdt-0.6b-v3"), (1024, 24, 1024, "parakeet-tdt-0.6b-v2"),
    (1024, 42, 1024, "parakeet-tdt-1.1b"), (512, 17, 1024, "parakeet-tdt_ctc-110m"),
])  # fmt: skip
def test_the_configuration_chooses_the_graph(width: int, layers: int, pieces: int, name: str | None) -> None:
    stated = replace(read_checkpoint(micro.NEMO).architecture, width=width, layers=layers, vocabulary=pieces)
    assert default_graph(stated, micro.NEMO) == name
    assert name is None or name in NAMES


def test_graphs_of_another_architecture(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"it has 2 encoder layers, the graph 8.*a FastConformer of 2 layers of 32"
    ):
        convert(micro.NEMO, tmp_path / "out", graph="parakeet-tdt-tiny")
    assert not list(tmp_path.iterdir())


def test_quantised_graphs_take_no_weights(tmp_path: Path, models: Path) -> None:
    with pytest.raises(OptionError, match="quantised weights cannot be replaced"):
        convert(micro.NEMO, tmp_path / "out", graph=models / "parakeet-tdt-tiny-onnx", precision="int8")


def test_a_model_that_is_there_is_replaced_only_when_asked(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name in ("notes.txt", "encoder-model.int8.onnx"):
        (out / name).write_text("mine")
    with pytest.raises(OptionError, match="--overwrite"):
        convert(micro.NEMO, out, graph=micro.GRAPH)
    assert sorted(path.name for path in out.iterdir()) == ["encoder-model.int8.onnx", "notes.txt"]
    convert(micro.NEMO, out, graph=micro.GRAPH, overwrite=True)
    assert {path.name for path in out.iterdir()} == {
        "notes.txt", "config.json", "vocab.txt", "encoder-model.onnx", "decoder_joint-model.onnx"
    }  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.skipif(FULL not in os.environ, reason=f"{FULL} names no folder with fine-tuned.nemo and expected.json")
@pytest.mark.parametrize("layout", ["onnx-asr", "sherpa-onnx"])
@pytest.mark.parametrize("decoder", ["native", "onnx"])
def test_the_fine_tuned_model_hears_what_nemo_hears(tmp_path: Path, layout: Any, decoder: Any) -> None:
    folder = Path(os.environ[FULL])
    convert(folder / "fine-tuned.nemo", tmp_path / "out", layout=layout)
    clips = json.loads((folder / "expected.json").read_text(encoding="utf-8"))["clips"]
    with tdt.load(tmp_path / "out", decoder=decoder) as asr:
        for clip in clips:
            heard = asr.transcribe(GOLDENS / clip["file"])
            assert [token.id for token in heard.tokens] == clip["token_ids"], clip["file"]
            assert heard.text == clip["text"]
