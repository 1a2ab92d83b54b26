"""`tdt quantize --precision float16`: types, range, accuracy, files; nothing to calibrate."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest

import tdt
from tdt.commands import main
from tdt.errors import OptionError
from tdt.model.finding import find_model
from tdt.model.sidecar import read_sidecar
from tdt.onnxfile import load_model, read_graph
from tdt.quantization import half_model
from tdt.quantization.agreement import tokens_equal
from tdt.quantization.half_model import to_half
from tdt.quantization.placing import PLACED_BYTES
from tdt.quantization.scoring import error_rates, read_references, simple_normalizer

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

FLOAT, HALF, INT64, BOOL = (
    onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.INT64, onnx.TensorProto.BOOL
)  # fmt: skip
ENCODER = "encoder-model.fp16.onnx"


@pytest.fixture(scope="module")
def source(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model, float32 alone; apart from those that all tests share."""
    folder = tmp_path_factory.mktemp("float32-alone")
    for name in ("encoder-model.onnx", "decoder_joint-model.onnx", "vocab.txt", "config.json"):
        shutil.copyfile(models / "parakeet-tdt-tiny-onnx" / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def halved(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("half") / "fp16"
    assert main(["quantize", str(source), "--precision", "float16", "-o", str(folder), "-q"]) == 0
    return folder


@pytest.fixture(scope="module")
def model(halved: Path) -> onnx.ModelProto:
    return onnx.load(str(halved / ENCODER))


@pytest.fixture(scope="module")
def types(model: onnx.ModelProto) -> dict[str, int]:
    """The type of every value, as ONNX's own inference has it."""
    graph = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True).graph
    found = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.input, *graph.output)}
    return found | {tensor.name: tensor.data_type for tensor in graph.initializer}


def decoded(folder: Path, clips: Iterable[Path]) -> tuple[list[list[int]], list[list[int]], list[str]]:
    tokens, frames, texts = [], [], []
    with tdt.load(folder) as recognizer:
        for path in clips:
            (hypothesis,) = recognizer.decode(recognizer.encode(recognizer.features(path)))
            tokens.append([int(token) for token in hypothesis.token_ids])
            frames.append([int(frame) for frame in hypothesis.frames])
            texts.append(recognizer.transcript(hypothesis, 1.0).text)
    return tokens, frames, texts


def test_the_golden_clips_keep_their_tokens_and_nearly_all_their_frames(
    source: Path, halved: Path, golden_folder: Path, goldens: dict[str, dict[str, Any]]
) -> None:
    clips = [golden_folder / clip["file"] for clip in goldens.values()]
    assert len(clips) == 15
    exact, half = decoded(source, clips), decoded(halved, clips)
    assert half[0] == exact[0]
    assert half[2] == exact[2]
    moved = np.abs(np.concatenate(list(map(np.asarray, half[1]))) - np.concatenate(list(map(np.asarray, exact[1]))))
    assert moved.max() <= 1
    assert np.count_nonzero(moved) <= 0.01 * len(moved)


def test_the_evaluation_clips_keep_their_words(source: Path, halved: Path, eval_folder: Path) -> None:
    clips = sorted(eval_folder.glob("*.flac"))
    exact, half = decoded(source, clips), decoded(halved, clips)
    said = read_references(eval_folder / "transcripts.tsv", clips)
    references = [simple_normalizer(said[path]) for path in clips]
    rates = [error_rates(references, list(map(simple_normalizer, texts)))[0] for texts in (exact[2], half[2])]
    assert tokens_equal(exact[0], half[0]) >= 0.995
    assert abs(rates[0] - rates[1]) <= 0.002


def test_the_file_is_a_whole_graph_with_the_ports_it_had(source: Path, model: onnx.ModelProto) -> None:
    onnx.checker.check_model(model, full_check=True)
    before = onnx.load(str(source / "encoder-model.onnx"))
    assert list(model.graph.input) == list(before.graph.input)
    assert list(model.graph.output) == list(before.graph.output)
    assert model.opset_import == before.opset_import


