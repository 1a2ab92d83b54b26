"""What `provider="auto"` takes, and why: a pure decision over what the model is and what the machine has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from tdt.runtime.backend import NumberType, Provider


@dataclass(frozen=True, slots=True)
class Choice:
    """A provider, what TensorRT may compute in, and the reason in one line."""

    provider: Provider
    why: str
    numbers: NumberType = "fp32"


def choose_provider(quantization: str, usable: Collection[str], body: str = "float32") -> Choice:
    """Choose a provider for an encoder.

    Parameters
    ----------
    quantization : {"float", "dynamic", "qdq", "weight-only"}
        Kind of the encoder graph, as :func:`tdt.onnxfile.graph.read_graph` tells it.
    usable : collection of str
        Device providers that can start here: "cuda", "tensorrt", "tensorrt-rtx".
    body : {"float32", "float16", "bfloat16"}, optional
        What the graph's products are stated in, beside those in 8 bits.

    Returns
    -------
    Choice
    """
    if quantization == "dynamic":
        return Choice("cpu", "cpu: the encoder is dynamically quantised, which no device has kernels for")
    if quantization == "qdq":
        if "tensorrt" in usable and body == "float32":
            return Choice(
                "tensorrt",
                "tensorrt,int8: the encoder is quantised to Q/DQ, which TensorRT runs in 8 bits; the rest, which the "
                "file has in float32, in half precision",
                "int8",
            )
        if "tensorrt" in usable:
            return Choice(
                "tensorrt",
                f"tensorrt: the encoder is quantised to Q/DQ, which TensorRT runs in 8 bits; the rest in {body}, as "
                "the file has it",
            )
        found = "CUDA would compute it in float" if "cuda" in usable else "there is no TensorRT here"
        return Choice("cpu", f"cpu: the encoder is quantised to Q/DQ, which the CPU runs in 8 bits; {found}")
    if "tensorrt" in usable:
        numbers = "TF32 (tensorrt:0,fp16 is faster)" if body == "float32" else body
        return Choice(
            "tensorrt",
            f"tensorrt: the encoder is float and TensorRT is here, which computes it in {numbers}; the first start "
            "builds an engine",
        )
    if "cuda" in usable:
        return Choice("cuda", f"cuda: the encoder is {body} and a CUDA card is usable; TensorRT is not installed")
    return Choice("cpu", "cpu: no usable NVIDIA card or provider was found")
