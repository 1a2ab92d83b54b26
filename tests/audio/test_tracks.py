"""Audio tracks: chosen by type, the default one first, another by number; listed by `tdt inspect`."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import tdt
from tdt.audio import BlockReader, contents, load_audio
from tdt.commands import main
from tdt.errors import OptionError

from ..sound_files import Kind, Pipe, by_ffmpeg, by_sndfile, made, speech

if TYPE_CHECKING:
    from collections.abc import Iterator

FAULTS = Path(__file__).resolve().parents[1] / "data/faults"


def tone(hz: float, seconds: float = 2.0, rate_hz: int = 16000) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate_hz)) / rate_hz)).astype(np.float32)[:, None]


def pitch(samples: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(samples))
    return float(np.argmax(spectrum) * 16000 / len(samples))


@pytest.fixture(scope="module")
def asr() -> Iterator[tdt.Recognizer]:
    with tdt.load() as recognizer:
        yield recognizer


@pytest.fixture(scope="module")
def three() -> bytes:
    """Three tracks of 400, 800 and 1200 Hz; the second is marked as default."""
    tracks = {"eng": tone(400), "deu": tone(800), "fra": tone(1200)}
    return by_ffmpeg(tracks, 16000, "matroska", "pcm_s16le", default="deu")


def test_the_default_track_is_taken_and_any_other_can_be(three: bytes, tmp_path: Path) -> None:
    path = tmp_path / "film.mka"
    path.write_bytes(three)
    for source in (three, path, Pipe(three)):
        assert pitch(load_audio(source).samples) == pytest.approx(800, abs=2)
    for track, hz in ((0, 400), (1, 800), (2, 1200)):
        assert pitch(load_audio(three, track=track).samples) == pytest.approx(hz, abs=2)
        with BlockReader(three, track=track) as reader:
            assert pitch(np.concatenate(list(reader))) == pytest.approx(hz, abs=2)


def test_without_a_default_the_first_is_taken() -> None:
    tracks = {"eng": tone(400), "deu": tone(800)}
    assert pitch(load_audio(by_ffmpeg(tracks, 16000, "matroska", "pcm_s16le", default="")).samples) == pytest.approx(
        400, abs=2
    )
    assert pitch(load_audio(by_ffmpeg(tracks, 16000, "avi", "pcm_s16le")).samples) == pytest.approx(400, abs=2)


@pytest.mark.parametrize("track", [3, -1, True, 1.0, "eng"])
def test_tracks_that_are_not_there_are_refused(track: object, three: bytes) -> None:
    for reading in (load_audio, BlockReader):
        with pytest.raises(OptionError, match="track"):
            reading(three, track=track)  # type: ignore[operator]


def test_files_of_one_track_have_no_other() -> None:
    wav = by_sndfile(speech(1.0), 16000)
    for source in (wav, Pipe(wav), made(Kind("mp4", "aac", 44100), 3.0)):
        with pytest.raises(OptionError, match=r"track=1 .*one audio track|track=1 .*1 audio track"):
            load_audio(source, track=1)
    assert len(load_audio(wav, track=0).samples) == 16000


def test_the_recogniser_takes_a_track(tmp_path: Path) -> None:
    silence = np.zeros((70_000, 1), np.float32)
    content = by_ffmpeg({"eng": silence, "deu": speech(4.4)[:, None]}, 16000, "matroska", "pcm_s16le", default="eng")
    (tmp_path / "film.mka").write_bytes(content)
    with tdt.load() as asr:
        assert asr.transcribe(content).text == ""
        assert asr.transcribe(content, track=1).text.startswith("The open source project")
        assert asr.transcribe([content], track=1)[0].text.startswith("The open source project")
        assert next(iter(asr.stream(content, track=1))).text.startswith("The open source project")
        (each,) = asr.transcribe_each([content], track=1)
        assert isinstance(each, tdt.Transcript)
        assert each.text.startswith("The open source project")
        assert asr.features(content, track=1).frames.std() > 0.5


def test_a_silent_first_track_is_told(caplog: pytest.LogCaptureFixture) -> None:
    tracks = {"eng": np.zeros((32_000, 1), np.float32), "deu": tone(400)}
    content = by_ffmpeg(tracks, 16000, "matroska", "pcm_s16le", default="eng")
    with caplog.at_level(logging.WARNING, "tdt"):
        load_audio(content)
        assert "silent" in caplog.text
        assert "--track" in caplog.text
        caplog.clear()
        load_audio(content, track=0)
        load_audio(content, track=1)
        load_audio(made(Kind("mp4", "aac", 44100), 3.0))
        assert not caplog.text


@pytest.mark.parametrize("way", ["path", "bytes", "file", "pipe"])
def test_a_silent_first_track_of_a_long_file_is_told(
    way: str, asr: tdt.Recognizer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracks = {"eng": np.zeros((20 * 16000, 1), np.float32), "deu": speech(20.0)[:, None]}
    content = by_ffmpeg(tracks, 16000, "matroska", "pcm_s16le", default="eng")
    (tmp_path / "film.mka").write_bytes(content)
    source = {
        "path": lambda: tmp_path / "film.mka",
        "bytes": lambda: content,
        "file": lambda: io.BytesIO(content),
        "pipe": lambda: Pipe(content),
    }[way]
    with caplog.at_level(logging.WARNING, "tdt"):
        assert asr.transcribe(source(), chunk_seconds=8).text == ""
        assert "silent" in caplog.text
        assert "--track" in caplog.text
        caplog.clear()
        assert asr.transcribe(source(), chunk_seconds=8, track=1).text.startswith("The open source project")
        assert not caplog.records


# --- listed -----------------------------------------------------------------------------------------------------------


def test_contents(three: bytes, tmp_path: Path) -> None:
    (tmp_path / "film.mka").write_bytes(three)
    found = contents(tmp_path / "film.mka")
    assert (found.container, found.files, found.problem) == ("Matroska", 1, "")
    assert found.seconds == pytest.approx(2.0, abs=0.01)
    assert {(track.codec, track.rate_hz, track.channels) for track in found.tracks} == {("pcm_s16le", 16000, 1)}
    told = [(track.number, track.language, track.default) for track in found.tracks]
    assert told == [(0, "eng", False), (1, "deu", True), (2, "fra", False)]


def test_inspect_lists_the_tracks(three: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "film.mka"
    path.write_bytes(three)
    assert main(["inspect", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{path}: Matroska, 3 audio tracks, 2.0")
    assert lines[2].startswith("  track 1: pcm_s16le, 16000 Hz, 1 channel, 2.0")
    assert lines[2].endswith("deu, default")
    assert main(["inspect", str(path), "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert [track["language"] for track in values["tracks"]] == ["eng", "deu", "fra"]


@pytest.mark.parametrize(
    ("name", "words", "status"),
    [
        ("y2s.avi", ["AVI, 2 audio tracks", "track 1: ac3, 48000 Hz, 6 channels"], 0),
        ("x_chain.ogg", ["Ogg, 1 audio track, 8.387 s, 2 files joined", "VORBIS"], 0),
        ("meta4.m4a", ["MP4, 1 audio track", "aac, 16000 Hz, 1 channel"], 0),
        ("f05_stream.flac", ["FLAC, 1 audio track"], 0),
        ("w34_gsm.wav", ["WAV, 1 audio track, 4.4", "GSM610, 8000 Hz"], 0),
    ],
)
def test_inspect_of_odd_files(name: str, words: list[str], status: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(FAULTS / name)]) == status
    said = capsys.readouterr().out
    assert all(word in said for word in words), said


def test_inspect_of_what_is_cut_or_no_sound(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cut.wav").write_bytes(by_sndfile(speech(2.0), 16000)[:40_000])
    assert main(["inspect", str(tmp_path / "cut.wav")]) == 1
    assert "it breaks off: 39956 of 64000 bytes of sound are there" in capsys.readouterr().out
    assert main(["inspect", str(FAULTS / "hls_upload.wav")]) == 1
    assert "cannot be read as audio" in capsys.readouterr().err


def test_titles_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    content = by_ffmpeg({"": tone(400)}, 16000, "matroska", "pcm_s16le")
    path = tmp_path / "film.mka"
    path.write_bytes(content)
    from dataclasses import replace

    found = contents(path)
    shown = replace(found, tracks=(replace(found.tracks[0], title="a\x1b[31m\nb"),)).render()
    assert '"a[31mb"' in shown
