"""The control groups of this process: what a container lets it have."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def control_groups(root: Path, controller: str) -> list[Path]:
    """Return the folders of the groups that limit this process, its own first; some may not be there.

    Parameters
    ----------
    root : Path
        Of the file system, `/`.
    controller : str
        Such as "cpu" or "memory": hierarchies of version 1 for others are left out.
    """
    try:
        listed = (root / "proc/self/cgroup").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []
    found: list[Path] = []
    for line in listed:
        _, controllers, place = [*line.split(":", 2), "", ""][:3]
        mounted = root / "sys/fs/cgroup"
        if controllers:
            if controller not in controllers.split(","):
                continue
            mounted = mounted / controllers
        # A container sees its own group as the root; its host's path then leads nowhere.
        groups = [place.strip("/"), ""]
        while "/" in groups[-2]:
            groups.insert(-1, groups[-2].rpartition("/")[0])
        found += [mounted / group for group in groups]
    return found
