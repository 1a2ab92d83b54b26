"""The native engine: greedy TDT decoding of whole batches in compiled code, without the ONNX graphs.

Weights are lifted out of the graphs once (:mod:`tdt.lifting`); :mod:`tdt.kernels.lockstep` does the rest. Tokens,
frames and durations equal those of the ONNX Runtime engine; 8-bit weights are an option.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tdt.engine import check_batch
from tdt.errors import ClosedError, DecodingError, OptionError
from tdt.lifting import lift
from tdt.packing import pack
from tdt.stages import DecoderState, Hypothesis
from tdt.timeline import NULL

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tdt.spec import ModelFiles, ModelSpec
    from tdt.stages import Encoded
    from tdt.timeline import Recorder

_log = logging.getLogger("tdt")
WeightsKind = Literal["auto", "float32", "int8"]
_COMPILE_NOTICE_SECONDS = 1.0
# A float32 output layer of at most this many bytes is read whole: screening would not be faster (measured).
_SMALL_OUTPUT_BYTES = 1 << 20
_compiling = threading.Lock()


@dataclass(frozen=True, slots=True)
class _Job:
    """Utterances for one thread: their frames, one [T, D or J] each, their places in `state` and `out`."""

    frames: list[Any]
    projected: bool
    utterances: Any
    state: Any
    out: Any


class NativeEngine:
    """Decodes on the CPU with its own kernels.

    Parameters
    ----------
    files, spec : ModelFiles, ModelSpec
        The model.
    weights : {"auto", "float32", "int8"}
        "auto" is float32, unless the model's decoder is 8-bit itself.
    threads : int, optional
        Most threads a batch is spread over; all cores by default. One utterance takes one.
    isa : {"vnni", "avxvnni", "avx2", "portable"}, optional
        Instructions of the 8-bit products, for tests; the best there are by default. All give the same integers.
    screening : bool, optional
        Whether float32 logits are screened through 8-bit rows; by default where the output layer is large.
    window : int
        Future frames evaluated at once while the prediction stays the same.
    timeline : Recorder
        Where compilation is recorded.

    Raises
    ------
    UnrecognizedGraphError
        Where the decoder graphs have a structure that this engine does not know.
    """

    def __init__(
        self,
        files: ModelFiles,
        spec: ModelSpec,
        *,
        weights: WeightsKind = "auto",
        threads: int | None = None,
        isa: str | None = None,
        screening: bool | None = None,
        window: int = 1,
        timeline: Recorder = NULL,
    ) -> None:
        if weights not in {"auto", "float32", "int8"}:
            raise OptionError("weights", weights, '"auto", "float32" or "int8"')
        lifted = lift(files, spec)
        self.quantized = weights == "int8" or (weights == "auto" and lifted.quantised)
        self._spec = spec
        self._threads = threads or _cores()
        self._weights = pack(lifted, spec.blank_id + 1, quantized=self.quantized)
        self._joint_width = lifted.output.matrix.values.shape[1]
        self._window = window
        self._idle: list[Any] = []
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._closed = False
        with timeline.span("compile"):
            self._prepare(isa, screening)

    def _prepare(self, isa: str | None, screening: bool | None) -> None:
        """Choose instructions and evaluation, and compile by decoding nothing; say so where it takes long."""
        message = "compiling the decoder for this processor (once; it is kept on disk)"
        notice = threading.Timer(_COMPILE_NOTICE_SECONDS, _log.info, (message,))
        notice.daemon = True
        with _compiling:
            notice.start()
            try:
                self._choose(isa, screening)
                state, out = self._begin(np.zeros(1, np.int64), [None]), self._buffers.emitted_tokens(1, 1)
                self._run(
                    _Job([np.zeros((0, self._spec.encoder_dim), np.float32)], False, np.zeros(0, np.int64), state, out)
                )
            finally:
                notice.cancel()

    def _choose(self, isa: str | None, screening: bool | None) -> None:
        """Choose instructions and evaluation."""
        from tdt.kernels import buffers, joint, lockstep, simd, tables, task
        from tdt.kernels.jit import host_features

        self._kernels, self._buffers, self._tables, self._task = lockstep, buffers, tables, task
        choices = {simd.ISA_NAMES[i]: i for i in simd.available(host_features())}
        if isa is not None and isa not in choices:
            raise OptionError("isa", isa, f"one of {', '.join(choices)} on this machine")
        self.isa = isa or list(choices)[-1]
        large = self._weights.output.values.nbytes > _SMALL_OUTPUT_BYTES
        screened = large if screening is None else screening
        mode = joint.BYTES if self.quantized else joint.SCREENED if screened else joint.FULL
        spec = self._spec
        rule = buffers.Rule(np.asarray(spec.durations, np.int64), spec.blank_id, spec.max_symbols, self._window)
        self._blank_task, self._rule = task.describe_weights(self._weights), rule
        task.set_rule(self._blank_task, rule, choices[self.isa], mode, quantized=self.quantized)

    def decode(
        self, encoded: Encoded, states: Sequence[DecoderState | None] | None = None, timeline: Recorder = NULL
    ) -> tuple[list[Hypothesis], list[DecoderState]]:
        """Decode a batch greedily.

        Parameters
        ----------
        encoded : Encoded
            Encoder output of B utterances.
        states : sequence of DecoderState or None, optional
            Where each utterance stands; from the start by default.
        timeline : Recorder

        Returns
        -------
        hypotheses : list of Hypothesis
        states : list of DecoderState

        Raises
        ------
        DecodingError
            Where the networks produce numbers that are not finite.
        OptionError
            Where the shapes do not fit the model or one another.
        """
        if self._closed:
            raise ClosedError
        check_batch(encoded, states, self._spec)
        frames, lengths = encoded.frames, encoded.lengths.astype(np.int64)
        if encoded.projected is not None:
            frames = encoded.projected
            around = frames if encoded.frames is None else encoded.frames  # a device encoder may leave its frames there
            if frames.shape != (*around.shape[:2], self._joint_width):
                expected = f"[B, T', {self._joint_width}], as the frames"
                raise OptionError("encoded.projected", f"shape {tuple(frames.shape)}", expected)
        if not len(lengths):
            return [], []
        begun = time.perf_counter_ns()
        carried = [None] * len(lengths) if states is None else list(states)
        state = self._begin(lengths, carried)
        capacity = max(1, int(lengths.max(initial=0))) * self._spec.max_symbols
        out = self._buffers.emitted_tokens(len(lengths), capacity)
        started = time.perf_counter_ns()
        jobs = [
            _Job([frames[u, : lengths[u]] for u in share], encoded.projected is not None, share, state, out)
            for share in _shares(lengths, self._threads)
        ]
        results = self._spread(jobs)
        elapsed_ns = time.perf_counter_ns() - started
        if any(status for status, _ in results):
            raise DecodingError(
                "The encoder output or the decoder's logits hold NaN or infinite numbers, which cannot be decoded. "
                "Check the encoder: a reduced precision may overflow; the float32 model shows it."
            )
        self.counters = np.sum([counters for _, counters in results], axis=0)
        decoded = self._hypotheses(state, out, carried), self._states(state, carried)
        if timeline is not NULL:
            self._tally(timeline, results, elapsed_ns, time.perf_counter_ns() - begun)
        return decoded

    def weight_bytes(self) -> int:
        """Return the bytes of weights that the latest call read: what bounds it where they do not fit a cache."""
        weights, places, counts = self._weights, self._task, self.counters
        stacks = (weights.recurrent, weights.inputs, weights.predictor)
        predictor = sum(stack.values.nbytes + stack.levels.nbytes for stack in stacks)
        whole = self._blank_task[places.MODE] == 0
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
        """Release threads and buffers; the engine cannot be used afterwards."""
        self._closed = True
        with self._lock:
            pool, self._pool = self._pool, None
            self._idle.clear()
        if pool is not None:
            pool.shutdown()

    def _begin(self, lengths: Any, carried: Sequence[DecoderState | None]) -> Any:
        """Return the arrays of the utterances' state, filled from what is carried in."""
        weights = self._weights
        state = self._buffers.decoding_state(weights, weights.bias.shape[0], len(lengths))
        hidden = self._spec.predictor_hidden
        state.labels[:] = self._spec.blank_id
        state.stops[:] = lengths
        state.last_times[:] = -1
        for u, start in enumerate(carried):
            if start is not None:
                state.labels[u], state.times[u] = start.label, start.skip
                state.hidden[u, :, :hidden], state.cell[u, :, :hidden] = start.hidden, start.cell
        return state

    def _run(self, job: _Job) -> tuple[int, Any]:
        """Project the frames of the job's utterances and decode them; return the status and the counters."""
        kernels, fields = self._kernels, self._task
        counters = np.zeros(fields.COUNTER_PLACES, np.int64)
        lengths = [len(part) for part in job.frames]
        job.state.starts[job.utterances] = np.cumsum([0, *lengths])[: len(job.utterances)]
        frames = job.frames[0] if len(job.frames) == 1 else np.concatenate(job.frames)
        with self._borrowed(max(1, len(job.utterances)) * self._window) as (work, scratch):
            task = self._blank_task.copy()
            fields.set_run(task, work, job.state, job.out, counters)
            work.rows[: len(job.utterances)] = job.utterances
            joint_columns = int(task[fields.JOINT])
            if job.projected:
                projected = self._padded(frames, joint_columns)
            else:
                projected = self._tables.aligned((len(frames), joint_columns), np.float32)
                source = self._padded(frames, self._tables.ceil_to(self._spec.encoder_dim, 16))
                projection = task.copy()
                fields.set_projection(projection, source, projected, scratch)
                started = time.perf_counter_ns()
                kernels.project_frames(projection)
                counters[fields.PROJECTION_BLOCKS] = -(-len(frames) // self._buffers.FRAME_BLOCK)
                counters[fields.PROJECTION_NS] = time.perf_counter_ns() - started
            fields.set_frames(task, projected, len(job.utterances))
            started = time.perf_counter_ns()
            status = kernels.decode(task)
            counters[fields.DECODING_NS] = time.perf_counter_ns() - started
        return int(status), counters

    def _padded(self, frames: Any, columns: int) -> Any:
        """Return frames [R, K] as the kernels take them: float32, contiguous, writeable, K whole vectors."""
        if frames.shape[1] == columns:
            return np.require(frames, np.float32, ["C", "A", "W"])
        out = self._tables.aligned((len(frames), columns), np.float32)
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
            block = self._buffers.FRAME_BLOCK
            scratch = self._buffers.scratch(block, self._tables.ceil_to(self._spec.encoder_dim, 16))
            lent = (self._buffers.workspace(self._weights, rows), scratch)
        try:
            yield lent
        finally:
            with self._lock:
                # No more buffers than threads at work need; the larger ones serve all sizes.
                kept = sorted([*self._idle, lent], key=lambda pair: -len(pair[0].rows))
                self._idle = kept[: self._threads]

    def _spread(self, jobs: list[_Job]) -> list[tuple[int, Any]]:
        """Run the jobs, the first in this thread."""
        if len(jobs) == 1:
            return [self._run(jobs[0])]
        with self._lock:
            if self._closed:
                raise ClosedError
            if self._pool is None:
                self._pool = ThreadPoolExecutor(max(1, self._threads - 1), thread_name_prefix="tdt-decoder")
            futures = [self._pool.submit(self._run, job) for job in jobs[1:]]
        return [self._run(jobs[0]), *(future.result() for future in futures)]

    def _tally(self, timeline: Recorder, results: list[tuple[int, Any]], elapsed_ns: int, whole_ns: int) -> None:
        """Share the threads' elapsed time out by what they spent where; the rest of the call is the rule's."""
        k = self._task
        total = np.sum([counters for _, counters in results], axis=0)
        work_ns = max(1, int(total[k.PROJECTION_NS] + total[k.DECODING_NS]))
        share = elapsed_ns / work_ns
        tick_ns = float(total[k.DECODING_NS]) / max(1, int(total[k.TOTAL_TICKS])) * share
        joint_ns = float(total[k.JOINT_TICKS]) * tick_ns + float(total[k.PROJECTION_NS]) * share
        predictor_ns = float(total[k.PREDICTOR_TICKS]) * tick_ns
        timeline.tally("predictor", int(predictor_ns), int(total[k.PREDICTIONS]))
        timeline.tally("joint", int(joint_ns), int(total[k.EVALUATIONS]))
        timeline.tally("rule", max(0, int(whole_ns - joint_ns - predictor_ns)), int(total[k.EVALUATIONS]))

    def _hypotheses(self, state: Any, out: Any, carried: Sequence[DecoderState | None]) -> list[Hypothesis]:
        found = []
        for u, start in enumerate(carried):
            n = int(state.counts[u])
            before = 0 if start is None else start.frames_decoded
            found.append(
                Hypothesis(
                    token_ids=out.tokens[u, :n].copy(),
                    frames=out.frames[u, :n] + np.int32(before),
                    durations=out.durations[u, :n].copy(),
                    logprobs=out.logprobs[u, :n].copy(),
                    entropy_confidences=out.entropies[u, :n].copy(),
                )
            )
        return found

    def _states(self, state: Any, carried: Sequence[DecoderState | None]) -> list[DecoderState]:
        hidden = self._spec.predictor_hidden
        return [
            DecoderState(
                label=int(state.labels[u]),
                hidden=state.hidden[u, :, :hidden].copy(),
                cell=state.cell[u, :, :hidden].copy(),
                skip=int(state.times[u] - state.stops[u]) if state.times[u] > state.stops[u] else 0,
                frames_decoded=int(state.stops[u]) + (0 if start is None else start.frames_decoded),
            )
            for u, start in enumerate(carried)
        ]


def _cores() -> int:
    """Return the processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _shares(lengths: Any, threads: int) -> list[Any]:
    """Split a batch into as many shares as there are threads, of about equal total length."""
    count = max(1, min(threads, len(lengths)))
    shares: list[list[int]] = [[] for _ in range(count)]
    totals = [0] * count
    for u in np.argsort(-lengths, kind="stable").tolist():
        least = totals.index(min(totals))
        shares[least].append(u)
        totals[least] += max(1, int(lengths[u]))
    return [np.asarray(share, np.int64) for share in shares]
