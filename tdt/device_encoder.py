"""The encoder on a CUDA device: features may come from there, frames may stay there, buffers are made once a shape."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tdt.device import DeviceArray, adopt
from tdt.encoder import Batching, check_features, group_rows, probe_batching
from tdt.encoder_graph import with_projection
from tdt.errors import ModelMismatchError
from tdt.graph import read_graph
from tdt.placement import dynamic_quantisation
from tdt.provider_options import encoder_profile
from tdt.session import Session
from tdt.stages import Encoded
from tdt.timeline import NULL, Recorder

if TYPE_CHECKING:
    from tdt.backend import Backend
    from tdt.placement import Node
    from tdt.session import Binding
    from tdt.spec import ModelFiles, ModelSpec
    from tdt.stages import Features, Float32, Int64

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
    projected: DeviceArray | None
    binding: Binding


class DeviceEncoder:
    """The encoder graph of a model on CUDA, TensorRT or TensorRT-RTX.

    Parameters
    ----------
    files : ModelFiles
    spec : ModelSpec
    backend : Backend
    threads : int, optional
    decode_on : {"host", "device"}
        Where :meth:`encode_for_decoding` leaves the projected frames.

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
    ) -> None:
        self.spec, self.backend, self.decode_on = spec, backend, decode_on
        info = read_graph(files.encoder)
        if info.quantization == "dynamic":
            raise dynamic_quantisation(files.encoder.name, str(backend), info.ops)
        names = [port.name for port in info.inputs]
        if len(names) != 2:
            raise ModelMismatchError(f"{files.encoder} has {len(names)} inputs; an encoder has features and lengths.")
        tensorrt = backend.provider != "cuda"
        self.profile = encoder_profile(names, spec, backend) if tensorrt else None
        # TensorRT's parser looks for external weights beside the file, so such a graph is not edited.
        edited, self._width = (b"", 0) if tensorrt and info.external else with_projection(files, spec)
        self.session = Session(
            edited or files.encoder,
            backend,
            threads=threads,
            external_folder=info.weights_folder if edited else None,
            name=files.encoder.name,
            profile=self.profile,
        )
        self.projects = bool(edited)
        self._inputs = names
        self._buffers: OrderedDict[tuple[int, int], _Buffers] = OrderedDict()
        self._batching: Batching | None = None
        self._lock = threading.RLock()

    def encode(
        self, features: Features, timeline: Recorder = NULL, *, frames: str = "host", projected: str = "host"
    ) -> Encoded:
        """Encode a batch; see :meth:`tdt.encoder.Encoder.encode`.

        Parameters
        ----------
        features : Features
            On the host, or on the device (anything with DLPack).
        timeline : Recorder, optional
        frames, projected : {"host", "device", "none"}
            Where the encoder's output, and the joint's projection of it, are wanted. What stays on the device is a
            :class:`tdt.device.DeviceArray`, copied only when looked at. Decoding needs one of the two.

        Returns
        -------
        Encoded
        """
        shared = adopt(features.frames)
        given = shared if shared is not None else features.frames
        lengths = check_features(given.shape, features.lengths, self.spec)
        if self.profile is not None and len(lengths):
            self.profile.check_length(int(lengths.max()))
        counts = np.array([self.spec.encoder_length(int(length)) for length in lengths], np.int64)
        groups = self._groups(lengths)
        if shared is not None and not (len(groups) == 1 and len(groups[0]) == len(lengths)):
            given = shared.numpy()  # rows have to be regrouped: through the host
        if len(groups) == 1 and len(groups[0]) == len(lengths):
            outs = self._run(given, lengths, timeline, (frames, projected))
            return Encoded(*_crop(outs[0], counts), _crop(outs[1], counts)[0])
        parts = [(rows, self._run(given[rows], lengths[rows], timeline, ("host", projected))) for rows in groups]
        return Encoded(
            _scatter(parts, 0, counts, self.spec.encoder_dim), counts, self._scatter_projected(parts, counts)
        )

    def encode_for_decoding(self, features: Features, timeline: Recorder = NULL) -> Encoded:
        """Encode a batch, copying no more than decoding needs: the projected frames, or nothing."""
        return self.encode(features, timeline, frames="none" if self.projects else "host", projected=self.decode_on)

    def batching(self) -> Batching:
        """Return how utterances may share a run; see :meth:`tdt.encoder.Encoder.batching`."""
        with self._lock:
            if self._batching is None:
                exact = self.backend.numbers == "fp32" and not self.backend.tf32
                self._batching = probe_batching(self._host_run, self.spec.n_mels, 1e-4 if exact else 3e-2)
            return self._batching

    def placement(self) -> list[Node]:
        """Return which provider runs which node."""
        return self.session.placement()

    def close(self) -> None:
        """Release the session and its buffers."""
        with self._lock:
            self._buffers.clear()
        self.session.close()

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
            with timeline.span("h2d", clock="host+sync"):
                if not isinstance(frames, DeviceArray):
                    padded = np.zeros((len(lengths), self.spec.n_mels, size), np.float32)
                    padded[:, :, :longest] = frames[:, :, :longest]
                    buffers.features.copy_from(padded)
                buffers.lengths.copy_from(lengths)
            with timeline.span("encoder", clock="host+sync"):
                buffers.binding.run()
            with timeline.span("d2h", clock="host+sync"):
                return self._taken(buffers, wanted)

    def _padded(self, longest: int) -> int:
        """Return the length to run at: a bucket, unless this export lets padding leak (or is being probed)."""
        if self._batching != "together":
            return longest
        limits = [bucket(longest)]
        if self.profile is not None:
            limits.append(self.profile.max_mel_frames)
        if self.spec.max_encoder_frames is not None:
            limits.append(self.spec.max_encoder_frames * self.spec.subsampling)
        return max(longest, min(limits))

    def _taken(self, buffers: _Buffers, wanted: tuple[str, str]) -> tuple[Any, Any]:
        """Copy to the host what is wanted there; what stays leaves the pool, since the next run would overwrite it."""
        taken: list[Any] = []
        for array, where in zip((buffers.frames, buffers.projected), wanted, strict=True):
            if array is None or where == "none":
                taken.append(None)
            else:
                host = array.numpy() if where == "host" else array
                taken.append(_time_major(host, self.projects) if where == "host" else host)
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
        shape = (batch, count, width) if self.projects else (batch, width, count)
        frames = self.session.allocate(shape, np.float32)
        projected = self.session.allocate((batch, count, self._width), np.float32) if self.projects else None
        outputs: dict[str, Any] = {self.session.outputs[0].name: frames}
        if projected is not None:
            outputs["projected"] = projected
        else:
            outputs[self.session.outputs[1].name] = self.session.allocate((batch,), np.int64)
        binding = self.session.bind({self._inputs[0]: features, self._inputs[1]: lengths}, outputs)
        buffers = _Buffers(features, lengths, frames, projected, binding)
        if shared is None:
            self._buffers[key] = buffers
            while len(self._buffers) > _KEPT_SHAPES:
                self._buffers.popitem(last=False)
        return buffers

    def _scatter_projected(self, parts: list[Any], counts: Int64) -> Any:
        if any(part[1][1] is None for part in parts):
            return None
        return _scatter(parts, 1, counts, self._width)


def _time_major(array: Any, already: bool) -> Any:
    return array if already else np.ascontiguousarray(array.transpose(0, 2, 1))


def _crop(array: Any, counts: Int64) -> tuple[Any, Int64]:
    """Cut a host array to the longest utterance; device arrays keep their padding."""
    if array is None or isinstance(array, DeviceArray):
        return array, counts
    return np.ascontiguousarray(array[:, : int(counts.max(initial=0))]), counts


def _scatter(parts: list[Any], place: int, counts: Int64, width: int) -> Float32:
    out = np.zeros((len(counts), int(counts.max(initial=0)), width), np.float32)
    for rows, taken in parts:
        array = np.asarray(taken[place])
        span = min(array.shape[1], out.shape[1])
        out[rows, :span] = array[:, :span]
    return out
