"""Pictures of profiles and benchmarks (matplotlib, the `plot` extra)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdt.dependencies import extra

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tdt.profiling.breakdown import Breakdown

# One colour a stage in every picture and page: Okabe and Ito's palette, told apart by colour-blind readers too.
COLOURS = {
    "read": "#999999",
    "resample": "#bbbbbb",
    "features": "#56b4e9",
    "h2d": "#f0e442",
    "encoder": "#0072b2",
    "d2h": "#d9ce2f",
    "predictor": "#e69f00",
    "joint": "#d55e00",
    "rule": "#cc79a7",
    "text": "#009e73",
    "unaccounted": "#333333",
}
OTHER_COLOUR = "#7f7f7f"


def require_plotting() -> None:
    """Refuse to begin work that ends in a picture where none can be drawn.

    Raises
    ------
    MissingDependencyError
        matplotlib is not installed.
    """
    _pyplot()


def _pyplot() -> Any:
    """Return matplotlib.pyplot on a backend that needs no display."""
    with extra("matplotlib", "Drawing", "pip install 'parakeet-tdt[plot]'"):
        import matplotlib as mpl
    mpl.use("agg")
    mpl.rcParams["svg.hashsalt"] = "tdt"
    import matplotlib.pyplot as plt

    return plt


def _save(figure: Any, path: Path) -> None:
    metadata = {"Date": None} if path.suffix == ".svg" else None
    figure.savefig(path, bbox_inches="tight", dpi=150, metadata=metadata)
    _pyplot().close(figure)


def draw_stages(profiles: Mapping[str, Breakdown], path: Path) -> None:
    """Draw one stacked bar a profile: milliseconds a second of audio by stage; a call's where that is not known.

    Parameters
    ----------
    profiles : mapping
        Label → breakdown, drawn from top to bottom.
    path : Path
        `.png`, `.svg` or `.pdf`.

    Raises
    ------
    MissingDependencyError
        matplotlib is not installed.
    """
    plt = _pyplot()
    figure, axes = plt.subplots(figsize=(9, 1.2 + 0.6 * len(profiles)))
    seen: dict[str, Any] = {}
    for row, (_, profile) in enumerate(profiles.items()):
        left, scale = 0.0, 1 / (profile.audio_seconds or max(profile.calls, 1))
        for stage in profile.stages:
            colour = COLOURS.get(stage.name, OTHER_COLOUR)
            seen[stage.name] = axes.barh(row, stage.total_ms * scale, left=left, color=colour, height=0.7)
            if stage.share >= 0.06:
                middle, white = left + stage.total_ms * scale / 2, stage.name in {"encoder", "unaccounted"}
                text = f"{stage.share:.0%}"
                axes.text(middle, row, text, ha="center", va="center", fontsize=8, color="white" if white else "black")
            left += stage.total_ms * scale
    axes.set_yticks(range(len(profiles)), list(profiles))
    axes.invert_yaxis()
    axes.set_xlabel("milliseconds per second of audio" if _has_audio(profiles) else "milliseconds per call")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(seen.values(), seen.keys(), ncols=6, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), frameon=False)
    _save(figure, path)


def _has_audio(profiles: Mapping[str, Breakdown]) -> bool:
    return all(profile.audio_seconds for profile in profiles.values())


def draw_lines(lines: Mapping[str, Sequence[tuple[float, float]]], path: Path, *, across: str, up: str) -> None:
    """Draw one line a label through its (x, y) points, such as RTFx against batch size.

    Raises
    ------
    MissingDependencyError
        matplotlib is not installed.
    """
    plt = _pyplot()
    figure, axes = plt.subplots(figsize=(7, 4))
    for label, points in lines.items():
        ordered = sorted(points)
        axes.plot([x for x, _ in ordered], [y for _, y in ordered], marker="o", label=label)
    axes.set(xlabel=across, ylabel=up)
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False)
    _save(figure, path)


def draw_points(points: Mapping[str, tuple[float, float]], path: Path, *, across: str, up: str) -> None:
    """Draw one named point each, such as accuracy against latency.

    Raises
    ------
    MissingDependencyError
        matplotlib is not installed.
    """
    plt = _pyplot()
    figure, axes = plt.subplots(figsize=(7, 4))
    for label, (x, y) in points.items():
        axes.scatter([x], [y])
        axes.annotate(label, (x, y), textcoords="offset points", xytext=(6, 4), fontsize=8)
    axes.set(xlabel=across, ylabel=up)
    axes.spines[["top", "right"]].set_visible(False)
    _save(figure, path)
