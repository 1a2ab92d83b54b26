"""Write a graph with new weights, one tensor after another, so that memory holds few of them at a time.

A weight that lay outside the graph's file lies outside again, in one file beside it. The numbers come from the mapped
checkpoint, or, where a constant is kept, from the graph they were in.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from tdt.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from concurrent.futures import Future
    from pathlib import Path
    from typing import BinaryIO

    import onnx

    from tdt.conversion.recipes import Recipe
    from tdt.conversion.tensors import Array, StoredTensor
    from tdt.surgery import EditableGraph

ALIGNMENT = 4096  # a page, so that runtimes can map a weight
_AHEAD = 4  # tensors made while one is written: 64 MB for the largest published models
_ELEMENTS: dict[int, np.dtype[Any]] = {1: np.dtype("<f4"), 10: np.dtype("<f2"), 11: np.dtype("<f8")}


class Weights:
    """Makes the constants of a graph out of a checkpoint's tensors.

    Parameters
    ----------
    recipes : mapping of str to Recipe
        By initializer.
    tensors : mapping of str to StoredTensor
    path : Path
        Of the checkpoint; named in errors.
    """

    def __init__(self, recipes: Mapping[str, Recipe], tensors: Mapping[str, StoredTensor], path: Path) -> None:
        self.recipes = recipes
        self._tensors = tensors
        self._path = path

    def make(self, tensor: onnx.TensorProto) -> Array:
        """Return the numbers for an initializer, in its shape and type.

        Raises
        ------
        CheckpointError
            Where they are not finite, or beyond the type's range.
        """
        recipe, kind = self.recipes[tensor.name], _ELEMENTS.get(tensor.data_type)
        if kind is None:
            raise CheckpointError(self._path, f"the graph has no floating-point numbers in {tensor.name}")
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            values: Any = np.ascontiguousarray(recipe.make(self._tensors), kind)
            # A sum is not finite where a number is not; where it overflows alone, the numbers themselves tell.
            if not np.isfinite(values.sum()) and not np.isfinite(values).all():
                raise CheckpointError(
                    self._path, f"{recipe.names[0]} holds numbers that are not finite as {kind.name}",
                    "The training diverged, or the file is damaged: take an earlier checkpoint",
                )  # fmt: skip
        return np.asarray(values.reshape(tuple(tensor.dims)))


def write_graph(
    graph: EditableGraph, path: Path, data: str, weights: Weights | None, tell: Callable[[int], None] = lambda _: None
) -> int:
    """Write a graph to `path`, external weights into the file `data` beside it.

    Parameters
    ----------
    graph : EditableGraph
        Its initializers become those that were written.
    path : Path
    data : str
        File name.
    weights : Weights, optional
        What replaces initializers; without, all are kept.
    tell : callable
        Is told the bytes of each tensor that is done.

    Returns
    -------
    int
        Bytes written.
    """
    made = weights.recipes if weights is not None else {}
    outside = [tensor for tensor in graph.graph.initializer if graph.is_external(tensor.name)]
    inside = [tensor for tensor in graph.graph.initializer if tensor.name in made and tensor not in outside]

    def numbers(tensor: onnx.TensorProto) -> Array:
        return weights.make(tensor) if weights is not None and tensor.name in made else graph.weight(tensor.name)

    for tensor, values in _ahead(inside, numbers):
        _clear(tensor)
        tensor.raw_data = values.tobytes()
        tell(values.nbytes)
    written = 0
    if outside:
        with (path.parent / data).open("wb") as stream:
            for tensor, values in _ahead(outside, numbers):
                _append(tensor, values, stream, data)
                tell(values.nbytes)
            written = stream.tell()
    content = graph.model.SerializeToString()
    path.write_bytes(content)
    return written + len(content)


def _ahead(
    tensors: Sequence[onnx.TensorProto], numbers: Callable[[onnx.TensorProto], Array]
) -> Iterator[tuple[onnx.TensorProto, Array]]:
    """Yield tensors with their numbers in order; those of the next few are made meanwhile."""
    if not tensors:
        return
    with ThreadPoolExecutor(2, "tdt-convert") as pool:
        waiting: deque[tuple[onnx.TensorProto, Future[Array]]] = deque()
        try:
            for tensor in tensors:
                waiting.append((tensor, pool.submit(numbers, tensor)))
                if len(waiting) > _AHEAD:
                    first, made = waiting.popleft()
                    yield first, made.result()
            while waiting:
                first, made = waiting.popleft()
                yield first, made.result()
        finally:
            for _, made in waiting:
                made.cancel()


def _append(tensor: onnx.TensorProto, values: Array, stream: BinaryIO, data: str) -> None:
    import onnx

    start = -(-stream.tell() // ALIGNMENT) * ALIGNMENT
    stream.seek(start)
    stream.write(np.ascontiguousarray(values).data)
    _clear(tensor)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", data), ("offset", str(start)), ("length", str(values.nbytes))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value


def _clear(tensor: onnx.TensorProto) -> None:
    """Take away a tensor's numbers, wherever they are."""
    for name in ("raw_data", "float_data", "int32_data", "double_data", "external_data", "data_location"):
        tensor.ClearField(name)
