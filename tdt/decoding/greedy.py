"""Greedy TDT decoding on ONNX Runtime: label looping over a batch in lockstep.

Each round evaluates the joint for the utterances still running, a few frames each, and the prediction network for those
that emitted; the rule between the two is compiled (kernels/decoder/tdt_rule.py). Both published layouts become the same
three networks at load (tdt/surgery/networks.py), so nothing here knows them apart.
"""

from __future__ import annotations

import threading
from time import perf_counter_ns
from typing import TYPE_CHECKING

import numpy as np

from tdt.checks import on_host
from tdt.decoding.batch_check import check_batch
from tdt.decoding.transducer import JointStep, PredictorStep, Transducer
from tdt.errors import ClosedError, DecodingError
from tdt.lifetime import Bound
from tdt.stages import DecoderState, Encoded, Hypothesis
from tdt.timeline import NULL, Recorder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdt.runtime import Backend
    from tdt.spec import ModelFiles, ModelSpec
    from tdt.stages import Float32, Int64

# Frames an evaluation of the joint looks at. On the CPU wider windows cost more arithmetic than they save calls: bench
# model, 27 emissions, one thread: 36.9, 41.6, 47.4 and 57.7 ms with 1, 2, 4 and 8 frames.
WINDOW = 1
_KEPT_WORKSPACES = 4


class OnnxEngine(Bound):
    """Decodes with the model's own graphs on ONNX Runtime.

    Parameters
    ----------
    files : ModelFiles
    spec : ModelSpec
    backend : Backend
    threads : int, optional
        Threads inside an operator; one by default, since the products of a step are too small to share.
    window : int, optional
        Frames that one evaluation of the joint looks at; the results do not depend on it.
    """

    def __init__(
        self, files: ModelFiles, spec: ModelSpec, backend: Backend, threads: int | None = None, *, window: int = WINDOW
    ) -> None:
        self.spec = spec
        self.transducer = Transducer(files, spec, backend, threads or 1)
        self.window = 1 if self.transducer.coupled else window
        self._durations = np.array(spec.durations, np.int64)
        self._idle: list[_Workspace] = []
        self._lock = threading.Lock()
        self._closed = False

    def decode(
        self, encoded: Encoded, states: Sequence[DecoderState | None] | None = None, timeline: Recorder = NULL
    ) -> tuple[list[Hypothesis], list[DecoderState]]:
        """Decode a batch; see :class:`tdt.protocols.Engine`."""
        if self._closed:
            raise ClosedError
        before = check_batch(encoded, states, self.spec, self.transducer.width)
        batch = len(before)
        if not batch:
            return [], []
        started = perf_counter_ns()
        projected = encoded.projected
        if projected is None:
            projected = self.transducer.project(on_host("encoded.frames", encoded.frames))
        projected = np.ascontiguousarray(on_host("encoded.projected", projected), np.float32)
        timeline.tally("joint", perf_counter_ns() - started)
        if not self.transducer.coupled:
            return self._decode(projected, encoded.lengths, before, timeline)
        parts = [
            self._decode(projected[row : row + 1], encoded.lengths[row : row + 1], before[row : row + 1], timeline)
            for row in range(batch)
        ]
        return [part[0][0] for part in parts], [part[1][0] for part in parts]

    def close(self) -> None:
        """Release the sessions."""
        if not self._closed:
            self._closed = True
            self._idle.clear()
            self.transducer.close()

    def _decode(
        self, projected: Float32, lengths: Int64, states: list[DecoderState | None], timeline: Recorder
    ) -> tuple[list[Hypothesis], list[DecoderState]]:
        workspace = self._borrow(len(lengths))
        try:
            loop = _Loop(self.spec, self._durations, workspace, projected, lengths, states)
            loop.run(self.window)
            for stage, (nanoseconds, count) in loop.spent.items():
                timeline.tally(stage, nanoseconds, count)
            return loop.hypotheses(), loop.states()
        finally:
            self._return(workspace)

    def _borrow(self, batch: int) -> _Workspace:
        """Take a workspace that no other thread uses."""
        with self._lock:
            for index, workspace in enumerate(self._idle):
                if workspace.batch == batch:
                    return self._idle.pop(index)
        return _Workspace(self.transducer, batch)

    def _return(self, workspace: _Workspace) -> None:
        with self._lock:
            self._idle.append(workspace)
            del self._idle[:-_KEPT_WORKSPACES]


