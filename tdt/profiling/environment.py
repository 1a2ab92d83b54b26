"""What a figure was measured on: machine, instruction set, versions, model files by hash."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tdt.cores import usable_cores
from tdt.dependencies import installed
from tdt.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable

_PACKAGES = (
    "numpy",
    "numba",
    "onnxruntime-gpu",
    "onnxruntime",
    "onnx",
    "librosa",
    "soundfile",
    "cupy-cuda12x",
    "cupy-cuda13x",
    "tensorrt-cu12",
    "tensorrt-cu13",
    "onnx-asr",
    "sherpa-onnx",
)

# What decides the speed of 8-bit and float32 matrix products, the widest first.
_INSTRUCTION_SETS = ("amx_int8", "avx512_vnni", "avx512f", "avx_vnni", "avx2", "asimddp", "asimd", "sse4_2")


def environment_block() -> dict[str, Any]:
    """Return the environment block of a report; the keys are the JSON's, absent packages are left out."""
    return {
        "tdt": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": cpu_name(),
        "cores": usable_cores(),
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "memory_bytes": _memory_bytes(),
        "instruction_sets": instruction_sets(),
        "packages": installed(_PACKAGES),
    }


def describe(block: dict[str, Any]) -> str:
    """Return the environment in one line, for the foot of a table."""
    packages = block["packages"]
    ort = packages.get("onnxruntime-gpu") or packages.get("onnxruntime", "?")
    sets = ", ".join(name for name in block["instruction_sets"][:2]) or "no SIMD flags read"
    commit = f" ({block['commit'][:8]})" if block["commit"] else ""
    return (
        f"{block['cpu']}, {block['cores']} cores, {sets}; tdt {block['tdt']}{commit}, onnxruntime {ort}, "
        f"numpy {packages.get('numpy', '?')}, numba {packages.get('numba', '?')}, Python {block['python']}"
    )


def cpu_name() -> str:
    """Return the processor's own name where the system tells it."""
    return _cpuinfo().get("model name") or platform.processor() or platform.machine()


def instruction_sets() -> list[str]:
    """Return the vector instruction sets of this processor that matter here, the widest first."""
    information = _cpuinfo()
    flags = f"{information.get('flags', '')} {information.get('Features', '')}".split()
    return [name for name in _INSTRUCTION_SETS if name in flags]


def _cpuinfo() -> dict[str, str]:
    """Return the first processor's entry of /proc/cpuinfo; empty where there is none."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n", 1)[0].splitlines()
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _commit() -> str | None:
    """Return the checkout's commit, with + where files were changed; None outside a checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return commit + ("+" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(root: Path, *words: str) -> str:
    command = ["git", "-C", str(root), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


def file_hashes(paths: Iterable[Path]) -> dict[str, str]:
    """Return file name → first 16 digits of its SHA-256, external weight files beside a graph included."""
    hashes = {}
    for path in paths:
        for part in (path, path.with_name(path.name + ".data"), path.with_suffix(".weights")):
            if part.is_file():
                with part.open("rb") as stream:
                    hashes[part.name] = hashlib.file_digest(stream, "sha256").hexdigest()[:16]
    return hashes


def invocation() -> str:
    """Return the command as the user typed it, for the report that it makes."""
    script = Path(sys.argv[0])
    inside_package = script.is_relative_to(Path(__file__).parents[1])
    return shlex.join(["tdt" if inside_package else script.name, *sys.argv[1:]])
