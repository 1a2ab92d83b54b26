"""What a file's name says of its precision, and what its graph holds.

Names as public repositories have them: onnx-asr's and sherpa-onnx's `.int8` and `.fp16`, `encoder-model.int4.onnx`,
`encoder-model.q8.onnx`, and Transformers.js' `_fp16`, `_q4`, `_q4f16`, `_uint8` and `_quantized`. Many say nothing
where there is one precision alone, whatever it is.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tdt.onnxfile import weight_forms

if TYPE_CHECKING:
    from tdt.onnxfile import GraphInfo
    from tdt.spec import Precision

_SUFFIXES: dict[Precision, re.Pattern[str]] = {
    "float32": re.compile(r"[._-](?:fp32|float32|f32)$", re.IGNORECASE),
    "float16": re.compile(r"[._-](?:fp16|float16|f16|half)$", re.IGNORECASE),
    "int8": re.compile(r"[._-](?:(?:q|u|qu)?int8|[qw]8(?:f16)?|8-?bits?|quantized)$", re.IGNORECASE),
    "int4": re.compile(r"[._-](?:q?u?int4|[qw]4(?:f16)?|4-?bits?|bnb4|nf4)$", re.IGNORECASE),
    "int2": re.compile(r"[._-](?:q?u?int2|[qw]2(?:f16)?|2-?bits?)$", re.IGNORECASE),
}
# Forms of activations and of plain numbers, which say nothing of the bits that weights are held in.
_NO_WEIGHTS = frozenset({"QuantizeLinear", "float16", "bfloat16"})


def said_by(base: str) -> Precision | None:
    """Return the precision that a file's name without ending says, or None."""
    return next((kind for kind, suffix in _SUFFIXES.items() if suffix.search(base)), None)


def without_precision(base: str) -> str:
    """Return a file's name without ending, without what it says of the precision."""
    for suffix in _SUFFIXES.values():
        base = suffix.sub("", base)
    return base


def held_by(graph: GraphInfo) -> Precision:
    """Return the precision that a graph holds, whatever its file is called.

    Of a quantised one that is the bits of most of its matrices: `int4` for blocks of 4 bits and `int2` for blocks of 2,
    whatever the operators; `int8` for all else.
    """
    kind = graph.quantization
    if kind in ("float", "half"):
        return "float16" if kind == "half" else "float32"
    bits = next((form.bits for form in weight_forms(graph) if form.operator not in _NO_WEIGHTS and form.bits), 8)
    return "int2" if bits <= 2 else "int4" if bits <= 4 else "int8"
