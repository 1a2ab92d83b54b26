"""Audio in: what is read, and what every kind of bad input is told."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tdt import errors
from tdt.audio import clip, sound, sources
from tdt.audio.loading import load_audio
from tdt.kernels.vector.code_cache import somewhere_to_keep
from tdt.timeline import Timeline

from ..sound_files import Pipe


@pytest.fixture
def tone() -> np.ndarray:
    """Two channels of a tenth of a second at 44.1 kHz, of different loudness."""
    wave = np.sin(np.arange(4410) * 0.05)
    return np.stack([0.5 * wave, 0.25 * wave], axis=1).astype(np.float32)


@pytest.fixture
def speech(golden_folder: Path) -> bytes:
    return (golden_folder / "05_flite-awb.flac").read_bytes()


def encoded(samples: np.ndarray, rate: int = 16000, **options: Any) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, **{"format": "WAV", "subtype": "FLOAT", **options})
    return file.getvalue()


# --- what is read -----------------------------------------------------------------------------------------------------


def test_paths_bytes_streams_and_arrays_are_the_same(golden_folder: Path, speech: bytes) -> None:
    path = golden_folder / "05_flite-awb.flac"
    wanted, rate = soundfile.read(path, dtype="float32")
    assert rate == 16000
    with path.open("rb") as file:
        sources = [path, str(path), speech, bytearray(speech), memoryview(speech), io.BytesIO(speech), file, wanted]
        for source in sources:
            got = load_audio(source)
            assert np.array_equal(got.samples, wanted)
            assert got.samples.dtype == np.float32
            assert not got.samples.flags.writeable
            assert got.seconds == len(wanted) / 16000


def test_a_stream_that_cannot_seek_is_read(speech: bytes) -> None:
    class Pipe:
        def __init__(self) -> None:
            self.rest = speech

        def read(self, size: int) -> bytes:
            part, self.rest = self.rest[: min(size, 1000)], self.rest[min(size, 1000) :]
            return part

    assert len(load_audio(Pipe()).samples) == len(load_audio(speech).samples)


def test_array_types_agree(rng: np.random.Generator) -> None:
    whole = rng.integers(-32768, 32767, 500).astype(np.int16)
    wanted = (whole / 32768).astype(np.float32)
    for array in (whole, wanted, wanted.astype(np.float64), wanted[:, None], whole[::-1][::-1]):
        assert np.array_equal(load_audio(array, sample_rate=16000).samples, wanted)
    frozen = wanted.copy()
    frozen.flags.writeable = False
    assert np.array_equal(load_audio(frozen).samples, wanted)
    assert wanted.flags.writeable, "the caller's array keeps its flags"


def test_int16_files_and_arrays_agree(rng: np.random.Generator) -> None:
    whole = rng.integers(-32768, 32767, 500).astype(np.int16)
    assert np.array_equal(load_audio(encoded(whole, subtype="PCM_16")).samples, load_audio(whole).samples)


def test_host_arrays_that_speak_dlpack_are_taken() -> None:
    class Foreign:
        def __init__(self, inner: np.ndarray) -> None:
            self.inner = inner

        def __dlpack__(self, **options: Any) -> object:
            return self.inner.__dlpack__(**options)

        def __dlpack_device__(self) -> tuple[int, int]:
            return self.inner.__dlpack_device__()

    assert load_audio(Foreign(np.ones(200, np.float32))).samples.sum() == 200


@pytest.mark.parametrize(
    ("container", "subtype"),
    [("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "PCM_U8"), ("WAV", "ULAW"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"),
     ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"), ("AIFF", "PCM_16"), ("CAF", "PCM_16"), ("W64", "PCM_16"),
     ("AU", "PCM_16"), ("RF64", "PCM_16")],
)  # fmt: skip
def test_containers(container: str, subtype: str) -> None:
    wave = 0.3 * np.sin(np.arange(16000) * 0.2)
    got = load_audio(encoded(wave, format=container, subtype=subtype)).samples
    assert len(got) == 16000
    # Lossy codecs and 8 bits: the loudness stays, nothing else is promised.
    assert np.sqrt((got[2000:14000] ** 2).mean()) == pytest.approx(0.3 / np.sqrt(2), rel=0.1)


def test_channels(tone: np.ndarray) -> None:
    mean = load_audio(tone, sample_rate=44100).samples
    first, second = (load_audio(tone, sample_rate=44100, channel=channel).samples for channel in (0, 1))
    assert np.abs(first).max() > 1.9 * np.abs(second).max()
    # Resampling is linear up to float32 rounding.
    np.testing.assert_allclose(mean, (first + second) / 2, atol=1e-6)
    assert np.array_equal(load_audio(encoded(tone, 44100)).samples, mean)
    assert np.array_equal(load_audio(encoded(tone, 44100), channel=1).samples, second)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 24000, 44100, 48000, 96000])
def test_resampling_is_librosas(rate: int, rng: np.random.Generator) -> None:
    samples = rng.normal(0, 0.1, rate // 7).astype(np.float32)
    with somewhere_to_keep():  # librosa's imports compile, and must keep that somewhere
        from librosa.core.audio import resample

        wanted = resample(samples, orig_sr=rate, target_sr=16000, res_type="soxr_hq")
    assert np.array_equal(load_audio(samples, sample_rate=rate).samples, wanted)


def test_long_files_are_read_in_blocks(monkeypatch: pytest.MonkeyPatch, tone: np.ndarray) -> None:
    whole = load_audio(encoded(tone, 44100)).samples
    monkeypatch.setattr(sound, "MAX_BLOCK_VALUES", 200)
    assert np.array_equal(load_audio(encoded(tone, 44100)).samples, whole)


def test_reading_and_resampling_are_timed(tone: np.ndarray) -> None:
    timeline = Timeline()
    load_audio(tone, sample_rate=44100, timeline=timeline)
    assert [span.name for span in timeline.spans] == ["read", "resample"]


# --- bad input --------------------------------------------------------------------------------------------------------


def wav_header(**changed: int) -> bytes:
    """A WAV of 1000 samples whose header says something else."""
    values = {"channels": 1, "rate": 16000, "bits": 16, "data": 2000, **changed}
    block = values["channels"] * values["bits"] // 8
    fmt = struct.pack("<HHIIHH", 1, values["channels"] % 65536, values["rate"], values["rate"] * 2 % 2**32,
                      block % 65536, values["bits"])  # fmt: skip
    data = struct.pack("<I", values["data"])
    return b"RIFF" + struct.pack("<I", 2036) + b"WAVEfmt \x10\0\0\0" + fmt + b"data" + data + bytes(range(250)) * 8


BAD_BYTES = {
    "empty": (b"", errors.AudioReadError),
    "one byte": (b"R", errors.AudioReadError),
    "text": (b"This is not sound. " * 50, errors.AudioReadError),
    "html": (b"<!DOCTYPE html><html><body>404</body></html>", errors.AudioReadError),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(1000), errors.AudioReadError),
    "lfs pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", errors.AudioReadError),
    "zeros": (bytes(5000), errors.AudioReadError),
    "header only": (wav_header()[:44], errors.AudioError),
    "header cut": (wav_header()[:30], errors.AudioReadError),
    "cut short": (wav_header(data=60000), errors.AudioReadError),
    "rate of 1 Hz": (wav_header(rate=1), errors.AudioReadError),
    "rate of 4 GHz": (wav_header(rate=2**32 - 1), errors.AudioReadError),
    "no channels": (wav_header(channels=0), errors.AudioReadError),
    "too many channels": (wav_header(channels=60000), errors.AudioError),
    "m4a": (b"\0\0\0\x20ftypM4A \0\0\0\0" + bytes(500), errors.AudioReadError),
}


@pytest.mark.parametrize("case", BAD_BYTES)
@pytest.mark.parametrize("as_file", [False, True], ids=["bytes", "file"])
def test_bad_files_are_told_so_within_a_second(case: str, as_file: bool, tmp_path: Path) -> None:
    data, kind = BAD_BYTES[case]
    source: Any = data
    if as_file:
        source = tmp_path / "clip.wav"
        source.write_bytes(data)
    started = time.process_time()
    with pytest.raises(kind) as caught:
        load_audio(source)
    assert time.process_time() - started < 1.0
    assert isinstance(caught.value, errors.TdtError)
    assert str(caught.value).endswith(".")
    assert ("clip.wav" if as_file else "<bytes>") in str(caught.value)


@pytest.mark.parametrize("ending", [".raw", ".vox", ".gsm", ".au"])
def test_a_file_ending_makes_no_sound(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"noise{ending}"
    path.write_bytes(b"anything at all " * 100)
    with pytest.raises(errors.AudioReadError, match="cannot be read as audio"):
        load_audio(path)


def test_every_cut_of_a_flac_is_refused(speech: bytes) -> None:
    for end in range(0, len(speech) - 1000, 2003):
        with pytest.raises(errors.AudioReadError):
            load_audio(speech[:end])


def test_damaged_flac_is_refused_or_read(speech: bytes, rng: np.random.Generator) -> None:
    for _ in range(60):
        damaged = bytearray(speech)
        for position in rng.integers(0, len(speech), 20):
            damaged[position] = rng.integers(256)
        with contextlib.suppress(errors.AudioError):
            assert np.isfinite(load_audio(bytes(damaged)).samples).all()


def test_a_header_claims_an_absurd_length(speech: bytes) -> None:
    # STREAMINFO's 36 bits of the number of samples lie at bytes 21 to 25: 68 billion, 256 GiB.
    claimed = bytearray(speech)
    claimed[21] |= 0x0F
    claimed[22:26] = b"\xff\xff\xff\xff"
    tracemalloc.start()
    try:
        with pytest.raises(errors.AudioReadError, match=r"of 68719476735 samples are there"):
            load_audio(bytes(claimed))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Two blocks of 4 MB and the clip itself.
    assert peak < 20e6


def test_what_unpacks_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip, "MAX_SAMPLES", 1000)
    with pytest.raises(errors.AudioReadError, match="unpacks to more than"):
        load_audio(encoded(np.zeros(2000), format="FLAC", subtype="PCM_16"))
    with pytest.raises(errors.AudioReadError, match="unpacks to more than"):
        load_audio(np.zeros(900, np.float32), sample_rate=8000)
    monkeypatch.setattr(sources, "MAX_STREAM_BYTES", 1000)
    with pytest.raises(errors.AudioReadError, match="more than 1000 bytes"):
        load_audio(Pipe(bytes(2000)))


def test_missing_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "file.wav").write_bytes(b"RIFF")
    for path in (tmp_path / "none.wav", tmp_path, tmp_path / "file.wav" / "inside.wav"):
        with pytest.raises(errors.AudioNotFoundError, match=path.name):
            load_audio(path)
        with pytest.raises(FileNotFoundError):
            load_audio(str(path))
    for path in ("nul\0inside", "x" * 5000):
        with pytest.raises(errors.AudioReadError, match="cannot be opened"):
            load_audio(path)


def test_a_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, speech: bytes) -> None:
    path = tmp_path / "mine.flac"
    path.write_bytes(speech)
    path.chmod(0)

    def refuse(*_: object, **__: object) -> int:  # root may read everything, so the system's refusal is played
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(errors.AudioReadError, match="Permission denied"):
        load_audio(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_devices_and_pipes_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(errors.AudioReadError, match="device or a pipe"):
            load_audio(path)


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (np.array([0.0] * 200 + [np.nan]), "nan at sample 200"),
        (np.array([np.inf] * 200, np.float32), "inf at sample 0"),
        (np.full(200, 1e300), "inf at sample 0"),
        (np.full(200, 1e13), "at sample 0"),
        (np.zeros((2, 200), np.float32), "Transpose"),
        (np.zeros((200, 2, 2)), "shape"),
        (np.zeros((200, 0)), "shape"),
        (np.array(0.5), "shape"),
        (np.zeros(200, np.int32), "int32"),
        (np.zeros(200, np.uint8), "uint8"),
        (np.zeros(200, np.complex64), "complex64"),
        (np.zeros(200, bool), "bool"),
        (np.array(["a"] * 200), "<U1"),
        (np.array([None] * 200), "object"),
        (12, "int"),
        (None, "NoneType"),
        (io.StringIO("text"), "str"),
    ],
)
def test_bad_arrays_are_refused(samples: Any, words: str) -> None:
    with pytest.raises(errors.AudioValueError, match=words):
        load_audio(samples, sample_rate=16000)


def test_nan_in_a_file_is_refused() -> None:
    wave = np.zeros(2000, np.float32)
    wave[1234] = np.nan
    with pytest.raises(errors.AudioValueError, match="nan at sample 1234"):
        load_audio(encoded(wave))


def test_closed_files_are_refused(speech: bytes) -> None:
    file = io.BytesIO(speech)
    file.close()
    with pytest.raises(errors.AudioReadError, match="closed"):
        load_audio(file)


@pytest.mark.parametrize(("count", "rate"), [(0, 16000), (159, 16000), (79, 8000), (0, 8000), (1, 44100), (476, 48000)])
def test_short_audio_is_refused(count: int, rate: int) -> None:
    with pytest.raises(errors.AudioTooShortError, match="at least 160 samples at 16000 Hz"):
        load_audio(np.zeros(count, np.float32), sample_rate=rate)


def test_the_shortest_audio_is_read() -> None:
    assert len(load_audio(np.zeros(160, np.float32)).samples) == 160
    assert len(load_audio(np.zeros(80, np.int16), sample_rate=8000).samples) == 160


@pytest.mark.parametrize("rate", [0, -16000, 999, 10**9, 16000.5, "fast", float("nan")])
def test_bad_rates_are_refused(rate: Any) -> None:
    with pytest.raises(errors.OptionError, match="sample_rate"):
        load_audio(np.zeros(2000, np.float32), sample_rate=rate)


@pytest.mark.parametrize("channel", [-1, 2, 1.0, True, "left"])
def test_bad_channels_are_refused(channel: Any, tone: np.ndarray) -> None:
    for source in (tone, encoded(tone)):
        with pytest.raises(errors.OptionError, match="channel"):
            load_audio(source, channel=channel)
