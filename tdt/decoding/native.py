"""The native engine: greedy TDT decoding of whole batches in compiled code, without the ONNX graphs.

Weights are lifted out of the graphs once (:mod:`tdt.surgery.lifting`); :mod:`tdt.kernels.decoder.lockstep` does the
rest. Tokens, frames and durations equal those of the ONNX Runtime engine; 8-bit weights are an option.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tdt.checks import instance
from tdt.cores import usable_cores
from tdt.cuda_arrays import on_device
from tdt.decoding.batch_check import check_batch, check_fusions
from tdt.decoding.beam_states import begun, check_states
from tdt.decoding.cores import shares_of
from tdt.decoding.fusing import begin_fusion, model_states, token_columns
from tdt.decoding.measuring import begin_steps, with_steps
from tdt.decoding.native_beam import BeamRuns, refuse_late_masks
from tdt.decoding.native_runs import Job, Options, Runs, not_finite
from tdt.decoding.packing import pack
from tdt.errors import ClosedError, OptionError
from tdt.lifetime import Bound, setting_up
from tdt.onnxfile import rounded
from tdt.stages import Alternative, DecoderState, Encoded, Hypothesis
from tdt.surgery import lift
from tdt.timeline import NULL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdt.decoding.beam_states import BeamState
    from tdt.fusion import Beam
    from tdt.spec import ModelFiles, ModelSpec
    from tdt.stages import Fusion
    from tdt.timeline import Recorder

NativeWeightsKind = Literal["auto", "float32", "int8"]


class NativeEngine(Bound):
    """Decodes on the CPU with its own kernels.

    Parameters
    ----------
    files, spec : ModelFiles, ModelSpec
        The model.
    weights : {"auto", "float32", "int8"}
        "auto" is float32, unless the model's decoder is 8-bit itself.
    threads : int, optional
        Most threads a batch is spread over; all cores by default. Where the model is large, idle cores share its rows;
        otherwise each takes utterances of its own, and a single one takes one thread.
    isa : {"vnni", "avxvnni", "avx2", "portable"}, optional
        Instructions of the 8-bit products, for tests; the best there are by default. All give the same integers.
    screening : bool, optional
        Whether float32 logits are screened through 8-bit rows; by default where the output layer is large.
    window : int
        Future frames evaluated at once while the prediction stays the same.
    steps : bool
        Whether hypotheses carry :class:`~tdt.steps.Steps`: measures of blanks and durations, for confidences that count
        them.
    timeline : Recorder
        Where compilation is recorded.

    Raises
    ------
    UnrecognizedGraphError
        Where the decoder graphs have a structure that this engine does not know.
    """

    takes_fusions = True

    def __init__(
        self,
        files: ModelFiles,
        spec: ModelSpec,
        *,
        weights: NativeWeightsKind = "auto",
        threads: int | None = None,
        isa: str | None = None,
        screening: bool | None = None,
        window: int = 1,
        steps: bool = False,
        timeline: Recorder = NULL,
    ) -> None:
        if weights not in {"auto", "float32", "int8"}:
            raise OptionError("weights", weights, '"auto", "float32" or "int8"')
        lifted = lift(files, spec)
        self.quantized = weights == "int8" or (weights == "auto" and lifted.quantised)
        self._spec, self._steps = spec, steps
        self._joint_width = lifted.output.matrix.values.shape[1]
        self._rounded = () if self.quantized else lifted.roundings.frames
        if not self.quantized and (lifted.roundings.logits or lifted.roundings.products[2]):
            screening = False  # whose bounds are those of logits that nobody rounds
        packed = pack(lifted, spec.blank_id + 1, quantized=self.quantized)
        with timeline.span("compile"):
            self._runs = Runs(packed, spec, Options(self.quantized, threads or usable_cores(), isa, screening, window))
        self.isa = self._runs.isa
        self._beams: BeamRuns | None = None

    def decode(
        self,
        encoded: Encoded,
        states: Sequence[DecoderState | None] | None = None,
        timeline: Recorder = NULL,
        fusions: Sequence[Fusion | None] | None = None,
    ) -> tuple[list[Hypothesis], list[DecoderState]]:
        """Decode a batch greedily.

        Parameters
        ----------
        encoded : Encoded
            Encoder output of B utterances.
        states : sequence of DecoderState or None, optional
            Where each utterance stands; from the start by default.
        timeline : Recorder
        fusions : sequence of Fusion or None, optional
            What is added to the logits of each utterance: phrases, language models, masks.

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
        runs = self._runs
        frames = self._frames(encoded)
        carried = check_batch(encoded, states, self._spec, self._joint_width, automata=True)
        added = check_fusions(fusions, carried, self._spec.blank_id)
        lengths = encoded.lengths.astype(np.int64)
        if not carried:
            return [], []
        begun = time.perf_counter_ns()
        state = runs.begin(lengths, carried)
        capacity = max(1, int(lengths.max(initial=0))) * self._spec.max_symbols
        out = runs.buffers.emitted_tokens(len(lengths), capacity)
        fused = begin_fusion(added, carried, runs.row_width, capacity)
        measured = begin_steps(lengths, capacity) if self._steps else None
        started = time.perf_counter_ns()
        parts, helpers = runs.helpers.teams(len(lengths))
        jobs = [
            Job(
                [frames[u, : lengths[u]] for u in share],
                encoded.projected is not None,
                share,
                state,
                out,
                helpers,
                fused,
                measured,
            )
            for share in shares_of(lengths, parts)
        ]
        results = runs.spread(jobs)
        elapsed_ns = time.perf_counter_ns() - started
        if any(status for status, _ in results):
            raise not_finite()
        self.counters = sum((counters for _, counters in results[1:]), results[0][1])
        hypotheses = self._hypotheses(state, out, carried, fused, added)
        if measured is not None:
            hypotheses = with_steps(hypotheses, carried, lengths, measured)
        decoded = hypotheses, self._states(state, carried, fused, added)
        if timeline is not NULL:
            self._tally(timeline, elapsed_ns, time.perf_counter_ns() - begun)
        return decoded

    def decode_beam(
        self,
        encoded: Encoded,
        states: Sequence[BeamState | DecoderState | None] | None = None,
        fusions: Sequence[Fusion | None] | None = None,
        beam: Beam | None = None,
        timeline: Recorder = NULL,
    ) -> tuple[list[tuple[Alternative, ...]], list[BeamState]]:
        """Decode a batch by beam search.

        In pieces, hypotheses that have reached a piece's end wait there for the others, as NeMo's do; the answer may
        so differ from that of the whole at once, though not where it is cut at places that all hypotheses share.

        Parameters
        ----------
        encoded, fusions
            As in :meth:`decode`.
        states : sequence of BeamState, DecoderState or None, optional
            Where each utterance stands; from the start by default. A DecoderState is one hypothesis to go on from.
        beam : Beam, optional
        timeline : Recorder, optional

        Returns
        -------
        alternatives : list of tuple of Alternative
            The hypotheses of each utterance that are left, best first, with all tokens since its start.
        states : list of BeamState

        Raises
        ------
        DecodingError, OptionError
            As :meth:`decode`; also for masks that hold after the blank, which beams do not know.
        """
        from tdt.fusion import Beam

        frames = self._frames(encoded)
        rule = instance("beam", beam or Beam(), Beam)
        check_batch(encoded, None, self._spec, self._joint_width)
        added = check_fusions(fusions, [None] * len(encoded.lengths), self._spec.blank_id)
        refuse_late_masks(added)
        carried = check_states(
            None if states is None else self._begun(states, added),
            len(encoded.lengths),
            rule.size,
            self._spec,
            added,
        )
        if not carried:
            return [], []
        started = time.perf_counter_ns()
        with setting_up():
            self._beams = self._beams or BeamRuns(self._runs)
        found, self.counters = self._beams.spread(frames, encoded, carried, added, rule)
        if timeline is not NULL:
            elapsed_ns = time.perf_counter_ns() - started
            self._tally(timeline, elapsed_ns, elapsed_ns)
        return [state.ranked(score_norm=rule.score_norm) for state in found], found

    def _begun(self, states: Sequence[Any], added: Sequence[Fusion] | None) -> list[Any]:
        """Return states of beam searches; those of one hypothesis are made into beams of one."""
        fusions = dict(enumerate(added or ()))
        return [
            begun(state, fusions.get(u), self._runs.first, self._spec) if isinstance(state, DecoderState) else state
            for u, state in enumerate(states)
        ]

    def _frames(self, encoded: Encoded) -> Any:
        """Return the frames to decode, on the host."""
        self._runs.origin.require()
        if self._runs.helpers.closed:
            raise ClosedError
        instance("encoded", encoded, Encoded)
        frames = encoded.frames if encoded.projected is None else encoded.projected
        if on_device(frames):
            remedy = 'a host array (`cupy.asnumpy(frames)`); decoder="onnx" decodes on the card'
            raise OptionError("encoded.frames", "an array on a CUDA device", remedy)
        if self._rounded and encoded.projected is None:
            return rounded(np.asarray(frames, np.float32), self._rounded)
        return frames

    def weight_bytes(self) -> int:
        """Return the bytes of weights that the latest call read: what bounds it where they do not fit a cache."""
        return self._runs.weight_bytes(self.counters)

    def close(self) -> None:
        """Release threads and buffers; the engine cannot be used afterwards."""
        self._runs.close()

    def _tally(self, timeline: Recorder, elapsed_ns: int, whole_ns: int) -> None:
        """Share the threads' elapsed time out by what they spent where; the rest of the call is the rule's."""
        k = self._runs.fields
        total = self.counters
        tick_ns = elapsed_ns / max(1, int(total[k.TOTAL_TICKS]))
        joint_ns = float(total[k.JOINT_TICKS] + total[k.PROJECTION_TICKS]) * tick_ns
        # Scores are computed among the products of the prediction network.
        predictor_ns = max(0.0, float(total[k.PREDICTOR_TICKS] - total[k.SCORE_TICKS]) * tick_ns)
        timeline.tally("predictor", int(predictor_ns), int(total[k.PREDICTIONS]))
        timeline.tally("joint", int(joint_ns), int(total[k.EVALUATIONS]))
        timeline.tally("rule", max(0, int(whole_ns - joint_ns - predictor_ns)), int(total[k.EVALUATIONS]))

    @staticmethod
    def _hypotheses(
        state: Any, out: Any, carried: Sequence[DecoderState | None], fused: Any, added: Sequence[Fusion] | None
    ) -> list[Hypothesis]:
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
                    **token_columns(fused, added, u, n),
                )
            )
        return found

    def _states(
        self, state: Any, carried: Sequence[DecoderState | None], fused: Any, added: Sequence[Fusion] | None
    ) -> list[DecoderState]:
        hidden = self._spec.predictor_hidden
        return [
            DecoderState(
                label=int(state.labels[u]),
                hidden=state.hidden[u, :, :hidden].copy(),
                cell=state.cell[u, :, :hidden].copy(),
                skip=int(state.times[u] - state.stops[u]) if state.times[u] > state.stops[u] else 0,
                frames_decoded=int(state.stops[u]) + (0 if start is None else start.frames_decoded),
                model_states=model_states(fused, added, u),
            )
            for u, start in enumerate(carried)
        ]
