"""Where large weights go: into a file beside their graph, one in memory at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt
    import onnx

# Beyond this the weights go to a file beside the graph, which is mapped instead of parsed.
SINGLE_FILE_BYTES = 256 << 20
PLACED_BYTES = 65536  # smaller weights stay in the graph
_PAGE = 4096  # weights that begin on a page can be mapped


class WeightFile:
    """A file beside a graph that weights are appended to; a context.

    Parameters
    ----------
    path : Path
        Of the file.

    Attributes
    ----------
    names : set of str
        What was placed in it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names: set[str] = set()
        self._stream = path.open("wb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def place(self, name: str, array: npt.NDArray[Any]) -> onnx.TensorProto:
        """Append an array and return the tensor that refers to it."""
        from onnx import TensorProto, helper

        self._stream.seek(-(-self._stream.tell() // _PAGE) * _PAGE)
        tensor = TensorProto(
            name=name, data_type=helper.np_dtype_to_tensor_dtype(array.dtype), dims=array.shape,
            data_location=TensorProto.EXTERNAL,
        )  # fmt: skip
        entries = {"location": self.path.name, "offset": self._stream.tell(), "length": array.nbytes}
        for key, value in entries.items():
            tensor.external_data.add(key=key, value=str(value))
        self.names.add(name)
        self._stream.write(np.ascontiguousarray(array).data)
        return tensor
