"""How many processors this process may use: those it may run on, within its container's time."""

from __future__ import annotations

import os
from pathlib import Path

from tdt.containers import control_groups


def usable_cores() -> int:
    """Return the processors this process may use: those it may run on, and no more than its container's time allows."""
    known = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    allowed = cpu_quota(Path("/"))
    return known if allowed is None else max(1, min(known, int(allowed)))


def cpu_quota(root: Path) -> float | None:
    """Return how many processors' time the control groups of this process allow; None where there is no limit.

    Two threads that share the time of one are stopped together when it is used up: they gain nothing.

    Parameters
    ----------
    root : Path
        Of the file system, `/`.
    """
    limits = (_limit(group) for group in control_groups(root, "cpu"))
    return min((limit for limit in limits if limit is not None), default=None)


def _limit(group: Path) -> float | None:
    """Return the limit of one group, in processors."""
    try:
        if (group / "cpu.max").is_file():
            quota, period = (group / "cpu.max").read_text(encoding="ascii").split()[:2]
        else:
            quota = (group / "cpu.cfs_quota_us").read_text(encoding="ascii")
            period = (group / "cpu.cfs_period_us").read_text(encoding="ascii")
        return int(quota) / int(period) if int(quota) > 0 < int(period) else None
    except (OSError, ValueError):  # "max", or not there
        return None
