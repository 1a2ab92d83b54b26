"""Which matrix products of an encoder belong to which part, and which of them to quantise."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal

from tdt.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdt.surgery import EditableGraph

Part = Literal["feed_forward", "attention", "pointwise", "position", "subsampling", "other"]

PARTS: tuple[Part, ...] = ("feed_forward", "attention", "pointwise", "position", "subsampling", "other")
# 8 bits pay in the large products. Positions depend on the length only and are computed once a length; the subsampling
# is small and sensitive.
DEFAULT_PARTS: tuple[Part, ...] = ("feed_forward", "attention", "pointwise")

_BY_NAME: tuple[tuple[str, Part], ...] = (
    ("linear_pos", "position"),
    ("feed_forward", "feed_forward"),
    ("pointwise_conv", "pointwise"),
    ("self_attn", "attention"),
    ("pre_encode", "subsampling"),
)


@dataclass(frozen=True, slots=True)
class Linear:
    """A matrix product with a constant matrix.

    Parameters
    ----------
    name : str
        Path of the layer, such as ``layers.0.feed_forward1.linear1``.
    part : str
        One of :data:`PARTS`.
    layer : int or None
        Number of the conformer layer.
    node : str
        Name of the product's output value.
    source : str
        Activation that is multiplied.
    weight : str
        Initializer of shape ``[K, N]``.
    shape : tuple of int
        ``(K, N)``.
    """

    name: str
    part: Part
    layer: int | None
    node: str
    source: str
    weight: str
    shape: tuple[int, int]


def find_linears(graph: EditableGraph) -> list[Linear]:
    """Return every MatMul with a constant two-dimensional matrix, in graph order."""
    found = []
    for node in graph.graph.node:
        shape = graph.shape_of(node.input[1]) if node.op_type == "MatMul" else None
        if shape is None or len(shape) != 2 or node.input[0] in graph.initializers:
            continue
        name = _layer_name(node.output[0])
        part: Part = next((part for piece, part in _BY_NAME if piece in name), "other")
        number = re.search(r"layers\.(\d+)", name)
        layer = int(number.group(1)) if number else None
        found.append(Linear(name, part, layer, node.output[0], node.input[0], node.input[1], (shape[0], shape[1])))
    return found


def _layer_name(output: str) -> str:
    parts = [piece for piece in output.split("/") if piece]
    kept = [piece for piece in parts if not re.fullmatch(r"(MatMul|Conv|matmul)(_\d+)?(_output_\d+)?", piece)]
    return ".".join(kept) or output


def select(linears: Sequence[Linear], include: Sequence[str], exclude: Sequence[str]) -> list[Linear]:
    """Return the linears that `include` names and `exclude` does not.

    Parameters
    ----------
    include, exclude : sequence of str
        Parts (see :data:`PARTS`) or patterns such as ``layers.2?.self_attn.*``; an empty `include` means
        :data:`DEFAULT_PARTS`.

    Raises
    ------
    OptionError
        Where a word matches no layer: a slip of the pen would pass unnoticed.
    """
    for option, words in (("include", include), ("exclude", exclude)):
        for word in words:
            if not any(_matches(linear, word) for linear in linears):
                expected = f"a part ({', '.join(PARTS)}) or a pattern that matches a layer, such as {linears[0].name!r}"
                raise OptionError(option, word, expected if linears else "a model with matrix products")
    wanted = list(include) or list(DEFAULT_PARTS)
    return [
        linear
        for linear in linears
        if any(_matches(linear, word) for word in wanted) and not any(_matches(linear, word) for word in exclude)
    ]


def _matches(linear: Linear, word: str) -> bool:
    return word == linear.part or fnmatchcase(linear.name, word)
