"""Start a graph on an execution provider, or say why it cannot: libraries loaded, engines cached, no fallback."""

from __future__ import annotations

import contextlib
import ctypes
import io
import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tdt.errors import ProviderError
from tdt.lifetime import ProcessLock
from tdt.onnxfile import read_graph
from tdt.runtime import provider_options
from tdt.runtime.device_memory import asked_bytes
from tdt.runtime.diagnosis import Facts, explain
from tdt.runtime.driver import read_driver
from tdt.runtime.engine_cache import building, open_engine_folder
from tdt.runtime.provider_files import rtx_library, wheel_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from tdt.runtime.backend import Backend
    from tdt.runtime.provider_options import ShapeProfile

_log = logging.getLogger("tdt")
_preloaded: set[str] = set()
_preload_lock = ProcessLock()
_TENSORRT_LIBRARIES = ("libnvinfer.so.10", "libnvinfer_plugin.so.10", "libnvonnxparser.so.10")
# The compiled form of a graph, as ONNX Runtime keeps it: a graph that names the engine beside it.
_CONTEXT_NAME = "encoder_ctx.onnx"


def start(
    ort: Any, model: str | bytes, options: Any, backend: Backend, profile: ShapeProfile | None, key: Callable[[], str]
) -> Any:
    """Create a session whose first provider is the one asked for.

    Parameters
    ----------
    ort : module
        onnxruntime.
    model : str or bytes
    options : SessionOptions
    backend : Backend
    profile : ShapeProfile or None
        For TensorRT, where the graph has dynamic shapes.
    key : callable
        Gives the hash of the model, for the engine cache.

    Raises
    ------
    ProviderError
        With the cause and the cure.
    """
    wanted = provider_options.EXECUTION_PROVIDERS[backend.provider]
    if backend.provider == "tensorrt-rtx":
        return _start_rtx(ort, model, options, backend, profile, key)
    if backend.on_device and wanted not in ort.get_available_providers():
        raise explain(backend, facts(ort, backend, ""))
    _preload(ort, backend)
    providers: list[Any] = [provider_options.CPU]
    if backend.provider == "cuda":
        if backend.graphs:
            try:
                return _create(ort, model, options, backend, _cuda(backend))
            except Exception as error:
                if "graph capture feature" not in str(error):
                    raise
                _log.warning("This graph has nodes that CUDA leaves to the CPU; its runs are not captured.")
        providers = _cuda(replace(backend, graphs=0))
    elif backend.provider == "tensorrt":
        known = facts(ort, backend, "")
        if known.load_error or known.driver.problem:  # before anything is said about minutes
            raise explain(backend, known)
        cache = open_engine_folder(ort, backend, profile, key())
        providers = [
            (provider_options.TENSORRT, provider_options.tensorrt_options(backend, profile, cache)),
            *_cuda(backend),
        ]
        with building(backend, cache):
            return _create(ort, model, options, backend, providers)
    return _create(ort, model, options, backend, providers)


def _cuda(backend: Backend) -> list[Any]:
    return [(provider_options.CUDA, provider_options.cuda_options(backend))]


def captures(session: Any) -> bool:
    """Return whether a session's runs may be captured as CUDA graphs."""
    return bool(session.get_provider_options().get(provider_options.CUDA, {}).get("enable_cuda_graph") == "1")


def _create(ort: Any, model: str | bytes, options: Any, backend: Backend, providers: list[Any]) -> Any:
    try:
        session = ort.InferenceSession(model, options, providers=providers, enable_fallback=0)
    except Exception as error:
        if backend.on_device and asked_bytes(str(error)) is None and _is_provider_fault(str(error)):
            raise explain(backend, facts(ort, backend, str(error))) from error
        raise
    if session.get_providers()[0] != provider_options.EXECUTION_PROVIDERS[backend.provider]:
        raise explain(backend, facts(ort, backend, "the provider was left out without an error"))
    return session


def _is_provider_fault(text: str) -> bool:
    signs = (
        "CUDA failure",
        "CUBLAS failure",
        "CUDNN",
        "cuDNN",
        "cudaError",
        "TensorRT",
        "_providers_",
        "GPU",
        "graph capture",
    )
    return any(sign in text for sign in (*signs, "provider option", "ExecutionProviderInfo"))


def facts(ort: Any, backend: Backend, runtime_error: str) -> Facts:
    """Collect what explains that a provider does not start."""
    wanted = provider_options.EXECUTION_PROVIDERS[backend.provider]
    return Facts(
        listed=wanted in ort.get_available_providers(),
        cuda_major=cuda_major(ort),
        driver=read_driver(),
        load_error=provider_load_error(ort, backend),
        cupy=installed_cupy(),
        runtime_error=" ".join(runtime_error.split())[:400],
    )


def cuda_major(ort: Any) -> int:
    """Return the CUDA major that the installed onnxruntime was built for, 0 for none."""
    version = str(getattr(ort, "cuda_version", "") or "")
    return int(version.split(".", maxsplit=1)[0]) if version[:1].isdecimal() else 0


