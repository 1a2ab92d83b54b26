"""A part of a source is the sound that was cut out of it, and no more of the file is read than that takes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

import tdt
from tdt.audio import Part, open_source
from tdt.audio.reader import BlockReader
from tdt.errors import AudioReadError, AudioTailError, AudioTooShortError, TdtError

if TYPE_CHECKING:
    from pathlib import Path

RATE = 22050
SECONDS = 30.0
PARTS = [Part(0.0, 1.5), Part(2.0, 3.25), Part(12.3456, 0.5), Part(27.9, None), Part(29.0, 1.0), Part(11.0, 15.0)]
FORMATS = {"wav": "PCM_16", "flac": "PCM_16", "aiff": "PCM_24", "ogg": "VORBIS", "mp3": "MPEG_LAYER_III"}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    rng = np.random.default_rng(440)
    samples = 0.3 * rng.standard_normal((int(SECONDS * RATE), 2)).astype(np.float32)
    made = {}
    for ending, subtype in FORMATS.items():
        made[ending] = tmp_path_factory.mktemp("parts") / f"whole.{ending}"
        soundfile.write(made[ending], samples, RATE, subtype=subtype)
    return made


def native(path: Path) -> np.ndarray[Any, Any]:
    """All samples at the file's rate, as this package decodes them."""
    reader = BlockReader(path)
    with reader:
        return np.concatenate([block for _, block in reader._mono])


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("part", PARTS, ids=str)
def test_a_part_is_what_was_cut_out(files: dict[str, Path], ending: str, part: Part) -> None:
    whole = native(files[ending])
    start, count = part.samples(RATE)
    cut = whole[start : None if count is None else start + count]
    expected, _ = open_source(cut, 10**9, sample_rate=RATE).load()
    found, problem = open_source(files[ending], 10**9, part=part).load()
    assert problem is None
    np.testing.assert_array_equal(found.samples, expected.samples)


@pytest.mark.parametrize("ending", ["wav", "flac", "aiff"])
def test_only_the_part_is_read(files: dict[str, Path], ending: str) -> None:
    """Else a thousand cuts of a recording of ten hours would read it a thousand times."""

    class Counted(io.BytesIO):
        count = 0

        def read(self, size: int | None = -1, /) -> bytes:
            part = super().read(size)
            Counted.count += len(part)
            return part

    content = files[ending].read_bytes()
    open_source(Counted(content), 10**9, part=Part(20.0, 1.0)).load()
    assert Counted.count < len(content) / 4


def test_transcribing_a_part_is_transcribing_the_cut_audio(tmp_path: Path, eval_folder: Path) -> None:
    clips = [soundfile.read(path)[0] for path in sorted(eval_folder.glob("*.flac"))[:6]]
    soundfile.write(tmp_path / "all.flac", np.concatenate(clips), 16000)
    begin = len(clips[0]) + len(clips[1])
    soundfile.write(tmp_path / "cut.wav", clips[2], 16000)
    with tdt.load() as asr:
        part = Part(begin / 16000, len(clips[2]) / 16000)
        (found,) = asr.transcribe_each([open_source(tmp_path / "all.flac", 10**9, part=part)])
        assert found == asr.transcribe(tmp_path / "cut.wav")
        assert not isinstance(found, TdtError)
        assert found.text


def test_a_long_part_is_read_in_blocks(files: dict[str, Path]) -> None:
    opened = open_source(files["flac"], 16000 * 5, part=Part(3.0, 20.0))
    assert opened.long
    assert opened.seconds == 20.0
    assert opened.reader is not None
    count = sum(map(len, opened.reader))
    opened.close()
    assert abs(count - 20 * 16000) <= 1


@pytest.mark.parametrize("ending", FORMATS)
def test_what_lies_beyond_the_end(files: dict[str, Path], ending: str) -> None:
    """Durations are rounded in manifests: a little less than was promised is taken, half a second less is told."""
    audio, problem = open_source(files[ending], 10**9, part=Part(28.0, 2.2)).load()
    assert problem is None
    assert 1.8 < audio.seconds < 2.2
    audio, problem = open_source(files[ending], 10**9, part=Part(25.0, 12.0)).load()
    assert isinstance(problem, AudioTailError)
    assert 4.8 < audio.seconds < 5.2
    with pytest.raises((AudioReadError, AudioTooShortError)):
        open_source(files[ending], 10**9, part=Part(50.0, 2.0)).load()


def test_arrays_have_parts_too() -> None:
    samples = np.arange(32000, dtype=np.float32) / 32000
    audio, _ = open_source(samples, 10**9, part=Part(0.5, 1.0)).load()
    np.testing.assert_array_equal(audio.samples, samples[8000:24000])
