"""One contender in a process of its own, so that its memory, threads and caches are its own.

The parent says what to run: it takes contenders in turn and only ever has one of them running.
"""

from __future__ import annotations

import multiprocessing
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, Self

from tdt.errors import MeasurementError
from tdt.profiling import memory

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection
    from types import TracebackType

    import numpy as np
    import numpy.typing as npt

    from tdt.profiling.breakdown import Breakdown
    from tdt.profiling.gpu import GpuUse
    from tdt.profiling.placement import Placement

    Clips = Sequence[npt.NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a contender recognised in one clip; token ids where it tells them."""

    text: str
    token_ids: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What a contender says of itself and of a run beside the clock.

    Parameters
    ----------
    active : str
        Provider that the encoder really runs on.
    precision : str
        Of the encoder's file.
    files : dict
        Model file → hash.
    setup_seconds : dict
        What getting ready was made of: load, warmup, and what both spent compiling; empty where that is not known.
    compiled_ms : tuple of float
        Milliseconds spent compiling in each run so far, the first included; empty where that is not known.
    profile : Breakdown or None
        Of a run of its own.
    gpu : GpuUse or None
        Of a run of its own.
    placement : Placement or None
    """

    active: str = "cpu"
    precision: str = "float32"
    files: dict[str, str] = field(default_factory=dict)
    setup_seconds: dict[str, float] = field(default_factory=dict)
    compiled_ms: tuple[float, ...] = ()
    profile: Breakdown | None = None
    gpu: GpuUse | None = None
    placement: Placement | None = None


class Contender(Protocol):
    """Something that can be measured. It must pickle before :meth:`load`."""

    def load(self) -> None:
        """Read the model and prepare everything."""
        ...

    def run(self, clips: Clips, batch: int) -> list[Answer]:
        """Transcribe mono float32 clips at 16 kHz, `batch` at a time."""
        ...

    def facts(self, clips: Clips, batch: int) -> Facts:
        """Return what else is known, by further runs where they are needed."""
        ...


class Worker:
    """The parent's end of a contender's process.

    Raises
    ------
    MeasurementError
        From every method, where the contender failed: with its name and what it said.
    """

    def __init__(self, name: str, contender: Contender) -> None:
        self.name = name
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, contender), name=f"bench-{name}", daemon=True)
        self._process.start()
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipe.close()
        self._process.join(5)
        if self._process.is_alive():
            self._process.terminate()

    def load(self) -> tuple[float, int]:
        """Load the model; return the seconds it took and the resident bytes after it."""
        seconds, resident = self._ask("load")
        return float(seconds), int(resident)

    def set_case(self, clips: Clips, batch: int) -> None:
        """Give the clips that the following calls run on."""
        self._ask("case", list(clips), batch)

    def run(self) -> float:
        """Run the case once and return the seconds it took, by the contender's own clock."""
        return float(self._ask("run"))

    def peak_bytes(self) -> int:
        """Return the largest resident size since the case was set."""
        return int(self._ask("peak"))

    def answers(self) -> list[Answer]:
        """Return what the last run recognised."""
        answers: list[Answer] = self._ask("answers")
        return answers

    def facts(self) -> Facts:
        """Return what else is known of this case."""
        facts: Facts = self._ask("facts")
        return facts

    def _ask(self, *question: Any) -> Any:
        try:
            self._pipe.send(question)
            good, answer = self._pipe.recv()
        except (EOFError, OSError) as error:
            self._process.join(1)
            raise MeasurementError(self.name, f"its process ended with status {self._process.exitcode}") from error
        if not good:
            raise MeasurementError(self.name, answer)
        return answer


class _Server:
    """The child's end: answers by name."""

    def __init__(self, contender: Contender) -> None:
        self.contender = contender
        self.clips: Clips = ()
        self.batch = 1
        self.recognised: list[Answer] = []

    def load(self) -> tuple[float, int]:
        start = time.perf_counter()
        self.contender.load()
        return time.perf_counter() - start, memory.rss_bytes()

    def case(self, clips: Clips, batch: int) -> None:
        self.clips, self.batch = clips, batch
        memory.trim()
        memory.reset_peak()

    def run(self) -> float:
        start = time.perf_counter()
        self.recognised = self.contender.run(self.clips, self.batch)
        return time.perf_counter() - start

    def peak(self) -> int:
        return memory.peak_rss_bytes()

    def answers(self) -> list[Answer]:
        return self.recognised

    def facts(self) -> Facts:
        return self.contender.facts(self.clips, self.batch)


def _serve(pipe: Connection, contender: Contender) -> None:
    """Answer until the parent hangs up."""
    server = _Server(contender)
    while True:
        try:
            name, *arguments = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            answer = (True, getattr(server, name)(*arguments))
        except Exception as error:  # noqa: BLE001 - whatever a contender raises belongs to the parent
            answer = (False, f"{type(error).__name__}: {error}")
        pipe.send(answer)
