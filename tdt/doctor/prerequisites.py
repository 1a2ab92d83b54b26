"""What is wrong with an environment: drivers, CUDA majors, distributions that overwrite each other. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tdt.doctor.packages import BUILT_ON
from tdt.doctor.report import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tdt.doctor.report import Environment

_RUNTIMES = ("onnxruntime-gpu", "onnxruntime")
_CUDA_LIBRARIES = ("nvidia-cublas", "nvidia-cuda-runtime", "nvidia-cudnn")
_TENSORRT_MAJOR = 10  # what ONNX Runtime's wheels link


def findings(environment: Environment) -> tuple[Finding, ...]:
    """Return what is worth saying, errors first."""
    found = [
        *_broken(environment),
        *_owners(environment),
        *_majors(environment),
        *_driver(environment),
        *_libraries(environment),
        *_tensorrt(environment),
    ]
    order = ("error", "warning", "note")
    return tuple(sorted(found, key=lambda finding: order.index(finding.severity)))


def cuda_major(version: str) -> int | None:
    """Return the major of a CUDA version such as 13.0."""
    found = re.match(r"(\d+)", version)
    return int(found.group(1)) if found else None


def package_major(name: str) -> int | None:
    """Return the CUDA major that a distribution name carries: 12 for cupy-cuda12x and tensorrt-cu12."""
    found = re.search(r"(?:-cuda|-cu)(\d{2})", name)
    return int(found.group(1)) if found else None


def extra(environment: Environment) -> str:
    """Return the extra of this package that fits the installed ONNX Runtime."""
    major = cuda_major(environment.runtime_cuda)
    return f"cuda{major}" if major else "cuda13"


def _broken(environment: Environment) -> Iterator[Finding]:
    consequences = []
    for name, problem in environment.broken.items():
        if any(base in environment.broken or base in environment.outdated for base in BUILT_ON.get(name, ())):
            consequences.append(name)
        elif name not in environment.outdated:
            yield Finding("error", f"{name} cannot be used: {problem}. {_cure(environment, name, problem)}")
    if consequences:
        yield Finding("error", f"{', '.join(consequences)}: not usable either, most likely for the same reason.")
    for name, (version, least) in environment.outdated.items():
        yield Finding("error", f"{name} {version} is too old. Update it: pip install --upgrade '{name}>={least}'.")
    if not environment.compiles:
        yield Finding(
            "error",
            "NUMBA_DISABLE_JIT is set: it turns the compiler off that makes features and decoder. Unset it.",
        )


def _cure(environment: Environment, name: str, problem: str) -> str:
    """Return what mends a package."""
    names = {"numba": "numba llvmlite", "huggingface_hub": "huggingface-hub"}
    if name == "onnxruntime":
        wheels = [wheel for wheel in _RUNTIMES if wheel in environment.packages]
        wanted = wheels[0] if len(wheels) == 1 else _RUNTIMES[0]
        return f"Remove what is left of it, pip uninstall -y {' '.join(_RUNTIMES)}, and then: pip install {wanted}."
    if problem.startswith("ModuleNotFoundError") and f"'{name}'" in problem:
        return f"Install it: pip install {names.get(name, name)}."
    library = " (on a platform without a wheel: apt-get install libsndfile1)" if name == "soundfile" else ""
    return f"Install it anew{library}: pip install --force-reinstall {names.get(name, name)}."


def _owners(environment: Environment) -> Iterator[Finding]:
    owners_of = dict(environment.owners)
    wheels = tuple(wheel for wheel in _RUNTIMES if wheel in environment.packages)
    if len(wheels) > 1:  # also where their lists of files are gone
        owners_of["onnxruntime"] = tuple({*owners_of.get("onnxruntime", ()), *wheels})
    for name, owners in owners_of.items():
        if len(set(owners)) > 1:
            listed = " and ".join(sorted(set(owners)))
            keep = "parakeet-tdt" if name == "tdt" else "the one you want"
            yield Finding(
                "error",
                f"{listed} both install the import name {name!r} and overwrite each other's files. "
                f"Uninstall all of them, then install {keep} alone.",
            )


def _majors(environment: Environment) -> Iterator[Finding]:
    runtime = cuda_major(environment.runtime_cuda)
    cupy = {name: package_major(name) for name in environment.packages if name.startswith("cupy-cuda")}
    if len(cupy) > 1:
        yield Finding("error", f"{' and '.join(sorted(cupy))} are both installed. Uninstall all but one.")
    for name, major in cupy.items():
        if runtime and major and major != runtime:
            yield Finding(
                "error",
                f"ONNX Runtime {environment.runtime} is built for CUDA {runtime}, but {name} is for CUDA {major}: two "
                f"CUDA majors in one process. Install parakeet-tdt[{extra(environment)}] into a fresh environment.",
            )


def _driver(environment: Environment) -> Iterator[Finding]:
    driver = environment.driver
    runtime = cuda_major(environment.runtime_cuda)
    if not driver.cards:
        yield Finding(
            "note", f"No NVIDIA card to use ({driver.problem or 'none was found'}): only the CPU can be used."
        )
        return
    if runtime is None:
        yield Finding(
            "warning",
            f"There is a card ({driver.cards[0].name}), but the installed ONNX Runtime {environment.runtime} has no "
            "CUDA provider. Replace it: pip uninstall onnxruntime, then pip install 'parakeet-tdt[cuda13]'.",
        )
    elif driver.cuda is not None and driver.cuda[0] < runtime:
        yield Finding(
            "error",
            f"The driver {driver.version} serves CUDA {driver.cuda[0]}.{driver.cuda[1]} at most, but ONNX Runtime "
            f"{environment.runtime} needs CUDA {runtime}. Update the driver, or install parakeet-tdt[cuda12].",
        )


def _libraries(environment: Environment) -> Iterator[Finding]:
    runtime = cuda_major(environment.runtime_cuda)
    if not environment.driver.cards or runtime is None:
        return
    missing = [name for name in _CUDA_LIBRARIES if not _has(environment.packages, name, runtime)]
    if missing:
        yield Finding(
            "note",
            f"Not installed from wheels: {', '.join(missing)} for CUDA {runtime}. Where the system has no such "
            f"libraries either, the CUDA provider cannot start: pip install 'parakeet-tdt[{extra(environment)}]'.",
        )


def _has(packages: Mapping[str, str], name: str, major: int) -> bool:
    # Up to CUDA 12 the wheels are called nvidia-cublas-cu12, from 13 on nvidia-cublas with the version 13.x.
    if f"{name}-cu{major}" in packages:
        return True
    return name in packages and (name == "nvidia-cudnn" or cuda_major(packages[name]) == major)


def _tensorrt(environment: Environment) -> Iterator[Finding]:
    runtime = cuda_major(environment.runtime_cuda)
    for name, version in environment.packages.items():
        if not re.fullmatch(r"tensorrt(-cu\d+)?", name):
            continue
        major = cuda_major(version)
        if major is not None and major != _TENSORRT_MAJOR:
            yield Finding(
                "warning",
                f"{name} {version} is installed, but ONNX Runtime's TensorRT provider links TensorRT "
                f"{_TENSORRT_MAJOR}. Install parakeet-tdt[{extra(environment)}-tensorrt].",
            )
        own = package_major(name)
        if runtime and own and own != runtime:
            yield Finding(
                "error",
                f"{name} is for CUDA {own}, but ONNX Runtime {environment.runtime} for CUDA {runtime}. "
                f"Install parakeet-tdt[{extra(environment)}-tensorrt] into a fresh environment.",
            )
