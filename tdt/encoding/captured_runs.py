"""Runs of single clips as CUDA graphs: one launch in place of some 800, once a shape has come a second time.

Measured on an H100 with the shapes of parakeet-tdt-0.6b-v3, one clip of 10 s: 11.2 ms in float32 by launches, 8.2 as a
graph; with tf32 9.0 and 5.3; in float16 19.0 and 4.5. The launches' own time is what is saved.

Only single clips: for more, cuBLAS is given lists of pointers, which a graph would copy from host memory that ONNX
Runtime uses for other things by then. ONNX Runtime keeps graphs by the thread that made them, hence a thread here.
"""

from __future__ import annotations

import logging
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from tdt.errors import RunError
from tdt.lifetime import Bound

if TYPE_CHECKING:
    from tdt.runtime import Binding

_log = logging.getLogger("tdt")

_RUNS_BEFORE = 1  # of a shape, before it is worth a capture


class CapturedRuns(Bound):
    """Decides which runs are captured, and runs them.

    Parameters
    ----------
    most : int
        Shapes whose run is captured, at most; each keeps its buffers and its graph on the card. 0 captures nothing.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._seen: dict[int, int] = {}  # mel frames -> runs
        self._graphs: dict[int, int] = {}  # mel frames -> number of the graph
        self._made = 0
        self._thread: ThreadPoolExecutor | None = None

    def takes(self, rows: int, mel_frames: int) -> bool:
        """Tell whether a run of this shape is to be captured, or is already; called once a run."""
        if rows != 1 or not self._most:
            return False
        if mel_frames in self._graphs:
            return True
        self._seen[mel_frames] = self._seen.get(mel_frames, 0) + 1
        if self._seen[mel_frames] <= _RUNS_BEFORE or self._made >= self._most:
            return False
        self._made += 1
        self._graphs[mel_frames] = self._made
        return True

    def run(self, binding: Binding, mel_frames: int) -> None:
        """Run a binding as its shape's graph; as usual from then on where it cannot be captured.

        Raises
        ------
        RunError
        """
        graph = self._graphs[mel_frames]
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "tdt-graphs")
        running: Future[None] = self._thread.submit(binding.run, graph=graph)
        try:
            running.result()
        except RunError as error:
            self._most = 0
            self.forget()
            _log.warning("CUDA graphs are left off from now on: %s", error)
            binding.run()
        except BaseException:  # an interrupt: the buffers are in use until the run has ended
            wait([running])
            raise

    def forget(self) -> None:
        """Launch no graph made so far again: its buffers go. ONNX Runtime keeps it, so that it counts for the most."""
        self._seen.clear()
        self._graphs.clear()

    def close(self) -> None:
        """End the thread, and the graphs with it."""
        self._most = 0
        self.forget()
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None
