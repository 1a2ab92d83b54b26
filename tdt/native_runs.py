"""The runs of the compiled decoder: tasks, buffers, threads, and whether an utterance is shared by several cores."""

from __future__ import annotations

import logging
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tdt.errors import ClosedError, OptionError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tdt.kernels.tables import Weights
    from tdt.spec import ModelSpec
    from tdt.stages import DecoderState

_log = logging.getLogger("tdt")
_COMPILE_NOTICE_SECONDS = 1.0
# A float32 output layer of at most this many bytes is read whole: screening would not be faster (measured).
_SMALL_OUTPUT_BYTES = 1 << 20
# Steps that read fewer bytes of weights gain nothing from a second core. Best of 80 passes on a busy 2-core machine,
# 0.6B shapes: float32 (27 MB a step) 33 ms on two cores against 64 on one, 8-bit (11 MB) 9.4 against 9.0.
_SHARED_BYTES = 16 << 20
MAX_HELPERS = 3
_compiling = threading.Lock()


@dataclass(frozen=True, slots=True)
class Options:
    """How an engine decodes: see :class:`tdt.native.NativeEngine`."""

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


class Runs:
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
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self.closed = False
        self._prepare(options.isa, options.screening)

    def _prepare(self, isa: str | None, screening: bool | None) -> None:
        """Choose instructions and evaluation, and compile by decoding nothing; say so where it takes long."""
        message = "compiling the decoder for this processor (once; it is kept on disk)"
        notice = threading.Timer(_COMPILE_NOTICE_SECONDS, _log.info, (message,))
        notice.daemon = True
        with _compiling:
            notice.start()
            try:
                self._choose(isa, screening)
                state, out = self.begin(np.zeros(1, np.int64), [None]), self.buffers.emitted_tokens(1, 1)
                self._run(
                    Job([np.zeros((0, self.spec.encoder_dim), np.float32)], False, np.zeros(0, np.int64), state, out)
                )
            finally:
                notice.cancel()

    def _choose(self, isa: str | None, screening: bool | None) -> None:
        """Choose instructions and evaluation."""
        from tdt.kernels import buffers, joint, lockstep, simd, tables, task, team
        from tdt.kernels.jit import host_features

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

    def begin(self, lengths: Any, carried: Sequence[DecoderState | None]) -> Any:
        """Return the arrays of the utterances' state, filled from what is carried in."""
        weights = self.weights
        state = self.buffers.decoding_state(weights, weights.bias.shape[0], len(lengths))
        hidden = self.spec.predictor_hidden
        state.labels[:] = self.spec.blank_id
        state.stops[:] = lengths
        state.last_times[:] = -1
        for u, start in enumerate(carried):
            if start is not None:
                state.labels[u], state.times[u] = start.label, start.skip
                state.hidden[u, :, :hidden], state.cell[u, :, :hidden] = start.hidden, start.cell
        return state

    def _run(self, job: Job) -> tuple[int, Any]:
        """Project the frames of the job's utterances and decode them; return the status and the counters."""
        fields = self.fields
        counters = np.zeros(fields.COUNTER_PLACES, np.int64)
        lengths = [len(part) for part in job.frames]
        job.state.starts[job.utterances] = np.cumsum([0, *lengths])[: len(job.utterances)]
        frames = job.frames[0] if len(job.frames) == 1 else np.concatenate(job.frames)
        with self._borrowed(max(1, len(job.utterances)) * self.options.window) as (work, scratch):
            task, shared = self._base.copy(), self.tables.aligned((self.team.JOB_PLACES,), np.int64)
            fields.set_run(task, work, job.state, job.out, counters)
            fields.set_team(task, shared, job.helpers)
            work.rows[: len(job.utterances)] = job.utterances
            projected = self._projected(job, frames, task, scratch, shared, counters)
            fields.set_frames(task, projected, len(job.utterances))
            started = time.perf_counter_ns()
            with self._assisted(task, shared, job.helpers):
                status = self.kernels.run(task, self.kernels.DECODE)
            counters[fields.DECODING_NS] = time.perf_counter_ns() - started
        return int(status), counters

    def _projected(self, job: Job, frames: Any, task: Any, scratch: Any, shared: Any, counters: Any) -> Any:
        """Return the frames [R, J16] through the joint's encoder projection."""
        fields = self.fields
        columns = int(task[fields.JOINT])
        if job.projected:
            return self._padded(frames, columns)
        out = self.tables.aligned((len(frames), columns), np.float32)
        source = self._padded(frames, self.tables.ceil_to(self.spec.encoder_dim, 16))
        projection = task.copy()
        fields.set_projection(projection, source, out, scratch)
        fields.set_team(projection, shared, 0)
        counters[fields.PROJECTION_BLOCKS] = -(-len(frames) // self.buffers.FRAME_BLOCK)
        started = time.perf_counter_ns()
        self.kernels.run(projection, self.kernels.PROJECT)
        counters[fields.PROJECTION_NS] = time.perf_counter_ns() - started
        return out

    @contextmanager
    def _assisted(self, task: Any, shared: Any, helpers: int) -> Iterator[None]:
        """Have other threads share the products of this task until it is done; latecomers are not waited for."""
        futures = [self._executor().submit(self.kernels.run, task, number + 1) for number in range(helpers)]
        try:
            yield
        finally:
            shared[self.team.STOP] = 1
            for future in futures:
                if not future.cancel():
                    future.result()

    def _executor(self) -> ThreadPoolExecutor:
        with self._lock:
            if self.closed:
                raise ClosedError
            if self._pool is None:
                self._pool = ThreadPoolExecutor(max(1, self.options.threads - 1), thread_name_prefix="tdt-decoder")
            return self._pool

    def _padded(self, frames: Any, columns: int) -> Any:
        """Return frames [R, K] as the kernels take them: float32, contiguous, writeable, K whole vectors."""
        if frames.shape[1] == columns:
            return np.require(frames, np.float32, ["C", "A", "W"])
        out = self.tables.aligned((len(frames), columns), np.float32)
        out[:, : frames.shape[1]] = frames
        return out

    @contextmanager
    def _borrowed(self, rows: int) -> Iterator[Any]:
        """Lend buffers for at least `rows` rows; they come back for the next call."""
        with self._lock:
            fitting = [pair for pair in self._idle if len(pair[0].rows) >= rows]
            lent = fitting[0] if fitting else None
            if lent is not None:
                self._idle = [pair for pair in self._idle if pair is not lent]
        if lent is None:
            block = self.buffers.FRAME_BLOCK
            scratch = self.buffers.scratch(block, self.tables.ceil_to(self.spec.encoder_dim, 16), 1)
            lent = (self.buffers.workspace(self.weights, rows, self.options.threads), scratch)
        try:
            yield lent
        finally:
            with self._lock:
                # No more buffers than threads at work need; the larger ones serve all sizes.
                kept = sorted([*self._idle, lent], key=lambda pair: -len(pair[0].rows))
                self._idle = kept[: self.options.threads]

    def spread(self, jobs: list[Job]) -> list[tuple[int, Any]]:
        """Run the jobs, the first in this thread."""
        if len(jobs) == 1:
            return [self._run(jobs[0])]
        futures = [self._executor().submit(self._run, job) for job in jobs[1:]]
        return [self._run(jobs[0]), *(future.result() for future in futures)]

    def helpers(self) -> int:
        """Return how many idle cores may share a single utterance: sharing with a busy one is slower than none."""
        if self._step_bytes() < _SHARED_BYTES or self.options.threads < 2:
            return 0
        return max(0, min(self.options.threads - 1, MAX_HELPERS, cores() - _running()))

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
        joint = weights.duration.nbytes + (weights.output.values.nbytes if whole else weights.output.levels.nbytes)
        row = 4 * weights.duration.shape[1]
        encoder = weights.encoder.values.nbytes + weights.encoder.levels.nbytes
        return int(
            counts[places.PREDICTOR_ROUNDS] * predictor
            + counts[places.PREDICTIONS] * 4 * weights.table.shape[1]
            + counts[places.ROUNDS] * joint
            + (counts[places.SURVIVORS] + counts[places.REFINED]) * row
            + counts[places.FALLBACKS] * weights.output.values.nbytes
            + counts[places.PROJECTION_BLOCKS] * encoder
        )

    def close(self) -> None:
        """Release threads and buffers."""
        self.closed = True
        with self._lock:
            pool, self._pool = self._pool, None
            self._idle.clear()
        if pool is not None:
            pool.shutdown()


def cores() -> int:
    """Return the processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _running() -> int:
    """Return how many threads of the machine are running or ready to, this one included; many where nobody says."""
    try:
        with Path("/proc/loadavg").open(encoding="ascii") as stream:
            return int(stream.read().split()[3].partition("/")[0])
    except (OSError, ValueError, IndexError):
        return 1 << 30


def shares_of(lengths: Any, threads: int) -> list[Any]:
    """Split a batch into as many shares as there are threads, of about equal total length."""
    count = max(1, min(threads, len(lengths)))
    shares: list[list[int]] = [[] for _ in range(count)]
    totals = [0] * count
    for u in np.argsort(-lengths, kind="stable").tolist():
        least = totals.index(min(totals))
        shares[least].append(u)
        totals[least] += max(1, int(lengths[u]))
    return [np.asarray(share, np.int64) for share in shares]
