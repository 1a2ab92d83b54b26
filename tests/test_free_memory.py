"""How much memory this process may still take."""

from __future__ import annotations

from pathlib import Path

import pytest

from tdt.free_memory import UNKNOWN_BYTES, free_memory_bytes

from .fake_system import write_system

GIB = 1 << 30
# A machine that has read much: little is free, nearly all can be had.
BUSY = f"MemTotal: {64 << 20} kB\nMemFree: {200 << 10} kB\nMemAvailable: {40 << 20} kB\nCached: {39 << 20} kB\n"


@pytest.mark.parametrize(
    ("meminfo", "listed", "files", "expected"),
    [
        (BUSY, "", {}, 40 * GIB),
        (None, "", {}, UNKNOWN_BYTES),
        ("MemTotal: nonsense", "", {}, UNKNOWN_BYTES),
        ("MemAvailable: much", "", {}, UNKNOWN_BYTES),
        (BUSY, "0::/", {"memory.max": "max", "memory.current": "5"}, 40 * GIB),
        (BUSY, "0::/", {"memory.max": 8 * GIB, "memory.current": 3 * GIB}, 5 * GIB),
        (BUSY, "0::/", {"memory.max": 8 * GIB, "memory.current": 3 * GIB,
                        "memory.stat": f"anon 7\ninactive_file {2 * GIB}\n"}, 7 * GIB),
        (BUSY, "0::/a/b", {"a/memory.max": 2 * GIB, "a/memory.current": GIB, "a/b/memory.max": "max"}, GIB),
        (BUSY, "0::/docker/x", {"memory.max": 2 * GIB, "memory.current": 3 * GIB}, 0),
        (BUSY, "4:memory:/x", {"memory/x/memory.limit_in_bytes": 4 * GIB, "memory/x/memory.usage_in_bytes": GIB,
                               "memory/x/memory.stat": f"inactive_file 9\ntotal_inactive_file {GIB}\n"}, 4 * GIB),
        (BUSY, "4:cpu:/x", {"cpu/x/memory.max": 5, "cpu/x/memory.current": 1}, 40 * GIB),
        (None, "0::/", {"memory.max": GIB, "memory.current": 0}, GIB),
    ],
)  # fmt: skip
def test_what_can_be_had(
    tmp_path: Path, meminfo: str | None, listed: str, files: dict[str, object], expected: int
) -> None:
    write_system(tmp_path, listed, files)
    if meminfo is not None:
        (tmp_path / "proc/meminfo").write_text(meminfo)
    assert free_memory_bytes(tmp_path) == expected


def test_this_machine_has_some() -> None:
    assert 0 < free_memory_bytes() < 1 << 50
    if Path("/proc/meminfo").is_file():
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        assert free_memory_bytes() <= int(lines["MemTotal"].split()[0]) << 10
