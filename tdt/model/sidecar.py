"""`quantization.json` beside a quantised encoder, read: how it was made, in a few lines for people."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SIDECAR = "quantization.json"
SIDECAR_FORMAT = 1


def read_sidecar(folder: Path) -> dict[str, Any] | None:
    """Return the sidecar of a model folder, or None where there is none that can be read."""
    try:
        content = json.loads((folder / SIDECAR).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and content.get("format") == SIDECAR_FORMAT else None


def summary(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the sidecar in a few lines for people: (what, value); nothing where it is not one of ours."""
    try:
        if content["kind"] == "float16":
            return _half(content)
        recipe, audio, source = content["recipe"], content["calibration"], content["source"]["files"][0]
        parts = Counter(str(layer["part"]) for layer in content["layers"])
        smoothed = sum(item["alpha"] > 0 for item in content["smoothquant"])
        narrow = sum(int(layer["narrow_columns"]) for layer in content["layers"])
        heard = f"{len(audio['clips'])} recordings, {audio['sounding_seconds']:g} s of sound"
        rows = [
            ("source", f"{source['file']}, {source['bytes'] / 1e6:.1f} MB, SHA-256 {source['sha256'][:16]}…"),
            ("int8", ", ".join(f"{count} {part}" for part, count in sorted(parts.items()))),
            ("method", f"{recipe['method']}; rest {recipe['body']}; decoder weights {recipe['decoder_weights']}"),
            ("smoothquant", f"{recipe['smoothquant']}: {smoothed} of {len(content['smoothquant'])} layer norms"),
            ("calibration", f"{heard}, {len(audio['skipped'])} files skipped"),
            ("columns in 7 bits", str(narrow)),
            ("tools", ", ".join(f"{name} {version}" for name, version in content["tools"].items())),
        ]
        if "budget" in content:
            rows.append(("budget", f"{content['budget']['bound']:g}, {len(content['budget']['left'])} groups in float"))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        return []
    return rows


def _half(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    source, nodes, weights = content["source"]["files"][0], content["nodes"], content["weights"]
    rows = [
        ("source", f"{source['file']}, {source['bytes'] / 1e6:.1f} MB, SHA-256 {source['sha256'][:16]}…"),
        ("float16", f"{nodes['float16']} nodes; {len(nodes['kept_in_float32'])} left in float32 for their range"),
        ("weights", f"{weights['values']}; {weights['subnormal']} lose digits, {weights['vanished']} become zero"),
        ("tools", ", ".join(f"{name} {version}" for name, version in content["tools"].items())),
    ]
    if "measured" in content:
        measured = content["measured"]
        largest = measured["largest"]
        rows.append(("largest value", f"{largest['magnitude']:g} in {measured['seconds']:g} s: {largest['value']}"))
    return rows
