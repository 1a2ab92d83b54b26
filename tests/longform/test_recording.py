"""Long recordings end to end: equal to the uncut run where nothing is cut, whole at the seams, bounded, never stuck."""

from __future__ import annotations

import io
import itertools
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

import tdt
from tdt.longform.limits import window_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def words(transcript: tdt.Transcript) -> list[str]:
    return "".join(c for c in transcript.text.lower() if c.isalnum() or c == " ").split()


def test_windows_of_one_clip_give_the_clips_own_words(
    asr: tdt.Recognizer, clips: list[np.ndarray], joined: np.ndarray
) -> None:
    own = [word for clip in clips * 2 for word in words(asr.transcribe(clip))]
    assert words(asr.transcribe(joined, chunk_seconds=10)) == own


def test_what_fits_a_window_is_not_cut(asr: tdt.Recognizer, joined: np.ndarray) -> None:
    whole = asr.transcript(asr.decode(asr.encode(asr.features(joined)))[0], len(joined) / 16000)
    assert asr.transcribe(joined).tokens == whole.tokens
    assert asr.transcribe(joined, chunk_seconds=40).tokens == whole.tokens


def test_times_run_forward_and_lie_where_the_clips_are(
    asr: tdt.Recognizer, clips: list[np.ndarray], joined: np.ndarray
) -> None:
    found = asr.transcribe(joined, chunk_seconds=8).words
    starts, ends = np.array([w.start for w in found]), np.array([w.end for w in found])
    assert np.all(np.diff(starts) >= 0)
    assert np.all(starts[1:] >= ends[:-1] - 1e-9)
    expected, at = [], 0.0
    for clip in clips * 2:
        expected += [at + word.start for word in asr.transcribe(clip).words]
        at += len(clip) / 16000 + 1
    assert len(expected) == len(starts)
    # The first frame of a window may hear a word's onset a frame earlier or later than the clip alone.
    np.testing.assert_allclose(starts, expected, atol=0.161)


