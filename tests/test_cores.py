"""How many processors this process may use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tdt import cores

from .fake_system import write_system

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("listed", "files", "expected"),
    [
        ("0::/", {}, None),
        ("0::/", {"cpu.max": "max 100000"}, None),
        ("0::/", {"cpu.max": "150000 100000"}, 1.5),
        ("0::/docker/abc", {"cpu.max": "50000 100000"}, 0.5),  # a container that sees its host's path
        ("0::/a/b", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "max 100000"}, 3.0),  # a limit further up counts
        ("0::/a/b", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "200000 100000"}, 2.0),
        ("3:cpu:/x", {"cpu/x/cpu.cfs_quota_us": "250000", "cpu/x/cpu.cfs_period_us": "100000"}, 2.5),
        ("3:cpu,cpuacct:/x", {"cpu,cpuacct/x/cpu.cfs_quota_us": "-1", "cpu,cpuacct/x/cpu.cfs_period_us": "9"}, None),
        ("4:memory:/x", {"memory/x/cpu.max": "100000 100000"}, None),
        ("0::/", {"cpu.max": "nonsense"}, None),
        ("no line of that kind", {"cpu.max": "100000 0"}, None),
    ],
)  # fmt: skip
def test_a_container_has_no_more_cores_than_its_time_allows(
    tmp_path: Path, listed: str, files: dict[str, str], expected: float | None
) -> None:
    write_system(tmp_path, listed, files)
    assert cores.cpu_quota(tmp_path) == expected
    assert cores.cpu_quota(tmp_path / "nowhere") is None


def test_threads_are_no_more_than_the_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda _process: set(range(8)), raising=False)
    for quota, expected in ((None, 8), (0.5, 1), (2.9, 2), (64.0, 8)):
        monkeypatch.setattr(cores, "cpu_quota", lambda _root, quota=quota: quota)
        assert cores.usable_cores() == expected
