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
    machine = _of_machine(root)
    bounds = [left for group in control_groups(root, "memory") if (left := _left(group)) is not None]
    return max(0, min([UNKNOWN_BYTES if machine is None else machine, *bounds]))


def _of_machine(root: Path) -> int | None:
    """Return what Linux reckons can be had without swapping."""
    try:
        lines = (root / "proc/meminfo").read_text(encoding="ascii", errors="replace").splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, IndexError, StopIteration):
        return None


def _left(group: Path) -> int | None:
    """Return what a control group has left, its files' share included; None where it has no limit."""
    second = (group / "memory.max").is_file()
    most, used = ("memory.max", "memory.current") if second else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    try:
        limit, taken = (int((group / name).read_text(encoding="ascii")) for name in (most, used))
        files = _files(group, "inactive_file " if second else "total_inactive_file ")
    except (OSError, ValueError):  # "max", or not there
        return None
    return limit - taken + files


def _files(group: Path, key: str) -> int:
    try:
        lines = (group / "memory.stat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(key)), 0)