def installed_cupy() -> str:
    """Return the name of the installed CuPy distribution, or nothing."""
    import importlib.metadata  # slow, and needed where something is wrong only

    for major in (13, 12, 11):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            importlib.metadata.distribution(f"cupy-cuda{major}x")
            return f"cupy-cuda{major}x"
    return ""


def provider_load_error(ort: Any, backend: Backend) -> str:
    """Return what the system's loader says when it loads the provider's library; nothing where it loads."""
    folder = Path(ort.__file__).parent / "capi"
    names = {"cuda": "cuda", "tensorrt": "tensorrt"}
    if backend.provider not in names:
        return ""
    for name in ("shared", names[backend.provider]):
        try:
            ctypes.CDLL(str(folder / f"libonnxruntime_providers_{name}.so"), mode=ctypes.RTLD_GLOBAL)
        except OSError as error:
            return str(error)
    return ""


def usable(ort: Any) -> set[str]:
    """Return the device providers that can start here: a card, a driver, and all libraries."""
    from tdt.runtime.backend import Backend

    if read_driver().problem:
        return set()
    found = set()
    for name in ("cuda", "tensorrt"):
        backend = Backend.parse(name)
        if provider_options.EXECUTION_PROVIDERS[name] in ort.get_available_providers():
            _preload(ort, backend)
            if not provider_load_error(ort, backend):
                found.add(name)
    return found


def _preload(ort: Any, backend: Backend) -> None:
    """Load the CUDA and TensorRT libraries that came as wheels, once a process."""
    with _preload_lock:
        if backend.on_device and "cuda" not in _preloaded and hasattr(ort, "preload_dlls"):
            said = io.StringIO()
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                ort.preload_dlls()  # prints what it does not find; the provider's own loading tells what matters
            _log.debug("preload_dlls: %s", said.getvalue().strip() or "all found")
            _preloaded.add("cuda")
        if backend.provider == "tensorrt" and "tensorrt" not in _preloaded:
            for library in _TENSORRT_LIBRARIES:
                with contextlib.suppress(OSError):
                    ctypes.CDLL(str(wheel_file("tensorrt_libs", library) or library), mode=ctypes.RTLD_GLOBAL)
            _preloaded.add("tensorrt")


def _start_rtx(
    ort: Any, model: str | bytes, options: Any, backend: Backend, profile: ShapeProfile | None, key: Callable[[], str]
) -> Any:
    """Register NVIDIA's plugin once, choose the device, and create the session."""
    name = provider_options.TENSORRT_RTX
    library = rtx_library()
    if library is None:
        raise ProviderError(
            f'{backend} cannot start: the plugin is not installed: pip install "parakeet-tdt[rtx]". It works beside '
            "onnxruntime-gpu; where plain onnxruntime is installed as well, remove that one: pip uninstall -y "
            "onnxruntime onnxruntime-gpu, then pip install onnxruntime-gpu. It serves RTX cards only."
        )
    with _preload_lock:
        if name not in _preloaded:
            try:
                ort.register_execution_provider_library(name, str(library))
            except Exception as error:
                raise explain(backend, replace(facts(ort, backend, ""), listed=True, load_error=str(error))) from error
            _preloaded.add(name)
    devices = [device for device in ort.get_ep_devices() if device.ep_name == name]
    if backend.device_id >= len(devices):
        raise ProviderError(
            f"{backend} cannot start: the plugin sees {len(devices)} RTX cards. It needs an RTX card of generation 30 "
            'or later (not A100 or H100) and its driver; use provider="cuda" or "cpu" otherwise.'
        )
    built = _is_built(model)
    cache = None if built else open_engine_folder(ort, backend, profile, key())
    settings = provider_options.tensorrt_rtx_options(backend, profile, cache)
    options.add_provider_for_devices([devices[backend.device_id]], settings)
    if built or cache is None:
        return _plugin_session(ort, model, options, backend)
    context = cache / _CONTEXT_NAME
    if context.is_file():
        try:
            return ort.InferenceSession(str(context), options)
        except Exception as error:  # noqa: BLE001  of another version, or cut short: it is built anew
            _log.warning("%s cannot be used (%s)", context, " ".join(str(error).split())[:200])
            context.unlink()
    for name, value in (("enable", "1"), ("embed_mode", "0"), ("file_path", str(context))):
        options.add_session_config_entry(f"ep.context_{name}", value)
    with building(backend, cache):
        return _plugin_session(ort, model, options, backend)


def _plugin_session(ort: Any, model: str | bytes, options: Any, backend: Backend) -> Any:
    try:
        return ort.InferenceSession(model, options)
    except Exception as error:
        if asked_bytes(str(error)) is None and _is_provider_fault(str(error)):
            raise explain(backend, replace(facts(ort, backend, str(error)), listed=True)) from error
        raise


def _is_built(model: str | bytes) -> bool:
    """Tell whether a model is an engine built ahead: its graph names it."""
    return isinstance(model, str) and "EPContext" in read_graph(Path(model)).ops