def test_products_are_float16_and_norms_and_softmax_float32(model: onnx.ModelProto, types: dict[str, int]) -> None:
    counted: dict[tuple[str, int], int] = {}
    for node in model.graph.node:
        kinds = {types[name] for name in (*node.input, *node.output) if name} & {FLOAT, HALF}
        if node.op_type != "Cast":
            assert len(kinds) < 2, f"{node.op_type} {node.output[0]} mixes float32 and float16"
            for kind in kinds:
                counted[node.op_type, kind] = counted.get((node.op_type, kind), 0) + 1
    for name, count in (("MatMul", 113), ("Sigmoid", 32), ("Split", 8), ("Pad", 16)):
        assert counted[name, HALF] == count
        assert (name, FLOAT) not in counted
    for name, count in (("LayerNormalization", 40), ("Softmax", 8), ("Relu", 3)):
        assert counted[name, FLOAT] == count
        assert (name, HALF) not in counted
    assert counted["Where", FLOAT] == 16  # before and behind each softmax
    assert counted["Where", HALF] == 8  # the mask of the convolutions
    assert counted["Add", HALF] == 57
    assert ("Add", FLOAT) not in counted
    # Of the subsampling, for which cuDNN would compile kernels at every change of shape.
    assert (counted["Conv", HALF], counted["Conv", FLOAT]) == (8, 5)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    read = {name for node in model.graph.node if node.op_type == "MatMul" for name in node.input}
    assert all(weights[name].data_type == HALF for name in read & set(weights))
    planar = {
        weights[node.input[1]].data_type
        for node in model.graph.node
        if node.op_type == "Conv" and len(weights[node.input[1]].dims) == 4
    }
    assert planar == {FLOAT}


def test_masks_are_booleans_and_scores_are_masked_in_float32(model: onnx.ModelProto, types: dict[str, int]) -> None:
    makers = {name: node for node in model.graph.node for name in node.output}
    softmaxes = [node for node in model.graph.node if node.op_type == "Softmax"]
    for node in softmaxes:
        mask = makers[node.input[0]]
        assert mask.op_type == "Where"
        assert [types[name] for name in mask.input] == [BOOL, FLOAT, FLOAT]
        scale = makers[mask.input[2]]
        assert (scale.op_type, types[scale.input[0]]) == ("Div", FLOAT)
    made = [node for node in model.graph.node if node.op_type == "Cast" and types[node.input[0]] == BOOL]
    assert len(made) == 4  # of the subsampling, which multiplies by them
    assert all(types[node.output[0]] == FLOAT for node in made), "cast once, straight to what is multiplied"


