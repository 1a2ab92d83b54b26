"""Run the user's audio through features and encoder, keeping running statistics only; stop and go on at will."""

from __future__ import annotations

import hashlib
import json
import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tdt.errors import CalibrationValueError
from tdt.quantization.statistics import TensorStatistics
from tdt.spec import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from tdt.quantization.clips import Clip
    from tdt.stages import Float32

CHECKPOINT_SECONDS = 60.0


class Probe(Protocol):
    """Gives the activations of one piece of audio."""

    def activations(self, samples: Float32) -> dict[str, Float32]:
        """Return the wanted tensors by name, each ``[1, T, channels]``."""
        ...


class Progress(Protocol):
    """Is told how far a long task is."""

    def __call__(self, task: str, done: float, total: float) -> None:
        """Take note of `done` of `total` units of `task`."""
        ...


def silent(task: str, done: float, total: float) -> None:
    """Report nowhere."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where an interrupted calibration goes on: statistics and the number of pieces of audio they hold.

    Parameters
    ----------
    folder : Path
        Holds the state while calibration runs.
    key : str
        Model, audio and options; a state of another key is not used.
    """

    folder: Path
    key: str

    def save(self, statistics: Mapping[str, TensorStatistics], pieces_done: int) -> None:
        """Write the state; an interruption in the middle leaves the previous one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        names = list(statistics)
        arrays = {
            f"{index}/{key}": value
            for index, name in enumerate(names)
            for key, value in statistics[name].arrays().items()
        }
        header = json.dumps({"key": self.key, "pieces_done": pieces_done, "names": names})
        arrays["header"] = np.frombuffer(header.encode(), np.uint8)
        partial = self.folder / "state.partial.npz"
        np.savez(partial, **arrays)
        partial.replace(self.folder / "state.npz")

    def load(self) -> tuple[dict[str, TensorStatistics], int]:
        """Return the saved statistics and piece count; nothing and 0 where there is no usable state."""
        path = self.folder / "state.npz"
        try:
            with np.load(path, allow_pickle=False) as stored:
                header: dict[str, Any] = json.loads(bytes(stored["header"]).decode())
                if header["key"] != self.key:
                    return {}, 0
                return {name: self._restore(stored, index) for index, name in enumerate(header["names"])}, header[
                    "pieces_done"
                ]
        except (OSError, ValueError, KeyError, EOFError):
            return {}, 0

    @staticmethod
    def _restore(stored: Any, index: int) -> TensorStatistics:
        keys = ("numbers", "reach", "histogram", "channel_absmax", "sample")
        return TensorStatistics.restore({key: stored[f"{index}/{key}"] for key in keys})

    def clear(self) -> None:
        """Remove the state."""
        (self.folder / "state.npz").unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()


def checkpoint_key(*facts: object) -> str:
    """Return a digest of what a calibration depends on."""
    return hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()


def calibrate(
    probe: Probe,
    clips: Sequence[Clip],
    *,
    checkpoint: Checkpoint | None = None,
    divisors: Mapping[str, Float32] | None = None,
    progress: Progress = silent,
    task: str = "calibrating",
) -> dict[str, TensorStatistics]:
    """Collect statistics of every tensor that `probe` gives, over all clips.

    Parameters
    ----------
    probe : Probe
        Runs the encoder.
    clips : sequence of Clip
        Recordings, in the order they are taken.
    checkpoint : Checkpoint, optional
        Where the state is kept; an earlier state is taken up.
    divisors : mapping of str to ndarray, optional
        Channel scales by which SmoothQuant will divide a tensor; its statistics are those of the quotient.
    progress : callable, optional
        Told the seconds of audio done.

    Raises
    ------
    CalibrationValueError
        Where an activation is not finite: the model is broken, and so would be its ranges.
    KeyboardInterrupt
        After the state was saved.
    """
    statistics, done = checkpoint.load() if checkpoint is not None else ({}, 0)
    pieces = [(clip.path, piece) for clip in clips for piece in clip.pieces()]
    lengths = [len(piece) / SAMPLE_RATE_HZ for _, piece in pieces]
    saved = time.monotonic()
    progress(task, sum(lengths[:done]), sum(lengths))
    try:
        for number, (path, samples) in enumerate(pieces[done:], done):
            activations = _finite(probe.activations(samples), path)
            with _uninterrupted():
                _update(statistics, activations, divisors or {}, number)
                done = number + 1
            progress(task, sum(lengths[:done]), sum(lengths))
            if checkpoint is not None and time.monotonic() - saved > CHECKPOINT_SECONDS:
                checkpoint.save(statistics, done)
                saved = time.monotonic()
    except BaseException:
        if checkpoint is not None and done:
            checkpoint.save(statistics, done)
        raise
    return statistics


def _finite(activations: dict[str, Float32], path: Path) -> dict[str, Float32]:
    for name, values in activations.items():
        if not np.isfinite(values).all():
            raise CalibrationValueError(path, name)
    return activations


def _update(
    statistics: dict[str, TensorStatistics],
    activations: Mapping[str, Float32],
    divisors: Mapping[str, Float32],
    number: int,
) -> None:
    rng = np.random.default_rng(number)  # the sample is the same whether or not calibration was interrupted
    for name, values in activations.items():
        if name not in statistics:
            statistics[name] = TensorStatistics(values.shape[-1])
        statistics[name].update(values / divisors[name] if name in divisors else values, rng)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let Ctrl-C wait until the block is done, so that statistics never hold half a piece."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: asked.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if asked:
        raise KeyboardInterrupt
