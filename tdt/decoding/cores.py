"""Which processor cores there are, which are idle, and how a batch is shared out among threads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np


def cores() -> int:
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


def idle_cores() -> int:
    """Return about how many cores nothing runs on beside the caller's; all where nobody says."""
    return cores() - _running()


def _running() -> int:
    """Return how many threads of the machine are running or ready to, this one included; one where nobody says."""
    try:
        with Path("/proc/loadavg").open(encoding="ascii") as stream:
            return int(stream.read().split()[3].partition("/")[0])
    except (OSError, ValueError, IndexError):
        return 1


def teams_for(batch: int, threads: int, idle: int, most: int, *, helped: bool) -> tuple[int, int]:
    """Decide how a batch is worked on by teams that share rows of weights.

    Parameters
    ----------
    batch, threads : int
        Utterances; most threads that may work.
    idle : int
        Cores with nothing to do beside the caller's. They say how many teams there are; whether each has helpers is
        found out by measuring.
    most : int
        Most threads in a team.
    helped : bool
        Whether help is wanted.

    Returns
    -------
    parts : int
        Into how many parts the batch is cut, each for a team.
    helpers : int
        How many threads assist the one that works on a part.
    """
    workers = min(threads, max(1, idle + 1))
    parts = max(1, min(batch, -(-workers // most)))
    return parts, min(most, threads // parts) - 1 if helped else 0


def shares_of(lengths: Any, threads: int) -> list[Any]:
    """Split a batch into as many shares as there are threads, of about equal total length."""
    count = max(1, min(threads, len(lengths)))
    shares: list[list[int]] = [[] for _ in range(count)]
    totals = [0] * count
    for u in np.argsort(-lengths, kind="stable").tolist():
        least = totals.index(min(totals))
        shares[least].append(u)
        totals[least] += max(1, int(lengths[u]))
    return [np.asarray(share, np.int64) for share in shares]
