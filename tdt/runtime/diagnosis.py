"""Why a device provider does not start, and what to do: from facts to a sentence."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tdt.errors import ProviderError

if TYPE_CHECKING:
    from tdt.runtime.backend import Backend
    from tdt.runtime.driver import Driver

# Oldest compute capability that the wheels' kernels are compiled for.
_OLDEST_CAPABILITY = (7, 5)
_DRIVERS = {12: "525", 13: "580"}  # first Linux driver branch of a CUDA major


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known when a provider does not start.

    Parameters
    ----------
    listed : bool
        Whether the installed ONNX Runtime was built with the provider.
    cuda_major : int
        CUDA major that ONNX Runtime was built for; 0 where unknown.
    driver : Driver
    load_error : str
        What the system's loader says of the provider's library; empty where it loads.
    cupy : str
        Name of the installed CuPy distribution, such as cupy-cuda12x; empty for none.
    runtime_error : str
        What ONNX Runtime itself said.
    """

    listed: bool
    cuda_major: int
    driver: Driver
    load_error: str = ""
    cupy: str = ""
    runtime_error: str = ""


def explain(backend: Backend, facts: Facts) -> ProviderError:
    """Return the error that names the cause and the cure."""
    cause, cure = _cause(backend, facts)
    return ProviderError(f"{backend} cannot start: {cause}. {cure} Nothing falls back to the CPU by itself.")


def _cause(backend: Backend, facts: Facts) -> tuple[str, str]:
    major = facts.cuda_major or 13
    extra = f"cuda{major}-tensorrt" if backend.provider == "tensorrt" else f"cuda{major}"
    install = f'Install it with: pip install "parakeet-tdt[{extra}]".'
    if not facts.listed:
        return (
            f"the installed onnxruntime has no {backend.provider} provider (was plain onnxruntime installed as well?)",
            (
                "Exactly one may own the name: pip uninstall -y onnxruntime onnxruntime-gpu, then "
                f'pip install "parakeet-tdt[{extra}]".'
            ),
        )
    missing = re.search(r"(lib[\w.+-]+\.so[\w.]*|\w+\.dll): cannot open", facts.load_error)
    if missing and facts.driver.problem and not missing.group(1).startswith(("libcuda.so", "nvcuda")):
        return (
            f"{facts.driver.problem}; the library {missing.group(1)} is missing as well",
            f'Install NVIDIA\'s driver, or use provider="cpu". {_library_cure(missing.group(1), extra)}',
        )
    if missing:
        return f"the library {missing.group(1)} is missing", _library_cure(missing.group(1), extra)
    if facts.load_error:
        return f"its library does not load ({facts.load_error})", f"The libraries do not fit each other. {install}"
    driver = facts.driver
    if driver.problem:
        return driver.problem, 'Install NVIDIA\'s driver, or use provider="cpu".'
    if driver.cuda is not None and driver.cuda[0] < major:
        needed = _DRIVERS.get(major, "newer")
        older = f', or install the older set: pip install "parakeet-tdt[cuda{driver.cuda[0]}]"'
        return (
            f"driver {driver.version} serves CUDA {driver.cuda[0]}.{driver.cuda[1]}, onnxruntime needs CUDA {major}",
            f"Update the driver to {needed} or later{older}.",
        )
    if backend.device_id >= len(driver.cards):
        names = ", ".join(f"{index}: {card.name}" for index, card in enumerate(driver.cards))
        return f"there is no card {backend.device_id} ({names})", "Use one of these numbers."
    card = driver.cards[backend.device_id]
    if card.capability < _OLDEST_CAPABILITY:
        capability = f"{card.capability[0]}.{card.capability[1]}"
        return (
            f"{card.name} has compute capability {capability}; the kernels are built for 7.5 (Turing) and later",
            'Use another card, or provider="cpu".',
        )
    cupy_major = re.search(r"cuda(\d+)", facts.cupy)
    if cupy_major and int(cupy_major.group(1)) != major:
        return (
            f"{facts.cupy} brings CUDA {cupy_major.group(1)} beside an onnxruntime built for CUDA {major}",
            f"pip uninstall -y {facts.cupy}, then pip install cupy-cuda{major}x.",
        )
    if "cudnn" in facts.runtime_error.lower():
        return f"cuDNN does not load or does not work ({facts.runtime_error})", _library_cure("libcudnn", extra)
    return f"ONNX Runtime says: {facts.runtime_error or 'nothing'}", install


def _library_cure(library: str, extra: str) -> str:
    """Return what installs a library, and the extra of this package that brings it with all others."""
    major = extra.removeprefix("cuda")[:2]
    whole = f'pip install "parakeet-tdt[{extra}]"'
    if library.startswith(("libcuda.so", "nvcuda")):
        return "It is part of NVIDIA's driver: install the driver."
    if library.startswith(("libnvinfer", "nvinfer", "libnvonnxparser", "nvonnxparser")):
        wheel = f"tensorrt-cu{major}>=10.13.2.6,<11"
        return f'Install TensorRT 10 (11 is too new for onnxruntime): pip install "{wheel}", or the whole set: {whole}.'
    if library.startswith(("libcudnn", "cudnn")):
        return f'Install cuDNN 9: pip install "nvidia-cudnn-cu{major}~=9.0", or the whole set: {whole}.'
    known = ("libcublas", "libcudart", "libcurand", "libcufft", "libnvrtc", "cublas", "cudart")
    if library.startswith(known):
        return (
            'Install CUDA\'s libraries (cuBLAS comes with cuDNN): pip install "onnxruntime-gpu[cuda,cudnn]", or the '
            f"whole set: {whole}."
        )
    return f"Install it, or the whole set: {whole}."
