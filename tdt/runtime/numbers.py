"""What a graph is really computed in, by provider, options and its own types; and whether there is a better choice."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal, cast, get_args

if TYPE_CHECKING:
    from tdt.onnxfile import GraphInfo
    from tdt.runtime.backend import Backend

Numbers = Literal["fp32", "tf32", "fp16", "bf16", "int8"]

# Read by cuBLAS, cuDNN and TensorRT themselves; 0 forbids TF32 whatever a program asks for.
TF32_OVERRIDE = "NVIDIA_TF32_OVERRIDE"
# Metadata of a graph that names an engine built ahead: what that computes in.
COMPUTED_IN_KEY = "computed_in"
_HALVES: dict[str, Numbers] = {"float16": "fp16", "bfloat16": "bf16"}


def tf32_forbidden() -> bool:
    """Return whether the environment forbids TF32."""
    return os.environ.get(TF32_OVERRIDE) == "0"


def computed_in(backend: Backend, info: GraphInfo) -> Numbers:
    """Return the coarsest numbers that the large products of a graph are computed in.

    Parameters
    ----------
    backend : Backend
    info : GraphInfo

    Notes
    -----
    TensorRT and TensorRT-RTX compute float32 products in TF32 unless they are told not to, for which ONNX Runtime has
    no option: inputs are rounded to 10 bits of mantissa. A card without TF32 (before Ampere) computes in float32.
    """
    stated = info.metadata.get(COMPUTED_IN_KEY)
    if stated in get_args(Numbers):
        return cast("Numbers", stated)
    if info.quantization not in {"float", "half"}:
        return "int8"
    if info.body in _HALVES:
        return _HALVES[info.body]
    if backend.numbers != "fp32":
        return "bf16" if backend.numbers == "bf16" else "fp16"  # int8 finds no Q/DQ nodes, and brings fp16
    rounded = backend.tf32 or backend.provider in ("tensorrt", "tensorrt-rtx")
    return "tf32" if rounded and not tf32_forbidden() else "fp32"


def advice(backend: Backend, info: GraphInfo) -> str:
    """Return what to choose instead, where a graph and the numbers asked of TensorRT do not go together; else nothing.

    Parameters
    ----------
    backend : Backend
    info : GraphInfo
    """
    if backend.provider != "tensorrt":
        return ""
    name, card = info.path.name, f"tensorrt:{backend.device_id}"
    if info.body in _HALVES and backend.numbers != "fp32":
        return (
            f"{name} says itself what is computed in {info.body}, and float32 where that is needed; {backend.numbers} "
            f"lets TensorRT choose anew. Use {card} without it."
        )
    if info.quantization == "qdq" and backend.numbers != "int8" and info.body == "float32":
        return (
            f"{name} has its large products in 8 bits and all else in float32, which {backend} keeps. Use {card},int8, "
            "which computes the rest in half precision."
        )
    if info.quantization == "float" and backend.numbers == "int8":
        return f"{name} has no Q/DQ nodes: nothing of it runs in 8 bits. Use {card},fp16, or quantise it."
    return ""
