"""The encoder: lengths from the host, batches that change nothing, errors with numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tdt.encoding.encoder import Encoder, probe_batching, tell_batching
from tdt.errors import AudioTooLongError, ModelFileCorruptError, ModelMismatchError, OptionError
from tdt.model.finding import find_model
from tdt.runtime.backend import Backend
from tdt.stages import Features

from .. import tiny_models

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tdt.spec import ModelSpec


def features(lengths: list[int], n_mels: int = 128, seed: int = 3) -> Features:
    frames = np.random.default_rng(seed).standard_normal((len(lengths), n_mels, max(lengths, default=0)))
    for row, length in enumerate(lengths):
        frames[row, :, length:] = 0
    return Features(frames.astype(np.float32), np.array(lengths, np.int64))


@pytest.fixture(scope="module")
def encoder(model_folder: Path) -> Any:
    encoder = Encoder(*find_model(model_folder), Backend())
    yield encoder
    encoder.close()


@pytest.mark.parametrize("length", [1, 2, 3, 7, 8, 9, 16, 17, 100, 101])
def test_lengths_are_those_of_the_graph(encoder: Encoder, length: int) -> None:
    given = features([length])
    encoded = encoder.encode(given)
    names = [port.name for port in encoder.session.inputs]
    _, theirs = encoder.session.run(dict(zip(names, (given.frames, given.lengths), strict=True)))
    assert encoded.lengths.tolist() == theirs.tolist() == [(length - 1) // 8 + 1]
    assert encoded.frames.shape == (1, (length - 1) // 8 + 1, 144)
    assert encoded.frames.dtype == np.float32
    assert encoded.frames.flags.c_contiguous


def test_padding_changes_nothing(encoder: Encoder) -> None:
    lengths = [40, 93, 0, 57]
    batch = features(lengths)
    together = encoder.encode(batch)
    assert encoder.batching() == "together"
    assert together.lengths.tolist() == [5, 12, 0, 8]
    for row, length in enumerate(lengths):
        alone = encoder.encode(Features(batch.frames[row : row + 1, :, :length], batch.lengths[row : row + 1]))
        span = int(together.lengths[row])
        # Reordered float32 sums.
        np.testing.assert_allclose(together.frames[row, :span], alone.frames[0, :span], atol=1e-4)


def test_what_lies_beyond_the_length_is_not_read(encoder: Encoder) -> None:
    clean = features([40, 93])
    dirty = Features(clean.frames.copy(), clean.lengths)
    dirty.frames[0, :, 40:] = 9
    for row, span in enumerate((5, 12)):
        ours, theirs = encoder.encode(dirty).frames[row, :span], encoder.encode(clean).frames[row, :span]
        np.testing.assert_allclose(ours, theirs, atol=1e-4)  # the masks multiply by 0; sums keep their order or nearly


@pytest.mark.parametrize("layout", tiny_models.LAYOUTS)
@pytest.mark.parametrize(("masked", "expected"), [(True, "together"), (False, "same length")])
def test_leaking_exports_are_found_and_grouped(tmp_path: Path, layout: Any, masked: bool, expected: str) -> None:
    tiny_models.write(tmp_path, tiny_models.Shape(masked=masked), layout)
    encoder = Encoder(*find_model(tmp_path), Backend())
    batch = features([42, 93, 42, 57], n_mels=80)
    together = encoder.encode(batch)
    assert encoder.batching() == expected
    for row in range(4):
        length = int(batch.lengths[row])
        alone = encoder.encode(Features(batch.frames[row : row + 1, :, :length], batch.lengths[row : row + 1]))
        span = int(together.lengths[row])
        np.testing.assert_allclose(together.frames[row, :span], alone.frames[0], atol=1e-4)  # reordered sums


def rounded(encoder: Encoder) -> Callable[[Any, Any], Any]:
    """Return runs whose products round their inputs: what they give depends a little on the shape of the batch."""

    def run(frames: Any, lengths: Any) -> Any:
        out = encoder._run(frames, lengths)
        noise = np.random.default_rng(len(frames) * 1000 + frames.shape[2]).uniform(-1, 1, out.shape)
        return (out + 2e-3 * np.abs(out).max() * noise).astype(np.float32)

    return run


@pytest.mark.parametrize(("numbers", "expected"), [("fp32", "alone"), ("tf32", "together"), ("fp16", "together")])
def test_rounding_is_not_taken_for_a_leak(encoder: Encoder, numbers: Any, expected: str) -> None:
    assert probe_batching(rounded(encoder), encoder.spec.n_mels, numbers) == expected


def test_a_leak_is_found_beside_rounding(tmp_path: Path) -> None:
    tiny_models.write(tmp_path, tiny_models.Shape(masked=False), "onnx-asr")
    encoder = Encoder(*find_model(tmp_path), Backend())
    assert probe_batching(rounded(encoder), encoder.spec.n_mels, "tf32") == "same length"


@pytest.mark.parametrize(
    ("verdict", "said"), [("together", ""), ("same length", "padding"), ("alone", "each runs alone")]
)
def test_clips_that_cannot_share_a_run_are_told(verdict: Any, said: str, caplog: pytest.LogCaptureFixture) -> None:
    tell_batching(verdict, "encoder.onnx on tensorrt:0 in tf32")
    assert (said in caplog.text) if said else not caplog.text
    assert ("encoder.onnx on tensorrt:0 in tf32" in caplog.text) == bool(said)


def test_dynamic_quantisation_runs_utterances_alone(model_folder: Path) -> None:
    encoder = Encoder(*find_model(model_folder, precision="int8"), Backend())
    batch = features([40, 93, 93])
    together = encoder.encode(batch)
    assert encoder.batching() == "alone"
    for row, length in enumerate((40, 93, 93)):
        alone = encoder.encode(Features(batch.frames[row : row + 1, :, :length], batch.lengths[row : row + 1]))
        np.testing.assert_array_equal(together.frames[row, : alone.frames.shape[1]], alone.frames[0])


def test_beyond_the_position_table_is_refused_with_the_numbers(encoder: Encoder) -> None:
    short = Encoder.__new__(Encoder)
    short.spec = replace(encoder.spec, max_encoder_frames=12)
    short.session, short._positions = encoder.session, encoder._positions
    short._batching, short._probe_lock = "together", encoder._probe_lock
    assert short.encode(features([96])).lengths.tolist() == [12]
    with pytest.raises(AudioTooLongError, match=r"Utterance 1 .* 13 encoder frames \(1\.0 s\).* 12 frames"):
        short.encode(features([96, 97]))


def test_the_bundled_position_table_ends_where_the_spec_says(encoder: Encoder) -> None:
    assert encoder.spec.max_encoder_frames == 2500
    with pytest.raises(AudioTooLongError, match="2501 encoder frames"):
        encoder.encode(Features(np.zeros((1, 128, 20001), np.float32), np.array([20001])))


def test_empty_batches(encoder: Encoder) -> None:
    assert encoder.encode(features([])).frames.shape == (0, 0, 144)
    assert encoder.encode(features([0, 0])).frames.shape == (2, 0, 144)


@pytest.mark.parametrize(
    ("frames", "lengths", "problem"),
    [
        (np.zeros((1, 80, 9), np.float32), np.array([9]), "128"),
        (np.zeros((128, 9), np.float32), np.array([9]), "128"),
        (np.zeros((1, 128, 9), np.float32), np.array([10]), "from 0 to 9"),
        (np.zeros((1, 128, 9), np.float32), np.array([[9]]), r"array \[B\] of whole numbers"),
        (np.zeros((1, 128, 9), np.float32), np.array([9.0]), "whole numbers"),
    ],
)
def test_features_that_do_not_fit_are_refused(encoder: Encoder, frames: Any, lengths: Any, problem: str) -> None:
    with pytest.raises(OptionError, match=problem):
        encoder.encode(Features(frames, lengths))


def test_another_subsampling_than_the_graphs_is_a_mismatch(model_folder: Path) -> None:
    files, spec = find_model(model_folder)
    wrong: ModelSpec = replace(spec, subsampling=4)
    with pytest.raises(ModelMismatchError, match="subsampling"):
        Encoder(files, wrong, Backend()).encode(features([64]))


def test_a_decoder_in_the_encoders_place_is_a_mismatch(models: Path) -> None:
    files, spec = find_model(models / "parakeet-tdt-tiny-onnx")
    assert files.decoder_joint is not None
    with pytest.raises(ModelMismatchError, match="5 inputs"):
        Encoder(replace(files, encoder=files.decoder_joint), spec, Backend())


@pytest.mark.parametrize("keep", [0, 1, 500, 60_000, -1])
def test_cut_graphs_are_refused_by_type(models: Path, tmp_path: Path, keep: int) -> None:
    files, spec = find_model(models / "parakeet-tdt-tiny-onnx")
    whole = files.encoder.read_bytes()
    broken = tmp_path / "encoder-model.onnx"
    broken.write_bytes(whole[:keep])
    with pytest.raises((ModelFileCorruptError, ModelMismatchError), match="encoder-model"):
        Encoder(replace(files, encoder=broken), spec, Backend())
