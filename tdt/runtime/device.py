"""Arrays on a CUDA device, held by ONNX Runtime, shared without a copy through DLPack."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tdt.errors import OptionError, ProviderError
from tdt.runtime.capturing import quiet
from tdt.runtime.ort import onnxruntime

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]

_DLPACK_CUDA = 2


class DeviceArray:
    """An array on a device; NumPy functions copy it to the host, DLPack shares it.

    Parameters
    ----------
    value : OrtValue
        Made by :func:`allocate` or :func:`adopt`.
    owner : object, optional
        Kept alive as long as this array: the memory may be someone else's.
    """

    __slots__ = ("_owner", "_value")

    def __init__(self, value: Any, owner: object = None) -> None:
        self._value = value
        self._owner = owner

    @property
    def value(self) -> Any:
        """The OrtValue."""
        return self._value

    @property
    def shape(self) -> tuple[int, ...]:
        """Dimensions."""
        return tuple(self._value.shape())

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type."""
        found: np.dtype[Any] = _NUMPY_TYPES[self._value.data_type()]
        return found

    @property
    def pointer(self) -> int:
        """Address on the device."""
        return int(self._value.data_ptr())

    @property
    def device(self) -> str:
        """`cuda` or `cpu`."""
        return str(self._value.device_name())

    def __reduce__(self) -> tuple[object, ...]:
        return np.asarray, (self.numpy(),)  # an address means nothing in another process

    def part(self, index: int, shape: tuple[int, ...]) -> DeviceSlice:
        """Return the entry `index` along the first axis, as memory to bind."""
        assert shape == self.shape[1:]
        return DeviceSlice(self, index * math.prod(shape) * self.dtype.itemsize, shape)

    def copy_from(self, array: Array) -> None:
        """Copy a host array of the same shape and type here."""
        self._value.update_inplace(np.ascontiguousarray(array, self.dtype))

    def numpy(self) -> Array:
        """Copy to the host."""
        result: Array = self._value.numpy()
        return result.copy() if self.device == "cpu" else result  # the runtime's own memory there

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if copy is False and self.device != "cpu":
            message = "a device array cannot become a NumPy array without a copy"
            raise ValueError(message)
        return np.asarray(self.numpy(), dtype)

    def __getitem__(self, index: Any) -> Any:
        """Copy to the host and index there."""
        return self.numpy()[index]

    def __len__(self) -> int:
        return self.shape[0]

    def __dlpack__(self, **options: Any) -> Any:
        return self._value.__dlpack__(stream=options.get("stream"))

    def __dlpack_device__(self) -> tuple[int, int]:
        kind, index = self._value.__dlpack_device__()
        return int(kind), int(index)


class DeviceSlice:
    """A part of a device array, to be bound as an input or output.

    Parameters
    ----------
    whole : DeviceArray
        Kept alive.
    offset_bytes : int
    shape : tuple of int
    """

    __slots__ = ("device", "dtype", "pointer", "shape", "whole")

    def __init__(self, whole: DeviceArray, offset_bytes: int, shape: tuple[int, ...]) -> None:
        self.whole = whole
        self.pointer = whole.pointer + offset_bytes
        self.shape = shape
        self.dtype = whole.dtype
        self.device = whole.device


_NUMPY_TYPES: dict[str, np.dtype[Any]] = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(float16)": np.dtype(np.float16),
    "tensor(int32)": np.dtype(np.int32),
    "tensor(int64)": np.dtype(np.int64),
    "tensor(bool)": np.dtype(np.bool_),
}


def allocate(shape: tuple[int, ...], dtype: Any, device: str, device_id: int) -> DeviceArray:
    """Return an array of undefined content.

    Parameters
    ----------
    shape : tuple of int
    dtype : dtype
    device : {"cuda", "cpu"}
        `cpu` serves tests: the same calls on host memory.
    device_id : int
    """
    with quiet.work():
        value = onnxruntime().OrtValue.ortvalue_from_shape_and_type(list(shape), np.dtype(dtype), device, device_id)
    return DeviceArray(value)


def adopt(array: Any, stream: int = 0) -> DeviceArray | None:
    """Share a device array of another library (CuPy, PyTorch, …) through DLPack; None for what lies on the host.

    Parameters
    ----------
    array : object
        Anything with `__dlpack__` and `__dlpack_device__`; it must be C-contiguous. A :class:`DeviceArray` is taken as
        it is: those that the stages hand out are complete.
    stream : int, optional
        CUDA stream that will use the array; as DLPack has it, its library makes that stream wait for what it has still
        to do. 0 stands for the default stream.

    Raises
    ------
    OptionError
        The array cannot be shared: it is not contiguous, or of a type without DLPack.
    ProviderError
        The installed onnxruntime shares no arrays.
    """
    if isinstance(array, DeviceArray):
        return array if array.device != "cpu" else None
    if isinstance(array, np.ndarray) or not hasattr(array, "__dlpack_device__"):
        return None
    if int(array.__dlpack_device__()[0]) != _DLPACK_CUDA:
        return None
    ort = onnxruntime()
    if not hasattr(ort.OrtValue, "from_dlpack"):
        raise ProviderError(
            f"onnxruntime {ort.__version__} cannot share device arrays. Update it to 1.26 or later, or pass "
            "host arrays."
        )
    try:
        shared = ort.OrtValue.from_dlpack(array.__dlpack__(stream=stream) if stream else array)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        given = f"{type(array).__name__} of shape {tuple(getattr(array, 'shape', ()))} ({error})"
        raise OptionError("a device array", given, "a dense, C-contiguous array that exports DLPack") from error
    return DeviceArray(shared, owner=array)
