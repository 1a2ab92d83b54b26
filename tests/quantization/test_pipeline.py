"""`tdt quantize` end to end on the tiny model: accuracy, files, layouts, refusals, interruption."""

from __future__ import annotations

import json
import shutil
import signal
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import soundfile

import tdt
from tdt.commands import main
from tdt.errors import CalibrationAudioError, CalibrationValueError, OptionError, QuantizationError
from tdt.model.finding import find_model
from tdt.model.sidecar import SIDECAR, read_sidecar
from tdt.onnxfile import read_graph
from tdt.quantization.agreement import tokens_equal
from tdt.quantization.calibration import Checkpoint, calibrate
from tdt.quantization.clips import Clip, read_audio, require_speech, sounding_seconds
from tdt.quantization.comparison import agreement, joined
from tdt.quantization.pipeline import Options, load_clips, quantize
from tdt.quantization.recipe import Recipe
from tdt.quantization.scoring import error_rates, read_references, simple_normalizer
from tdt.quantization.sidecar import file_hash

if TYPE_CHECKING:
    from pathlib import Path

LAYOUT_NAMES = {
    "parakeet-tdt-tiny-onnx": ("encoder-model.onnx", "encoder-model.int8.onnx"),
    "sherpa-onnx-parakeet-tdt-tiny": ("encoder.onnx", "encoder.int8.onnx"),
}


@pytest.fixture(scope="module")
def recordings(eval_folder: Path) -> list[Path]:
    return sorted(eval_folder.glob("*.flac"))


