"""The runs of the compiled decoder: tasks, buffers, threads, and whether an utterance is shared by several cores."""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from tdt.decoding.fusing import point_to_fusion
from tdt.decoding.helpers import Helpers, Lent
from tdt.dependencies import require_compiler
from tdt.errors import DecodingError, OptionError
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
        from tdt.kernels.decoder import buffers, joint, lockstep, tables, task
        from tdt.kernels.vector import simd
        from tdt.kernels.vector.jit import host_features

        self.kernels, self.buffers, self.tables, self.fields = lockstep, buffers, tables, task
        self.helpers = Helpers(self.weights, self.options.threads, self._step_bytes())
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
        job = Job([], projected=True, utterances=np.zeros(1, np.int64), state=state, out=out)
        with self.lent(job, 1) as lent:
            self.fields.set_frames(lent.task, state.projected, 1)
            self.kernels.run(lent.task, self.kernels.PREDICT)
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
            row = point_to_fusion(self.fields, job.fused, lent.task)
            with self.helpers.beside(self.kernels.run, lent):
                status = self.kernels.run(lent.task, self.kernels.DECODE)
        del row
        return int(status), lent.count()

    @contextmanager
    def lent(self, job: Job, rows: int) -> Iterator[Lent]:
        """Lend what a job needs: a task, with buffers for `rows` rows, that says to project its frames and decode."""
        fields, kernels, count = self.fields, self.kernels, len(job.utterances)
        counters = np.zeros((job.helpers + 1, fields.COUNTER_PLACES), np.int64)
        shared = self.helpers.job(rows, job.helpers, kernels.run, kernels.CLOCK)
        with self._borrowed(rows) as (work, prepared):
            task = prepared.copy()
            fields.set_run(task, job.state, job.out, shared, job.helpers, counters[0])
            work.rows[:count] = job.utterances
            frames, given = self._point_to_frames(task, job)
            if job.measured is not None:
                fields.set_measures(task, job.measured)
            yield Lent(task, work, shared, counters, (frames, given))

    def _point_to_frames(self, task: Any, job: Job) -> tuple[Any, Any]:
        """Point a task to the frames of its job; return what has to be kept meanwhile."""
        fields, columns = self.fields, int(task[self.fields.JOINT])
        if not job.frames:
            return None, None
        given = job.frames[0] if len(job.frames) == 1 else np.concatenate(job.frames)
        if job.projected:
            frames = self._padded(given, columns)
        else:
            given = self._padded(given, self.weights.encoder_width)
            frames = self.tables.aligned((len(given), columns), np.float32)
            fields.set_projection(task, given)
        fields.set_frames(task, frames, len(job.utterances))
        return frames, given

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
            lent = (self.buffers.workspace(self.weights, rows), self._base.copy())
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
        futures = [(job, self.helpers.submit(call, job)) for job in jobs[1:]]
        first = call(jobs[0])
        return [first, *(call(job) if future is None else future.result() for job, future in futures)]

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
        self.helpers.close()
        with self._lock:
            self._idle.clear()
