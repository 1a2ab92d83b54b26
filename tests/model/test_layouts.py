"""Recognition of model folders, the numbers read from graphs, and models of other shapes."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import numpy as np
import onnx
import pytest

from tdt import errors
from tdt.model.finding import BUNDLED, find_model, inspect_model
from tdt.model.layouts import choose
from tdt.onnxfile import load_model, read_graph
from tdt.onnxfile.proto import read_model

from .. import tiny_models
from ..tiny_models import LAYOUTS, Shape

SHAPES = {
    "80 mels, 1 layer, 1k": Shape(vocab=1024),
    "128 mels, 2 layers, 8k, own durations": Shape(
        n_mels=128, layers=2, vocab=8192, durations=(0, 1, 2, 4, 8, 16), named_durations=True
    ),
    "subsampling 4, no positions": Shape(subsampling=4, positions=None, durations=(0, 1), vocab=40),
    "64 mels, one duration": Shape(n_mels=64, durations=(1,), vocab=30, named_durations=True),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("external", [False, True])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_numbers_of_any_shape_come_from_the_graphs(tmp_path: Path, shape: Shape, layout: str, external: bool) -> None:
    folder = tiny_models.write(tmp_path / "m", shape, layout, external=external)
    files, spec = find_model(folder)
    assert files.layout == layout
    assert (files.decoder_joint is not None) == (layout == "onnx-asr")
    assert spec.n_mels == shape.n_mels
    assert spec.subsampling == shape.subsampling
    assert spec.encoder_dim == shape.encoder_dim
    assert spec.blank_id == shape.vocab
    assert spec.pieces == tuple(tiny_models.pieces(shape))
    assert spec.durations == shape.durations
    assert (spec.predictor_layers, spec.predictor_hidden) == (shape.layers, shape.hidden)
    assert spec.max_encoder_frames == shape.positions
    assert spec.max_symbols == 10


def test_numbers_of_the_real_model(model_folder: Path) -> None:
    files, spec = find_model(model_folder)
    assert (spec.n_mels, spec.subsampling, spec.encoder_dim, spec.blank_id) == (128, 8, 144, 256)
    assert (spec.durations, spec.predictor_layers, spec.predictor_hidden) == ((0, 1, 2, 3, 4), 2, 160)
    assert spec.max_encoder_frames == 2500
    assert files.encoder_precision == files.decoder_precision == "float32"
    files, spec8 = find_model(str(model_folder), precision="int8")
    assert "int8" in files.encoder.name
    assert files.encoder_precision == files.decoder_precision == "int8"
    assert spec8 == spec


def test_no_name_and_the_bundled_name_mean_the_bundled_model() -> None:
    assert find_model()[0].folder == BUNDLED == find_model("parakeet-tdt-tiny")[0].folder


def test_given_durations_win_and_have_to_fit(tmp_path: Path) -> None:
    folder = tiny_models.write(tmp_path / "m", Shape(durations=(0, 1, 2), vocab=50))
    assert find_model(folder, durations=np.array([0, 2, 4]))[1].durations == (0, 2, 4)
    with pytest.raises(errors.ModelMismatchError, match="3 durations"):
        find_model(folder, durations=[0, 1, 2, 3, 4])
    for wrong in ([], "012", [0, -1, 2], [0, 1.5, 2], [True, 1, 2], 3, [[0], [1], [2]]):
        with pytest.raises(errors.OptionError, match="durations"):
            find_model(folder, durations=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["0,2,5", "[0, 2, 5]", "0 2 5"])
def test_durations_from_metadata(tmp_path: Path, text: str) -> None:
    folder = tiny_models.write(tmp_path / "m", Shape(durations=(0, 2, 5), vocab=50), "sherpa-onnx")
    model = onnx.load(folder / "encoder.onnx")
    onnx.helper.set_model_props(model, {"vocab_size": "50", "subsampling_factor": "8", "tdt_durations": text})
    onnx.save(model, folder / "encoder.onnx")
    assert find_model(folder)[1].durations == (0, 2, 5)


def test_max_symbols_from_the_configuration_and_the_caller(tmp_path: Path) -> None:
    folder = tiny_models.write(tmp_path / "m", Shape(vocab=50))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_tokens_per_step": 3}))
    assert find_model(folder)[1].max_symbols == 3
    assert find_model(folder, max_symbols=7)[1].max_symbols == 7
    with pytest.raises(errors.OptionError):
        find_model(folder, max_symbols=0)


NAMES_A = ["config.json", "vocab.txt", "encoder-model.onnx", "encoder-model.int8.onnx", "decoder_joint-model.onnx"]
NAMES_B = ["tokens.txt", "encoder.int8.onnx", "decoder.onnx", "decoder.int8.onnx", "joiner.int8.onnx"]


@pytest.mark.parametrize(
    ("names", "precision", "chosen"),
    [
        (NAMES_A, None, ["encoder-model.onnx", "decoder_joint-model.onnx"]),
        (NAMES_A, "int8", ["encoder-model.int8.onnx", "decoder_joint-model.onnx"]),
        (NAMES_B, None, ["encoder.int8.onnx", "decoder.onnx", "joiner.int8.onnx"]),
        (NAMES_B, "int8", ["encoder.int8.onnx", "decoder.int8.onnx", "joiner.int8.onnx"]),
        (
            ["tokens.txt", "encoder-epoch-9.onnx", "decoder-epoch-9.onnx", "joiner-epoch-9.onnx", "encoder.fp16.onnx"],
            None,
            ["encoder-epoch-9.onnx", "decoder-epoch-9.onnx", "joiner-epoch-9.onnx"],
        ),
        (
            [
                "vocab.txt",
                "config.json",
                "encoder-model.uint8.onnx",
                "encoder-model_int8.onnx",
                "decoder_joint-model.onnx",
                ".DS_Store",
            ],
            "int8",
            ["encoder-model.uint8.onnx", "decoder_joint-model.onnx"],
        ),
    ],
)
def test_choice_of_files(names: list[str], precision: str | None, chosen: list[str]) -> None:
    files = choose(Path("there"), names, precision)  # type: ignore[arg-type]
    found = [path.name for path in (files.encoder, files.decoder_joint, files.decoder, files.joiner) if path]
    assert found == chosen


def test_a_precision_that_is_not_there_is_an_error_that_lists_what_is() -> None:
    with pytest.raises(errors.ModelFileNotFoundError, match=r"'float32', only int8 \(encoder.int8.onnx\)"):
        choose(Path("there"), NAMES_B, "float32")
    with pytest.raises(errors.OptionError, match="precision"):
        find_model(precision="fp16")  # type: ignore[arg-type]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_kind_of_quantisation_is_told_by_the_graph(tmp_path: Path, layout: str) -> None:
    folder = tiny_models.write(tmp_path / "m", Shape(vocab=50), layout)
    name = "encoder-model" if layout == "onnx-asr" else "encoder"
    # A float graph under the int8 name stays float.
    shutil.copy(folder / f"{name}.onnx", folder / f"{name}.int8.onnx")
    found = inspect_model(folder, precision="int8")
    assert found.graphs["encoder"].quantization == "float"
    assert found.files.encoder_precision == "float32"


def quantize_linear_graph(path: Path) -> None:
    model = onnx.load(path)
    scale = onnx.numpy_helper.from_array(np.float32(0.1), "q_scale")
    zero = onnx.numpy_helper.from_array(np.int8(0), "q_zero")
    model.graph.initializer.extend([scale, zero])
    first = model.graph.node[-1]
    source = first.input[0]
    first.input[0] = "q_back"
    nodes = [
        onnx.helper.make_node("QuantizeLinear", [source, "q_scale", "q_zero"], ["q_int"]),
        onnx.helper.make_node("DequantizeLinear", ["q_int", "q_scale", "q_zero"], ["q_back"]),
    ]
    for node in nodes:
        model.graph.node.insert(len(model.graph.node) - 1, node)
    onnx.save(model, path)


def test_kinds_of_quantisation(models: Path, tmp_path: Path) -> None:
    folder = models / "parakeet-tdt-tiny-onnx"
    assert read_graph(folder / "encoder-model.onnx").quantization == "float"
    assert read_graph(folder / "encoder-model.int8.onnx").quantization == "dynamic"
    assert read_graph(folder / "decoder_joint-model.int8.onnx").quantization == "dynamic"
    made = tiny_models.write(tmp_path / "m", Shape(vocab=50))
    quantize_linear_graph(made / "encoder-model.onnx")
    assert read_graph(made / "encoder-model.onnx").quantization == "qdq"
    assert find_model(made)[0].encoder_precision == "int8"


def test_the_reader_agrees_with_onnx(model_folder: Path) -> None:
    for path in model_folder.glob("*.onnx"):
        info, model = read_graph(path), onnx.load(path)
        assert [port.name for port in info.inputs] == [value.name for value in model.graph.input]
        assert [node.op_type for node in info.nodes] == [node.op_type for node in model.graph.node]
        assert [node.inputs for node in info.nodes] == [tuple(node.input) for node in model.graph.node]
        assert {t.name: tuple(t.dims) for t in model.graph.initializer}.items() <= {
            name: tensor.shape for name, tensor in info.tensors.items()
        }.items()
        assert dict(info.metadata) == {entry.key: entry.value for entry in model.metadata_props}
        assert info.opsets == {entry.domain: entry.version for entry in model.opset_import}


def test_ports_without_fixed_sizes_are_read_from_the_weights(tmp_path: Path) -> None:
    shape = Shape(vocab=50, durations=(0, 1, 2))
    folder = tiny_models.write(tmp_path / "m", shape)
    for name in ("encoder-model.onnx", "decoder_joint-model.onnx"):
        model = onnx.load(folder / name)
        for value in (*model.graph.input, *model.graph.output):
            for axis, dim in enumerate(value.type.tensor_type.shape.dim):
                if value.name != "encoder_outputs":  # an encoder frame's size has to be said somewhere
                    dim.dim_param = f"free_{axis}"
        onnx.save(model, folder / name)
    spec = find_model(folder)[1]
    assert (spec.n_mels, spec.durations) == (80, (0, 1, 2))
    assert (spec.predictor_layers, spec.predictor_hidden) == (shape.layers, shape.hidden)


def test_initializers_listed_as_inputs_are_no_ports(tmp_path: Path) -> None:
    folder = tiny_models.write(tmp_path / "m", Shape(vocab=50))
    model = onnx.load(folder / "decoder_joint-model.onnx")
    weight = model.graph.initializer[0]
    model.graph.input.insert(0, onnx.helper.make_tensor_value_info(weight.name, weight.data_type, list(weight.dims)))
    onnx.save(model, folder / "decoder_joint-model.onnx")
    assert read_graph(folder / "decoder_joint-model.onnx").inputs[0].name == "encoder_outputs"
    find_model(folder)


def test_external_weights_load_as_inline_ones_do(tmp_path: Path) -> None:
    shape = Shape(vocab=50)
    inline = tiny_models.write(tmp_path / "a", shape)
    outside = tiny_models.write(tmp_path / "b", shape, external=True)
    assert read_graph(outside / "encoder-model.onnx").external_bytes > 0
    a, b = (load_model(folder / "encoder-model.onnx") for folder in (inline, outside))
    values = [{t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer} for model in (a, b)]
    assert values[0].keys() == values[1].keys()
    for name, value in values[0].items():
        np.testing.assert_array_equal(value, values[1][name])
    assert any(
        t.data_location == onnx.TensorProto.EXTERNAL
        for t in load_model(outside / "encoder-model.onnx", weights=False).graph.initializer
    )


def test_recognition_is_quick_and_reads_no_weights(tmp_path: Path) -> None:
    folder = tiny_models.write(tmp_path / "m", Shape(vocab=50), external=True)
    weights = folder / "encoder-model.onnx.data"
    with weights.open("r+b") as stream:
        stream.truncate(4 << 30)  # a sparse file of 4 GiB: reading it would be noticed
    start = time.perf_counter()
    find_model(folder)
    assert time.perf_counter() - start < 1.0


def test_a_deep_or_crowded_graph_is_refused_before_it_fills_the_memory() -> None:
    from tdt.onnxfile import proto
    from tdt.onnxfile.wire import WireError

    def message(number: int, content: bytes) -> bytes:
        length, out = len(content), bytearray([number << 3 | 2])
        while length >= 0x80:
            out.append(length & 0x7F | 0x80)
            length >>= 7
        return bytes([*out, length]) + content

    nested = b""
    for _ in range(proto.MAX_DEPTH + 2):
        nested = message(1, message(5, message(6, nested)))
    with pytest.raises(WireError, match="nested"):
        read_model(message(7, nested))
    crowd = message(1, b"") * (proto.MAX_NODES + 1)
    with pytest.raises(WireError, match="nodes"):
        read_model(message(7, crowd))
