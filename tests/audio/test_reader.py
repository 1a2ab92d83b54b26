"""Reading in a stream: the same samples as reading whole, from every kind of source, whatever is wrong with it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import tracemalloc
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile

from tdt.audio import sndfile
from tdt.audio.reader import BlockReader
from tdt.audio.sound import BLOCK_SECONDS
from tdt.errors import AudioNotFoundError, AudioReadError, AudioTailError, AudioValueError, OptionError
from tdt.kernels.vector.code_cache import somewhere_to_keep

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def read_all(source: object, **options: int) -> np.ndarray:
    with BlockReader(source, **options) as reader:
        blocks = list(reader)
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def tone(seconds: float, rate: int, hz: float = 440.0) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 192000])
def test_stream_equals_the_whole(rate: int, tmp_path: Path, rng: np.random.Generator) -> None:
    samples = rng.normal(0, 0.1, int(2.2 * BLOCK_SECONDS * rate)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", samples, rate, subtype="FLOAT")
    with somewhere_to_keep():  # librosa's imports compile, and must keep that somewhere
        from librosa.core.audio import resample

        whole = resample(samples, orig_sr=rate, target_sr=16000, res_type="soxr_hq")
    streamed = read_all(tmp_path / "a.wav")
    np.testing.assert_array_equal(streamed, whole)


def test_golden_clip_of_44_khz_stereo(golden_folder: Path) -> None:
    expected = np.load(golden_folder / "13_hibari_44k_stereo.npz")["audio_16k"]
    samples = read_all(golden_folder / "13_hibari_44k_stereo.wav")
    np.testing.assert_allclose(samples[: len(expected)], expected[: len(samples)], atol=1e-6)  # float32 rounding


def test_eight_channels_are_averaged_or_one_is_chosen(tmp_path: Path, rng: np.random.Generator) -> None:
    frames = rng.normal(0, 0.1, (40_000, 8)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", frames, 16000, subtype="FLOAT")
    np.testing.assert_allclose(read_all(tmp_path / "a.wav"), frames.mean(axis=1), atol=1e-7)  # order of the sum
    np.testing.assert_array_equal(read_all(tmp_path / "a.wav", channel=5), frames[:, 5])
    with pytest.raises(OptionError, match="0 to 7"):
        read_all(tmp_path / "a.wav", channel=8)


@pytest.mark.parametrize("kind", ["str", "bytes", "object", "array", "generator", "int16"])
def test_every_kind_of_source(kind: str, tmp_path: Path) -> None:
    pcm = (tone(3.0, 16000) * 32767).astype(np.int16)
    expected = pcm / np.float32(32768)
    path = tmp_path / "a.flac"
    soundfile.write(path, pcm, 16000)
    sources = {
        "str": str(path),
        "bytes": path.read_bytes(),
        "object": io.BytesIO(path.read_bytes()),
        "array": expected.astype(np.float64),
        "generator": (expected[i : i + 777] for i in range(0, len(expected), 777)),
        "int16": pcm,
    }
    np.testing.assert_array_equal(read_all(sources[kind]), expected)


def test_generator_at_another_rate_is_resampled_as_one_stream() -> None:
    samples = tone(2.0, 44100)
    pieces = (samples[i : i + 1000] for i in range(0, len(samples), 1000))
    np.testing.assert_array_equal(read_all(pieces, sample_rate=44100), read_all(samples, sample_rate=44100))


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_standard_input_that_cannot_seek(suffix: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / f"a.{suffix}", tone(12.0, 16000), 16000)
    code = (
        "import sys, numpy as np; from tdt.audio.reader import BlockReader\n"
        "with BlockReader(sys.stdin.buffer) as r: print(sum(len(b) for b in r))"
    )
    command = f"cat {tmp_path}/a.{suffix} | {sys.executable} -c '{code}'"
    counted = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert int(counted.stdout) == 12 * 16000


def test_pipe_whose_header_does_not_know_its_length(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(3.0, 16000), 16000, subtype="PCM_16")
    raw = bytearray((tmp_path / "a.wav").read_bytes())
    at = raw.index(b"data") + 4
    raw[4:8] = raw[at : at + 4] = b"\xff\xff\xff\xff"  # as ffmpeg writes to a pipe

    class Pipe(io.RawIOBase):
        left = bytes(raw)

        def readable(self) -> bool:
            return True

        def read(self, size: int = -1) -> bytes:
            chunk, self.left = self.left[: size % 5000], self.left[size % 5000 :]
            return chunk

    with BlockReader(Pipe()) as reader:
        assert reader.seconds is None
        assert sum(map(len, reader)) == 48000


@pytest.mark.parametrize("damage", ["cut", "scrambled"])
def test_corrupt_tail_keeps_what_was_read(damage: str, golden_folder: Path, tmp_path: Path) -> None:
    raw = bytearray((golden_folder / "11_long_35s.flac").read_bytes())
    whole = read_all(golden_folder / "11_long_35s.flac")
    middle = len(raw) // 2
    if damage == "cut":
        raw = raw[:middle]
    else:
        raw[middle : middle + 4000] = os.urandom(4000)
    (tmp_path / "a.flac").write_bytes(raw)
    kept: list[np.ndarray] = []
    with BlockReader(tmp_path / "a.flac") as reader, pytest.raises(AudioTailError, match="breaks off after") as caught:
        kept.extend(reader)
    samples = np.concatenate(kept)
    assert 0.3 * len(whole) < len(samples) < 0.7 * len(whole)
    assert caught.value.seconds == len(samples) / 16000
    np.testing.assert_array_equal(samples, whole[: len(samples)])


def test_growing_file_gives_what_was_there_when_it_was_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    samples = tone(25.0, 16000)
    soundfile.write(path, samples, 16000, subtype="FLOAT")
    reader = BlockReader(path)
    stream = iter(reader)
    blocks = [next(stream)]
    with path.open("ab") as file:
        file.write(samples.tobytes())
    blocks += list(stream)
    reader.close()
    np.testing.assert_array_equal(np.concatenate(blocks), samples)


def test_recorder_that_was_killed_left_no_length_in_the_header(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(3.0, 16000), 16000, subtype="PCM_16")
    raw = bytearray(path.read_bytes())
    at = raw.index(b"data") + 4
    raw[4:8] = raw[at : at + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(raw)
    assert len(read_all(path)) == 48000


def test_zero_length_and_nonsense_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "text.wav").write_text("hello " * 100)
    for name, words in (("empty.wav", "is empty"), ("text.wav", "cannot be read as audio")):
        with pytest.raises(AudioReadError, match=words):
            read_all(tmp_path / name)
    with pytest.raises(AudioNotFoundError, match="does not exist"):
        BlockReader(tmp_path / "none.wav")
    with pytest.raises(AudioNotFoundError, match="folder"):
        BlockReader(tmp_path)


def test_header_without_samples_gives_no_block(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(0, np.float32), 44100)
    assert len(read_all(tmp_path / "a.wav")) == 0


def test_samples_that_are_not_numbers(tmp_path: Path) -> None:
    samples = tone(25.0, 16000)
    samples[-5] = np.nan
    with pytest.raises(AudioValueError, match="NaN"):
        read_all(samples)
    with pytest.raises(AudioValueError, match="complex128"):
        read_all(samples.astype(np.complex128))
    with pytest.raises(AudioValueError, match="shape"):
        read_all(np.zeros((2, 2, 2), np.float32))
    with pytest.raises(AudioValueError, match="type int"):
        BlockReader(5)


def test_memory_does_not_grow_with_the_length() -> None:
    def peak(blocks: int) -> int:
        def source() -> Iterator[np.ndarray]:
            for _ in range(blocks):
                yield np.zeros((480_000, 2), np.int16)

        tracemalloc.start()
        with BlockReader(source(), sample_rate=48000) as reader:
            for _ in reader:
                pass
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    assert peak(40) < 1.2 * peak(4)


def test_a_reader_closed_in_the_midst_of_a_block_is_closed_by_the_thread_that_reads(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # libsndfile on a file that is closed meanwhile ends the process: "Segmentation fault".
    waits, go = threading.Event(), threading.Event()
    closed_by: list[int] = []
    read, close = soundfile.SoundFile.buffer_read_into, soundfile.SoundFile.close

    def slow(file: soundfile.SoundFile, *given: object, **more: object) -> object:
        waits.set()
        assert go.wait(60)
        return read(file, *given, **more)

    monkeypatch.setattr(sndfile._Forward, "buffer_read_into", slow)
    monkeypatch.setattr(sndfile._Forward, "close", lambda file: (closed_by.append(threading.get_ident()), close(file)))
    soundfile.write(tmp_path / "a.flac", tone(1, 16000), 16000)
    reader = BlockReader(tmp_path / "a.flac")
    blocks: list[np.ndarray] = []
    thread = threading.Thread(target=lambda: blocks.append(next(iter(reader))))
    thread.start()
    assert waits.wait(60)
    reader.close()
    assert closed_by == []
    go.set()
    thread.join()
    assert len(blocks[0]) == 16000
    assert closed_by
    assert set(closed_by) == {thread.ident}
