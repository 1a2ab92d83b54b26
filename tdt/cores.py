"""How many processors this process may use: those it may run on, within its container's time."""

from __future__ import annotations

import os
from pathlib import Path


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
    limits = []
    try:
        listed = (root / "proc/self/cgroup").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    for line in listed:
        _, controllers, place = [*line.split(":", 2), "", ""][:3]
        mounted = root / "sys/fs/cgroup"
        if controllers:
            if "cpu" not in controllers.split(","):
                continue
            mounted = mounted / controllers
        # A container sees its own group as the root; its host's path then leads nowhere.
        groups = [place.strip("/"), ""]
        while "/" in groups[-2]:
            groups.insert(-1, groups[-2].rpartition("/")[0])
        limits += [limit for group in groups if (limit := _limit(mounted / group)) is not None]
    return min(limits, default=None)


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
