"""What a server is told: where it listens, how much it takes, who may ask."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

from tdt.checks import Bounds, number, whole_number
from tdt.errors import OptionError


class _Bound(NamedTuple):
    """What a number may be, and whether it is a whole one."""

    bounds: Bounds
    whole: bool = True


BOUNDS: dict[str, _Bound] = {
    "port": _Bound(Bounds(0, 65_535)),
    "wyoming": _Bound(Bounds(0, 65_535)),
    "max_batch": _Bound(Bounds(1, 4096)),
    "collect_ms": _Bound(Bounds(0, 10_000, "milliseconds"), whole=False),
    "queue": _Bound(Bounds(1, 100_000, "requests")),
    "max_mb": _Bound(Bounds(0.001, 100_000, "MB"), whole=False),
    "max_seconds": _Bound(Bounds(1, 864_000, "seconds"), whole=False),
    "timeout": _Bound(Bounds(0.01, 864_000, "seconds"), whole=False),
    "upload_seconds": _Bound(Bounds(0.01, 864_000, "seconds"), whole=False),
    "readers": _Bound(Bounds(1, 256, "threads")),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """How a server runs; each has an option of `tdt serve` of its name.

    Parameters
    ----------
    model : str
        What the loaded model is called in answers.
    provider : str
        Where it runs, for those who ask.
    host : str
        Address to listen on; by default nobody else than this machine reaches it.
    port : int
        0 takes any that is free.
    wyoming : int, optional
        Port of the Wyoming protocol; without, it is not spoken.
    max_batch : int
        Clips, or windows of long recordings, that share a run of the encoder at most.
    collect_ms : float
        How long the first of a batch waits for company while the encoder is busy, in milliseconds.
    queue : int
        Requests that are taken at a time; one more is refused.
    max_mb : float
        Largest upload, in 10**6 bytes.
    max_seconds : float
        Longest recording.
    timeout : float
        Seconds that a request may take once it is read.
    upload_seconds : float
        Seconds that its body may take to arrive.
    readers : int
        Threads that decode audio and make features.
    api_keys : tuple of str
        Who may ask; with none, everybody who reaches the server.

    Raises
    ------
    OptionError
        Where one has no usable value.
    """

    model: str = "parakeet-tdt-tiny"
    provider: str = "cpu"
    host: str = "127.0.0.1"
    port: int = 8000
    wyoming: int | None = None
    max_batch: int = 16
    collect_ms: float = 5.0
    queue: int = 64
    max_mb: float = 100.0
    max_seconds: float = 14_400.0
    timeout: float = 14_400.0
    upload_seconds: float = 600.0
    readers: int = 2
    api_keys: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for entry in fields(self):
            name, value = entry.name, getattr(self, entry.name)
            if name in BOUNDS and value is not None:
                bounds, whole = BOUNDS[name]
                checked = whole_number(name, value, *bounds) if whole else number(name, value, *bounds)
                object.__setattr__(self, name, checked)
        if any(not isinstance(key, str) or not key.strip() for key in self.api_keys):
            raise OptionError("api_keys", "an empty key", "keys of one character or more")
