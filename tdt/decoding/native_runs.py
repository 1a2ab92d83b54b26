"""The runs of the compiled decoder: tasks, buffers, threads, and whether an utterance is shared by several cores."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from tdt.decoding.cores import idle_cores, teams_for
from tdt.decoding.fusing import point_to_fusion
from tdt.dependencies import require_compiler
from tdt.errors import ClosedError, DecodingError, OptionError
from tdt.lifetime import Bound, Origin, ProcessLock, setting_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tdt.kernels.decoder.tables import Weights
    from tdt.spec import ModelSpec
    from tdt.stages import DecoderState

_log = logging.getLogger("tdt")
_COMPILE_NOTICE_SECONDS = 1.0
# A float32 output layer of at most this many bytes is read whole: screening would not be faster (measured).
_SMALL_OUTPUT_BYTES = 1 << 20
# Steps that read fewer bytes of weights gain nothing from a second core: waiting for each other has its price.
_SHARED_BYTES = 2 << 20
_compiling = ProcessLock()


@dataclass(frozen=True, slots=True)
class Options:
    """How an engine decodes: see :class:`tdt.decoding.native.NativeEngine`."""

    quantized: bool
    threads: int
    isa: str | None
    screening: bool | None
    window: int


@dataclass(frozen=True, slots=True)
class Job:
    """Utterances for one thread: their frames, one [T, D or J] each, their places in `state` and `out`."""

    frames: list[Any]
    projected: bool
    utterances: Any
    state: Any
    out: Any
    helpers: int = 0
    fused: Any = None
    measured: Any = None


@dataclass(frozen=True, slots=True)
class Lent:
    """What a job runs on: a task for each of its threads, buffers, the job that these share, a row of counters each."""

    tasks: list[Any]
    work: Any
    shared: Any
    counters: Any
    score_ticks: int

    def count(self) -> Any:
        """Return the counters of all threads; what others do beside the loop takes none of its time."""
        total = self.counters.sum(axis=0)
        total[self.score_ticks] = self.counters[0, self.score_ticks]
        return total


def not_finite() -> DecodingError:
    """Return the error for a run that met NaN or infinite numbers."""
    return DecodingError(
        "The encoder output or the decoder's logits hold NaN or infinite numbers, which cannot be decoded. Check the "
        "encoder: a reduced precision may overflow; the float32 model shows it."
    )


class Runs(Bound):
    """Runs jobs on packed weights.

    Parameters
    ----------
    weights : Weights
    spec : ModelSpec
    options : Options
    """

    def __init__(self, weights: Weights, spec: ModelSpec, options: Options) -> None:
        self.weights, self.spec, self.options = weights, spec, options
        self._idle: list[Any] = []
        self.first: Any = None
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self.closed = False
        self.origin = Origin()
        self._prepare(options.isa, options.screening)

    def _prepare(self, isa: str | None, screening: bool | None) -> None:
        """Choose instructions and evaluation, and compile by decoding nothing; say so where it takes long."""
        message = "compiling the decoder for this processor (once; it is kept on disk)"
        notice = threading.Timer(_COMPILE_NOTICE_SECONDS, _log.info, (message,))
        notice.daemon = True
        with setting_up(), _compiling:
            notice.start()
            try:
                self._choose(isa, screening)
                self.first = self._first_prediction()
            finally:
                notice.cancel()

    def _choose(self, isa: str | None, screening: bool | None) -> None:
        """Choose instructions and evaluation."""
        require_compiler()
        from tdt.kernels.decoder import buffers, joint, lockstep, tables, task, team
        from tdt.kernels.vector import simd
        from tdt.kernels.vector.jit import host_features

        self.kernels, self.buffers, self.tables, self.fields = lockstep, buffers, tables, task
        self.team = team
        choices = {simd.ISA_NAMES[i]: i for i in simd.available(host_features())}
        if isa is not None and isa not in choices:
            raise OptionError("isa", isa, f"one of {', '.join(choices)} on this machine")
        self.isa = isa or list(choices)[-1]
        large = self.weights.output.values.nbytes > _SMALL_OUTPUT_BYTES
        screened = large if screening is None else screening
        mode = joint.BYTES if self.options.quantized else joint.SCREENED if screened else joint.FULL
        spec = self.spec
        rule = buffers.Rule(np.asarray(spec.durations, np.int64), spec.blank_id, spec.max_symbols, self.options.window)
        self._base, self._rule = task.describe_weights(self.weights), rule
        task.set_rule(self._base, rule, choices[self.isa], mode, quantized=self.options.quantized)

    def _first_prediction(self) -> Any:
        """Return what every utterance starts from, computed once: the prediction after the start symbol."""
        state, out = self.begin(np.zeros(1, np.int64), [None]), self.buffers.emitted_tokens(1, 1)
        with self._borrowed(1) as (work, prepared):
            # Kept by name: the task holds their addresses only.
            counters = np.zeros((1, self.fields.COUNTER_PLACES), np.int64)
            task, shared = self._task(work, prepared, state, out, counters)
            self.fields.set_frames(task, state.projected, 1)
            work.rows[0] = 0
            self.kernels.run(task, self.kernels.PREDICT)
            del counters, shared
        return state

    def begin(self, lengths: Any, carried: Sequence[DecoderState | None]) -> Any:
        """Return the arrays of the utterances' state, filled from what is carried in."""
        weights = self.weights
        state = self.buffers.decoding_state(weights, weights.bias.shape[0], len(lengths))
        hidden = self.spec.predictor_hidden
        state.labels[:] = self.spec.blank_id
        state.stops[:] = lengths
        state.last_times[:] = -1
        first = self.first
        for u, start in enumerate(carried):
            if start is None and first is not None:
                state.next_hidden[u], state.next_cell[u] = first.next_hidden[0], first.next_cell[0]
                state.projected[u], state.predicted[u] = first.projected[0], 1
            elif start is not None:
                state.labels[u], state.times[u] = start.label, start.skip
                state.hidden[u, :, :hidden], state.cell[u, :, :hidden] = start.hidden, start.cell
        return state

    def _run(self, job: Job) -> tuple[int, Any]:
        """Project the frames of the job's utterances and decode them; return the status and the counters."""
        lengths = [len(part) for part in job.frames]
        job.state.starts[job.utterances] = list(accumulate([0, *lengths[:-1]]))[: len(lengths)]
        with self.lent(job, max(1, len(lengths)) * self.options.window) as lent:
            rows = point_to_fusion(self.fields, job.fused, lent.tasks)
            with self.assisted(self.kernels.run, lent):
                status = self.kernels.run(lent.tasks[0], self.kernels.DECODE)
        del rows
        return int(status), lent.count()

    @contextmanager
    def lent(self, job: Job, rows: int) -> Iterator[Lent]:
        """Lend what a job needs: tasks, with buffers for `rows` rows, that say to project its frames and decode."""
        fields, count = self.fields, len(job.utterances)
        counters = np.zeros((job.helpers + 1, fields.COUNTER_PLACES), np.int64)
        given = job.frames[0] if len(job.frames) == 1 else np.concatenate(job.frames)
        with self._borrowed(rows) as (work, prepared):
            task, shared = self._task(work, prepared, job.state, job.out, counters)
            work.rows[:count] = job.utterances
            columns = int(task[fields.JOINT])
            if job.projected:
                frames = self._padded(given, columns)
            else:
                given = self._padded(given, self.weights.encoder_width)
                frames = self.tables.aligned((len(given), columns), np.float32)
                fields.set_projection(task, given)
            fields.set_frames(task, frames, count)
            if job.measured is not None:
                fields.set_measures(task, job.measured)
            others = [task.copy() for _ in range(job.helpers)]
            for number, other in enumerate(others, 1):
                fields.set_worker(other, work, counters, number)
            yield Lent([task, *others], work, shared, counters, fields.SCORE_TICKS)

    def _task(self, work: Any, prepared: Any, state: Any, out: Any, counters: Any) -> tuple[Any, Any]:
        """Return the task of a run's first thread, and the job that its team shares; `counters` has a row a thread."""
        task, shared = prepared.copy(), self.tables.aligned((self.team.JOB_PLACES,), np.int64)
        self.fields.set_run(task, state, out, shared, len(counters) - 1)
        self.fields.set_worker(task, work, counters, 0)
        return task, shared

    @contextmanager
    def assisted(self, run: Any, lent: Lent) -> Iterator[None]:
        """Have other threads share the work, each with a task of its own, until it is done; none is waited for."""
        futures: list[Future[Any] | None] = []
        try:
            for number, task in enumerate(lent.tasks[1:], 1):
                futures.append(self._submit(run, task, number))
            yield
        finally:
            lent.shared[self.team.STOP] = 1
            for future in futures:
                if future is not None and not future.cancel():
                    future.result()

    def _submit(self, call: Any, *values: Any) -> Future[Any] | None:
        """Have another thread make a call; None where the interpreter ends and no thread takes it."""
        with self._lock:
            if self.closed:
                raise ClosedError
            if self._pool is None:
                self._pool = ThreadPoolExecutor(max(1, self.options.threads - 1), thread_name_prefix="tdt-decoder")
            try:
                return self._pool.submit(call, *values)
            except RuntimeError:
                return None

    def _padded(self, frames: Any, columns: int) -> Any:
        """Return frames [R, K] as the kernels take them: float32, contiguous, writeable, K whole vectors."""
        if frames.shape[1] == columns:
            return np.require(frames, np.float32, ["C", "A", "W"])
        out = self.tables.aligned((len(frames), columns), np.float32)
        out[:, : frames.shape[1]] = frames
        return out

    @contextmanager
    def _borrowed(self, rows: int) -> Iterator[Any]:
        """Lend buffers for at least `rows` rows, and a task that points to them; they come back for the next call."""
        with self._lock:
            fitting = [pair for pair in self._idle if len(pair[0].rows) >= rows]
            lent = fitting[0] if fitting else None
            if lent is not None:
                self._idle = [pair for pair in self._idle if pair is not lent]
        if lent is None:
            workers = min(self.options.threads, self.team.MAX_WORKERS)
            lent = (self.buffers.workspace(self.weights, rows, workers), self._base.copy())
            self.fields.set_workspace(lent[1], lent[0])
        try:
            yield lent
        finally:
            with self._lock:
                # No more buffers than threads at work need; the larger ones serve all sizes.
                kept = sorted([*self._idle, lent], key=lambda pair: -len(pair[0].rows))
                self._idle = kept[: self.options.threads]

    def spread(self, jobs: list[Any], run: Callable[[Any], Any] | None = None) -> list[Any]:
        """Run the jobs, the first in this thread; by `run`, or greedily."""
        call = run or self._run
        futures = [(job, self._submit(call, job)) for job in jobs[1:]]
        first = call(jobs[0])
        return [first, *(call(job) if future is None else future.result() for job, future in futures)]

    def teams(self, batch: int) -> tuple[int, int]:
        """Return into how many parts to cut a batch, and how many threads are to assist each."""
        threads = self.options.threads
        idle = idle_cores() if threads > 1 and self._step_bytes() >= _SHARED_BYTES else 0
        return teams_for(batch, threads, idle, self.team.MAX_WORKERS)

    def _step_bytes(self) -> int:
        """Return the bytes of weights of one step: prediction network and 8-bit output layer."""
        stacks = (self.weights.recurrent, self.weights.inputs, self.weights.predictor)
        total = sum(stack.values.nbytes + stack.levels.nbytes for stack in stacks)
        return int(total + self.weights.output.levels.nbytes)

    def weight_bytes(self, counts: Any) -> int:
        """Return the bytes of weights that a call with these counters read."""
        weights, places = self.weights, self.fields
        stacks = (weights.recurrent, weights.inputs, weights.predictor)
        predictor = sum(stack.values.nbytes + stack.levels.nbytes for stack in stacks)
        whole = self._base[places.MODE] == 0
        output = weights.output.values.nbytes if whole else weights.output.levels.nbytes
        column = weights.columns.size // weights.predictor_bias.size
        row = 4 * weights.duration.shape[1]
        encoder = weights.encoder.values.nbytes + weights.encoder.levels.nbytes
        return int(
            counts[places.PREDICTOR_ROUNDS] * predictor
            + counts[places.PREDICTIONS] * 4 * weights.table.shape[1]
            + counts[places.ROUNDS] * weights.duration.nbytes
            + (counts[places.ROUNDS] - counts[places.COLUMN_ROUNDS]) * output
            + counts[places.COLUMNS_READ] * column
            + (counts[places.SURVIVORS] + counts[places.REFINED]) * row
            + counts[places.FALLBACKS] * weights.output.values.nbytes
            + counts[places.PROJECTION_BLOCKS] * encoder
        )

    @property
    def row_width(self) -> int:
        """Floats of a row of logits, padding included."""
        return int(self._base[self.fields.TOKENS])

    def close(self) -> None:
        """Release threads and buffers."""
        self.closed = True
        with self._lock:
            pool, self._pool = self._pool, None
            self._idle.clear()
        if pool is not None:
            pool.shutdown()
