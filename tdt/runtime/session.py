"""ONNX Runtime behind a thin wall: named ports, quiet logs, typed errors, bound buffers, and no silent fallback."""

from __future__ import annotations

import ctypes
import hashlib
import weakref
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tdt.ending import at_work
from tdt.errors import ModelFileCorruptError, ModelMismatchError, ProviderError, RunError
from tdt.lifetime import Bound, Origin, after_fork, setting_up
from tdt.onnxfile import without_links
from tdt.runtime import providers
from tdt.runtime.device import DeviceArray, DeviceSlice, allocate
from tdt.runtime.ort import FATAL, onnxruntime, runtime_errors
from tdt.runtime.placement import classify, float_outputs, require_on_device

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from tdt.protocols import Node
    from tdt.runtime.backend import Backend
    from tdt.runtime.provider_options import ShapeProfile

    Array = npt.NDArray[Any]
    Buffer = Array | DeviceArray | DeviceSlice

_KEY_BYTES = 1 << 20
# ONNX Runtime gives back the pinned memory of a run's own copies only in a run at whose end it waits itself.
_MOST_UNWAITED = 64


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of a graph; dynamic dimensions are names or None."""

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]


def usable_providers() -> set[str]:
    """Return the device providers that can start here; see :func:`tdt.runtime.providers.usable`."""
    return providers.usable(onnxruntime())


class Session(Bound):
    """One graph on one provider.

    Parameters
    ----------
    model : Path or bytes
        The file, or a serialised graph.
    backend : Backend
    threads : int, optional
        Threads inside an operator; None for one a core.
    external_folder : Path, optional
        Where the external weights of a serialised graph lie.
    name : str, optional
        What errors call the graph.
    profile : ShapeProfile, optional
        Shapes that a TensorRT engine is built for.
    cpu_nodes : {"refuse", "allow"}
        What to do where nodes that compute land on the CPU although a device was asked for.

    Raises
    ------
    ModelFileCorruptError
        Where the runtime cannot read the graph.
    ProviderError
        Where the provider cannot start, or would leave computing nodes to the CPU.
    """

    def __init__(
        self,
        model: Path | bytes,
        backend: Backend,
        *,
        threads: int | None = None,
        external_folder: Path | None = None,
        name: str | None = None,
        profile: ShapeProfile | None = None,
        cpu_nodes: Literal["refuse", "allow"] = "refuse",
    ) -> None:
        ort = onnxruntime()
        self.backend = backend
        self.name = name or (model.name if isinstance(model, Path) else "a graph made at load")
        options = ort.SessionOptions()
        options.log_severity_level = FATAL
        options.intra_op_num_threads = threads or 0
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        # Its threads would wait for the next run on busy cores, which the decoder then does not find idle
        # (tdt.decoding.cores).
        options.add_session_config_entry("session.force_spinning_stop", "1")
        options.enable_mem_pattern = False  # shapes change from call to call: patterns of each would be kept
        if backend.profile is not None:
            options.enable_profiling = True
            options.profile_file_prefix = str(backend.profile / self.name)
        if isinstance(model, Path):  # ONNX Runtime 1.24 refuses the links of the hub's cache
            model, external_folder = without_links(model)
        if external_folder is not None:
            options.add_session_config_entry(
                "session.model_external_initializers_file_folder_path", str(external_folder)
            )
        try:
            given = str(model) if isinstance(model, Path) else model
            with setting_up(), at_work:
                self._session = providers.start(
                    ort, given, options, backend, profile, lambda: model_key(model, external_folder)
                )
        except ProviderError:
            raise
        except runtime_errors() as error:
            shown = model if isinstance(model, Path) else Path(self.name)
            raise ModelFileCorruptError(shown, f"ONNX Runtime refuses it ({_short(error)})") from error
        self.origin = Origin()
        _open_sessions.add(self)
        self._errors = runtime_errors()
        self.unwaited = 0  # runs enqueued since one was waited for
        self._floats: Callable[[], dict[str, bool]] = lambda: float_outputs(_graph_of(model))
        if backend.on_device and cpu_nodes == "refuse":
            require_on_device(self.placement(), self.name, str(backend))
        self.inputs = tuple(Port(port.name, port.type, tuple(port.shape)) for port in self._session.get_inputs())
        self.outputs = tuple(Port(port.name, port.type, tuple(port.shape)) for port in self._session.get_outputs())

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str] | None = None) -> list[Array]:
        """Run once with host arrays.

        Parameters
        ----------
        feeds : mapping of str to ndarray
            Every input by name.
        outputs : sequence of str, optional
            Names of the outputs wanted; all by default.

        Raises
        ------
        RunError
            Where the runtime fails.
        ForkError
            In a process that was forked from the one this was made in.
        """
        self.origin.require()
        try:
            with at_work:
                return list(self._session.run(None if outputs is None else list(outputs), dict(feeds)))
        except self._errors as error:
            raise RunError(self.name, str(self.backend), _short(error)) from error

    def bind(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> Binding:
        """Tie buffers to all ports; they are read and written in place on each run.

        Parameters
        ----------
        inputs, outputs : mapping of str to ndarray or DeviceArray
            C-contiguous arrays of the graph's types, on the host or on the session's device.
        """
        binding = self._session.io_binding()
        for tie, ports in ((binding.bind_input, inputs), (binding.bind_output, outputs)):
            for name, array in ports.items():
                if isinstance(array, (DeviceArray, DeviceSlice)):
                    where = (array.device, self.backend.device_id)
                    tie(name, *where, array.dtype.type, list(array.shape), array.pointer)
                else:
                    assert array.flags.c_contiguous
                    tie(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        return Binding(self, binding, (*inputs.values(), *outputs.values()))

    def allocate(self, shape: tuple[int, ...], dtype: Any) -> DeviceArray:
        """Return an array on this session's device, of undefined content."""
        return allocate(
            shape, dtype, "cuda" if self.backend.provider in ("cuda", "tensorrt") else "cpu", self.backend.device_id
        )

    def placement(self) -> list[Node]:
        """Return which provider runs which node."""
        assigned = [
            (graph.ep_name, node.name, node.op_type)
            for graph in self._session.get_provider_graph_assignment_info()
            for node in graph.get_nodes()
        ]
        floats: dict[str, bool] = self._floats()
        return classify(assigned, floats)

    def require_inputs(self, count: int) -> None:
        """Refuse a graph with another number of inputs.

        Raises
        ------
        ModelMismatchError
        """
        if len(self.inputs) != count:
            names = ", ".join(port.name for port in self.inputs)
            raise ModelMismatchError(f"{self.name} has {len(self.inputs)} inputs ({names}); expected {count}.")

    def close(self) -> None:
        """Drop the runtime's session; running calls keep it until they end. A profile is written now."""
        folder = self.backend.profile
        if folder is not None and self.origin.is_here():
            started_unix_ns = self._session.get_profiling_start_time_ns()
            Path(self._session.end_profiling()).rename(folder / f"{self.name}@{started_unix_ns}.json")
        self._let_go()

    def _let_go(self) -> None:
        """Drop the runtime's session, unless a run was not waited for: then it stays for good.

        ONNX Runtime gives back the pinned memory of a run's own copies in a function that the card calls later. Where
        the session is gone by then, that function ends its allocator, which the card does not permit: an abort.
        """
        if self.unwaited and self.origin.is_here():
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._session._sess))
        del self._session

    def __del__(self) -> None:
        if hasattr(self, "_session"):
            self._let_go()


