"""The encoder on a CUDA device: features may come from there, frames may stay there, buffers are made once a shape."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tdt.encoding.captured_runs import CapturedRuns
from tdt.encoding.device_sessions import open_on_device
from tdt.encoding.encoder import Batching, check_features, group_rows, probe_batching, tell_batching
from tdt.encoding.fitting import crop, run_fitting, scatter
from tdt.encoding.run_shapes import run_length
from tdt.lifetime import Bound
from tdt.runtime import Backend, CudaStream, DeviceArray, WorkQueue, adopt, as_built, open_queue
from tdt.stages import Encoded
from tdt.timeline import NULL, Recorder

if TYPE_CHECKING:
    from tdt.protocols import Node
    from tdt.runtime import Binding
    from tdt.spec import ModelFiles, ModelSpec
    from tdt.stages import Features, Float32, Int64

Where = Literal["host", "device", "none"]

_KEPT_SHAPES = 8


@dataclass(frozen=True, slots=True)
class _Buffers:
    features: DeviceArray
    lengths: DeviceArray
    frames: DeviceArray
    projected: DeviceArray
    bindings: tuple[Binding, ...]


class DeviceEncoder(Bound):
    """The encoder graph of a model on CUDA, TensorRT or TensorRT-RTX.

    Parameters
    ----------
    files : ModelFiles
    spec : ModelSpec
    backend : Backend
    threads : int, optional
    decode_on : {"host", "device"}
        Where :meth:`encode_for_decoding` leaves the projected frames.
    queue : WorkQueue, optional
        Where the work is enqueued; by default the backend's own stream, or a new one.

    Attributes
    ----------
    card_bytes : int or None
        What was free on the card once the model was there; None where its memory is not shared.

    Raises
    ------
    ProviderError
        Where the provider cannot start, or the graph is dynamically quantised.
    """

    def __init__(
        self,
        files: ModelFiles,
        spec: ModelSpec,
        backend: Backend,
        threads: int | None = None,
        *,
        decode_on: Literal["host", "device"] = "host",
        queue: WorkQueue | None = None,
    ) -> None:
        queue = queue or open_queue(backend)
        backend = as_built(files.encoder, replace(backend, stream=queue.pointer))
        self.spec, self.backend, self.decode_on = spec, backend, decode_on
        self._sessions = open_on_device(files, spec, backend, threads)
        self.session, self.profile = self._sessions.session, self._sessions.profile
        self.computed_in = self._sessions.computed_in
        single = backend.for_single_clips()
        self._alone = None if single is None else open_on_device(files, spec, single, threads)
        self._buffers: OrderedDict[tuple[int, int], _Buffers] = OrderedDict()
        self._fixed: OrderedDict[tuple[int, int], _Buffers] = OrderedDict()  # of shapes that are captured
        self._captured = CapturedRuns(backend.graphs if self.session.captures else 0)
        self._batching: Batching | None = None
        self._recurring: set[int] = set()
        self.card_bytes = _free_bytes(queue, backend)
        self._lock = threading.RLock()
        self.queue = queue  # last, so that the sessions go before their stream

    def encode(
        self,
        features: Features,
        timeline: Recorder = NULL,
        *,
        frames: Where | None = None,
        projected: Where | None = None,
    ) -> Encoded:
        """Encode a batch; see :meth:`tdt.encoding.encoder.Encoder.encode`. One that does not fit runs in two halves.

        Parameters
        ----------
        features : Features
            On the host, or on the device (anything with DLPack).
        timeline : Recorder, optional
        frames, projected : {"host", "device", "none"}, optional
            Where the encoder's output, and the joint's projection of it, are wanted: by default the frames where the
            features came from, the projection where decoding runs. What stays on the device is a
            :class:`tdt.runtime.device.DeviceArray`, copied only when looked at.

        Returns
        -------
        Encoded
        """
        lengths = check_features(features, self.spec)
        shared = adopt(features.frames, self.queue.pointer) if self.backend.shares_memory else None
        wanted = (frames or ("host" if shared is None else "device"), projected or self.decode_on)
        given = shared if shared is not None else features.frames
        if self.profile is not None and len(lengths):
            self.profile.check_length(int(lengths.max()))
        counts = np.array([self.spec.encoder_length(int(length)) for length in lengths], np.int64)
        groups = self._groups(lengths)
        whole = len(groups) == 1 and len(groups[0]) == len(lengths)
        if shared is not None and not (whole and shared.dtype == np.float32):
            given = self._on_host(shared)  # rows have to be taken apart, or numbers converted

        def run(rows: Int64) -> tuple[Any, Any]:
            if whole and len(rows) == len(lengths):
                return self._run(given, lengths, timeline, wanted)
            return self._run(self._on_host(given)[rows], lengths[rows], timeline, ("host", "host"))

        parts = run_fitting(groups, run, self._spare)
        if whole and len(parts) == 1:
            first, second = parts[0][1]
            beside = isinstance(first, DeviceArray)  # then the projection keeps the same padding
            return Encoded(crop(first, counts), counts, second if beside else crop(second, counts))
        widths = (self.spec.encoder_dim, self._sessions.width)
        gathered = [scatter(parts, place, counts, width) for place, width in enumerate(widths)]
        return Encoded(gathered[0], counts, gathered[1])

    def encode_for_decoding(self, features: Features, timeline: Recorder = NULL, *, on_host: bool = False) -> Encoded:
        """Encode a batch, copying no more than decoding needs: the projected frames, or nothing."""
        return self.encode(features, timeline, frames="none", projected="host" if on_host else self.decode_on)

    def batching(self) -> Batching:
        """Return how utterances may share a run; see :meth:`tdt.encoding.encoder.Encoder.batching`."""
        with self._lock:
            if self._batching is None:
                pairs = self.profile is None or self.profile.max_batch > 1
                self._batching = probe_batching(self._host_run, self.spec.n_mels, self.computed_in, pairs=pairs)
                tell_batching(self._batching, f"{self.session.name} on {self.backend} in {self.computed_in}")
            return self._batching

    def keep_length(self, mel_frames: int) -> None:
        """Run batches whose longest utterance has so many mel frames at their own length, which recurs anyway.

        Parameters
        ----------
        mel_frames : int
            Such as the full window of live recognition: 14 s would be run as 15.4 s.
        """
        self._recurring.add(mel_frames)

    def placement(self) -> list[Node]:
        """Return which provider runs which node."""
        return self.session.placement()

    def close(self) -> None:
        """Release the session and its buffers."""
        self._spare()
        self._captured.close()
        for sessions in (self._sessions, self._alone):
            if sessions is not None:
                sessions.close()

    def _groups(self, lengths: Int64) -> list[Int64]:
        groups = group_rows(lengths, self.batching())
        if self.profile is None:
            return groups
        most = self.profile.max_batch
        return [part[start : start + most] for part in groups for start in range(0, len(part), most)]

    def _spare(self) -> None:
        with self._lock:
            self._captured.forget()
            self._fixed.clear()
            self._buffers.clear()

    def _on_host(self, frames: Any) -> Any:
        if not isinstance(frames, DeviceArray):
            return frames
        host = self.queue.read(frames)
        self.queue.wait()
        return host

    def _host_run(self, frames: Float32, lengths: Int64) -> Float32:
        out, _ = self._run(frames, lengths, NULL, ("host", "none"))
        return np.asarray(out)[:, : self.spec.encoder_length(int(lengths.max()))]

    def _run(self, frames: Any, lengths: Int64, timeline: Recorder, wanted: tuple[str, str]) -> tuple[Any, Any]:
        """Run the graph; outputs are padded to the bucket's length."""
        with self._lock:
            longest = int(lengths.max())
            size = self._padded(longest, len(lengths))
            captured = self._batching is not None and self._captured.takes(len(lengths), size)
            buffers = self._bound(len(lengths), size, self._fixed if captured else self._buffers)
            with self.queue.work(timeline) as stage:
                with stage("h2d"):
                    if isinstance(frames, DeviceArray):  # into the pool: their own length would be a new shape
                        self.queue.pad(buffers.features, frames, longest)
                    else:
                        self.queue.put_padded(buffers.features, frames[:, :, :longest])
                    self.queue.put(buffers.lengths, lengths)
                with stage("encoder"):
                    encoder, *behind = buffers.bindings
                    if captured:
                        self._captured.run(encoder, size)
                    else:
                        self.queue.run(encoder)
                    for binding in behind:
                        self.queue.run(binding)
                with stage("d2h"):
                    taken = self._taken(buffers, wanted, captured=captured)
            return taken

    def _padded(self, longest: int, rows: int) -> int:
        """Return the length to run at: one that recurs, unless this export lets padding leak (or is being probed)."""
        least, most = (1, None) if self.profile is None else (self.profile.min_mel_frames, self.profile.max_mel_frames)
        if self._batching != "together":
            return max(longest, least)
        plans = self.backend.provider == "cuda" and longest not in self._recurring
        wanted = run_length(self.spec, longest, rows, plans=plans)
        return max(longest, least, wanted if most is None else min(wanted, most))

    def _taken(self, buffers: _Buffers, wanted: tuple[str, str], *, captured: bool) -> tuple[Any, Any]:
        """Bring to the host what is wanted there; what stays leaves the pool, since the next run would overwrite it.

        A graph's buffers cannot leave: what stays is a copy of them.
        """
        taken: list[Any] = []
        for array, where in zip((buffers.frames, buffers.projected), wanted, strict=True):
            taken.append(None if where == "none" else self.queue.read(array) if where == "host" else array)
            if where == "device" and captured:
                taken[-1] = self.session.allocate(array.shape, array.dtype)
                self.queue.pad(taken[-1], array, array.shape[-1])
        if "device" in wanted and not captured:
            self._buffers = OrderedDict((key, kept) for key, kept in self._buffers.items() if kept is not buffers)
        return taken[0], taken[1]

    def _bound(self, batch: int, size: int, kept: OrderedDict[tuple[int, int], _Buffers]) -> _Buffers:
        """Return bound buffers of a shape: made once, kept for the next run of the same shape."""
        key = (batch, size)
        if key in kept:
            kept.move_to_end(key)
            return kept[key]
        count, width = self.spec.encoder_length(size), self.spec.encoder_dim
        features = self.session.allocate((batch, self.spec.n_mels, size), np.float32)
        lengths = self.session.allocate((batch,), np.int64)
        frames = self.session.allocate((batch, count, width), np.float32)
        projected = self.session.allocate((batch, count, self._sessions.width), np.float32)
        sessions = self._alone if batch == 1 and self._alone is not None else self._sessions
        bindings = sessions.bind(features, lengths, frames, projected)
        buffers = _Buffers(features, lengths, frames, projected, bindings)
        kept[key] = buffers
        while len(self._buffers) > _KEPT_SHAPES:
            self._buffers.popitem(last=False)
        return buffers


def _free_bytes(queue: WorkQueue, backend: Backend) -> int | None:
    """Return what is free on the card now: read once, since what runs take stays in the arena and is used again."""
    if not isinstance(queue, CudaStream):
        return None
    free, _ = queue.context.memory()
    return min(free, backend.memory_bytes or free)
