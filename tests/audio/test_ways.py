"""One answer for every format, whichever way it comes in: path, bytes, file object or pipe, short or long."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

from tdt.audio import BlockReader, load_audio, open_source
from tdt.errors import AudioError, AudioReadError, AudioTooShortError

from ..sound_files import KINDS, Kind, Pipe, by_sndfile, made, speech

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECONDS = 3.0
# What is longer than this counts as long here, so that short files are read both ways.
LIMIT_SAMPLES = 16_000


def ways(content: bytes, folder: Path) -> Iterator[tuple[str, Any]]:
    path = folder / "sound"
    path.write_bytes(content)
    yield "path", path
    yield "bytes", content
    with path.open("rb") as file:
        yield "file", file
    yield "pipe", Pipe(content)


def samples_of(source: Any, *, long: bool) -> np.ndarray:
    """Read a source as the recogniser does, as a short one or as a long one."""
    opened = open_source(source, LIMIT_SAMPLES if long else 10**9)
    assert opened.long == long
    if not long:
        audio, problem = opened.load()
        assert problem is None
        return audio.samples
    assert opened.reader is not None
    with opened.reader as reader:
        return np.concatenate(list(reader))


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_every_format_gives_the_same_every_way(kind: Kind, tmp_path: Path) -> None:
    content = made(kind, SECONDS)
    answers = {(way, long): samples_of(source, long=long)
               for long in (False, True) for way, source in ways(content, tmp_path)}  # fmt: skip
    first = answers["path", False]
    # Encoders fill their last frame, some add what their filters need.
    assert abs(len(first) / 16000 - SECONDS) < 0.15
    for answer in answers.values():
        np.testing.assert_array_equal(answer, first)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_what_is_read_is_what_was_said(kind: Kind) -> None:
    got, wanted = (np.resize(samples, 48_000) for samples in (load_audio(made(kind, SECONDS)).samples, speech(SECONDS)))
    # Some begin a few milliseconds early or late. Telephone codecs keep what is below 4 kHz, the others far more.
    products = np.fft.irfft(np.fft.rfft(got) * np.conj(np.fft.rfft(wanted)))
    best = products.max() / np.linalg.norm(got) / np.linalg.norm(wanted)
    assert best > (0.5 if "amr" in kind.codec else 0.9)


def test_a_file_object_is_read_from_where_it_stands_to_its_end(tmp_path: Path) -> None:
    content = made(KINDS[0], SECONDS)
    file = io.BytesIO(b"not sound" + content)
    file.seek(9)
    assert len(load_audio(file).samples) == SECONDS * 16000
    assert file.tell() == 9 + len(content)
    with pytest.raises(AudioReadError, match=r"empty .*Seek to its start"):
        load_audio(file)
    with pytest.raises(AudioReadError, match="empty"):
        BlockReader(file)
    with pytest.raises(AudioReadError, match="empty"):
        open_source(file, LIMIT_SAMPLES)
    with pytest.raises(AudioReadError, match="empty"):
        load_audio(Pipe(b""))


def test_standard_input_that_was_read_is_empty(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(made(KINDS[0], SECONDS))
    code = (
        "import sys, tdt; from tdt.audio import load_audio; sys.stdin.buffer.read()\n"
        "try: load_audio(sys.stdin.buffer)\nexcept tdt.AudioReadError as error: print(error)"
    )
    ways_in = ('"$0" -c "$1" <"$2"', 'cat "$2" | "$0" -c "$1"')
    for shell in ways_in:
        command = ["bash", "-c", shell, sys.executable, code, str(tmp_path / "a.wav")]
        assert "empty" in subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("mode", ["text", "closed", "raising", "none", "numbers"])
def test_file_objects_that_are_none(mode: str, tmp_path: Path) -> None:
    class Odd(io.BytesIO):
        def read(self, size: int | None = -1) -> Any:
            if mode == "raising":
                raise RuntimeError("the tape is torn")
            return None if mode == "none" else [1, 2, 3]

    file: Any = Odd(made(KINDS[0], SECONDS))
    if mode == "closed":
        file.close()
    if mode == "text":
        file = io.StringIO("RIFF" * 100)
    for reading in (load_audio, BlockReader, lambda source: open_source(source, LIMIT_SAMPLES)):
        with pytest.raises(AudioError):
            reading(file)


def test_a_read_that_fails_in_the_middle_is_told_after_what_was_read() -> None:
    """Neither library hands on what a call-back raises."""
    for kind in (Kind("WAV", "PCM_16", 16000, "sndfile"), Kind("matroska", "pcm_s16le", 16000)):
        content = made(kind, 30.0)

        class Torn(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                if 700_000 < self.tell() < 800_000:
                    raise OSError(5, "Input/output error")
                return super().read(size)

        heard = []
        with pytest.raises(AudioReadError, match="Input/output error"), BlockReader(Torn(content)) as reader:
            heard.extend(reader)
        assert heard


def test_an_interruption_in_a_call_back_interrupts() -> None:
    class Interrupted(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if 400_000 < self.tell() < 500_000:
                raise KeyboardInterrupt
            return super().read(size)

    for kind in (Kind("WAV", "PCM_16", 16000, "sndfile"), Kind("matroska", "pcm_s16le", 16000)):
        with pytest.raises(KeyboardInterrupt):
            load_audio(Interrupted(made(kind, 30.0)))


def test_a_full_temporary_folder_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    class Full(io.BytesIO):
        def write(self, part: Any) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "SpooledTemporaryFile", lambda *_, **__: Full())
    with pytest.raises(AudioReadError, match=r"temporary folder .*No space left"):
        load_audio(Pipe(made(Kind("mp4", "aac", 44100), SECONDS)))


def test_headerless_sound_is_refused_under_every_name(tmp_path: Path) -> None:
    raw = made(Kind("WAV", "GSM610", 8000, "sndfile"), SECONDS)[60:]
    for ending in (".gsm", ".raw", ".vox", ".wav", ""):
        (tmp_path / f"sound{ending}").write_bytes(raw)
        for source in (tmp_path / f"sound{ending}", raw, io.BytesIO(raw), Pipe(raw)):
            with pytest.raises(AudioReadError, match="cannot be read as audio"):
                load_audio(source)


@pytest.mark.parametrize("field", [22, 24])
def test_a_wav_without_channels_or_rate_is_told_so(field: int, tmp_path: Path) -> None:
    content = bytearray(by_sndfile(speech(1.0), 16000))
    content[field : field + (2 if field == 22 else 4)] = bytes(2 if field == 22 else 4)
    claims = "0 channels" if field == 22 else "0 samples a second"
    for _, source in ways(bytes(content), tmp_path):
        with pytest.raises(AudioReadError, match=f"claims {claims}"):
            load_audio(source)


def test_the_samples_of_mp3_do_not_depend_on_where_blocks_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    content = made(Kind("MP3", "MPEG_LAYER_III", 44100, "sndfile"), 14.0)
    whole, _ = soundfile.read(io.BytesIO(content), dtype="float32")
    from tdt.audio import sound

    for values in (1 << 20, 1 << 15):
        monkeypatch.setattr(sound, "MAX_BLOCK_VALUES", values)
        np.testing.assert_array_equal(load_audio(content).samples, load_audio(whole, sample_rate=44100).samples)


def test_a_paced_pipe_gives_its_sound_as_it_comes() -> None:
    """What has been written is given, however little; nothing waits for a window, or for the end."""
    out, into = os.pipe()
    content = made(KINDS[0], 8.0)
    with os.fdopen(out, "rb") as pipe, os.fdopen(into, "wb", buffering=0) as writing:
        writing.write(content[: 44 + 32_000])  # a second; the pipe stays open
        with BlockReader(pipe) as reader:
            blocks, heard = iter(reader), 0
            while heard < 16_000:
                heard += len(next(blocks))


def test_nothing_but_a_header_is_too_short(tmp_path: Path) -> None:
    for _, source in ways(by_sndfile(np.zeros(0, np.float32), 16000), tmp_path):
        with pytest.raises(AudioTooShortError, match="holds 0 samples"):
            load_audio(source)
