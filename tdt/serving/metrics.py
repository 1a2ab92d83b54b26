"""What the server counts, in one table, and how Prometheus reads it: its text format, version 0.0.4."""

from __future__ import annotations

import threading
from bisect import bisect_left
from typing import Literal, NamedTuple

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_BATCH = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)


class Measure(NamedTuple):
    """Something that is counted.

    Parameters
    ----------
    kind : {"counter", "gauge", "histogram"}
    help : str
    label : str
        Name of its label, empty for none.
    bounds : tuple of float
        Of a histogram's buckets.
    """

    kind: Literal["counter", "gauge", "histogram"]
    help: str
    label: str = ""
    bounds: tuple[float, ...] = ()


MEASURES: dict[str, Measure] = {
    "tdt_requests_total": Measure("counter", "Requests that were answered, by status.", "status"),
    "tdt_refusals_total": Measure("counter", "Requests that were refused or failed, by the code of the error.", "code"),
    "tdt_requests_under_way": Measure("gauge", "Requests that the engine works on or that wait for it."),
    "tdt_waiting_runs": Measure("gauge", "Clips and windows that wait for the encoder."),
    "tdt_batch_size": Measure("histogram", "Clips and windows in a run of the encoder.", bounds=_BATCH),
    "tdt_stage_seconds": Measure(
        "histogram", "Seconds by stage: read, wait, encoder, decoder (of a batch), request.", "stage", _SECONDS
    ),
    "tdt_audio_seconds_total": Measure("counter", "Seconds of sound that were transcribed."),
    "tdt_abandoned_total": Measure("counter", "Requests whose caller left, or whose time ran out."),
    "tdt_live_streams": Measure("gauge", "Live streams that are open.", "protocol"),
    "tdt_live_batch_size": Measure("histogram", "Live streams that share a step.", bounds=_BATCH),
    "tdt_live_audio_seconds_total": Measure("counter", "Seconds of sound that live streams have heard."),
}


class _Buckets:
    """A histogram: how many values lie up to each bound, and their sum."""

    __slots__ = ("counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0


class Metrics:
    """The counters of one server; any thread may count."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[str, dict[str, float]] = {name: {} for name in MEASURES}
        self._buckets: dict[str, dict[str, _Buckets]] = {name: {} for name in MEASURES}
        for name, measure in MEASURES.items():
            if not measure.label and measure.kind != "histogram":
                self._values[name][""] = 0.0

    def add(self, name: str, amount: float = 1.0, label: str = "") -> None:
        """Add to a counter or gauge of :data:`MEASURES`."""
        with self._lock:
            self._values[name][label] = self._values[name].get(label, 0.0) + amount

    def put(self, name: str, value: float, label: str = "") -> None:
        """Put a gauge to a value."""
        with self._lock:
            self._values[name][label] = value

    def observe(self, name: str, value: float, label: str = "") -> None:
        """Add a value to a histogram."""
        bounds = MEASURES[name].bounds
        with self._lock:
            held = self._buckets[name].setdefault(label, _Buckets(bounds))
            held.counts[bisect_left(bounds, value)] += 1
            held.total += value

    def value(self, name: str, label: str = "") -> float:
        """Return what a counter or gauge says."""
        with self._lock:
            return self._values[name].get(label, 0.0)

    def render(self) -> str:
        """Return all of them in Prometheus's text format."""
        with self._lock:
            return "".join(line + "\n" for name in MEASURES for line in self._lines(name))

    def _lines(self, name: str) -> list[str]:
        measure = MEASURES[name]
        lines = [f"# HELP {name} {measure.help}", f"# TYPE {name} {measure.kind}"]
        for label, value in sorted(self._values[name].items()):
            lines.append(f"{name}{_labelled(measure.label, label)} {value:.10g}")
        for label, held in sorted(self._buckets[name].items()):
            below = 0
            for bound, count in zip((*measure.bounds, None), held.counts, strict=True):
                below += count
                edge = "+Inf" if bound is None else f"{bound:g}"
                lines.append(f"{name}_bucket{_labelled(measure.label, label, edge)} {below}")
            plain = _labelled(measure.label, label)
            lines += [f"{name}_sum{plain} {held.total:.10g}", f"{name}_count{plain} {below}"]
        return lines


def _labelled(name: str, value: str, edge: str = "") -> str:
    pairs = [(name, value)] if name else []
    pairs += [("le", edge)] if edge else []
    inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in pairs)
    return f"{{{inside}}}" if inside else ""


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
