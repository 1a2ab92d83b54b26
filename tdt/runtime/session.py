"""ONNX Runtime behind a thin wall: named ports, quiet logs, typed errors, bound buffers, and no silent fallback."""

from __future__ import annotations

import ctypes
import weakref
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tdt.ending import at_work
from tdt.errors import ModelFileCorruptError, ModelMismatchError, ProviderError, RunError, TdtError
from tdt.lifetime import Bound, Origin, after_fork, setting_up
from tdt.onnxfile import without_links
from tdt.runtime import providers
from tdt.runtime.capturing import UNCAPTURED, quiet, run_options
from tdt.runtime.device import DeviceArray, DeviceSlice, allocate
from tdt.runtime.device_memory import shortage
from tdt.runtime.model_key import graph_of, model_key
from tdt.runtime.ort import onnxruntime, runtime_errors
from tdt.runtime.placement import classify, float_outputs, require_on_device
from tdt.runtime.session_options import session_options

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    import numpy.typing as npt

    from tdt.protocols import Node
    from tdt.runtime.backend import Backend
    from tdt.runtime.provider_options import ShapeProfile

    Array = npt.NDArray[Any]
    Buffer = Array | DeviceArray | DeviceSlice

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
    captures : bool
        Whether runs may be captured as CUDA graphs, where the backend asks for them.
    once : bool
        Whether it is opened for a run or two, so that opening shall cost little and running may cost more.

    Raises
    ------
    ModelFileCorruptError
        Where the runtime cannot read the graph.
    ProviderError
        Where the provider cannot start, or would leave computing nodes to the CPU; for want of the device's memory a
        :class:`tdt.errors.DeviceMemoryError`.
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
        captures: bool = False,
        once: bool = False,
    ) -> None:
        ort = onnxruntime()
        self.backend = backend = backend if captures else replace(backend, graphs=0)
        self.name = name or (model.name if isinstance(model, Path) else "a graph made at load")
        # A capture on a card is nothing to the CPU.
        self._quiet: Callable[[], AbstractContextManager[None]] = quiet.work if backend.on_device else nullcontext
        options = session_options(ort, backend, self.name, threads, once=once)
        if isinstance(model, Path):  # ONNX Runtime 1.24 refuses the links of the hub's cache
            model, external_folder = without_links(model)
        if external_folder is not None:
            options.add_session_config_entry(
                "session.model_external_initializers_file_folder_path", str(external_folder)
            )
        try:
            given = str(model) if isinstance(model, Path) else model
            with setting_up(), at_work, self._quiet():
                self._session = providers.start(
                    ort, given, options, backend, profile, lambda: model_key(model, external_folder)
                )
        except ProviderError:
            raise
        except runtime_errors() as error:
            short = shortage(self.name, backend, str(error), loading=True)
            if short is not None:
                raise short from error
            shown = model if isinstance(model, Path) else Path(self.name)
            raise ModelFileCorruptError(shown, f"ONNX Runtime refuses it ({_short(error)})") from error
        self.origin = Origin()
        _open_sessions.add(self)
        self._errors = runtime_errors()
        self.unwaited = 0  # runs enqueued since one was waited for
        self.captures = bool(backend.graphs) and providers.captures(self._session)
        self._floats: Callable[[], dict[str, bool]] = lambda: float_outputs(graph_of(model))
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
            Where the runtime fails; a :class:`tdt.errors.DeviceMemoryError` for want of the device's memory.
        ForkError
            In a process that was forked from the one this was made in.
        """
        self.origin.require()
        try:
            options = run_options(wait=True, graph=UNCAPTURED if self.captures else None)
            with at_work, self._quiet():
                return list(self._session.run(None if outputs is None else list(outputs), dict(feeds), options))
        except self._errors as error:
            raise self.failure(error) from error

    def failure(self, error: Exception) -> TdtError:
        """Return what a run that failed raises: for want of a card's memory another error than for all else."""
        short = shortage(f"A run of {self.name}", self.backend, str(error))
        return short or RunError(self.name, str(self.backend), _short(error))

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
        """Return an array on this session's device, of undefined content.

        Raises
        ------
        DeviceMemoryError
        """
        where = "cuda" if self.backend.shares_memory else "cpu"
        try:
            return allocate(shape, dtype, where, self.backend.device_id)
        except self._errors as error:
            raise self.failure(error) from error

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
            _never_end(self._session._sess)
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

    def run(self, *, wait: bool = True, graph: int = UNCAPTURED) -> None:
        """Read the inputs, write the outputs.

        Parameters
        ----------
        wait : bool
            Whether to wait for the device; without, the run is only enqueued (but now and then it is waited for), and
            the last run before the session is closed has to be one that waits.
        graph : int
            Of a session that captures: the number of this binding's CUDA graph, made by its first run with it. Always
            to be run by the same thread.

        Raises
        ------
        RunError
            Where the runtime fails; a :class:`tdt.errors.DeviceMemoryError` for want of the device's memory.
        """
        session = self._session
        session.origin.require()
        session.unwaited += 1
        wait = wait or session.unwaited > _MOST_UNWAITED
        try:
            options = run_options(wait=wait, graph=graph if session.captures else None)
            with at_work, session._quiet() if graph == UNCAPTURED else quiet.capture():
                self._run(self._native, options)
        except session._errors as error:
            raise session.failure(error) from error
        if wait:
            session.unwaited = 0


_open_sessions: weakref.WeakSet[Session] = weakref.WeakSet()


def _never_end(native: Any) -> None:
    """Keep a session of the runtime for good, by a reference that nobody holds."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(native))


def _leave_alone() -> None:
    """Never end the sessions of the process that this one was forked from: they would wait for their threads."""
    for session in list(_open_sessions):
        native = getattr(getattr(session, "_session", None), "_sess", None)
        if native is not None:
            _never_end(native)
    _open_sessions.clear()


after_fork(_leave_alone)


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 400 else f"{text[:400]} …"
