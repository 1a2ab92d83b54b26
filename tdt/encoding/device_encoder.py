"""The encoder on a CUDA device: features may come from there, frames may stay there, buffers are made once a shape."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tdt.encoding.encoder import LOW_TOLERANCE, Batching, check_features, group_rows, probe_batching
from tdt.errors import ModelMismatchError
from tdt.lifetime import Bound
from tdt.onnxfile import read_graph
from tdt.runtime import (
    Backend,
    DeviceArray,
    Session,
    WorkQueue,
    adopt,
    dynamic_quantisation,
    encoder_profile,
    open_queue,
)
from tdt.stages import Encoded
from tdt.surgery import projection_tail, with_projection
from tdt.timeline import NULL, Recorder

if TYPE_CHECKING:
    from tdt.protocols import Node
    from tdt.runtime import Binding
    from tdt.spec import ModelFiles, ModelSpec
    from tdt.stages import Features, Float32, Int64

Where = Literal["host", "device", "none"]

_log = logging.getLogger("tdt")

_KEPT_SHAPES = 8
_BUCKETS_PER_OCTAVE = 8
_SMALLEST_BUCKET = 64


def bucket(mel_frames: int) -> int:
    """Return the length that utterances are padded to: few shapes, so that memory and plans are used again.

    Eight lengths to each doubling: at most an eighth of padding.
    """
    if mel_frames <= _SMALLEST_BUCKET:
        return _SMALLEST_BUCKET
    step = max(_SMALLEST_BUCKET // _BUCKETS_PER_OCTAVE, (1 << (mel_frames.bit_length() - 1)) // _BUCKETS_PER_OCTAVE)
    return -(-mel_frames // step) * step


@dataclass(frozen=True, slots=True)
class _Buffers:
    features: DeviceArray
    lengths: DeviceArray
    frames: DeviceArray
    projected: DeviceArray
    bindings: tuple[Binding, ...]


def warn_of_imitation(name: str, quantization: str, backend: Backend) -> None:
    """Say it where CUDA would compute Q/DQ nodes in float around float products."""
    if backend.provider == "cuda" and quantization == "qdq":
        _log.warning(
            "%s is statically quantised; CUDA has no int8 products and only imitates them in float, slower "
            "than the float32 model. Use tensorrt or tensorrt-rtx for it, or the cpu.",
            name,
        )


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
        backend = replace(backend, stream=queue.pointer)
        self.spec, self.backend, self.decode_on = spec, backend, decode_on
        self._half = files.encoder_precision == "float16"
        info = read_graph(files.encoder)
        if info.quantization == "dynamic":
            raise dynamic_quantisation(files.encoder.name, str(backend), info.ops)
        warn_of_imitation(files.encoder.name, info.quantization, backend)
        names = [port.name for port in info.inputs]
        if len(names) != 2:
            raise ModelMismatchError(f"{files.encoder} has {len(names)} inputs; an encoder has features and lengths.")
        tensorrt = backend.provider != "cuda"
        self.profile = encoder_profile(names, spec, backend) if tensorrt else None
        # TensorRT looks for external weights, and for engines built ahead, beside the file: no edits there.
        beside = tensorrt and (info.external or "EPContext" in info.ops)
        edited, self._width = (b"", 0) if beside else with_projection(files, spec)
        self._tail: Session | None = None
        if not edited:
            tail, self._width = projection_tail(files, spec)
            cuda = replace(backend, provider="cuda", numbers="fp32", cache=None)
            behind = cuda if self.session_shares_memory else Backend()
            self._tail = Session(tail, behind, threads=threads, name=f"{files.encoder.name} (projection)")
        self.session = Session(
            edited or files.encoder,
            backend,
            threads=threads,
            external_folder=info.weights_folder if edited else None,
            name=files.encoder.name,
            profile=self.profile,
        )
        self._inputs = names
        self._buffers: OrderedDict[tuple[int, int], _Buffers] = OrderedDict()
        self._batching: Batching | None = None
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
        """Encode a batch; see :meth:`tdt.encoding.encoder.Encoder.encode`.

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
        shared = adopt(features.frames, self.queue.pointer) if self.session_shares_memory else None
        wanted = (frames or ("host" if shared is None else "device"), projected or self.decode_on)
        given = shared if shared is not None else features.frames
        if self.profile is not None and len(lengths):
            self.profile.check_length(int(lengths.max()))
        counts = np.array([self.spec.encoder_length(int(length)) for length in lengths], np.int64)
        groups = self._groups(lengths)
        whole = len(groups) == 1 and len(groups[0]) == len(lengths)
        if shared is not None and not (whole and self._serves(shared.shape[2])):
            given = self.queue.read(shared)  # rows or lengths have to be changed: through the host
            self.queue.wait()
        if whole:
            first, second = self._run(given, lengths, timeline, wanted)
            beside = isinstance(first, DeviceArray)  # then the projection keeps the same padding
            return Encoded(_crop(first, counts), counts, second if beside else _crop(second, counts))
        parts = [(rows, self._run(given[rows], lengths[rows], timeline, ("host", "host"))) for rows in groups]
        widths = (self.spec.encoder_dim, self._width)
        gathered = [_scatter(parts, place, counts, width) for place, width in enumerate(widths)]
        return Encoded(gathered[0], counts, gathered[1])

    def encode_for_decoding(self, features: Features, timeline: Recorder = NULL) -> Encoded:
        """Encode a batch, copying no more than decoding needs: the projected frames, or nothing."""
        return self.encode(features, timeline, frames="none", projected=self.decode_on)

    def batching(self) -> Batching:
        """Return how utterances may share a run; see :meth:`tdt.encoding.encoder.Encoder.batching`."""
        with self._lock:
            if self._batching is None:
                exact = self.backend.numbers == "fp32" and not self.backend.tf32 and not self._half
                self._batching = probe_batching(
                    self._host_run,
                    self.spec.n_mels,
                    1e-4 if exact else LOW_TOLERANCE,
                    pairs=self.profile is None or self.profile.max_batch > 1,
                )
            return self._batching

    @property
    def session_shares_memory(self) -> bool:
        """Whether buffers lie on the device; the plain onnxruntime of TensorRT-RTX cannot allocate there."""
        return self.backend.provider in ("cuda", "tensorrt")

    def placement(self) -> list[Node]:
        """Return which provider runs which node."""
        return self.session.placement()

    def close(self) -> None:
        """Release the session and its buffers."""
        with self._lock:
            self._buffers.clear()
        self.session.close()
        if self._tail is not None:
            self._tail.close()

    def _groups(self, lengths: Int64) -> list[Int64]:
        groups = group_rows(lengths, self.batching())
        if self.profile is None:
            return groups
        most = self.profile.max_batch
        return [part[start : start + most] for part in groups for start in range(0, len(part), most)]

    def _host_run(self, frames: Float32, lengths: Int64) -> Float32:
        out, _ = self._run(frames, lengths, NULL, ("host", "none"))
        return np.asarray(out)[:, : self.spec.encoder_length(int(lengths.max()))]

    def _run(self, frames: Any, lengths: Int64, timeline: Recorder, wanted: tuple[str, str]) -> tuple[Any, Any]:
        """Run the graph; outputs are padded to the bucket's length."""
        with self._lock:
            longest = int(lengths.max())
            size = frames.shape[2] if isinstance(frames, DeviceArray) else self._padded(longest)
            buffers = self._bound(len(lengths), size, frames if isinstance(frames, DeviceArray) else None)
            with self.queue.work(timeline) as stage:
                with stage("h2d"):
                    if not isinstance(frames, DeviceArray):
                        padded = np.zeros((len(lengths), self.spec.n_mels, size), np.float32)
                        padded[:, :, :longest] = frames[:, :, :longest]
                        self.queue.put(buffers.features, padded)
                    self.queue.put(buffers.lengths, lengths)
                with stage("encoder"):
                    for binding in buffers.bindings:
                        self.queue.run(binding)
                with stage("d2h"):
                    taken = self._taken(buffers, wanted)
            return taken

    def _padded(self, longest: int) -> int:
        """Return the length to run at: a bucket, unless this export lets padding leak (or is being probed)."""
        least = 1 if self.profile is None else self.profile.min_mel_frames
        if self._batching != "together":
            return max(longest, least)
        limits = [bucket(longest)]
        if self.profile is not None:
            limits.append(self.profile.max_mel_frames)
        if self.spec.max_encoder_frames is not None:
            limits.append(self.spec.max_encoder_frames * self.spec.subsampling)
        return max(longest, least, min(limits))

    def _serves(self, mel_frames: int) -> bool:
        """Tell whether a length can run as it is."""
        return self.profile is None or self.profile.min_mel_frames <= mel_frames <= self.profile.max_mel_frames

    def _taken(self, buffers: _Buffers, wanted: tuple[str, str]) -> tuple[Any, Any]:
        """Bring to the host what is wanted there; what stays leaves the pool, since the next run would overwrite it."""
        taken: list[Any] = []
        for array, where in zip((buffers.frames, buffers.projected), wanted, strict=True):
            taken.append(None if where == "none" else self.queue.read(array) if where == "host" else array)
        if "device" in wanted:
            self._buffers = OrderedDict((key, kept) for key, kept in self._buffers.items() if kept is not buffers)
        return taken[0], taken[1]

    def _bound(self, batch: int, size: int, shared: DeviceArray | None) -> _Buffers:
        """Return bound buffers of a shape: made once, kept for the next run of the same shape."""
        key = (batch, size)
        if shared is None and key in self._buffers:
            self._buffers.move_to_end(key)
            return self._buffers[key]
        count, width = self.spec.encoder_length(size), self.spec.encoder_dim
        features = shared or self.session.allocate((batch, self.spec.n_mels, size), np.float32)
        lengths = self.session.allocate((batch,), np.int64)
        frames = self.session.allocate((batch, count, width), np.float32)
        projected = self.session.allocate((batch, count, self._width), np.float32)
        inputs = {self._inputs[0]: features, self._inputs[1]: lengths}
        outputs = {"frames": frames, "projected": projected}
        if self._tail is None:
            bindings: tuple[Binding, ...] = (self.session.bind(inputs, outputs),)
        else:
            encoded = self.session.allocate((batch, width, count), np.float32)
            theirs = self.session.allocate((batch,), np.int64)  # TensorRT may get them wrong: never read
            names = [port.name for port in self.session.outputs]
            first = self.session.bind(inputs, dict(zip(names, (encoded, theirs), strict=True)))
            bindings = (first, self._tail.bind({"encoded": encoded}, outputs))
        buffers = _Buffers(features, lengths, frames, projected, bindings)
        if shared is None:
            self._buffers[key] = buffers
            while len(self._buffers) > _KEPT_SHAPES:
                self._buffers.popitem(last=False)
        return buffers


def _crop(array: Any, counts: Int64) -> Any:
    """Cut a host array to the longest utterance; a device array keeps its padding."""
    if array is None or isinstance(array, DeviceArray):
        return array
    return np.ascontiguousarray(array[:, : int(counts.max(initial=0))])


def _scatter(parts: list[Any], place: int, counts: Int64, width: int) -> Float32:
    out = np.zeros((len(counts), int(counts.max(initial=0)), width), np.float32)
    for rows, taken in parts:
        array = np.asarray(taken[place])
        span = min(array.shape[1], out.shape[1])
        out[rows, :span] = array[:, :span]
    return out