def test_lengths_are_integers_all_the_way(model: onnx.ModelProto, types: dict[str, int]) -> None:
    """Everything that the length becomes is an integer, until it is a mask."""
    readers: dict[str, list[Any]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    stack, seen = ["length"], {"length"}
    while stack:
        name = stack.pop()
        assert types[name] in (INT64, BOOL)
        for node in readers.get(name, []):
            if types[name] == INT64 and node.op_type not in ("Less", "Shape"):
                fresh = [output for output in node.output if output not in seen]
                seen.update(fresh)
                stack.extend(fresh)
    assert "encoded_lengths" in seen
    assert len(seen) > 20


def test_no_cast_is_only_there_for_a_shape(model: onnx.ModelProto) -> None:
    readers: dict[str, set[str]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, set()).add(node.op_type)
    casts = [node.output[0] for node in model.graph.node if node.op_type == "Cast"]
    assert len(casts) <= 102
    assert all(readers.get(name) != {"Shape"} for name in casts)


def test_the_report_says_what_became_of_the_weights(halved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = read_sidecar(halved)
    assert content is not None
    assert content["kind"] == "float16"
    assert content["nodes"]["kept_in_float32"] == []
    assert content["weights"]["values"] > 4_000_000
    assert 0 < content["weights"]["vanished"] < content["weights"]["subnormal"] < 0.001 * content["weights"]["values"]
    assert content["encoder"]["bytes"] == (halved / ENCODER).stat().st_size
    assert content["encoder"]["ratio"] < 0.51
    assert main(["inspect", str(halved)]) == 0
    shown = capsys.readouterr().out
    assert "float16, opset 17" in shown
    assert "lose digits" in shown


def test_the_precision_finds_its_file(source: Path, halved: Path, tmp_path: Path) -> None:
    assert find_model(halved)[0].encoder_precision == "float16"
    both = tmp_path / "both"
    shutil.copytree(source, both)
    shutil.copyfile(halved / ENCODER, both / ENCODER)
    for precision, name in (("float16", ENCODER), ("float32", "encoder-model.onnx"), (None, "encoder-model.onnx")):
        files, _ = find_model(both, precision=precision)  # type: ignore[arg-type]
        assert (files.encoder.name, files.decoder_precision) == (name, "float32")
    with tdt.load(both, precision="float16") as recognizer:
        assert recognizer.files.encoder_precision == "float16"
    (both / ENCODER).unlink()
    with pytest.raises(tdt.errors.ModelFileNotFoundError, match="'float16', only float32"):
        find_model(both, precision="float16")


def test_the_sherpa_layout_has_its_own_names(models: Path, golden_folder: Path, tmp_path: Path) -> None:
    to_half(models / "sherpa-onnx-parakeet-tdt-tiny", tmp_path / "out", decoder_weights="int8")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"encoder.fp16.onnx", "decoder.int8.onnx", "joiner.int8.onnx", "tokens.txt"} <= names
    files, _ = find_model(tmp_path / "out")
    assert (files.encoder_precision, files.decoder_precision) == ("float16", "int8")
    with tdt.load(tmp_path / "out") as recognizer:
        text = recognizer.transcribe(golden_folder / "03_flite-rms.flac").text
    assert text == "The open source project has improved the first language model."


def test_large_weights_go_to_a_file_beside_the_graph(
    source: Path, model: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(half_model, "SINGLE_FILE_BYTES", 0)
    to_half(source, tmp_path / "out")
    path = tmp_path / "out" / ENCODER
    info = read_graph(path)
    assert {ref.file.name for ref in info.external} == {f"{ENCODER}.data"}
    assert all(ref.offset % 4096 == 0 and ref.bytes >= PLACED_BYTES for ref in info.external)
    kept = sum(tensor.bytes for tensor in info.tensors.values() if tensor.external is None)
    assert kept < 2_500_000 < info.external_bytes
    onnx.checker.check_model(str(path))
    loaded = {tensor.name: tensor for tensor in load_model(path).graph.initializer}
    for tensor in model.graph.initializer:
        np.testing.assert_array_equal(
            onnx.numpy_helper.to_array(loaded[tensor.name]), onnx.numpy_helper.to_array(tensor)
        )


def test_the_command_asks_for_no_audio_and_refuses_what_belongs_to_int8(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ["quantize", str(source), "--precision", "float16", "-o", str(tmp_path / "x")]
    for words in (["--method", "mse"], ["--no-centre"], ["--budget", "0.1"], ["--body", "float16"], ["--sensitivity"]):
        assert main([*start, *words]) == 2
        assert words[0] in capsys.readouterr().err
    assert main(start[:-2]) == 2
    assert "--output" in capsys.readouterr().err
    assert main(["quantize", str(source), "-o", str(tmp_path / "x")]) == 2
    assert "--precision float16, which needs none" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
    assert main([*start, "--json", "-q"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "float16"
    assert main([*start, "-q"]) == 2
    assert "an empty folder" in capsys.readouterr().err


def test_a_float16_encoder_is_written_anew_with_the_same_weights(halved: Path, tmp_path: Path) -> None:
    again = to_half(halved, tmp_path / "out")
    weights = again.sidecar["weights"]
    assert (weights["vanished"], again.report.kept) == (0, ())
    files = [folder / ENCODER for folder in (halved, again.folder)]
    first, second = ({held(tensor) for tensor in onnx.load(str(file)).graph.initializer} for file in files)
    assert {numbers for kind, numbers in second if kind == HALF} == {numbers for kind, numbers in first if kind == HALF}


def held(tensor: onnx.TensorProto) -> tuple[int, bytes]:
    return tensor.data_type, onnx.numpy_helper.to_array(tensor).tobytes()


def test_the_models_own_folder_is_no_output(source: Path) -> None:
    with pytest.raises(OptionError, match="another folder"):
        to_half(source, source)