class _Workspace:
    """Bound buffers for a batch of B utterances, one thread at a time.

    Parameters
    ----------
    transducer : Transducer
    batch : int
    """

    def __init__(self, transducer: Transducer, batch: int) -> None:
        self.transducer = transducer
        self.batch = batch
        even = transducer.predictor_step(batch)
        odd = transducer.predictor_step(
            batch, even.prediction, (even.next_hidden, even.next_cell, even.hidden, even.cell)
        )
        self._pair = (even, odd)
        self._parity = 0
        self._joints: dict[tuple[int, int], JointStep] = {}
        self._parts: dict[int, PredictorStep] = {}

    @property
    def predictor(self) -> PredictorStep:
        """The whole batch: `hidden` and `cell` hold the states before the last labels, `next_…` those after."""
        return self._pair[self._parity]

    def turn(self) -> None:
        """Make the states after the labels those before the next ones, without a copy."""
        self._parity ^= 1

    def joint(self, utterances: int, window: int) -> JointStep:
        """Return bound buffers; those of the whole batch read the predictor's output where it lies."""
        key = (utterances, window)
        if key not in self._joints:
            shared = self.predictor.prediction if utterances == self.batch else None
            self._joints[key] = self.transducer.joint_step(utterances, window, shared)
        return self._joints[key]

    def part(self, utterances: int) -> PredictorStep:
        """Return bound buffers for the prediction network of fewer utterances than the batch."""
        if utterances not in self._parts:
            self._parts[utterances] = self.transducer.predictor_step(utterances)
        return self._parts[utterances]


