"""A report of the card's self-test as Markdown tables."""

from __future__ import annotations

from typing import Any

# section -> columns: key in the figures, heading
COLUMNS: dict[str, tuple[tuple[str, str], ...]] = {
    "decode": (("decoder", "decoder"), ("batch", "B"), ("tokens", "tokens"), ("us_per_token", "µs a token"),
               ("joint_ms", "kernel ms"), ("rtfx", "RTFx")),
    "encoder": (("provider", "provider"), ("precision", "precision"), ("batch", "B"), ("seconds", "s"),
                ("again_ms", "same shape again, ms"), ("back_ms", "after another shape, ms"), ("rtfx", "RTFx")),
    "end-to-end": (("batch", "B"), ("decoder", "decoder"), ("features_on", "features on"), ("peer", "peer"),
                   ("ms_per_clip", "ms a clip"), ("rtfx", "RTFx"), ("sm_percent", "card busy, %")),
}  # fmt: skip


def table(report: dict[str, Any]) -> str:
    """Return the tables of a report as tools/selftest-gpu writes it."""
    sections = report["sections"]
    parts = [f"commit {report['commit'][:12]}, {report['date']}"]
    cards = [row for row in sections.get("card", {}).get("figures", []) if "card" in row]
    parts += [f"{row['card']} (sm_{row['sm']}), driver {row['driver']}, CUDA {row['cuda']}" for row in cards]
    parts.append(_rows(("section", "outcome", "seconds"), [
        (name, found["status"], _cell(found.get("seconds"))) for name, found in sections.items()
    ]))  # fmt: skip
    for name, found in sections.items():
        columns = next((listed for key, listed in COLUMNS.items() if name.startswith(key)), None)
        if columns is None:
            continue
        keyed = [row for row in found["figures"] if any(key in row for key, _ in columns[:2]) and "batch" in row]
        if keyed:
            cells = [tuple(_cell(row.get(key)) for key, _ in columns) for row in keyed]
            parts.append(f"**{name}**\n\n" + _rows(tuple(heading for _, heading in columns), cells))
    return "\n\n".join(parts)


def _rows(headings: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    lines = [" | ".join(headings), "|".join("---" for _ in headings)]
    lines += [" | ".join(map(str, row)) for row in rows]
    return "\n".join(f"| {line} |" if "---" not in line else f"|{line}|" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