@pytest.mark.parametrize("chunk", [6.0, 9.0])
def test_speech_cut_without_a_pause_loses_and_doubles_nothing_at_the_seams(
    chunk: float, asr: tdt.Recognizer, clips: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No pause will do here, so each cut goes through speech, even within words."""
    from tdt.longform import limits

    monkeypatch.setattr(limits, "LEAST_PAUSE_SECONDS", 1e3)
    monkeypatch.setattr(limits, "SMALL_PAUSE_SECONDS", 1e3)
    digits = np.concatenate([clips[1]] * 5)  # one voice, 18 s
    uncut = words(asr.transcribe(digits))
    cut = words(asr.transcribe(digits, chunk_seconds=chunk))
    assert abs(len(cut) - len(uncut)) <= 1
    matching = np.mean([a == b for a, b in zip(cut, uncut, strict=False)])
    assert matching > 0.9


def test_stream_yields_the_segments_of_transcribe_as_it_goes(asr: tdt.Recognizer, joined: np.ndarray) -> None:
    heard = threading.Event()
    waited: list[bool] = []

    def microphone() -> Iterator[np.ndarray]:
        for start in range(0, len(joined), 8000):
            if start == 24 * 16000:  # goes on only when the first segment is out
                waited.append(heard.wait(60))
            yield joined[start : start + 8000]

    stream = asr.stream(microphone(), chunk_seconds=6)
    first = next(stream)
    heard.set()
    segments = [first, *stream]
    assert waited == [True]
    whole = asr.transcribe(joined, chunk_seconds=6)
    assert [s.text for s in segments] == [s.text for s in whole.segments]
    assert whole.text == " ".join(s.text for s in segments)


def test_stream_of_a_short_clip_is_its_transcript(asr: tdt.Recognizer, clips: list[np.ndarray]) -> None:
    assert tuple(asr.stream(clips[0])) == asr.transcribe(clips[0]).segments
    assert tuple(asr.stream(clips[0][:9000])) == asr.transcribe(clips[0][:9000]).segments, "padded to a second"


def test_a_stream_that_is_left_stops_its_threads(asr: tdt.Recognizer, joined: np.ndarray) -> None:
    before = threading.active_count()
    endless = itertools.cycle([joined])
    stream = asr.stream((block for block in endless), chunk_seconds=6)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert threading.active_count() <= before


def test_sources_of_every_kind_are_cut(asr: tdt.Recognizer, joined: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    soundfile.write(path, joined, 16000, subtype="FLOAT")
    expected = asr.transcribe(joined, chunk_seconds=8)
    for source in (path, path.read_bytes(), io.BytesIO(path.read_bytes()), joined.astype(np.float64)):
        assert asr.transcribe(source, chunk_seconds=8) == expected

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    assert asr.transcribe(Pipe(path.read_bytes()), chunk_seconds=8) == expected
    assert asr.transcribe(Pipe(path.read_bytes()), chunk_seconds=40) == asr.transcribe(joined)


def test_eight_channels_at_192_khz(asr: tdt.Recognizer, joined: np.ndarray, tmp_path: Path) -> None:
    fast = np.repeat(joined[: 16000 * 12], 12)  # sample and hold: rough, but the words survive
    soundfile.write(tmp_path / "a.flac", np.tile(fast[:, None], (1, 8)), 192_000, subtype="PCM_16")
    got, expected = (
        asr.transcribe(tmp_path / "a.flac", chunk_seconds=8),
        asr.transcribe(joined[: 16000 * 12], chunk_seconds=8),
    )
    assert len(got.words) > 10
    assert np.mean([a == b for a, b in zip(words(got), words(expected), strict=False)]) > 0.7
    assert got.audio_seconds == pytest.approx(12, abs=1e-3)


def test_a_corrupt_tail_costs_no_more_than_itself(asr: tdt.Recognizer, joined: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, joined, 16000)
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) * 3 // 4])
    whole = asr.transcribe(joined, chunk_seconds=6)
    with pytest.raises(tdt.AudioTailError, match="breaks off after") as caught:
        asr.transcribe(path, chunk_seconds=6)
    partial = caught.value.partial
    assert isinstance(partial, tdt.Transcript)
    assert words(partial)[:-2] == words(whole)[: len(words(partial)) - 2]
    assert len(partial.words) > 0.5 * len(whole.words)
    segments = []
    with pytest.raises(tdt.AudioTailError):
        segments.extend(asr.stream(path, chunk_seconds=6))
    results = asr.transcribe([path, joined], chunk_seconds=6, errors="return")
    assert isinstance(results[0], tdt.AudioTailError)
    assert results[1] == whole


def test_silence_and_hum_give_nothing_and_cost_nothing(asr: tdt.Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the encoder was asked about silence")

    seconds = np.arange(16000 * 90) / 16000
    hum = (0.1 * np.sin(2 * np.pi * 50 * seconds)).astype(np.float32)
    monkeypatch.setattr(type(asr._stages.encoder), "encode", refuse)
    for samples in (np.zeros(16000 * 90, np.float32), hum):
        silent = asr.transcribe(samples)
        assert (silent.text, silent.tokens, silent.segments) == ("", (), ())
        assert silent.audio_seconds == 90


@pytest.mark.parametrize(
    ("name", "value"), [("chunk_seconds", 201.0), ("chunk_seconds", 1.0), ("context_seconds", 16.0)]
)
def test_windows_that_cannot_be(name: str, value: float, asr: tdt.Recognizer) -> None:
    with pytest.raises(tdt.OptionError, match=name):
        asr.transcribe(np.zeros(16000, np.float32), **{name: value})  # type: ignore[call-overload]


def test_little_memory_means_smaller_windows(asr: tdt.Recognizer) -> None:
    from tdt.longform.limits import CutOptions, make_plan

    assert make_plan(asr.spec).chunk == 750
    small = make_plan(asr.spec, CutOptions(max_memory_bytes=100_000_000))
    assert 62 <= small.chunk < 750
    assert window_bytes(asr.spec, small.chunk * 0.08) <= 100_000_000
    assert make_plan(asr.spec, provider_seconds=20.0).chunk == 250


def test_little_memory_means_smaller_batches_of_short_clips_too(
    asr: tdt.Recognizer, clips: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    encode = type(asr._stages.encoder).encode_for_decoding

    def counted(self: Any, features: Any, *rest: Any) -> Any:
        sizes.append(len(features.lengths))
        return encode(self, features, *rest)

    monkeypatch.setattr(type(asr._stages.encoder), "encode_for_decoding", counted)
    asr.transcribe([clips[0]] * 8)
    asr.transcribe([clips[0]] * 8, max_memory_bytes=3 * window_bytes(asr.spec, 60.0))
    assert sizes == [8, 3, 3, 2]


MEASURED = """
import sys, numpy as np, tdt
from tdt.longform.limits import window_bytes
from tdt.profiling.memory import peak_rss_bytes, reset_peak, rss_bytes
with tdt.load() as asr:
    seconds, batch = float(sys.argv[1]), int(sys.argv[2])
    clips = [np.zeros(int(seconds * 16000), np.float32)] * batch
    asr.encode(asr.features([clips[0][:16000]]))
    before = rss_bytes()
    assert reset_peak()
    asr.encode(asr.features(clips))
    print(peak_rss_bytes() - before, window_bytes(asr.spec, seconds, batch))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a peak that can be started anew is Linux's")
@pytest.mark.parametrize(("seconds", "batch"), [(60, 1), (10, 8)])
def test_the_bound_on_the_encoders_memory_holds_and_is_not_far_off(seconds: int, batch: int) -> None:
    command = [sys.executable, "-c", MEASURED, str(seconds), str(batch)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    measured, bound = map(int, output.split())
    assert bound / 2.5 < measured <= bound


def test_a_failure_ends_one_recording_and_not_its_neighbour(asr: tdt.Recognizer, joined: np.ndarray) -> None:
    from tdt.audio.reader import BlockReader
    from tdt.longform.limits import CutOptions
    from tdt.reading import Reading
    from tdt.text.segmenting import merged

    def broken() -> Iterator[np.ndarray]:
        yield joined
        raise tdt.AudioReadError("the microphone is gone")

    long_form = asr._stages.long_form(Reading(cutting=CutOptions(chunk_seconds=6)), jobs=2)
    recordings = [long_form.recording(BlockReader(source), n) for n, source in enumerate((broken(), joined))]
    parts = list(long_form.run(recordings))
    expected = asr.transcribe(joined, chunk_seconds=6)
    for recording in recordings:
        own = [p.transcript for p in parts if p.recording is recording and p.transcript is not None]
        assert merged(own).text == expected.text
    assert isinstance(recordings[0].error, tdt.AudioTailError)
    assert recordings[1].error is None


def test_what_else_is_under_way_changes_neither_batches_nor_bits(
    asr: tdt.Recognizer, joined: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches of other windows may change the last bits of the encoder's sums, on some machines."""
    from tdt.audio.reader import BlockReader
    from tdt.longform.limits import CutOptions
    from tdt.reading import Reading

    batches: list[tuple[int, ...]] = []
    encode = type(asr._stages.encoder).encode_for_decoding

    def watched(self: Any, features: Any, *rest: Any, **options: Any) -> Any:
        batches.append(tuple(features.lengths.tolist()))
        return encode(self, features, *rest, **options)

    monkeypatch.setattr(type(asr._stages.encoder), "encode_for_decoding", watched)

    def scores(sources: list[np.ndarray], jobs: int) -> tuple[np.ndarray, list[tuple[int, ...]]]:
        batches.clear()
        long_form = asr._stages.long_form(Reading(cutting=CutOptions(chunk_seconds=6)), jobs=jobs)
        recordings = [long_form.recording(BlockReader(source), n) for n, source in enumerate(sources)]
        parts = [part for part in long_form.run(recordings) if part.recording is recordings[0]]
        return np.concatenate([tokens.logprobs for part in parts for tokens, _ in part.steps]), list(batches)

    alone, own = scores([joined], 1)
    assert len(alone) > 50
    for sources, jobs in (([joined, joined[8000:-50_000], joined[20_000:]], 2), ([joined, joined[20_000:]], 1)):
        together, all_batches = scores(sources, jobs)
        np.testing.assert_array_equal(together, alone)
        assert all_batches[: len(own)] == own
