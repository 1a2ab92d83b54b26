"""A pipe as slow as speech: its words are out while it stands still, when the page on long audio says."""

from __future__ import annotations

import io
import threading
from contextlib import closing
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile

import tdt
from tdt.audio import open_source, reader

from ..sound_files import speech

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

RATE = 16000
STEP_BYTES = 2 * RATE // 4  # a quarter of a second a read
PATIENCE_SECONDS = 60.0  # of a test that fails; a good one waits for nothing


@pytest.fixture(scope="module")
def asr() -> Iterator[tdt.Recognizer]:
    with tdt.load() as recognizer:
        yield recognizer


class Clock:
    """A clock that stands but for what the test lets pass."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(reader, "time", SimpleNamespace(monotonic=lambda: self.now))


class Pipe(io.RawIOBase):
    """A pipe that takes as long for its sound as `seconds_each` says of each read, and stops until words are out.

    Parameters
    ----------
    samples : ndarray [shape=(n,)]
    clock : Clock
    seconds_each : sequence of float
        Time that passes at each read; the last one goes on.
    stops : sequence of (float, int)
        Where so many seconds have been given, no more comes until so many segments are out.
    tells_length : bool
        Whether the header says how long it will be.
    """

    def __init__(
        self,
        samples: np.ndarray,
        clock: Clock,
        seconds_each: Sequence[float] = (0.25,),
        stops: Sequence[tuple[float, int]] = (),
        *,
        tells_length: bool = False,
    ) -> None:
        super().__init__()
        file = io.BytesIO()
        soundfile.write(file, samples, RATE, format="WAV", subtype="PCM_16")
        content = bytearray(file.getvalue())
        self._head = content.index(b"data") + 8
        if not tells_length:
            content[4:8] = content[self._head - 4 : self._head] = b"\xff\xff\xff\xff"
        self._content, self._at = bytes(content), 0
        self._clock, self._each, self._stops = clock, list(seconds_each), list(stops)
        self._turn = threading.Condition()
        self._out = 0
        self.in_time: list[bool] = []

    def heard(self) -> None:
        """One more segment is out."""
        with self._turn:
            self._out += 1
            self._turn.notify_all()

    def _are_out(self, wanted: int) -> bool:
        return self._out >= wanted

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while self._stops and self._at >= self._head + 2 * RATE * self._stops[0][0]:
            wanted = self._stops.pop(0)[1]
            with self._turn:
                self.in_time.append(self._turn.wait_for(partial(self._are_out, wanted), PATIENCE_SECONDS))
        end = self._head if self._at < self._head else self._at + STEP_BYTES
        part = self._content[self._at : min(end, self._at + size)]
        if self._at >= self._head:
            self._clock.now += self._each.pop(0) if len(self._each) > 1 else self._each[0]
        self._at += len(part)
        return part


def streamed(asr: tdt.Recognizer, pipe: Pipe, **options: float) -> list[tdt.Segment]:
    segments = []
    for segment in asr.stream(pipe, **options):  # type: ignore[arg-type]
        segments.append(segment)
        pipe.heard()
    return segments


def heard_after(seconds: float) -> float:
    """Return how much has to be there: the detector hears blocks of 8 s, a pipe is read in parts of 0.5 s."""
    return float(np.ceil(seconds / 8.0)) * 8.0 + 0.5


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE), np.float32)


@pytest.mark.parametrize("tells_length", [False, True])
def test_a_segment_is_out_when_its_pause_is_certain(
    asr: tdt.Recognizer, tells_length: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where all of it would fit into a window, and its header says so; and before speech follows."""
    clip = speech(4.4)
    samples = np.concatenate([clip, silence(12), clip, silence(14)])
    certain = (4.4 + 2.2, 4.4 + 12 + 4.4 + 2.2)  # two seconds of pause, and its margin
    stops = [(heard_after(seconds), number + 1) for number, seconds in enumerate(certain)]
    pipe = Pipe(samples, Clock(monkeypatch), stops=stops, tells_length=tells_length)
    segments = streamed(asr, pipe)
    assert pipe.in_time == [True, True]
    own = asr.transcribe(clip).text
    assert [segment.text for segment in segments] == [own, own]
    assert segments[1].start == pytest.approx(segments[0].start + 16.4, abs=0.17)


def test_without_a_pause_the_first_words_wait_for_the_window_of_the_plan(
    asr: tdt.Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tdt.longform import limits

    pause, chunk = 1.0, 12.0  # there is no such pause
    monkeypatch.setattr(limits, "LEAST_PAUSE_SECONDS", pause)
    monkeypatch.setattr(limits, "SMALL_PAUSE_SECONDS", pause)
    samples = np.tile(speech(4.2), 10)  # in the first window, a sentence is followed by another
    pipe = Pipe(samples, Clock(monkeypatch), stops=[(heard_after(chunk + pause), 1)])
    streamed(asr, pipe, chunk_seconds=chunk)
    assert pipe.in_time == [True]


@pytest.mark.parametrize("tells_length", [False, True])
def test_a_file_in_a_pipe_stays_in_one_piece_where_the_machine_is_busy(
    tells_length: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = speech(20.0)
    # Its writer stands still for 1.5 s after the first part, then all is there; the other one goes on as it began.
    for each, long in (((0.0, 0.0, 0.0, 1.5, 0.0), False), ((0.25,), True)):
        pipe = Pipe(samples, Clock(monkeypatch), each, tells_length=tells_length)
        with closing(open_source(pipe, 60 * RATE, wait=False)) as opened:
            assert opened.long == long
