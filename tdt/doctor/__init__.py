"""Judging an installation: what is there, what it measures, what is wrong with it and what to do.

Knows every part that can be missing or broken, and imports none of them before it looks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdt.doors import door

if TYPE_CHECKING:
    from tdt.doctor.measuring import examine as examine
    from tdt.doctor.report import Report as Report
    from tdt.doctor.report import Verdict as Verdict

__getattr__, __all__ = door(
    __name__,
    {
        "measuring": "examine",
        "report": "Report Verdict",
    },
)
