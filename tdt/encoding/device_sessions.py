"""Open an encoder on a device: prepared, its projection appended or run behind it."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tdt.errors import ModelMismatchError
from tdt.lifetime import Bound
from tdt.onnxfile import read_graph
from tdt.runtime import Backend, Session, computed_in, encoder_profile, require_kernels
from tdt.surgery import device_graph, projection_tail, runs_causal_convolutions

if TYPE_CHECKING:
    from tdt.runtime import Binding, DeviceArray, Numbers, ShapeProfile
    from tdt.spec import ModelFiles, ModelSpec

_log = logging.getLogger("tdt")


def warn_of_imitation(name: str, quantization: str, backend: Backend) -> None:
    """Say it where CUDA would compute Q/DQ nodes in float around float products."""
    if backend.provider == "cuda" and quantization == "qdq":
        _log.warning(
            "%s is statically quantised; CUDA has no int8 products and only imitates them in float, slower "
            "than the float32 model. Use tensorrt or tensorrt-rtx for it, or the cpu.",
            name,
        )


@dataclass(frozen=True, slots=True)
class DeviceSessions(Bound):
    """An encoder's sessions on a device.

    Parameters
    ----------
    session : Session
        The encoder.
    tail : Session or None
        The projection, where the encoder's graph does not hold it.
    inputs : tuple of str
        Names of the features and of the lengths.
    width : int
        Numbers of a projected frame.
    profile : ShapeProfile or None
        Shapes that a TensorRT engine serves.
    computed_in : Numbers
        What products are computed in.
    """

    session: Session
    tail: Session | None
    inputs: tuple[str, str]
    width: int
    profile: ShapeProfile | None
    computed_in: Numbers

    def bind(
        self, features: DeviceArray, lengths: DeviceArray, frames: DeviceArray, projected: DeviceArray
    ) -> tuple[Binding, ...]:
        """Tie buffers to all ports; the bindings are to be run in order.

        Parameters
        ----------
        features : DeviceArray [shape=(B, n_mels, T)]
        lengths : DeviceArray [shape=(B,)], int64
        frames : DeviceArray [shape=(B, T', D)]
        projected : DeviceArray [shape=(B, T', J)]
        """
        given = dict(zip(self.inputs, (features, lengths), strict=True))
        outputs = {"frames": frames, "projected": projected}
        if self.tail is None:
            return (self.session.bind(given, outputs),)
        batch, count, width = frames.shape
        encoded = self.session.allocate((batch, width, count), frames.dtype)
        theirs = self.session.allocate((batch,), lengths.dtype)  # an engine may get them wrong: never read
        names = [port.name for port in self.session.outputs]
        first = self.session.bind(given, dict(zip(names, (encoded, theirs), strict=False)))
        return first, self.tail.bind({"encoded": encoded}, outputs)

    def close(self) -> None:
        """Release them."""
        self.session.close()
        if self.tail is not None:
            self.tail.close()


def open_on_device(files: ModelFiles, spec: ModelSpec, backend: Backend, threads: int | None = None) -> DeviceSessions:
    """Open an encoder on CUDA, TensorRT or TensorRT-RTX.

    Raises
    ------
    ModelMismatchError
        Where the graph does not have an encoder's inputs.
    ProviderError
        Where the provider cannot start, or has no kernels for the form of the weights.

    Notes
    -----
    The prepared graph is handed over in memory, external weights stay in the model's folder, which the runtime is told:
    nothing is copied, and the engine that TensorRT makes of it has the same name wherever the model lies. An engine
    built for TensorRT-RTX is loaded as it is, from its file, beside which the runtime looks for it.
    """
    info = read_graph(files.encoder)
    require_kernels(info, backend)
    warn_of_imitation(files.encoder.name, info.quantization, backend)
    names = [port.name for port in info.inputs]
    if len(names) != 2:
        raise ModelMismatchError(f"{files.encoder} has {len(names)} inputs; an encoder has features and lengths.")
    profile = encoder_profile(names, spec, backend) if backend.provider != "cuda" else None
    built = "EPContext" in info.ops
    graph = None
    if not built:
        cuda = backend.provider == "cuda"
        graph = device_graph(files, spec, narrow=cuda, causal=runs_causal_convolutions(backend))
    tail, width = None, 0 if graph is None else graph.width
    if graph is None or not graph.projects:
        after, width = projection_tail(files, spec)
        behind = replace(backend, provider="cuda", numbers="fp32", cache=None)
        if not backend.shares_memory:
            behind = Backend()
        tail = Session(after, behind, threads=threads, name=f"{files.encoder.name} (projection)")
    session = Session(
        files.encoder if graph is None else graph.model,
        backend,
        threads=threads,
        external_folder=None if graph is None else graph.folder,
        name=files.encoder.name,
        profile=profile,
        captures=True,
    )
    return DeviceSessions(session, tail, (names[0], names[1]), width, profile, computed_in(backend, info))
