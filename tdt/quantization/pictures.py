"""Pictures of a sensitivity ranking and of a comparison (extra `plot`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdt.dependencies import extra

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tdt.quantization.sensitivity import Ranked

_COLOURS = {"feed_forward": "#4477aa", "attention": "#cc6677", "pointwise": "#228833"}
_OTHER = "#888888"
_MOST_BARS = 60


def _figure(width: float, height: float) -> tuple[Any, Any]:
    with extra("matplotlib", "A picture", "pip install 'parakeet-tdt[plot]'"):
        from matplotlib.figure import Figure
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def draw_sensitivity(ranked: Sequence[Ranked], path: Path) -> None:
    """Draw the damage of each group alone, the most harmful on top; the file name's ending says the format.

    Raises
    ------
    MissingDependencyError
        Without matplotlib.
    """
    shown = list(ranked[:_MOST_BARS])
    figure, axes = _figure(8.0, 1.2 + 0.22 * len(shown))
    places = range(len(shown))
    errors = [100 * item.damage.error for item in shown]
    axes.barh(places, errors, color=[_COLOURS.get(item.part, _OTHER) for item in shown])
    axes.set_yticks(places, [item.name for item in shown], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("relative error of the encoder output with this group alone in int8, %")
    for place, item in zip(places, shown, strict=True):
        if item.damage.tokens_changed > 0:
            axes.text(
                errors[place], place, f" {100 * item.damage.tokens_changed:.1f} % tokens", va="center", fontsize=6
            )
    axes.set_title(f"Sensitivity to int8: {len(ranked)} groups")
    figure.savefig(path)


def draw_lengths(rows: Sequence[tuple[str, Sequence[float], Sequence[float]]], path: Path) -> None:
    """Draw encoder error against clip length, one line a variant: (name, seconds, relative errors).

    Raises
    ------
    MissingDependencyError
        Without matplotlib.
    """
    figure, axes = _figure(7.0, 4.2)
    for name, seconds, errors in rows:
        axes.plot(seconds, [100 * error for error in errors], marker="o", label=name)
    axes.set_xlabel("clip length, s")
    axes.set_ylabel("relative error of the encoder output, %")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)
    axes.set_title("Encoder error by clip length")
    figure.savefig(path)
