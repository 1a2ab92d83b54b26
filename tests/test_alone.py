"""Nothing phones home: no connection is made and no file written outside our own folders, watched by strace."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import tdt

ROOT = Path(__file__).resolve().parents[1]
MODEL = Path(tdt.__file__).parent / "models" / "parakeet-tdt-tiny"
CLIP = Path(__file__).parent / "data" / "goldens" / "15_hello_world.flac"
CALLS = "socket,connect,open,openat,creat,mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,link,linkat,symlink"
_NETWORK = re.compile(r"\b(?:socket|connect)\(.*?AF_(?!UNIX|NETLINK)\w+")
_WRITING = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|\b(?:creat|mkdir|mkdirat|rename\w*|unlink\w*|link\w*|symlink)\(")
_PATHS = re.compile(r'"([^"]*)"')
# Compiled code stands beside its sources where these can be written to.
_OURS = re.compile(r"/(?:kernels|tdt/kernels)(?:/\w+)*/__pycache__(?:/|$)|^/dev/(?:null|tty|shm/)|^/proc/self/")


class Watched(NamedTuple):
    """What a program did: its output, connections, and files written to outside the folders that it was given."""

    out: str
    connections: list[str]
    outside: list[str]


def watched(folder: Path, *words: str) -> Watched:
    """Run a program under strace with home, caches and temporary files inside a folder."""
    trace = folder / "trace"
    given = {"HOME": "home", "XDG_CACHE_HOME": "cache", "TMPDIR": "tmp"}
    for name in given.values():
        (folder / name).mkdir()
    quiet = {name: value for name, value in os.environ.items() if not name.startswith(("ORT_", "HF_", "NUMBA_"))}
    ran = subprocess.run(
        ["strace", "-f", "-qq", "-y", "-s", "4096", "-e", f"trace={CALLS}", "-o", str(trace), *words],
        env={**quiet, **{name: str(folder / part) for name, part in given.items()}, "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=folder / "tmp",
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    lines = [line for line in trace.read_text(errors="replace").splitlines() if "= -1 E" not in line]
    writing = [path for line in lines if _WRITING.search(line) for path in _PATHS.findall(line)]
    outside = [
        path
        for path in writing
        if path.startswith("/") and not path.startswith(f"{folder}/") and not _OURS.search(path)
    ]
    return Watched(ran.stdout, [line for line in lines if _NETWORK.search(line)], outside)


def can_watch() -> bool:
    """Say whether strace is there and may watch: some containers forbid it."""
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-f", "-o", os.devnull, "true"], capture_output=True, check=False).returncode == 0


pytestmark = pytest.mark.skipif(not can_watch(), reason="strace is not installed, or may not watch here")


@pytest.mark.parametrize(
    "words",
    [
        ("transcribe", str(CLIP), "--model", str(MODEL)),
        ("listen", str(CLIP), "--model", str(MODEL), "--format", "text"),
        ("inspect", str(MODEL)),
    ],
    ids=lambda words: words[0],
)
def test_a_command_makes_no_connection_and_writes_nowhere_else(words: tuple[str, ...], tmp_path: Path) -> None:
    found = watched(tmp_path, sys.executable, "-m", "tdt", *words)
    assert found.out
    assert not found.connections
    assert not found.outside


def test_the_watch_sees_what_it_is_there_for(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    code = (
        "import socket\nfrom pathlib import Path\n"
        "with socket.socket() as made:\n    made.connect_ex(('127.0.0.1', 9))\n"
        f"Path({str(elsewhere)!r}).write_text('x')\nprint('done')"
    )
    inside = tmp_path / "inside"
    inside.mkdir()
    found = watched(inside, sys.executable, "-c", code)
    assert found.connections
    assert found.outside == [str(elsewhere)]