class _Loop:
    """One batch on its way through the loop.

    Parameters
    ----------
    spec : ModelSpec
    durations : ndarray [shape=(N,)], int64
    workspace : _Workspace
    projected : ndarray [shape=(B, T, J)], float32
    lengths : ndarray [shape=(B,)], int64
    states : list of DecoderState or None
    """

    def __init__(
        self,
        spec: ModelSpec,
        durations: Int64,
        workspace: _Workspace,
        projected: Float32,
        lengths: Int64,
        states: list[DecoderState | None],
    ) -> None:
        from tdt.kernels.decoder import tdt_rule

        self._rule = tdt_rule
        self._spec, self._durations, self._workspace = spec, durations, workspace
        self._projected = projected
        self._starts = np.array([state.frames_decoded if state else 0 for state in states], np.int64)
        self._clock = np.zeros((len(lengths), tdt_rule.CLOCK_COLUMNS), np.int64)
        self._clock[:, tdt_rule.TIME] = [state.skip if state else 0 for state in states]
        self._clock[:, tdt_rule.LENGTH] = lengths
        self._clock[:, tdt_rule.LAST_TIME] = -1
        self._clock[:, tdt_rule.LABEL] = [state.label if state else spec.blank_id for state in states]
        capacity = int(lengths.max()) // 2 + 16
        self._out = np.empty((len(lengths), capacity, 3), np.int32)
        self._stats = np.empty((len(lengths), capacity, 2), np.float32)
        self.spent = {"predictor": [0, 0], "joint": [0, 0], "rule": [0, 0]}
        step = workspace.predictor
        for row, state in enumerate(states):
            step.hidden[:, row] = state.hidden if state else 0
            step.cell[:, row] = state.cell if state else 0

    def run(self, window: int) -> None:
        """Loop until every utterance has ended."""
        rule, clock, workspace = self._rule, self._clock, self._workspace
        rows = np.flatnonzero(clock[:, rule.TIME] < clock[:, rule.LENGTH])
        if len(rows):
            started = perf_counter_ns()
            workspace.predictor.label[:, 0] = clock[:, rule.LABEL]
            workspace.predictor.binding.run()
            self._spend("predictor", started)
        rounds = 0
        while len(rows):
            if rounds == self._out.shape[1]:
                self._grow()
            rounds += 1
            joint = workspace.joint(len(rows), window)
            started = perf_counter_ns()
            rule.gather_windows(self._projected, rows, clock, joint.window)
            if len(rows) < workspace.batch:
                workspace.predictor.prediction.take(rows, axis=0, out=joint.prediction, mode="clip")
            joint.binding.run()
            started = self._spend("joint", started)
            rows, emitted, failed, _ = rule.scan_windows(
                joint.choices, joint.scores, rows, clock, self._durations, self._spec.blank_id,
                self._spec.max_symbols, self._out, self._stats,
            )  # fmt: skip
            if failed >= 0:
                raise not_finite(int(failed), int(clock[failed, rule.TIME]))
            started = self._spend("rule", started)
            if len(emitted):
                self._predict(emitted)
                self._spend("predictor", started)

    def hypotheses(self) -> list[Hypothesis]:
        """Return what was emitted, frames counted from the start of the utterance."""
        from tdt.kernels.decoder.confidence import tsallis_confidence

        found = []
        for row, count in enumerate(self._clock[:, self._rule.COUNT]):
            tokens, frames, durations = self._out[row, :count].T.copy()
            logprobs, powers = self._stats[row, :count].T.copy()
            confidences = tsallis_confidence(powers, len(self._spec.pieces))
            offset = np.int32(self._starts[row])
            found.append(Hypothesis(tokens, frames + offset, durations, logprobs, confidences))
        return found

    def states(self) -> list[DecoderState]:
        """Return where each utterance stands."""
        step = self._workspace.predictor
        return [
            DecoderState(
                label=int(clock[self._rule.LABEL]),
                hidden=step.hidden[:, row].copy(),
                cell=step.cell[:, row].copy(),
                skip=int(clock[self._rule.TIME] - clock[self._rule.LENGTH]),
                frames_decoded=int(self._starts[row] + clock[self._rule.LENGTH]),
            )
            for row, clock in enumerate(self._clock)
        ]

    def _predict(self, emitted: Int64) -> None:
        """Feed the new labels; an utterance that ended with its label keeps it for the next piece, unfed."""
        rule, clock, workspace = self._rule, self._clock, self._workspace
        batch = workspace.batch
        if len(emitted) == batch:
            workspace.turn()
        step = workspace.predictor
        if len(emitted) < batch:
            step.hidden[:, emitted] = step.next_hidden[:, emitted]
            step.cell[:, emitted] = step.next_cell[:, emitted]
        going = emitted[clock[emitted, rule.TIME] < clock[emitted, rule.LENGTH]]
        if len(going) == batch:
            step.label[:, 0] = clock[:, rule.LABEL]
            step.binding.run()
        elif len(going):
            part = workspace.part(len(going))
            part.label[:, 0] = clock[going, rule.LABEL]
            step.hidden.take(going, axis=1, out=part.hidden, mode="clip")
            step.cell.take(going, axis=1, out=part.cell, mode="clip")
            part.binding.run()
            step.next_hidden[:, going] = part.next_hidden
            step.next_cell[:, going] = part.next_cell
            step.prediction[going] = part.prediction

    def _grow(self) -> None:
        """Double the room for emissions."""
        self._out = np.concatenate([self._out, np.empty_like(self._out)], axis=1)
        self._stats = np.concatenate([self._stats, np.empty_like(self._stats)], axis=1)

    def _spend(self, stage: str, started: int) -> int:
        now = perf_counter_ns()
        self.spent[stage][0] += now - started
        self.spent[stage][1] += 1
        return now


def not_ending(frames: int) -> DecodingError:
    """Return the error for a device whose numbers say that decoding goes on where the rule says that it has ended."""
    return DecodingError(
        f"Decoding on the device does not end: {frames} encoder frames have taken all steps that the TDT rule allows. "
        'What the device computes is wrong; `tdt doctor` checks it. Run with provider="cpu", or decoder="native".'
    )


def not_finite(row: int, frame: int) -> DecodingError:
    """Return the error for logits that are NaN or infinite."""
    return DecodingError(
        f"The joint gave NaN or infinity for utterance {row} at encoder frame {frame}. The features or the encoder's "
        "output are not finite there, or the weights are damaged; reduced precision (fp16) overflows in some encoders. "
        'Check the audio, run with provider="cpu", or use another precision.'
    )
