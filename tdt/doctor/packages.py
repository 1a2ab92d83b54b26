"""Whether the packages that are needed can be used, found out in another process: importing one may end it."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tdt.kernels.vector import folders

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Import name -> what must work. In the order in which they build on one another.
PROBES: dict[str, str] = {
    "numpy": "(m.ones((2, 2), m.float32) @ m.ones(2, m.float32)).sum()",
    "numba": "m.njit(lambda x: x + 1)(1)",
    "onnx": "m.ModelProto(), m.load",
    "onnxruntime": "m.InferenceSession, m.SessionOptions(), m.get_available_providers()",
    "soundfile": "m.__libsndfile_version__, m.SoundFile, m.available_formats()",
    "soxr": "m.ResampleStream(8000, 16000, 1)",
    "av": "m.open, m.library_versions",
    "librosa": "m.filters",
    "huggingface_hub": "m.hf_hub_download, m.HfApi",
    "rich": "__import__('rich.progress').progress.Progress",
}
# Where one of these is broken, so is what is built on it.
BUILT_ON: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("numba", "onnx", "onnxruntime", "soundfile", "soxr"), ("numpy",)),
    "librosa": ("numpy", "numba", "soundfile", "soxr"),
}
# Without one of these nothing can be measured.
NEEDED_TO_RUN = ("numpy", "numba", "onnx", "onnxruntime", "soundfile", "soxr")
_SECONDS = 120.0

# Whatever the packages print goes elsewhere: the answers have the child's standard output to themselves.
_SCRIPT = """
import json, os, sys
names, path = json.loads(sys.stdin.readline())
sys.path[:] = path
out = os.fdopen(os.dup(1), "w", encoding="utf-8")
os.dup2(2, 1)
def say(fact):
    out.write(json.dumps(fact) + chr(10))
    out.flush()
for name, probe in names:
    say({"begun": name})
    fact = {"name": name}
    try:
        m = __import__(name)
        fact["version"] = str(getattr(m, "__version__", ""))
        eval(probe)
        if name == "onnxruntime":
            fact["cuda"] = str(getattr(m, "cuda_version", "") or "")
            fact["providers"] = list(m.get_available_providers())
    except BaseException as error:
        fact["problem"] = f"{type(error).__name__}: {error}"[:1000]
    say(fact)
os._exit(0)
"""


@dataclass(frozen=True, slots=True)
class Package:
    """What is known of a package.

    Parameters
    ----------
    name : str
        As it is imported.
    version : str
        As it says itself; empty where it does not.
    problem : str
        Why it cannot be used; empty where it can.
    facts : mapping of str to object
        What else it said.
    """

    name: str
    version: str = ""
    problem: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


def probe(names: Sequence[str] = tuple(PROBES)) -> dict[str, Package]:
    """Import packages and use each a little, in a process of its own.

    Parameters
    ----------
    names : sequence of str, optional
        Of :data:`PROBES`; all by default.

    Returns
    -------
    dict of str to Package
    """
    found: dict[str, Package] = {}
    while left := [name for name in names if name not in found]:
        answers, end = _ask(left)
        begun = [answer["begun"] for answer in answers if "begun" in answer]
        for answer in answers:
            if "name" in answer:
                found[answer["name"]] = _package(answer)
        silent = [name for name in begun if name not in found]
        if silent:  # it took the process with it, and those after it have had no turn
            found[silent[0]] = Package(silent[0], problem=f"importing or using it {end}")
        elif any(name not in found for name in left):
            found |= {name: Package(name, problem=f"the check {end}") for name in left if name not in found}
    return found


def _package(answer: Mapping[str, Any]) -> Package:
    facts = {key: answer[key] for key in ("cuda", "providers") if key in answer}
    problem = " ".join(str(answer.get("problem", "")).split())
    return Package(answer["name"], answer.get("version", ""), problem, facts)


def _ask(names: Sequence[str]) -> tuple[list[dict[str, Any]], str]:
    """Return the answers of one process, and in words how it ended."""
    given = json.dumps([[(name, PROBES[name]) for name in names], sys.path]) + "\n"
    given_by_us = {"ORT_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    kept = folders.for_others()
    if kept is not None:  # librosa must keep what it compiles, also where there is no home: as we let it
        given_by_us["NUMBA_CACHE_DIR"] = str(kept)
    try:
        done = subprocess.run(
            [sys.executable, "-c", _SCRIPT],
            input=given.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=given_by_us | dict(os.environ),
            timeout=_SECONDS,
            check=False,
        )
        said, end = done.stdout, f"ends the process ({_status(done.returncode)})"
    except subprocess.TimeoutExpired as error:
        said, end = error.stdout or b"", f"did not come to an end within {_SECONDS:.0f} s"
    except OSError as error:
        said, end = b"", f"cannot be started: {error}"
    return [json.loads(line) for line in said.decode(errors="replace").splitlines() if line.endswith("}")], end


def _status(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"status {code}"


def floors(distribution: str = "parakeet-tdt") -> dict[str, str]:
    """Return the least version of each distribution that ours asks for; empty where it is not installed as one."""
    try:
        asked = importlib.metadata.requires(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    found = (re.match(r"([\w.-]+)(?:\[[^]]*\])?\s*>=\s*([\d.]+)", line) for line in asked if "extra ==" not in line)
    return {match.group(1).lower().replace("_", "-"): match.group(2) for match in found if match}


def is_older(version: str, least: str) -> bool:
    """Say whether a version is below another, by their leading numbers."""

    def numbers(text: str) -> list[int]:
        leading = re.match(r"\d+(\.\d+)*", text)
        return [int(part) for part in leading.group().split(".")] if leading else []

    have, want = numbers(version), numbers(least)
    width = max(len(have), len(want))
    return bool(have) and have + [0] * (width - len(have)) < want + [0] * (width - len(want))
