"""CUDA sources compiled for a card by NVRTC, which comes as a wheel beside ONNX Runtime; kept on disk once compiled."""

from __future__ import annotations

import ctypes
import hashlib
import json
import logging
import os
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tdt.errors import ProviderError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_log = logging.getLogger("tdt")
# In the wheels nvidia-cuda-nvrtc (13) and nvidia-cuda-nvrtc-cu12, and as the system's loader knows them.
_PATTERNS = ("*/lib/libnvrtc.so.*", "*/bin/nvrtc64_*.dll", "*/bin/*/nvrtc64_*.dll")
_SYSTEM = ("libnvrtc.so.13", "libnvrtc.so.12", "nvrtc64_130_0.dll", "nvrtc64_120_0.dll")
_DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True)
class CudaSource:
    """What is compiled.

    Parameters
    ----------
    name : str
        Of the source, in messages and in the cache.
    text : str
    headers : mapping of str to str
        What it includes, by name: nothing is read from disk.
    options : tuple of str
        For the compiler, beside the architecture.
    """

    name: str
    text: str
    headers: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()


class Nvrtc:
    """The compiler's library.

    Parameters
    ----------
    library : CDLL
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        library.nvrtcGetErrorString.restype = ctypes.c_char_p
        for function in ("CompileProgram", "GetProgramLogSize", "GetProgramLog", "GetCUBINSize", "GetCUBIN"):
            getattr(library, f"nvrtc{function}").argtypes = _ARGUMENTS[function]
        major, minor = ctypes.c_int(), ctypes.c_int()
        library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
        self.version = (major.value, minor.value)

    def compile(self, source: CudaSource, capability: tuple[int, int]) -> tuple[bytes, str]:
        """Return machine code (a cubin) and what the compiler said.

        Parameters
        ----------
        source : CudaSource
        capability : tuple of int
            Compute capability of the card: (8, 6) for sm_86.

        Raises
        ------
        ProviderError
            With what the compiler said.
        """
        library, program = self._library, ctypes.c_void_p()
        count = len(source.headers)
        texts = (ctypes.c_char_p * count)(*(text.encode() for text in source.headers.values()))
        names = (ctypes.c_char_p * count)(*(name.encode() for name in source.headers))
        given = (source.text.encode(), source.name.encode(), count, texts, names)
        self._check(library.nvrtcCreateProgram(ctypes.byref(program), *given), source, "")
        try:
            options = [*source.options, f"--gpu-architecture=sm_{capability[0]}{capability[1]}"]
            listed = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
            status = library.nvrtcCompileProgram(program, len(options), listed)
            said = self._taken(program, "ProgramLog").decode(errors="replace").strip("\0\n ")
            self._check(status, source, said)
            return self._taken(program, "CUBIN"), said
        finally:
            library.nvrtcDestroyProgram(ctypes.byref(program))

    def _taken(self, program: ctypes.c_void_p, what: str) -> bytes:
        size = ctypes.c_size_t()
        getattr(self._library, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
        room = ctypes.create_string_buffer(size.value)
        getattr(self._library, f"nvrtcGet{what}")(program, room)
        return room.raw

    def _check(self, status: int, source: CudaSource, said: str) -> None:
        if status:
            reason = self._library.nvrtcGetErrorString(status).decode()
            version = ".".join(map(str, self.version))
            raise ProviderError(
                f"{source.name} does not compile with NVRTC {version} ({reason}): {said[:2000] or 'nothing was said'}. "
                'A card newer than this NVRTC needs a newer one; decoder="onnx" decodes without it.'
            )


_PROGRAM = ctypes.c_void_p
_ARGUMENTS = {
    "CompileProgram": [_PROGRAM, ctypes.c_int, ctypes.POINTER(ctypes.c_char_p)],
    "GetProgramLogSize": [_PROGRAM, ctypes.POINTER(ctypes.c_size_t)],
    "GetProgramLog": [_PROGRAM, ctypes.c_char_p],
    "GetCUBINSize": [_PROGRAM, ctypes.POINTER(ctypes.c_size_t)],
    "GetCUBIN": [_PROGRAM, ctypes.c_char_p],
}


def find_nvrtc(most_major: int) -> Nvrtc | None:
    """Return the newest NVRTC here whose code a driver runs, or None.

    Parameters
    ----------
    most_major : int
        CUDA major that the driver serves: what a newer compiler makes it does not load.
    """
    found = []
    for name in _candidates():
        with suppress(OSError, AttributeError):
            made = Nvrtc(ctypes.CDLL(name))
            if made.version[0] <= most_major:
                found.append(made)
    return max(found, key=lambda one: one.version, default=None)


def _candidates() -> Iterator[str]:
    from importlib.util import find_spec

    spec = find_spec("nvidia")
    for folder in spec.submodule_search_locations or [] if spec else []:
        for pattern in _PATTERNS:
            yield from (str(path) for path in sorted(Path(folder).glob(pattern)) if "builtins" not in path.name)
    yield from _SYSTEM


def compiled(compiler: Nvrtc, source: CudaSource, capability: tuple[int, int], folder: Path | None = None) -> bytes:
    """Return machine code from the cache, else compile it and keep it there.

    Parameters
    ----------
    compiler : Nvrtc
    source : CudaSource
    capability : tuple of int
    folder : Path, optional
        The cache: by default `tdt/kernels` in the user's cache folder. Where it cannot be written nothing is kept.

    Raises
    ------
    ProviderError
        Where the source does not compile.
    """
    home = folder or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tdt" / "kernels"
    parts = [source.text, sorted(source.headers.items()), source.options, capability, compiler.version]
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
    path = home / f"{Path(source.name).stem}-sm_{capability[0]}{capability[1]}-{digest}.cubin"
    code = _read(path)
    if code is None:
        started = time.perf_counter()
        code, said = compiler.compile(source, capability)
        _log.info("compiled %s for this card in %.1f s", source.name, time.perf_counter() - started)
        if said:
            _log.debug("NVRTC: %s", said)
        _write(path, code)
    return code


def _read(path: Path) -> bytes | None:
    """Return what lies there, unless it is damaged."""
    with suppress(OSError):
        content = path.read_bytes()
        code, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
        if hashlib.sha256(code).digest() == digest:
            return code
        _log.warning("%s is damaged and is made anew", path)
    return None


def _write(path: Path, code: bytes) -> None:
    """Write aside and rename: another process may read or write the same file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.stem, delete=False) as file:
            file.write(code + hashlib.sha256(code).digest())
        Path(file.name).replace(path)
    except OSError as error:
        _log.debug("%s is not kept: %s", path, error)
