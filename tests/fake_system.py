"""Files by which Linux tells a process of its machine and its container."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def write_system(root: Path, listed: str, groups: Mapping[str, object]) -> None:
    """Write the list of a process's control groups, and files of theirs by name."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(f"{listed}\n")
    for name, content in groups.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
