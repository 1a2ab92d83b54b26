"""Which execution provider runs a graph, and how: one string in Python, on the command line and in reports.

`cpu`, `cuda:0`, `cuda:0,tf32`, `tensorrt:0,fp16,cache=DIR`, `tensorrt-rtx` … parse into a :class:`Backend`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from tdt.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable

Provider = Literal["cpu", "cuda", "tensorrt", "tensorrt-rtx"]
NumberType = Literal["fp32", "fp16", "bf16", "int8"]

PROVIDERS: tuple[Provider, ...] = get_args(Provider)
NUMBER_TYPES: tuple[NumberType, ...] = get_args(NumberType)
GIB = 1 << 30
SINGLE_SECONDS = 10.0  # what an engine for single clips is tuned for
BATCH_SECONDS = 20.0  # and the one beside it, for batches


@dataclass(frozen=True, slots=True)
class Backend:
    """An execution provider, its device and its options.

    Parameters
    ----------
    provider : {"cpu", "cuda", "tensorrt", "tensorrt-rtx"}
    device_id : int
    numbers : {"fp32", "fp16", "bf16", "int8"}
        What TensorRT may compute in; int8 needs a graph with Q/DQ nodes and brings fp16 for the rest.
    tf32 : bool
        Whether CUDA's float32 products may round their inputs to 10 bits of mantissa: several times faster on Ampere
        and later, and no longer equal to the CPU to 1e-5. Off unless asked for.
    cache : Path or None
        Folder of built TensorRT engines; None for the user's cache folder.
    memory_bytes : int
        Limit of the device arena; 0 for none.
    max_batch, max_seconds : int, float
        Largest batch and longest clip that a TensorRT engine is built for.
    opt_batch, opt_seconds : int, float
        The batch and length that it is tuned for; 0 for the default, half of the largest.
    engines : int
        2 for an engine of its own for clips that run alone, tuned for one of 10 s, beside that for batches, which is
        then tuned for the largest batch of 20 s. It takes the weights' memory and the time to build twice.
    level : int
        TensorRT's builder optimisation level, 0 to 5.
    graphs : int
        Shapes of single clips whose encoder run CUDA captures as a graph, at most: one launch in place of hundreds,
        from the shape's third run on. 0 for none.
    stream : int
        CUDA stream to enqueue on, as an address; 0 for one made at load.
    profile : Path or None
        Folder into which each session writes ONNX Runtime's own profile when it is closed; None for no profile.
    """

    provider: Provider = "cpu"
    device_id: int = 0
    numbers: NumberType = "fp32"
    tf32: bool = False
    cache: Path | None = None
    memory_bytes: int = 0
    max_batch: int = 8
    max_seconds: float = 40.0
    opt_batch: int = 0
    opt_seconds: float = 0.0
    engines: int = 1
    level: int = 3
    graphs: int = 0
    stream: int = 0
    profile: Path | None = None

    @classmethod
    def parse(cls, text: str | Backend) -> Backend:
        """Read a provider string; a Backend passes through.

        Parameters
        ----------
        text : str
            `provider[:device][,option[=value]]…`

        Raises
        ------
        OptionError
            Where the provider, an option or a value is unknown; the message lists what there is.
        """
        if isinstance(text, Backend):
            return text
        if not isinstance(text, str):
            raise OptionError("provider", text, "a string such as cpu or cuda:0, or a Backend")
        head, *options = [part.strip() for part in text.split(",")]
        name, colon, device = head.partition(":")
        if name not in PROVIDERS:
            raise OptionError("provider", text, f"one of {', '.join(PROVIDERS)} or auto, with :N for the device")
        provider = next(known for known in PROVIDERS if known == name)
        if colon and (provider == "cpu" or not _DEVICE.fullmatch(device)):
            raise OptionError("provider", text, "a device number after the colon, as in cuda:0 (the cpu has none)")
        backend = cls(provider=provider, device_id=int(device or 0))
        for option in options:
            backend = _with_option(backend, option, text)
        if backend.opt_batch > backend.max_batch or backend.opt_seconds > backend.max_seconds:
            most = f"{backend.max_batch} clips of {backend.max_seconds:g} s"
            raise OptionError("provider", text, f"opt_batch and opt_seconds within the largest shape, {most}")
        return backend

    @property
    def shares_memory(self) -> bool:
        """Whether ONNX Runtime allocates on the card and enqueues on a stream it is given; not beside RTX's plugin."""
        return self.provider in ("cuda", "tensorrt")

    @property
    def on_device(self) -> bool:
        """Whether the graph runs on a CUDA device."""
        return self.provider != "cpu"

    def for_single_clips(self) -> Backend | None:
        """Return what the engine for clips that run alone is built with, where there is one of its own."""
        if self.engines < 2 or self.provider not in _TENSORRT:
            return None
        return replace(self, engines=1, max_batch=1, opt_batch=1, opt_seconds=min(SINGLE_SECONDS, self.max_seconds))

    def __str__(self) -> str:
        """Return the string that parses into this backend."""
        parts = [self.provider if self.provider == "cpu" else f"{self.provider}:{self.device_id}"]
        default = Backend()
        if self.numbers != default.numbers:
            parts.append(self.numbers)
        if self.tf32:
            parts.append("tf32")
        written = {"cache": self.cache, "memory": self.memory_bytes / GIB, "max_batch": self.max_batch}
        written |= {"max_seconds": self.max_seconds, "opt_batch": self.opt_batch, "opt_seconds": self.opt_seconds}
        written |= {"engines": self.engines, "level": self.level, "graphs": self.graphs, "profile": self.profile}
        defaults = {"cache": None, "memory": 0.0, "max_batch": default.max_batch}
        defaults |= {"max_seconds": default.max_seconds, "opt_batch": 0, "opt_seconds": 0.0, "engines": 1}
        defaults |= {"level": default.level, "graphs": 0, "profile": None}
        parts += [
            f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
            for name, value in written.items()
            if value != defaults[name]
        ]
        return ",".join(parts)


