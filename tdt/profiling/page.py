"""One self-contained HTML page of a profile: bar, tables, environment; nothing is loaded from anywhere."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from tdt.profiling.picture import COLOURS, OTHER_COLOUR
from tdt.profiling.tables import Table, to_html

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdt.profiling.breakdown import Breakdown, StageRow

_STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }
body { max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .15rem .7rem; text-align: right; border-bottom: 1px solid #8884 }
.left1 :is(th, td):nth-child(-n+1), .left2 :is(th, td):nth-child(-n+2), .left4 :is(th, td):nth-child(-n+4),
.words-last :is(th, td):last-child { text-align: left }
svg { width: 100%; height: 3rem } .key { display: inline-block; margin-right: 1rem }
.key i { display: inline-block; width: .8em; height: .8em; margin-right: .35em }
footer { margin-top: 2rem; font-size: .85rem; opacity: .75 }
"""


def profile_page(title: str, profile: Breakdown, tables: Sequence[Table], footer: str) -> str:
    """Return the page.

    Parameters
    ----------
    title : str
        What was profiled.
    profile : Breakdown
        Drawn as one bar.
    tables : sequence of Table
        Shown below it in order.
    footer : str
        Environment and command.
    """
    body = "".join(to_html(table) for table in tables)
    keys = "".join(
        f'<span class="key"><i style="background:{_colour(stage)}"></i>{html.escape(stage.name)} {stage.share:.1%}'
        "</span>"
        for stage in profile.stages
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{html.escape(title)}</h1>{_bar(profile)}<p>{keys}</p>{body}"
        f"<footer>{html.escape(footer)}</footer></body></html>\n"
    )


def _colour(stage: StageRow) -> str:
    return COLOURS.get(stage.name, OTHER_COLOUR)


def _bar(profile: Breakdown) -> str:
    """Return the stacked bar as inline SVG; each part names itself when pointed at."""
    parts, left = [], 0.0
    for stage in profile.stages:
        width = max(stage.share, 0.0) * 1000
        label = html.escape(f"{stage.name}: {stage.total_ms:.2f} ms, {stage.share:.1%}, clock {stage.clock}")
        shape = f'x="{left:.2f}" y="0" width="{width:.2f}" height="40" fill="{_colour(stage)}"'
        parts.append(f"<rect {shape}><title>{label}</title></rect>")
        left += width
    bars = "".join(parts)
    return f'<svg viewBox="0 0 1000 40" preserveAspectRatio="none" role="img" aria-label="time by stage">{bars}</svg>'
