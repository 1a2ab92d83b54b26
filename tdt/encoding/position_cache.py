"""Projected positions of the longest clip so far; shorter clips read the middle of them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np

from tdt.lifetime import Bound
from tdt.surgery import FRAMES_INPUT

if TYPE_CHECKING:
    from pathlib import Path

    from tdt.runtime import Backend
    from tdt.stages import Float32

# Encoder frames by which the reach grows: about ten seconds.
STEP_FRAMES = 128
# Beyond this the projections of a clip are made for it alone and dropped.
MAX_CACHED_BYTES = 256 << 20


class PositionCache(Bound):
    """Computes what :func:`tdt.surgery.position_split.split_positions` took out of an encoder.

    Parameters
    ----------
    model : bytes
        The projecting graph.
    names : tuple of str
        Its outputs.
    folder : Path
        Where its external weights lie.
    backend : Backend
        Where it runs.
    threads : int, optional
        Threads inside an operator.
    limit : int or None
        Encoder frames that the model's table reaches.
    """

    def __init__(
        self,
        model: bytes,
        names: tuple[str, ...],
        folder: Path,
        backend: Backend,
        *,
        threads: int | None = None,
        limit: int | None = None,
    ) -> None:
        self._model, self._names, self._folder = model, names, folder
        self._backend, self._threads, self._limit = backend, threads, limit
        self._lock = threading.Lock()
        self._reach = 0
        self._rows: list[Float32] = []

    def rows(self, frames: int) -> dict[str, Float32]:
        """Return the projections for a clip of `frames` encoder frames: arrays ``[1, 2 frames - 1, d]`` by name."""
        with self._lock:
            reach, rows = self._reach, self._rows
            if frames > reach:
                reach = -(-frames // STEP_FRAMES) * STEP_FRAMES
                reach = min(reach, max(self._limit, frames)) if self._limit is not None else reach
                rows = self._compute(reach)
                if sum(array.nbytes for array in rows) <= MAX_CACHED_BYTES:
                    self._reach, self._rows = reach, rows
        middle = slice(reach - frames, reach + frames - 1)
        return {name: array[:, middle] for name, array in zip(self._names, rows, strict=True)}

    def _compute(self, reach: int) -> list[Float32]:
        from tdt.runtime import Session

        # The session is dropped again: it would keep the matrices of all layers in memory, and is needed once a length.
        session = Session(
            self._model, self._backend, threads=self._threads, external_folder=self._folder, name="position projections"
        )
        try:
            return session.run({FRAMES_INPUT: np.asarray(reach, np.int64)}, self._names)
        finally:
            session.close()
