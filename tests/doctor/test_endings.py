"""`tdt doctor` finds ends of long clips that a device has cut off."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import tdt
from tdt.audio.loading import load_audio
from tdt.doctor import measuring
from tdt.doctor.endings import LEAST_COSINE, MEL_FRAMES, ending_checks, last_second, long_clip
from tdt.doctor.report import Measured
from tdt.doctor.verdicts import TOLERANCES
from tdt.errors import AudioTooLongError
from tdt.model.finding import find_model
from tdt.runtime.backend import Backend
from tdt.runtime.session import Session

if TYPE_CHECKING:
    import numpy.typing as npt

    Float32 = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def features() -> Float32:
    with tdt.load() as asr:
        found = asr.features([long_clip(measuring.clips())])
        assert found.lengths.tolist() == [MEL_FRAMES]
        return np.pad(found.frames[:, :, :MEL_FRAMES], ((0, 0), (0, 0), (0, 143)))


@pytest.fixture(scope="module")
def sound() -> Measured:
    with tdt.load() as asr:
        ending = last_second(asr, measuring.clips())
    return Measured("cpu", "CPUExecutionProvider", "fp32", (), (), (), (), (), (), {}, {}, ending=ending)


def with_masks_of(features: Float32, mel_frames: int) -> Float32:
    """Frames of the last second where the graph takes the clip for shorter."""
    session = Session(find_model(None)[0].encoder, Backend())
    (out,) = session.run({"audio_signal": features, "length": np.array([mel_frames])}, ["outputs"])
    return out[0].T[271 - 12 : 271]


def test_the_clip_is_long_and_ends_as_a_recording_does(sound: Measured) -> None:
    samples = long_clip(measuring.clips())
    last = load_audio(measuring.clips()[-1]).samples
    assert len(samples) > 21 * 16_000
    np.testing.assert_array_equal(samples[-len(last) :], last)
    assert sound.ending is not None
    assert sound.ending.shape == (12, 144)


def test_a_padded_clip_ends_as_it_does_alone(features: Float32, sound: Measured) -> None:
    (check,) = ending_checks(replace(sound, ending=with_masks_of(features, MEL_FRAMES)), sound)
    assert check.ok, check.found


@pytest.mark.parametrize("numbers", TOLERANCES)
@pytest.mark.parametrize("lost", [1, 3])
def test_a_mask_that_is_too_short_is_found(features: Float32, sound: Measured, numbers: str, lost: int) -> None:
    cut = replace(sound, numbers=numbers, ending=with_masks_of(features, MEL_FRAMES - 8 * lost))
    (check,) = ending_checks(cut, sound)
    assert not check.ok
    assert check.name == "end of a long clip"


@pytest.mark.parametrize("numbers", TOLERANCES)
def test_rounding_as_of_the_number_type_passes(sound: Measured, numbers: str) -> None:
    assert sound.ending is not None
    bits = {"fp32": 23, "tf32": 10, "fp16": 10, "bf16": 7, "int8": 6}[numbers]
    rng = np.random.default_rng(1)
    noise = rng.standard_normal(sound.ending.shape) * 2.0**-bits * np.abs(sound.ending).max()
    (check,) = ending_checks(replace(sound, numbers=numbers, ending=(sound.ending + noise).astype(np.float32)), sound)
    assert check.ok, check.found
    assert set(LEAST_COSINE) == set(TOLERANCES)


def test_nan_and_another_shape_are_found(sound: Measured) -> None:
    assert sound.ending is not None
    broken = sound.ending.copy()
    broken[3] = np.nan
    for ending in (broken, sound.ending[1:]):
        (check,) = ending_checks(replace(sound, ending=ending), sound)
        assert not check.ok


def test_an_engine_for_shorter_clips_is_told(sound: Measured) -> None:
    class Short:
        def features(self, clips: Any) -> Any:
            return clips

        def encode(self, features: Any) -> Any:
            raise AudioTooLongError("An utterance of 2161 mel frames exceeds the 1001 frames.")

    assert last_second(Short(), measuring.clips()) is None  # type: ignore[arg-type]
    (check,) = ending_checks(replace(sound, ending=None), sound)
    assert check.ok
    assert "not compared" in check.found