class Binding(Bound):
    """Buffers tied to a session's ports; not for two threads at once.

    Parameters
    ----------
    session : Session
    binding : IOBinding
    arrays : sequence of ndarray or DeviceArray
        Kept alive as long as the binding.
    """

    __slots__ = ("_arrays", "_binding", "_native", "_run", "_session")

    def __init__(self, session: Session, binding: Any, arrays: Sequence[Buffer]) -> None:
        self._session = session
        self._binding = binding
        self._native = binding._iobinding  # the wrapper's own method adds a call each run
        self._run = session._session._sess.run_with_iobinding
        self._arrays = arrays

    def run(self, *, wait: bool = True) -> None:
        """Read the inputs, write the outputs.

        Parameters
        ----------
        wait : bool
            Whether to wait for the device; without, the run is only enqueued (but now and then it is waited for), and
            the last run before the session is closed has to be one that waits.

        Raises
        ------
        RunError
            Where the runtime fails.
        """
        session = self._session
        session.origin.require()
        session.unwaited += 1
        wait = wait or session.unwaited > _MOST_UNWAITED
        try:
            with at_work:
                self._run(self._native, None if wait else _enqueue_only())
        except session._errors as error:
            raise RunError(session.name, str(session.backend), _short(error)) from error
        if wait:
            session.unwaited = 0


_open_sessions: weakref.WeakSet[Session] = weakref.WeakSet()


def _leave_alone() -> None:
    """Never end the sessions of the process that this one was forked from: they would wait for their threads."""
    for session in list(_open_sessions):
        native = getattr(getattr(session, "_session", None), "_sess", None)
        if native is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(native))
    _open_sessions.clear()


after_fork(_leave_alone)


@cache
def _enqueue_only() -> Any:
    """Return run options that leave the device at work."""
    options = onnxruntime().RunOptions()
    options.add_run_config_entry("disable_synchronize_execution_providers", "1")
    return options


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 400 else f"{text[:400]} …"


def model_key(model: Path | bytes, external_folder: Path | None = None) -> str:
    """Return a hash that tells models apart: the graph whole, of external weights the size and both ends.

    It does not depend on where they lie.
    """
    from tdt.onnxfile import external_locations, read_graph

    digest = hashlib.sha256()
    if isinstance(model, bytes):
        digest.update(model)
        files = [external_folder / name for name in external_locations(model)] if external_folder is not None else []
    else:
        digest.update(model.read_bytes())
        files = sorted({ref.file for ref in read_graph(model).external})
    for file in files:
        size = file.stat().st_size
        digest.update(str(size).encode())
        with file.open("rb") as stream:
            digest.update(stream.read(_KEY_BYTES))
            stream.seek(max(0, size - _KEY_BYTES))
            digest.update(stream.read(_KEY_BYTES))
    return digest.hexdigest()


def _graph_of(model: Path | bytes) -> Any:
    if isinstance(model, bytes):
        import onnx

        return onnx.load_from_string(model)
    from tdt.onnxfile import load_model

    return load_model(model, weights=False)
