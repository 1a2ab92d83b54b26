"""Greedy decoding that stays on the device: steps run back to back, the host looks in every few of them.

All state lives in two sets of device buffers that take turns; each step writes its emissions to a slot of its own, and
one copy brings the slots of a round to the host. No logits cross.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tdt.decoding.batch_check import check_batch
from tdt.decoding.greedy import not_ending, not_finite
from tdt.errors import ClosedError, ProviderError
from tdt.lifetime import Bound
from tdt.runtime import DeviceArray, DeviceSlice, Session, WorkQueue, adopt, open_queue, require_kernels
from tdt.stages import DecoderState, Encoded, Hypothesis
from tdt.surgery import cut_decoder, device_step, projected_width
from tdt.timeline import NULL, Recorder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdt.runtime import Backend, Binding
    from tdt.spec import ModelFiles, ModelSpec

# Frames the joint looks at in a step, and steps between two looks of the host.
WINDOW = 4
STEPS = 8
_PORTS = (*device_step.COUNTERS, *device_step.STATES)
_ENDS = ("time", "label", "hidden", "cell")  # what an utterance's next piece needs


@dataclass(frozen=True, slots=True)
class _Workspace:
    """Device buffers of a batch: two sets of state that take turns, lengths, and the records of a round."""

    states: tuple[dict[str, DeviceArray], dict[str, DeviceArray]]
    lengths: DeviceArray
    records: DeviceArray
    slots: list[DeviceSlice]


class DeviceEngine(Bound):
    """Decodes on CUDA; a TensorRT backend runs its decoder on CUDA too, since TensorRT gains nothing on single rows.

    Parameters
    ----------
    files : ModelFiles
    spec : ModelSpec
    backend : Backend
    threads : int, optional
    window, steps : int, optional
        Frames a step, steps a round; the results depend on neither.
    queue : WorkQueue, optional
        Where the work is enqueued; by default the backend's own stream, or a new one.
    """

    def __init__(
        self,
        files: ModelFiles,
        spec: ModelSpec,
        backend: Backend,
        threads: int | None = None,
        *,
        window: int = WINDOW,
        steps: int = STEPS,
        queue: WorkQueue | None = None,
    ) -> None:
        queue = queue or open_queue(backend)
        backend = replace(backend, stream=queue.pointer)
        self.spec = spec
        self._steps = steps + steps % 2  # even, so that a round ends on the buffers it began with
        name = (files.decoder_joint or files.joiner or files.folder).name
        graph = device_step.step_graph(files, spec, window)
        self._step = Session(graph, backend, threads=threads, name=f"{name} (decoding step)")
        projector = cut_decoder(files, spec).projector
        self._width = projected_width(projector, spec)
        self._projector = Session(projector, backend, threads=threads, name=f"{name} (encoder projection)")
        self._lock = threading.Lock()
        self._workspaces: dict[int, _Workspace] = {}
        self._closed = False
        self.queue = queue  # last, so that the sessions go before their stream

    def decode(
        self, encoded: Encoded, states: Sequence[DecoderState | None] | None = None, timeline: Recorder = NULL
    ) -> tuple[list[Hypothesis], list[DecoderState]]:
        """Decode a batch; see :class:`tdt.protocols.Engine`. `projected` may lie on the device already."""
        if self._closed:
            raise ClosedError
        before = check_batch(encoded, states, self.spec, self._width)
        batch = len(before)
        if not batch:
            return [], []
        with self._lock:
            workspace = self._workspace(batch)
            running = any((state.skip if state else 0) < n for state, n in zip(before, encoded.lengths, strict=True))
            rounds: list[Any] = []
            with self.queue.work(timeline) as stage:
                with stage("h2d"):
                    self._fill(workspace, encoded.lengths, before)
                    given = self._on_device(encoded) if running else None
                with stage("joint"):
                    if given is not None:
                        rounds = self._rounds(workspace, self._projected(given, encoded), int(encoded.lengths.max()))
                with stage("d2h"):
                    ends = {name: self.queue.read(workspace.states[0][name]) for name in _ENDS}
        return self._results(rounds, ends, encoded.lengths, before)

    def close(self) -> None:
        """Release the sessions and the buffers."""
        if not self._closed:
            self._closed = True
            self._workspaces.clear()
            self._step.close()
            self._projector.close()

    def _on_device(self, encoded: Encoded) -> DeviceArray:
        """Return the projected frames, else the encoder's own, on the device."""
        given = encoded.frames if encoded.projected is None else encoded.projected
        shared = adopt(given, self.queue.pointer)
        if shared is not None:
            return shared
        host = np.ascontiguousarray(given, np.float32)
        array = self._step.allocate(host.shape, np.float32)
        self.queue.put_padded(array, host)
        return array

    def _projected(self, given: DeviceArray, encoded: Encoded) -> DeviceArray:
        """Return frames as the joint takes them: as they are, or through its projection."""
        if encoded.projected is not None:
            return given
        projected = self._step.allocate((*given.shape[:2], self._width), np.float32)
        self.queue.run(self._projector.bind({"frames": given}, {"projected": projected}))
        return projected

    def _workspace(self, batch: int) -> _Workspace:
        """Return the buffers of a batch size, made once."""
        if batch not in self._workspaces:
            allocate = self._step.allocate
            state = (self.spec.predictor_layers, batch, self.spec.predictor_hidden)

            def buffers() -> dict[str, DeviceArray]:
                counters = {name: allocate((batch,), np.int64) for name in device_step.COUNTERS}
                return counters | {name: allocate(state, np.float32) for name in device_step.STATES}

            columns = device_step.RECORD_COLUMNS
            records = allocate((self._steps, batch, columns), np.float32)
            slots = [records.part(step, (batch, columns)) for step in range(self._steps)]
            if len(self._workspaces) >= 4:
                self._workspaces.pop(next(iter(self._workspaces)))
            self._workspaces[batch] = _Workspace((buffers(), buffers()), allocate((batch,), np.int64), records, slots)
        return self._workspaces[batch]

    def _fill(self, workspace: _Workspace, lengths: Any, before: list[DecoderState | None]) -> None:
        spec = self.spec
        first = workspace.states[0]
        shape = (spec.predictor_layers, len(before), spec.predictor_hidden)
        hidden, cell = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        for row, state in enumerate(before):
            if state is not None:
                hidden[:, row], cell[:, row] = state.hidden, state.cell
        values = {
            "time": [state.skip if state else 0 for state in before],
            "last_time": [-1] * len(before),
            "repeats": [0] * len(before),
            "label": [state.label if state else spec.blank_id for state in before],
        }
        for name, value in values.items():
            self.queue.put(first[name], np.array(value, np.int64))
        self.queue.put(first["hidden"], hidden)
        self.queue.put(first["cell"], cell)
        self.queue.put(workspace.lengths, np.asarray(lengths, np.int64))

    def _bindings(self, workspace: _Workspace, projected: DeviceArray) -> list[Binding]:
        bindings = []
        for step, slot in enumerate(workspace.slots):
            here, there = workspace.states[step % 2], workspace.states[(step + 1) % 2]
            inputs = {"projected": projected, "lengths": workspace.lengths, **{name: here[name] for name in _PORTS}}
            outputs = {f"{name}_out": there[name] for name in _PORTS} | {"record": slot}
            bindings.append(self._step.bind(inputs, outputs))
        return bindings

    def _rounds(self, workspace: _Workspace, projected: DeviceArray, frames: int) -> list[Any]:
        """Run rounds of steps until no utterance runs; each round waits for the device once.

        Raises
        ------
        DecodingError
            After more steps than utterances of so many frames can take: a device that computes nothing else ends.
        """
        bindings = self._bindings(workspace, projected)
        rounds = []
        for _ in range(frames * (self.spec.max_symbols + 1) // self._steps + 1):
            for binding in bindings[:-1]:
                self.queue.run(binding, more=True)
            self.queue.run(bindings[-1])
            records = self.queue.read(workspace.records)
            self.queue.wait()
            rounds.append(records)
            if not records[-1, :, device_step.RUNNING].any() or records[..., device_step.NOT_FINITE].any():
                return rounds
        raise not_ending(frames)

    def _results(
        self, rounds: list[Any], ends: dict[str, Any], lengths: Any, before: list[DecoderState | None]
    ) -> tuple[list[Hypothesis], list[DecoderState]]:
        from tdt.kernels.decoder.confidence import tsallis_confidence

        records = np.concatenate([np.zeros((0, len(before), device_step.RECORD_COLUMNS), np.float32), *rounds])
        broken = np.argwhere(records[..., device_step.NOT_FINITE] > 0)
        if len(broken):
            step, row = broken[0]
            raise not_finite(int(row), int(records[step, row, device_step.FRAME]))
        hypotheses, states = [], []
        for row, (length, state) in enumerate(zip(lengths, before, strict=True)):
            taken = records[records[:, row, device_step.EMITTED] > 0, row]
            start = state.frames_decoded if state else 0
            columns = taken[:, [device_step.TOKEN, device_step.FRAME, device_step.DURATION]].astype(np.int32)
            confidences = tsallis_confidence(taken[:, device_step.POWER_SUM], len(self.spec.pieces))
            tokens, frames, durations = (np.ascontiguousarray(column) for column in columns.T)
            logprobs = np.ascontiguousarray(taken[:, device_step.LOGPROB])
            hypotheses.append(Hypothesis(tokens, frames + np.int32(start), durations, logprobs, confidences))
            states.append(
                DecoderState(
                    int(ends["label"][row]),
                    ends["hidden"][:, row].copy(),
                    ends["cell"][:, row].copy(),
                    int(ends["time"][row] - length),
                    start + int(length),
                )
            )
        return hypotheses, states


def make_device_engine(
    files: ModelFiles,
    spec: ModelSpec,
    backend: Backend,
    threads: int | None = None,
    queue: WorkQueue | None = None,
) -> DeviceEngine:
    """Return an engine that decodes on a device.

    Raises
    ------
    ProviderError
        Where the provider cannot start, or the decoder graphs are dynamically quantised.
    """
    from tdt.onnxfile import read_graph

    if backend.provider == "tensorrt-rtx":
        raise ProviderError(
            f'The decoder does not run on {backend}: use decoder="native", or decoder_provider="cpu" or "cuda".'
        )
    on_cuda = replace(backend, provider="cuda", numbers="fp32", cache=None)
    for path in (files.decoder_joint, files.decoder, files.joiner):
        if path is not None:
            require_kernels(read_graph(path), on_cuda)
    return DeviceEngine(files, spec, on_cuda, threads, queue=queue)
