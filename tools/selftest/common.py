"""What the sections of the self-test share: clips, clocks, and figures that go into the report as JSON."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

EVAL = ROOT / "tests/data/eval"
GOLDENS = ROOT / "tests/data/goldens"


def emit(**figures: Any) -> None:
    """Print figures, and put them where the report collects them."""
    print("  " + "  ".join(f"{name} {_shown(value)}" for name, value in figures.items()), flush=True)
    if target := os.environ.get("TDT_SELFTEST_FIGURES"):
        with Path(target).open("a", encoding="utf-8") as file:
            file.write(json.dumps(figures) + "\n")


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def eval_samples(count: int) -> list[np.ndarray]:
    """Return `count` evaluation clips, 16 kHz float32, the shortest set repeated in order."""
    from tdt.audio.loading import load_audio

    clips = [load_audio(path).samples for path in sorted(EVAL.glob("*.flac"))]
    return (clips * -(-count // len(clips)))[:count]


def median_seconds(work: Callable[[], object], rounds: int = 7, warm: int = 1) -> float:
    """Return the median wall time of `work`, which has to wait for its own end."""
    times = []
    for number in range(rounds + warm):
        started = time.perf_counter()
        work()
        if number >= warm:
            times.append(time.perf_counter() - started)
    return float(np.median(times))
