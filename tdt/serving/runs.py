"""Batches through encoder and decoder: what waits, what shares a run, and what becomes of it when a run fails."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tdt.errors import DeviceMemoryError, ServerClosedError, TdtError
from tdt.failures import outcome
from tdt.lifetime import Bound
from tdt.scheduled import NOTHING, Known, Scheduled, chosen
from tdt.serving.collecting import Waiting
from tdt.serving.device import Device
from tdt.spec import HOP_SAMPLES, SAMPLE_RATE_HZ
from tdt.stages import Encoded, Features, in_rows
from tdt.timeline import NULL, Recorder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tdt.clips import Clip
    from tdt.serving.metrics import Metrics

# Batches that are encoded and wait for the decoder: more would only hold memory.
_BATCHES_AHEAD = 2


@dataclass(eq=False, slots=True)
class Entry:
    """A clip or window that waits, or is under way.

    Parameters
    ----------
    request : object
        Whose it is.
    features : Features
        A batch of one.
    seconds : float
    clip : Clip or None
        A whole clip, which is decoded, too; None for a window, of which only frames are wanted.
    known : Known
    future : Future
        Of its Transcript, or of its Encoded on the host.
    arrived : float
    """

    request: object
    features: Features
    seconds: float
    clip: Clip | None = None
    known: Known = NOTHING
    future: Future[Any] = field(default_factory=Future)
    arrived: float = field(default_factory=time.monotonic)

    @property
    def gone(self) -> bool:
        """Whether nobody wants its result any more."""
        return self.future.cancelled()

    def end(self, result: object) -> None:
        """Give the result, an error raised, to whoever still waits for it."""
        if self.future.done() or not self.future.set_running_or_notify_cancel():
            return
        if isinstance(result, BaseException):
            self.future.set_exception(result)
        else:
            self.future.set_result(result)


class Runs(Bound):
    """What the encoder and the decoder of a model are asked for; makes the device's batches.

    Parameters
    ----------
    scheduled : Scheduled
    collect_seconds : float
    metrics : Metrics
    """

    def __init__(self, scheduled: Scheduled, collect_seconds: float, metrics: Metrics) -> None:
        self._scheduled = scheduled
        self._metrics = metrics
        self._waiting: Waiting[Entry] = Waiting(scheduled.rule, collect_seconds)
        self._room = threading.Semaphore(_BATCHES_AHEAD)
        self._closed = False
        self._decoder = ThreadPoolExecutor(1, "tdt-serving-decoder")
        self.device = Device(self)

    def add(self, *entries: Entry) -> None:
        """Let entries wait for a run."""
        with self.device.turn:
            for entry in entries:
                if self._closed:
                    entry.end(ServerClosedError())
                else:
                    self._waiting.add(entry)
            self._metrics.put("tdt_waiting_runs", len(self._waiting))
            self.device.turn.notify_all()

    def close(self) -> None:
        """End what is under way, and begin nothing more; what waits ends with an error."""
        self.device.close()
        with self.device.turn:
            self._closed = True
        while left := self._waiting.take():
            for entry in left:
                entry.end(ServerClosedError())
        self._decoder.shutdown()

    # --- a source of the device -----------------------------------------------------------------------------------

    def wait_seconds(self, now: float, *, idle: bool) -> float | None:
        """Return how long to wait for a batch."""
        return self._waiting.wait_seconds(now, idle=idle)

    def take(self) -> Callable[[], object]:
        """Return the next batch as work."""
        batch = self._waiting.take()
        self._metrics.put("tdt_waiting_runs", len(self._waiting))
        return partial(self._run, batch)

    # --- the work -------------------------------------------------------------------------------------------------

    def _run(self, batch: Sequence[Entry], *, halve: bool = True) -> None:
        """Encode a batch and hand it on; where it does not fit the card, in two halves, once.

        Any other failure is that of one entry: each is tried alone, so that one costs no other its result.
        """
        now = time.monotonic()
        for entry in batch:
            self._metrics.observe("tdt_stage_seconds", now - entry.arrived, "wait")
        encoded = outcome(lambda: self._encoded(batch), _name(batch))
        if not isinstance(encoded, TdtError):
            self._hand_on(batch, encoded)
        elif len(batch) == 1 or (isinstance(encoded, DeviceMemoryError) and not halve):
            for entry in batch:
                entry.end(encoded)
        elif isinstance(encoded, DeviceMemoryError):
            middle = len(batch) // 2
            self._run(batch[:middle], halve=False)
            self._run(batch[middle:], halve=False)
        else:
            for entry in batch:
                self._run([entry], halve=False)

    def _encoded(self, batch: Sequence[Entry]) -> Encoded:
        self._metrics.observe("tdt_batch_size", len(batch))
        begun = time.monotonic()
        on_host = any(entry.clip is None for entry in batch)
        encoded = self._scheduled.encode([entry.features for entry in batch], on_host=on_host)
        self._metrics.observe("tdt_stage_seconds", time.monotonic() - begun, "encoder")
        return encoded

    def _hand_on(self, batch: Sequence[Entry], encoded: Encoded) -> None:
        """Give windows their frames, and clips to the decoder."""
        clips = []
        for place, entry in enumerate(batch):
            if entry.clip is None:
                entry.end(chosen(encoded, [place]))
            elif not entry.gone:
                clips.append(place)
        if not clips:
            return
        self._room.acquire()
        self._decoder.submit(self._decode, [batch[place] for place in clips], chosen(encoded, clips))

    def _decode(self, batch: Sequence[Entry], encoded: Encoded) -> None:
        try:
            begun = time.monotonic()
            decoded = outcome(lambda: self._transcripts(batch, encoded), _name(batch))
            self._metrics.observe("tdt_stage_seconds", time.monotonic() - begun, "decoder")
        finally:
            self._room.release()
        if not isinstance(decoded, TdtError):
            for entry, transcript in zip(batch, decoded, strict=True):
                entry.end(transcript)
        elif len(batch) == 1:
            batch[0].end(decoded)
        else:
            for entry in batch:
                try:
                    self.device.submit(partial(self._run, [entry], halve=False))
                except ServerClosedError as closed:
                    entry.end(closed)

    def _transcripts(self, batch: Sequence[Entry], encoded: Encoded) -> list[Any]:
        clips = [entry.clip for entry in batch if entry.clip is not None]
        return self._scheduled.decode(clips, encoded, [entry.known for entry in batch])


def _name(batch: Sequence[Entry]) -> str:
    """Return what errors call a batch."""
    clip = batch[0].clip
    return f"a batch of {len(batch)}" if len(batch) > 1 else "a window" if clip is None else clip.name


class SharedEncoder(Bound):
    """The encoder as a long recording sees it: its windows wait among those of all others.

    Parameters
    ----------
    runs : Runs
    request : object
        Whose windows they are.

    """

    def __init__(self, runs: Runs, request: object) -> None:
        self._runs, self._request = runs, request
        self._lock = threading.Lock()
        self._entries: set[Entry] = set()
        self._gone = False

    def encode_for_decoding(self, features: Features, timeline: Recorder = NULL, *, on_host: bool = True) -> Encoded:  # noqa: ARG002
        """Encode a batch of windows, each when it has its turn.

        Raises
        ------
        CancelledError
            Of :mod:`concurrent.futures`: nobody wants them any more.
        """
        entries = [self._entry(features, row) for row in range(len(features.lengths))]
        with self._lock:
            self._entries.update(entries)  # beside others: a second look has a thread of its own
            if self._gone:
                self._cancel()
        self._runs.add(*(entry for entry in entries if not entry.gone))
        try:
            return joined([entry.future.result() for entry in entries])
        finally:
            with self._lock:
                self._entries.difference_update(entries)

    def is_gone(self) -> bool:
        """Say whether nobody wants the recording any more: windows are refused."""
        return self._gone

    def abandon(self) -> None:
        """Refuse windows from now on, and those that wait."""
        with self._lock:
            self._gone = True
            self._cancel()

    def _cancel(self) -> None:
        for entry in self._entries:
            entry.future.cancel()

    def _entry(self, features: Features, row: int) -> Entry:
        length = int(features.lengths[row])
        one = Features(features.frames[row : row + 1, :, :length], features.lengths[row : row + 1])
        return Entry(self._request, one, length * HOP_SAMPLES / SAMPLE_RATE_HZ)


def joined(parts: Sequence[Encoded]) -> Encoded:
    """Return batches on the host as one, zeros after the ends of the shorter ones."""
    if len(parts) == 1:
        return parts[0]
    lengths = np.concatenate([part.lengths for part in parts])
    frames, projected = (_together([getattr(part, name) for part in parts]) for name in ("frames", "projected"))
    return Encoded(frames, lengths, projected)


def _together(batches: Sequence[Any]) -> Any:
    return None if any(batch is None for batch in batches) else in_rows([batch[0] for batch in batches])
