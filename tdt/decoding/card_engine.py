"""Greedy decoding on a CUDA card by one kernel: a batch goes in, and what was recognised comes out, in one launch.

:mod:`tdt.kernels.decoder` holds the kernel (greedy.cu), its argument and its layout; this is the host's side: weights
on the card, memory that is kept from batch to batch, the launch on the encoder's stream, and what comes back.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tdt.cuda_arrays import on_device
from tdt.decoding.batch_check import check_batch
from tdt.decoding.card_launch import Launch, Row
from tdt.decoding.card_weights import CardWeights
from tdt.decoding.greedy import not_ending, not_finite
from tdt.errors import ClosedError, OptionError, ProviderError, UnrecognizedGraphError
from tdt.runtime import CardKernel, CardMemory, CudaSource, CudaStream, Session, adopt, open_queue
from tdt.surgery import cut_decoder, lift
from tdt.timeline import NULL, Recorder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdt.runtime import Backend, DeviceArray, WorkQueue
    from tdt.spec import ModelFiles, ModelSpec
    from tdt.stages import DecoderState, Encoded, Hypothesis

CardWeightsKind = Literal["auto", "float32", "float16"]

# Emissions that a launch has room for, by encoder frames: speech has about one token in three frames. Where it does
# not suffice, the kernel stops in time and is launched again with more.
_FRAMES_A_TOKEN, _LEAST_CAPACITY = 2, 16
_TASKS_A_BLOCK = 4  # blocks that had less to do than so many warps would only be waited for


class CardEngine:
    """Decodes on a CUDA card.

    Parameters
    ----------
    files, spec : ModelFiles, ModelSpec
        The model.
    backend : Backend
        The card; whatever provider runs the encoder there.
    weights : {"auto", "float32", "float16"}
        Of the matrices on the card; "auto" is float32, which gives the tokens of the other engines.
    queue : WorkQueue, optional
        Where the work is enqueued; by default the backend's own stream, or a new one.

    Raises
    ------
    UnrecognizedGraphError
        Where the decoder graphs have a structure that this engine does not know.
    ProviderError
        Where the card cannot run the kernel, or there is no compiler for it.
    """

    def __init__(
        self,
        files: ModelFiles,
        spec: ModelSpec,
        backend: Backend,
        *,
        weights: CardWeightsKind = "auto",
        queue: WorkQueue | None = None,
    ) -> None:
        if weights not in {"auto", "float32", "float16"}:
            raise OptionError("weights", weights, f'"auto", "float32" or "float16" with the decoder on {backend}')
        opened = queue or open_queue(backend)
        if not isinstance(opened, CudaStream):
            raise ProviderError(f"The decoder cannot run on {backend}: it needs an NVIDIA card and its driver.")
        from tdt.kernels.decoder.greedy_layout import MOST_ROWS

        lifted = lift(files, spec)
        if not lifted.roundings.blocks_only:
            path = files.decoder_joint or files.joiner or files.encoder
            raise UnrecognizedGraphError(path, "it rounds activations (Q/DQ), which the kernel on the card does not")
        self.spec, self.half = spec, weights == "float16"
        self._files, self._backend = files, replace(backend, provider="cuda", numbers="fp32", cache=None)
        self._host = lifted.encoder  # the joint's projection, for frames that come from the host
        self._weights = CardWeights(opened, lifted, spec, half=self.half)
        self._kernels: dict[int, CardKernel] = {}
        self._memory: dict[str, CardMemory] = {}
        self._projector: Session | None = None
        self._lock = threading.Lock()
        self._closed = False
        self.queue = opened  # last, so that what is on the card goes before its stream
        for batch in (1, MOST_ROWS):  # now: a batch should not wait for a compiler
            self._kernel(batch)

    def decode(
        self, encoded: Encoded, states: Sequence[DecoderState | None] | None = None, timeline: Recorder = NULL
    ) -> tuple[list[Hypothesis], list[DecoderState]]:
        """Decode a batch; see :class:`tdt.protocols.Engine`. `projected` may lie on the device already."""
        from tdt.kernels.decoder.greedy_layout import MOST_ROWS

        if self._closed:
            raise ClosedError
        before = check_batch(encoded, states, self.spec, self._weights.sizes.joint_width)
        rows = [Row(self.spec, int(length), state) for length, state in zip(encoded.lengths, before, strict=True)]
        with self._lock:
            for first in range(0, len(rows), MOST_ROWS):
                self._decode(encoded, first, rows[first : first + MOST_ROWS], timeline)
        return [row.hypothesis() for row in rows], [row.state() for row in rows]

    def close(self) -> None:
        """Release the kernel and its memory."""
        with self._lock:
            if not self._closed:
                self._closed = True
                for held in (*self._memory.values(), self._weights.memory):
                    held.free()
                for kernel in self._kernels.values():
                    kernel.close()
                if self._projector is not None:
                    self._projector.close()

    def _decode(self, encoded: Encoded, first: int, rows: list[Row], timeline: Recorder) -> None:
        """Launch until every row has ended: once, unless a row has more to say than there was room for.

        Raises
        ------
        DecodingError
            The numbers are not finite, or a row has more to say than the rule allows.
        """
        from tdt.kernels.decoder.greedy_layout import kept as decide_kept

        if not any(row.runs for row in rows):
            return
        longest = max(row.length for row in rows)
        capacity, most = longest // _FRAMES_A_TOKEN + _LEAST_CAPACITY, longest * self.spec.max_symbols
        kernel, pass_rows = self._kernel(len(rows)), self._rows(len(rows))
        blocks = min(kernel.most_blocks, max(1, self._weights.sizes.tasks() // _TASKS_A_BLOCK))
        kept, _ = decide_kept(self._weights.sizes, blocks, self._weights_room(pass_rows), half=self.half)
        frames: Any = None
        while True:
            launch = Launch(self._weights, self.spec, rows, pass_rows, blocks, capacity, kept)
            with self.queue.work(timeline) as stage:
                memory = self._room("launch", launch.size_bytes)
                with stage("h2d"):
                    launch.put(self.queue, memory)
                    frames = self._projected(encoded) if frames is None else frames
                with stage("joint"):
                    row_bytes = 4 * int(np.prod(frames.shape[1:]))
                    kernel.launch(blocks, launch.argument(memory, frames.pointer + first * row_bytes, frames.shape[1]))
                with stage("d2h"):
                    read = launch.read(self.queue, memory)
            status, row, frame = launch.take(read, rows)
            if status == "not finite":
                raise not_finite(first + row, frame)
            if status == "done":
                return
            if capacity > most:
                raise not_ending(longest)
            capacity *= 2

    def _kernel(self, batch: int) -> CardKernel:
        """Return the kernel for a batch, compiled when it is needed first."""
        from tdt.kernels.decoder import greedy_layout as layout

        rows = self._rows(batch)
        if rows not in self._kernels:
            text, headers = layout.source()
            sizes = self._weights.sizes
            options = [f"-D{name}={value}" for name, value in layout.defines(rows, half=self.half, sizes=sizes).items()]
            source = CudaSource("greedy.cu", text, headers, ("--std=c++17", *options))
            shared = sizes.shared_bytes(rows) + self._weights_room(rows)
            self._kernels[rows] = CardKernel(self.queue, source, "greedy", 32 * layout.WARPS, shared)
        return self._kernels[rows]

    def _rows(self, batch: int) -> int:
        """Return how many rows a pass over the weights serves: 16 where there are so many, and the card has room."""
        from tdt.kernels.decoder import greedy_layout as layout

        few, many = layout.PASSES
        needed = self._weights.sizes.shared_bytes(many) + layout.STATIC_SHARED_BYTES
        return many if batch > few and needed <= self._weights.shared_bytes else few

    def _weights_room(self, rows: int) -> int:
        """Return the bytes of a block's shared memory that are left for weights: all that the card has."""
        from tdt.kernels.decoder.greedy_layout import STATIC_SHARED_BYTES

        return max(0, self._weights.shared_bytes - STATIC_SHARED_BYTES - self._weights.sizes.shared_bytes(rows))

    def _room(self, name: str, size_bytes: int) -> CardMemory:
        """Return memory of at least this size, kept from batch to batch."""
        held = self._memory.get(name)
        if held is None or held.size_bytes < size_bytes:
            if held is not None:
                self.queue.wait()
                held.free()
            held = self._memory[name] = CardMemory(self.queue.context, 1 << (size_bytes - 1).bit_length())
        return held

    def _projected(self, encoded: Encoded) -> Any:
        """Return the frames in the joint's space, float32 on the card."""
        given = encoded.frames if encoded.projected is None else encoded.projected
        shared = adopt(given, self.queue.pointer) if on_device(given) else None
        if shared is not None and shared.dtype != np.float32:  # through the host, which converts
            given, shared = self.queue.read(shared), None
            self.queue.wait()
        if shared is None:
            host = np.asarray(given, np.float32)
            if encoded.projected is None:
                host = host @ self._host.matrix.values.T + self._host.bias
            target = self._room("frames", host.nbytes).array(0, host.shape, np.float32)
            self.queue.put_padded(target, host)
            return target
        return shared if encoded.projected is not None else self._project(shared)

    def _project(self, frames: DeviceArray) -> DeviceArray:
        """Enqueue the graph's own projection of frames that lie on the card."""
        if self._projector is None:
            graph = cut_decoder(self._files, self.spec).projector
            backend = replace(self._backend, stream=self.queue.pointer)
            self._projector = Session(graph, backend, name="encoder projection")
        out = self._projector.allocate((*frames.shape[:2], self._weights.sizes.joint_width), np.float32)
        self.queue.run(self._projector.bind({"frames": frames}, {"projected": out}))
        return out
