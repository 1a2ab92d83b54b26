"""A model brought into the other layout computes the same numbers, in float32 and in 8 bits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest

import tdt
from tdt.audio.loading import load_audio
from tdt.conversion import convert
from tdt.errors import ModelNotFoundError, OptionError
from tdt.model import find_model

from .. import quantised_forms as q
from . import micro

if TYPE_CHECKING:
    from tdt.spec import Layout, Precision

ONNX_ASR, SHERPA = "parakeet-tdt-tiny-onnx", "sherpa-onnx-parakeet-tdt-tiny"
DATA = Path(__file__).resolve().parents[1] / "data"


def tokens(folder: Path, precision: Precision, clip: Any) -> list[int]:
    with tdt.load(folder, precision=precision, decoder="onnx") as asr:
        return [token.id for token in asr.transcribe(clip).tokens]


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize(("name", "layout"), [(ONNX_ASR, "sherpa-onnx"), (SHERPA, "onnx-asr")])
def test_there_and_back(
    tmp_path: Path, models: Path, golden_folder: Path, name: str, layout: Layout, precision: Precision
) -> None:
    source = models / name
    there = convert(source, tmp_path / "there", layout=layout, precision=precision)
    back = find_model(source)[0].layout
    convert(tmp_path / "there", tmp_path / "back", layout=back, precision=precision)
    assert (there.layout, there.replaced) == (layout, {})
    specs = [find_model(folder, precision=precision)[1] for folder in (source, tmp_path / "there", tmp_path / "back")]
    for name_ in ("pieces", "durations", "n_mels", "subsampling", "encoder_dim", "predictor_hidden", "normalize"):
        assert len({getattr(spec, name_) for spec in specs}) == 1
    clip = load_audio(golden_folder / "02_piper-joe.flac").samples
    heard = [tokens(folder, precision, clip) for folder in (source, tmp_path / "there", tmp_path / "back")]
    assert heard[0]
    assert heard[0] == heard[1] == heard[2]


@pytest.mark.parametrize("layout", ["onnx-asr", "sherpa-onnx"])
def test_blocks_of_4_bits_there_and_back(tmp_path: Path, golden_folder: Path, layout: Layout) -> None:
    """Quantised apart, decoder and joiner are of two operator sets: one graph has the newer."""
    write, other = (q.write, "sherpa-onnx") if layout == "onnx-asr" else (q.write_split, "onnx-asr")
    form = q.FORMS["`MatMulNBits`, 4 bits, with `GatherBlockQuantized`"]
    source = write(tmp_path / "source", lambda name: form(name, tmp_path))
    convert(source, tmp_path / "there", layout=other)  # type: ignore[arg-type]
    convert(tmp_path / "there", tmp_path / "back", layout=layout, precision="int4")
    assert any(path.name.endswith(".int4.onnx") for path in (tmp_path / "there").iterdir())
    clip = load_audio(golden_folder / "02_piper-joe.flac").samples
    heard = [tokens(folder, "int4", clip) for folder in (source, tmp_path / "there", tmp_path / "back")]
    assert heard[0]
    assert heard[0] == heard[1] == heard[2]


def test_the_halves_give_what_nemos_own_halves_give(tmp_path: Path, models: Path, rng: np.random.Generator) -> None:
    """The split of the fused export against the parts that NeMo exported apart."""
    convert(models / ONNX_ASR, tmp_path / "out", layout="sherpa-onnx")
    states = rng.standard_normal((2, 2, 1, 160))
    label = ([[7, 200, 3]], [3], *states)
    for ours, theirs in zip(
        micro.run(tmp_path / "out/decoder.onnx", *label),
        micro.run(models / SHERPA / "decoder.onnx", *label),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    pair = (rng.standard_normal((2, 144, 5)), rng.standard_normal((2, 160, 3)))
    ours, theirs = (micro.run(folder / "joiner.onnx", *pair)[0] for folder in (tmp_path / "out", models / SHERPA))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_the_fused_graph_takes_batches(tmp_path: Path, models: Path, rng: np.random.Generator) -> None:
    convert(models / SHERPA, tmp_path / "out", layout="onnx-asr")
    values = (rng.standard_normal((3, 144, 4)), [[1], [2], [3]], [1, 1, 1], *rng.standard_normal((2, 2, 3, 160)))
    ours = micro.run(tmp_path / "out/decoder_joint-model.onnx", *values)
    theirs = micro.run(models / ONNX_ASR / "decoder_joint-model.onnx", *values)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    graph = onnx.load_model(tmp_path / "out/decoder_joint-model.onnx").graph
    assert [port.name for port in graph.input] == [
        "encoder_outputs", "targets", "target_length", "input_states_1", "input_states_2"
    ]  # fmt: skip
    assert [port.name for port in graph.output] == ["outputs", "prednet_lengths", "output_states_1", "output_states_2"]


def test_metadata_is_what_sherpa_onnx_reads(tmp_path: Path, models: Path) -> None:
    convert(models / ONNX_ASR, tmp_path / "out", layout="sherpa-onnx")
    metadata = {entry.key: entry.value for entry in onnx.load_model(tmp_path / "out/encoder.onnx").metadata_props}
    theirs = json.loads((DATA / "parakeet-tdt-tiny/sherpa-metadata.json").read_text(encoding="utf-8"))
    assert {**metadata, "url": ""} == {**theirs, "url": ""}
    assert "tdt" in metadata["url"]


def test_sherpa_onnx_itself_decodes_a_converted_model(tmp_path: Path, golden_folder: Path, goldens: Any) -> None:
    sherpa_onnx = pytest.importorskip("sherpa_onnx")
    convert("parakeet-tdt-tiny", tmp_path / "m", layout="sherpa-onnx")
    files = {part: str(tmp_path / "m" / f"{part}.onnx") for part in ("encoder", "decoder", "joiner")}
    recogniser = sherpa_onnx.OfflineRecognizer.from_transducer(
        **files, tokens=str(tmp_path / "m/tokens.txt"), model_type="nemo_transducer", feature_dim=128
    )
    stream = recogniser.create_stream()
    stream.accept_waveform(16000, load_audio(golden_folder / "15_hello_world.flac").samples)
    recogniser.decode_stream(stream)
    assert stream.result.text.strip() == "Hello world. Testing one, two, three."


def test_onnx_asr_itself_decodes_a_converted_model(tmp_path: Path, models: Path, golden_folder: Path) -> None:
    onnx_asr = pytest.importorskip("onnx_asr")
    convert(models / SHERPA, tmp_path / "m", layout="onnx-asr")
    model = onnx_asr.load_model("nemo-conformer-tdt", tmp_path / "m")
    samples = load_audio(golden_folder / "15_hello_world.flac").samples
    assert model.recognize(samples, sample_rate=16000) == "Hello world. Testing one, two, three."


def test_other_durations_go_along(tmp_path: Path) -> None:
    import shutil

    shutil.copytree(micro.GRAPH, tmp_path / "m")
    config = json.loads((tmp_path / "m/config.json").read_text())
    (tmp_path / "m/config.json").write_text(json.dumps({**config, "durations": [0, 1, 2, 4, 8]}))
    convert(tmp_path / "m", tmp_path / "there", layout="sherpa-onnx")
    convert(tmp_path / "there", tmp_path / "back", layout="onnx-asr")
    for folder in ("there", "back"):
        assert find_model(tmp_path / folder)[1].durations == (0, 1, 2, 4, 8)


@pytest.mark.parametrize(("arguments", "error", "words"), [
    ({}, OptionError, "layout"), ({"layout": "onnx-asr"}, OptionError, "another one"),
    ({"layout": "x"}, OptionError, "x"),
    ({"layout": "sherpa-onnx", "graph": "g"}, OptionError, "keeps its own graphs"),
])  # fmt: skip
def test_what_is_no_change_of_layout(tmp_path: Path, arguments: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        convert(micro.GRAPH, tmp_path / "out", **arguments)
    assert not list(tmp_path.iterdir())


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"no.*missing.nemo"):
        convert(tmp_path / "missing.nemo", tmp_path / "out")
    with pytest.raises(OptionError, match="the model's own"):
        convert(micro.GRAPH, micro.GRAPH, layout="sherpa-onnx")
