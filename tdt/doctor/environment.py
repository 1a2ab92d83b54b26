"""Read what is installed on this machine, however broken it is."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from typing import TYPE_CHECKING

from tdt.doctor.packages import Package, floors, is_older, probe
from tdt.doctor.report import Environment

if TYPE_CHECKING:
    from collections.abc import Mapping

_RELEVANT = re.compile(
    r"(onnxruntime|cupy|nvidia-|tensorrt|numpy$|numba$|llvmlite$|onnx$|parakeet-tdt$|tdt$|librosa$|soundfile$|soxr$|av$)"
)
_NAMES = ("onnxruntime", "tdt", "cupy")


def read_environment() -> Environment:
    """Return what is installed on this machine."""
    from tdt.profiling import cpu_name
    from tdt.runtime import read_driver

    probed, packages = probe(), _distributions()
    runtime = probed["onnxruntime"]
    return Environment(
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.release()} {platform.machine()}",
        processor=cpu_name(),
        driver=read_driver(),
        runtime=runtime.version,
        runtime_cuda=str(runtime.facts.get("cuda", "")),
        providers=tuple(runtime.facts.get("providers", ())),
        packages={name: version for name, version in packages.items() if _RELEVANT.match(name)},
        owners=_owners(),
        broken={name: package.problem for name, package in probed.items() if package.problem},
        outdated=outdated(probed, packages, floors()),
        compiles=os.environ.get("NUMBA_DISABLE_JIT", "0") in {"", "0"},
    )


def outdated(
    probed: Mapping[str, Package], packages: Mapping[str, str], least: Mapping[str, str]
) -> dict[str, tuple[str, str]]:
    """Return the distributions that are older than they must be: name to version and least version.

    Parameters
    ----------
    probed : mapping of str to Package
        What the packages say of themselves, which counts more.
    packages : mapping of str to str
        What the installer says.
    least : mapping of str to str
    """
    versions = {name.replace("_", "-"): package.version for name, package in probed.items() if package.version}
    versions["onnxruntime-gpu"] = versions.get("onnxruntime", "")
    found = {name: versions.get(name) or packages.get(name, "") for name in least}
    old = {
        name: (version, least[name]) for name, version in found.items() if version and is_older(version, least[name])
    }
    if "onnxruntime-gpu" in old:
        old.pop("onnxruntime-gpu" if "onnxruntime-gpu" not in packages else "onnxruntime", None)
    return old


def _distributions() -> dict[str, str]:
    """Return the version of every installed distribution; one that is half removed has none."""
    found: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        try:
            found[str(distribution.metadata["Name"]).lower().replace("_", "-")] = distribution.version
        except Exception:  # noqa: BLE001, S112  # whatever is left of it
            continue
    return dict(sorted(found.items()))


def _owners() -> dict[str, tuple[str, ...]]:
    try:
        owners = importlib.metadata.packages_distributions()
    except Exception:  # noqa: BLE001  # a distribution without its metadata
        return {}
    return {name: tuple(sorted(set(owners.get(name, ())))) for name in _NAMES if name in owners}