_DEVICE = re.compile(r"[0-9]{1,4}")
_TENSORRT: frozenset[Provider] = frozenset({"tensorrt", "tensorrt-rtx"})
_DEVICES: frozenset[Provider] = frozenset({"cuda", "tensorrt", "tensorrt-rtx"})
# Beyond any card: such a number is a slip, and would overflow somewhere below.
_MOST = {"memory_bytes": 1 << 44, "max_batch": 4096, "max_seconds": 86_400.0, "level": 5} | {
    "opt_batch": 4096,
    "opt_seconds": 86_400.0,
    "engines": 2,
    "graphs": 256,
}
# option -> (providers that know it, what a value looks like, field, reader)
_VALUES: dict[str, tuple[frozenset[Provider], str, str, Callable[[str], Any]]] = {
    "cache": (_TENSORRT, "a folder", "cache", lambda value: Path(value).expanduser()),
    "memory": (_DEVICES, "GiB of device memory above 0, at most 16384", "memory_bytes", lambda v: int(float(v) * GIB)),
    "max_batch": (_TENSORRT, "utterances, 1 or more, at most 4096", "max_batch", int),
    "max_seconds": (_TENSORRT, "seconds above 0, at most a day", "max_seconds", float),
    "opt_batch": (_TENSORRT, "utterances, 1 or more, at most max_batch", "opt_batch", int),
    "opt_seconds": (_TENSORRT, "seconds above 0, at most max_seconds", "opt_seconds", float),
    "engines": (_TENSORRT, "1 or 2", "engines", int),
    "level": (frozenset({"tensorrt"}), "a number from 0 to 5", "level", int),
    "graphs": (frozenset({"cuda"}), "a number from 0 to 256", "graphs", int),
    "profile": (frozenset(PROVIDERS), "a folder", "profile", lambda value: Path(value).expanduser()),
}
# TensorRT-RTX networks are strongly typed: the graph itself says what is computed in which numbers.
_FLAGS: dict[str, frozenset[Provider]] = {
    "tf32": frozenset({"cuda"}),
    "fp32": frozenset({"tensorrt"}),
    "fp16": frozenset({"tensorrt"}),
    "bf16": frozenset({"tensorrt"}),
    "int8": frozenset({"tensorrt"}),
}


def _with_option(backend: Backend, option: str, text: str) -> Backend:
    name, equals, value = option.partition("=")
    known = _FLAGS | {key: entry[0] for key, entry in _VALUES.items()}
    here = sorted(key for key, providers in known.items() if backend.provider in providers)
    if name not in here or bool(equals) != (name in _VALUES):
        listed = ", ".join(f"{key}=…" if key in _VALUES else key for key in here) or "no options"
        raise OptionError("provider", text, f"options that {backend.provider} has: {listed}")
    if name in _FLAGS:
        return replace(backend, tf32=True) if name == "tf32" else replace(backend, numbers=cast("NumberType", name))
    _, expected, field, read = _VALUES[name]
    try:
        result = read(value)
    except (ValueError, OverflowError) as error:
        raise OptionError("provider", text, f"{name}= with {expected}") from error
    least = 0 if field in {"level", "graphs"} else 1e-9
    if not (bool(value) if isinstance(result, Path) else value.isascii() and least <= result <= _MOST[field]):
        raise OptionError("provider", text, f"{name}= with {expected}")
    return replace(backend, **{field: result})