@pytest.fixture(scope="module")
def calibration(recordings: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every other recording, in folders, beside a file that is not audio."""
    folder = tmp_path_factory.mktemp("calibration")
    for index, path in enumerate(recordings[::2]):
        target = folder / f"part{index % 2}" / path.name
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(path, target)
    (folder / "notes.txt").write_text("not audio")
    (folder / "broken.wav").write_bytes(b"RIFF, but no more")
    return folder


@pytest.fixture(scope="module")
def quantised(models: Path, calibration: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "int8"
    source = str(models / "parakeet-tdt-tiny-onnx")
    assert main(["quantize", source, "--audio", str(calibration), "-o", str(folder), "-q"]) == 0
    return folder


def tokens_and_texts(folder: Path, recordings: list[Path], **options: Any) -> tuple[list[list[int]], list[str]]:
    tokens, texts = [], []
    with tdt.load(folder, **options) as recogniser:
        for path in recordings:
            (hypothesis,) = recogniser.decode(recogniser.encode(recogniser.features(path)))
            tokens.append([int(token) for token in hypothesis.token_ids])
            texts.append(recogniser.transcript(hypothesis, 1.0).text)
    return tokens, texts


def test_words_and_tokens_stay(models: Path, eval_folder: Path, quantised: Path, recordings: list[Path]) -> None:
    """Half of the clips were calibrated on, the other half never seen."""
    source = models / "parakeet-tdt-tiny-onnx"
    exact, exact_texts = tokens_and_texts(source, recordings, precision="float32")
    static, static_texts = tokens_and_texts(quantised, recordings)
    dynamic, _ = tokens_and_texts(source, recordings, precision="int8")
    said = read_references(eval_folder / "transcripts.tsv", recordings)
    references = [simple_normalizer(said[path]) for path in recordings]
    rates = [error_rates(references, list(map(simple_normalizer, texts)))[0] for texts in (exact_texts, static_texts)]
    assert abs(rates[1] - rates[0]) <= 0.006
    assert tokens_equal(exact, static) >= 0.97
    assert tokens_equal(exact[1::2], static[1::2]) >= 0.97  # the clips never seen
    assert tokens_equal(exact, static) > tokens_equal(exact, dynamic)


@pytest.mark.parametrize(("seconds", "least"), [(5.0, 0.995), (20.0, 0.995), (40.0, 0.99)])
def test_the_encoder_stays_close_at_every_length(
    models: Path, quantised: Path, recordings: list[Path], seconds: float, least: float
) -> None:
    clips = [soundfile.read(path, dtype="float32")[0] for path in recordings[1::2]]
    outputs = []
    for folder in (models / "parakeet-tdt-tiny-onnx", quantised):
        with tdt.load(folder) as recogniser:
            pieces = [recogniser.encode(recogniser.features([piece])) for piece in joined(clips, seconds)[:2]]
        outputs.append([encoded.frames[0] for encoded in pieces])
    cosines, _ = agreement(*outputs)
    assert cosines.mean() >= least
    assert cosines.min() >= 0.97


def test_the_file_is_small_and_static(models: Path, quantised: Path) -> None:
    encoder = quantised / "encoder-model.int8.onnx"
    assert encoder.stat().st_size <= 0.42 * (models / "parakeet-tdt-tiny-onnx/encoder-model.onnx").stat().st_size
    info = read_graph(encoder)
    assert info.quantization == "qdq"
    assert info.ops["QuantizeLinear"] == 64
    model = onnx.load(str(encoder))
    onnx.checker.check_model(model)
    assert_symmetric(model)


def assert_symmetric(model: onnx.ModelProto) -> None:
    """Symmetric int8, weights stored as int8 behind a single DequantizeLinear with a scale a column."""
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    weights = 0
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zero, scale = constants[node.input[2]], constants[node.input[1]]
            assert zero.dtype == np.int8
            assert not zero.any()
            assert (scale > 0).all()
            if node.input[0] in constants:
                weights += 1
                assert constants[node.input[0]].dtype == np.int8
                assert scale.shape == (constants[node.input[0]].shape[1],)
            else:
                assert scale.shape == ()
        elif node.op_type != "MatMul":  # the bias of an offset is added behind it, in float
            dequantised = [n for n in node.input if n in makers and makers[n].op_type == "DequantizeLinear"]
            assert not dequantised, f"{node.op_type} reads 8 bits"
    assert weights == 80


def test_the_sidecar_tells_how_it_was_made(models: Path, quantised: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = read_sidecar(quantised)
    assert content is not None
    source = models / "parakeet-tdt-tiny-onnx/encoder-model.onnx"
    assert content["source"]["files"][0]["sha256"] == file_hash(source)
    assert content["recipe"]["method"] == "minmax"
    assert len(content["calibration"]["clips"]) == 21
    assert [item["file"] for item in content["calibration"]["skipped"]] == ["broken.wav"]
    assert len(content["layers"]) == 80
    assert all(item["scale"] > 0 for item in content["ranges"].values())
    assert {"tdt", "numpy", "onnx"} <= set(content["tools"])
    assert main(["inspect", str(quantised)]) == 0
    shown = capsys.readouterr().out
    assert "method" in shown
    assert "16 pointwise" in shown


@pytest.mark.parametrize("layout", sorted(LAYOUT_NAMES))
def test_the_folder_loads_in_its_layout(
    layout: str, models: Path, golden_folder: Path, calibration: Path, tmp_path: Path
) -> None:
    source, target = models / layout, tmp_path / "int8"
    recipe = Recipe(body="float16", decoder_weights="int8", smoothquant="auto", method="mse")
    result = quantize(source, [calibration], target, recipe)
    names = {path.name for path in target.iterdir()}
    assert LAYOUT_NAMES[layout][1] in names
    assert LAYOUT_NAMES[layout][0] not in names
    assert SIDECAR in names
    assert ("config.json" in names) == (layout == "parakeet-tdt-tiny-onnx")
    files, spec = find_model(target)
    original, expected = find_model(source, precision="float32")
    assert (spec.pieces, spec.durations, spec.max_encoder_frames) == (expected.pieces, expected.durations, 2500)
    assert (files.layout, files.encoder_precision, files.decoder_precision) == (original.layout, "int8", "int8")
    assert result.encoder_bytes < 0.34 * result.source_bytes
    clip = golden_folder / "03_flite-rms.flac"
    for decoder in ("native", "onnx"):
        with tdt.load(target, decoder=decoder) as recogniser:  # type: ignore[arg-type]
            assert recogniser.transcribe(clip).text == "The open source project has improved the first language model."


def test_parts_and_patterns_choose_the_layers(models: Path, calibration: Path, tmp_path: Path) -> None:
    recipe = Recipe(include=("attention", "layers.3.conv.*"), exclude=("*.linear_out",))
    result = quantize(models / "parakeet-tdt-tiny-onnx", [calibration], tmp_path / "out", recipe)
    names = {layer["name"] for layer in result.sidecar["layers"]}
    assert len(names) == 8 * 3 + 2
    assert "layers.3.conv.pointwise_conv1" in names
    assert "layers.0.self_attn.linear_out" in result.sidecar["left_in_float"]
    with pytest.raises(OptionError, match=r"layers\.99"):
        quantize(None, [calibration], tmp_path / "x", Recipe(include=("layers.99.*",)))


def test_silence_and_too_little_are_refused_with_the_numbers(
    tmp_path: Path, recordings: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    silence = tmp_path / "silence.wav"
    soundfile.write(silence, np.zeros(90 * 16000, np.float32), 16000)
    with pytest.raises(CalibrationAudioError, match=r"0\.0 s of sound in 1 recordings of 90\.0 s.*60 s"):
        quantize(None, [silence], tmp_path / "a")
    arguments = ["quantize", "parakeet-tdt-tiny", "--audio", str(recordings[0]), "-o", str(tmp_path / "b")]
    assert main(arguments) == 1
    assert "at least 60 s" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def test_sound_is_counted_with_the_pauses_between_words() -> None:
    rate = 16000
    tone = 0.1 * np.sin(np.arange(rate) * 0.3).astype(np.float32)
    pause = np.zeros(rate // 2, np.float32)
    assert sounding_seconds(np.concatenate([tone, pause, tone])) == pytest.approx(2.5, abs=0.05)
    assert sounding_seconds(np.zeros(5 * rate, np.float32)) == 0.0
    assert sounding_seconds(np.concatenate([np.zeros(10 * rate, np.float32), tone])) == pytest.approx(1.5, abs=0.05)


def test_wrong_models_and_folders_are_refused(
    quantised: Path, calibration: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(QuantizationError, match="quantised already"):
        quantize(quantised, [calibration], tmp_path / "again")
    renamed = tmp_path / "renamed"
    shutil.copytree(quantised, renamed)
    (renamed / "encoder-model.int8.onnx").rename(renamed / "encoder-model.onnx")
    with pytest.raises(QuantizationError, match="quantised already"):
        quantize(renamed, [calibration], tmp_path / "again")
    with pytest.raises(OptionError, match="empty folder"):
        quantize(None, [calibration], quantised)
    assert main(["quantize", "parakeet-tdt-tiny", "--audio", str(calibration)]) == 2
    assert "--output" in capsys.readouterr().err


def test_max_seconds_bounds_the_audio(recordings: list[Path]) -> None:
    audio = read_audio(recordings, max_seconds=10.0)
    assert audio.seconds == pytest.approx(10.0, abs=0.11)
    assert all(clip.seconds >= 0.1 for clip in audio.clips)
    assert len(audio.clips) + len(audio.skipped) == len(recordings)


def test_the_bound_on_the_audio_does_not_refuse_itself(tmp_path: Path) -> None:
    """A minute of speech holds pauses: 60 s of audio are not 60 s of sound, and no more could be read."""
    tone = 0.1 * np.sin(np.arange(58 * 16000) * 0.3).astype(np.float32)
    speech = np.concatenate([np.zeros(2 * 16000, np.float32), tone])
    paths = [tmp_path / f"{index}.wav" for index in range(2)]
    for path in paths:
        soundfile.write(path, speech, 16000)
    audio = read_audio(paths, 60.0)
    assert audio.seconds == 60.0
    assert 58.0 <= audio.sounding_seconds < 60.0
    require_speech(audio, 60.0)
    assert len(load_clips(paths, Options(60.0)).clips) == 1
    with pytest.raises(CalibrationAudioError, match=r"at least 60 s.*Pass more recordings"):
        require_speech(read_audio(paths[:1], 61.0), 61.0)  # here it is the recordings that end


def test_a_bound_that_silence_fills_says_to_raise_it(tmp_path: Path) -> None:
    path = tmp_path / "quiet.wav"
    tone = 0.1 * np.sin(np.arange(40 * 16000) * 0.3).astype(np.float32)
    soundfile.write(path, np.concatenate([tone, np.zeros(100 * 16000, np.float32), tone]), 16000)
    with pytest.raises(CalibrationAudioError, match=r"40\.\d s of sound .* at least 56 s .*Raise the bound"):
        load_clips([path], Options(70.0))


@pytest.mark.parametrize("bound", [59.9, 0.0, -1.0, float("nan")])
def test_a_bound_below_what_is_needed_is_refused_before_anything_is_read(bound: float) -> None:
    with pytest.raises(OptionError, match="60 or more"):
        load_clips(["/does/not/exist"], Options(bound))


class Noise:
    """A probe whose activations depend on the audio alone."""

    def __init__(self, interrupt_at: int | None = None, poison_at: int | None = None) -> None:
        self.calls = 0
        self.interrupt_at, self.poison_at = interrupt_at, poison_at

    def activations(self, samples: np.ndarray) -> dict[str, np.ndarray]:
        self.calls += 1
        if self.calls == self.interrupt_at:
            signal.raise_signal(signal.SIGINT)
        values = samples[: len(samples) // 8 * 8].reshape(1, -1, 8).astype(np.float32)
        return {"x": np.full_like(values, np.nan) if self.calls == self.poison_at else values, "y": values * 2}


def clips_of_noise(tmp_path: Path) -> list[Clip]:
    rng = np.random.default_rng(5)
    lengths = (30000, 400000, 900000, 50000)  # the third is cut into three pieces
    return [
        Clip(tmp_path / f"{index}.wav", rng.standard_normal(length).astype(np.float32), 1.0)
        for index, length in enumerate(lengths)
    ]


def test_an_interrupted_calibration_goes_on_to_the_same_result(tmp_path: Path) -> None:
    clips = clips_of_noise(tmp_path)
    whole = calibrate(Noise(), clips)
    checkpoint = Checkpoint(tmp_path / "state", "key")
    with pytest.raises(KeyboardInterrupt):
        calibrate(Noise(interrupt_at=5), clips, checkpoint=checkpoint)
    second = Noise()
    resumed = calibrate(second, clips, checkpoint=checkpoint)
    assert second.calls == 3  # of 7 pieces, 4 were done
    for name in ("x", "y"):
        for key, value in whole[name].arrays().items():
            np.testing.assert_array_equal(resumed[name].arrays()[key], value)
    other = Checkpoint(tmp_path / "state", "another key")
    assert other.load() == ({}, 0)
    (tmp_path / "state/state.npz").write_bytes(b"cut short")
    assert checkpoint.load() == ({}, 0)
    checkpoint.clear()
    assert not (tmp_path / "state").exists()


def test_broken_numbers_stop_calibration(tmp_path: Path) -> None:
    with pytest.raises(CalibrationValueError, match="'x'"):
        calibrate(Noise(poison_at=2), clips_of_noise(tmp_path))


def test_sensitivity_and_budget_through_the_command(
    models: Path, calibration: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["quantize", str(models / "parakeet-tdt-tiny-onnx"), "--audio", str(calibration), "-q"]
    arguments += ["-o", str(tmp_path / "out"), "--sensitivity", "layer-part", "--sensitivity-seconds", "8"]
    arguments += ["--budget", "0.02", "--plot", str(tmp_path / "ranking.svg"), "--json"]
    assert main(arguments) == 0
    content = json.loads(capsys.readouterr().out)
    errors = [item["damage"]["error"] for item in content["sensitivity"]]
    assert len(errors) == 24
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] > 0
    assert content["budget"]["damage"]["error"] <= 0.02 < content["all_in_int8"]["error"]
    assert 0 < len(content["layers"]) < 80
    assert "<svg" in (tmp_path / "ranking.svg").read_text()
    left = {name.split()[1] for name in content["budget"]["left"]}
    assert any(name.startswith(f"layers.{number}.") for number in left for name in content["left_in_float"])
    assert Options().max_seconds == 600.0
