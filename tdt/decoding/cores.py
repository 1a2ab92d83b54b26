"""How a batch is shared out among threads, and which processor cores are idle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tdt.cores import usable_cores


def idle_cores() -> int:
    """Return about how many cores nothing runs on beside the caller's; all where nobody says."""
    return usable_cores() - _running()


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
