"""How much memory this process may still take: what the machine has to give, within its container's bound."""

from __future__ import annotations

from pathlib import Path

from tdt.containers import control_groups

UNKNOWN_BYTES = 4 << 30


def free_memory_bytes(root: Path = Path("/")) -> int:
    """Return the memory that can be had now; 4 GiB where the system does not say.

    Files that the system keeps in memory count as free: they give way. (`SC_AVPHYS_PAGES` leaves them out, and says
    next to nothing on a machine that has read much.)

    Parameters
    ----------
    root : Path
        Of the file system.
    """
    machine_kb = _number(root / "proc/meminfo", "MemAvailable:")  # what Linux reckons can be had without swapping
    bounds = [left for group in control_groups(root, "memory") if (left := _left(group)) is not None]
    return max(0, min([UNKNOWN_BYTES if machine_kb is None else machine_kb << 10, *bounds]))


def _left(group: Path) -> int | None:
    """Return what a control group has left, its files' share included; None where it has no limit."""
    second = (group / "memory.max").is_file()
    most, used = ("memory.max", "memory.current") if second else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    try:
        limit, taken = (int((group / name).read_text(encoding="ascii")) for name in (most, used))
    except (OSError, ValueError):  # "max", or not there
        return None
    return limit - taken + (_number(group / "memory.stat", "inactive_file" if second else "total_inactive_file") or 0)


def _number(path: Path, key: str) -> int | None:
    """Return what a file of lines of a key and a number says; None where it says nothing."""
    try:
        words = [line.split() for line in path.read_text(encoding="ascii", errors="replace").splitlines()]
        return next(int(line[1]) for line in words if line and line[0] == key)
    except (OSError, ValueError, IndexError, StopIteration):
        return None
