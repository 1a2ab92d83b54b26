"""The few functions of the NVIDIA driver that are needed here: streams, copies on them, events, memory, kernels."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, ClassVar

from tdt.errors import DeviceMemoryError, ProviderError
from tdt.runtime.capturing import quiet
from tdt.runtime.driver import LIBRARIES, driver_library

if TYPE_CHECKING:
    import numpy.typing as npt

_PLACE = ctypes.POINTER(ctypes.c_void_p)
_NUMBER = ctypes.POINTER(ctypes.c_int)
# Handles are addresses; a device pointer is 64 bits wide by itself (CUdeviceptr).
_SIGNATURES: dict[str, list[Any]] = {
    "cuDevicePrimaryCtxRetain": [_PLACE, ctypes.c_int],
    "cuCtxPushCurrent_v2": [ctypes.c_void_p],
    "cuCtxPopCurrent_v2": [_PLACE],
    "cuStreamCreate": [_PLACE, ctypes.c_uint],
    "cuStreamDestroy_v2": [ctypes.c_void_p],
    "cuStreamSynchronize": [ctypes.c_void_p],
    "cuMemcpyHtoDAsync_v2": [ctypes.c_uint64, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p],
    "cuMemcpyDtoHAsync_v2": [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_size_t, ctypes.c_void_p],
    "cuEventCreate": [_PLACE, ctypes.c_uint],
    "cuEventRecord": [ctypes.c_void_p, ctypes.c_void_p],
    "cuEventElapsedTime": [ctypes.POINTER(ctypes.c_float), ctypes.c_void_p, ctypes.c_void_p],
    "cuEventDestroy_v2": [ctypes.c_void_p],
    "cuDeviceGetAttribute": [_NUMBER, ctypes.c_int, ctypes.c_int],
    "cuMemGetInfo_v2": [ctypes.POINTER(ctypes.c_size_t), ctypes.POINTER(ctypes.c_size_t)],
    "cuMemAlloc_v2": [ctypes.POINTER(ctypes.c_uint64), ctypes.c_size_t],
    "cuMemFree_v2": [ctypes.c_uint64],
    "cuMemHostAlloc": [_PLACE, ctypes.c_size_t, ctypes.c_uint],
    "cuMemFreeHost": [ctypes.c_void_p],
    "cuMemcpy2DAsync_v2": [ctypes.c_void_p, ctypes.c_void_p],
    "cuMemsetD8Async": [ctypes.c_uint64, ctypes.c_ubyte, ctypes.c_size_t, ctypes.c_void_p],
    "cuModuleLoadData": [_PLACE, ctypes.c_char_p],
    "cuModuleUnload": [ctypes.c_void_p],
    "cuModuleGetFunction": [_PLACE, ctypes.c_void_p, ctypes.c_char_p],
    "cuFuncSetAttribute": [ctypes.c_void_p, ctypes.c_int, ctypes.c_int],
    "cuOccupancyMaxActiveBlocksPerMultiprocessor": [_NUMBER, ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t],
    "cuLaunchCooperativeKernel": [
        ctypes.c_void_p, *[ctypes.c_uint] * 7, ctypes.c_void_p, _PLACE,
    ],
}  # fmt: skip
# CUdevice_attribute and CUfunction_attribute.
MULTIPROCESSORS, COMPUTE_MAJOR, COMPUTE_MINOR, COOPERATIVE_LAUNCH, SHARED_BYTES_OF_A_BLOCK = 16, 75, 76, 95, 97
_MOST_DYNAMIC_SHARED_BYTES = 8
_OUT_OF_MEMORY = 2  # CUresult
_DEVICE_MEMORY = 2  # CUmemorytype


class _Copy2D(ctypes.Structure):
    """CUDA_MEMCPY2D."""

    _fields_: ClassVar = [
        ("source_x_bytes", ctypes.c_size_t),
        ("source_y", ctypes.c_size_t),
        ("source_type", ctypes.c_uint),
        ("source_host", ctypes.c_void_p),
        ("source", ctypes.c_uint64),
        ("source_array", ctypes.c_void_p),
        ("source_pitch", ctypes.c_size_t),
        ("target_x_bytes", ctypes.c_size_t),
        ("target_y", ctypes.c_size_t),
        ("target_type", ctypes.c_uint),
        ("target_host", ctypes.c_void_p),
        ("target", ctypes.c_uint64),
        ("target_array", ctypes.c_void_p),
        ("target_pitch", ctypes.c_size_t),
        ("width_bytes", ctypes.c_size_t),
        ("rows", ctypes.c_size_t),
    ]


class CardContext:
    """The driver's functions in a card's primary context, which the CUDA runtime and ONNX Runtime use as well.

    Parameters
    ----------
    device_id : int

    Raises
    ------
    ProviderError
        There is no driver or no such card. Every method raises it where the driver refuses, with the driver's reason;
        for want of memory, its kind :class:`tdt.errors.DeviceMemoryError`.
    """

    def __init__(self, device_id: int) -> None:
        library = driver_library()
        if library is None:
            raise ProviderError(f"no NVIDIA driver: {LIBRARIES[0]} is not on this machine")
        for name, types in _SIGNATURES.items():
            getattr(library, name).argtypes = types
        self._library, self._device_id = library, device_id
        self._context = ctypes.c_void_p()
        self._device = device = ctypes.c_int()
        self._check("cuInit", library.cuInit(0))
        self._check("cuDeviceGet", library.cuDeviceGet(ctypes.byref(device), device_id))
        # Kept for good: the context lives as long as the process anyway.
        self._check("cuDevicePrimaryCtxRetain", library.cuDevicePrimaryCtxRetain(ctypes.byref(self._context), device))

    def stream_create(self) -> int:
        """Return a new stream that keeps order with the default stream."""
        made = ctypes.c_void_p()
        self._call("cuStreamCreate", ctypes.byref(made), 0)
        return int(made.value or 0)

    def stream_destroy(self, stream: int) -> None:
        """Give a stream back; what is enqueued on it is still done."""
        self._call("cuStreamDestroy_v2", stream)

    def stream_wait(self, stream: int) -> None:
        """Wait until all that was enqueued on a stream is done."""
        self._call("cuStreamSynchronize", stream)

    def copy_to_device(self, target: int, source: npt.NDArray[Any], stream: int) -> None:
        """Enqueue a copy of a contiguous host array; it must stay as it is until the stream has been waited for."""
        self._call("cuMemcpyHtoDAsync_v2", target, source.ctypes.data, source.nbytes, stream)

    def copy_to_host(self, target: npt.NDArray[Any], source: int, stream: int) -> None:
        """Enqueue a copy into a contiguous host array."""
        self._call("cuMemcpyDtoHAsync_v2", target.ctypes.data, source, target.nbytes, stream)

    def copy_columns(
        self, target: int, source: int, pitches: tuple[int, int], width_bytes: int, rows: int, stream: int
    ) -> None:
        """Enqueue a copy of the start of each row on the card; `pitches` are the bytes between rows, target's first."""
        copy = _Copy2D()
        copy.source_type = copy.target_type = _DEVICE_MEMORY
        copy.source, copy.target = source, target
        copy.target_pitch, copy.source_pitch = pitches
        copy.width_bytes, copy.rows = width_bytes, rows
        self._call("cuMemcpy2DAsync_v2", ctypes.byref(copy), stream)

    def event_create(self) -> int:
        """Return a new event that notes the time."""
        made = ctypes.c_void_p()
        self._call("cuEventCreate", ctypes.byref(made), 0)
        return int(made.value or 0)

    def event_record(self, event: int, stream: int) -> None:
        """Let an event note when all that was enqueued before it is done."""
        self._call("cuEventRecord", event, stream)

    def elapsed_ns(self, begin: int, end: int) -> int:
        """Return the nanoseconds between two events that a wait has passed (resolution about 0.5 µs)."""
        milliseconds = ctypes.c_float()
        self._call("cuEventElapsedTime", ctypes.byref(milliseconds), begin, end)
        return round(milliseconds.value * 1e6)

    def event_destroy(self, event: int) -> None:
        """Give an event back."""
        self._call("cuEventDestroy_v2", event)

    def attribute(self, attribute: int) -> int:
        """Return a number of the card, by its place in CUdevice_attribute."""
        value = ctypes.c_int()
        self._call("cuDeviceGetAttribute", ctypes.byref(value), attribute, self._device)
        return value.value

    def memory(self) -> tuple[int, int]:
        """Return the bytes that are free, and the card's bytes in all; zeros where the driver does not tell."""
        free, total, before = ctypes.c_size_t(), ctypes.c_size_t(), ctypes.c_void_p()
        # Without a check, since it is asked amid errors: the context itself may be what could not be made.
        if self._library.cuCtxPushCurrent_v2(self._context) == 0:
            self._library.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
            self._library.cuCtxPopCurrent_v2(ctypes.byref(before))
        return free.value, total.value

    def allocate(self, size_bytes: int) -> int:
        """Return the address of new memory, aligned to 256 bytes, of undefined content."""
        made = ctypes.c_uint64()
        try:
            self._call("cuMemAlloc_v2", ctypes.byref(made), size_bytes)
        except DeviceMemoryError as error:
            left = (error.free_bytes, error.total_bytes)
            raise DeviceMemoryError("Memory for decoding", self._name, size_bytes, *left) from error
        return made.value

    def free(self, pointer: int) -> None:
        """Give memory back; what is enqueued must be done with it."""
        self._call("cuMemFree_v2", pointer)

    def allocate_pinned(self, size_bytes: int) -> int:
        """Return the address of page-locked memory on the host, of undefined content."""
        made = ctypes.c_void_p()
        self._call("cuMemHostAlloc", ctypes.byref(made), size_bytes, 0)
        return int(made.value or 0)

    def free_pinned(self, address: int) -> None:
        """Give page-locked memory back; what is enqueued must be done with it."""
        self._call("cuMemFreeHost", address)

    def clear(self, target: int, size_bytes: int, stream: int) -> None:
        """Enqueue zeros."""
        self._call("cuMemsetD8Async", target, 0, size_bytes, stream)

    def module_load(self, image: bytes) -> int:
        """Load machine code."""
        made = ctypes.c_void_p()
        self._call("cuModuleLoadData", ctypes.byref(made), image)
        return int(made.value or 0)

    def module_unload(self, module: int) -> None:
        """Give machine code back."""
        self._call("cuModuleUnload", module)

    def module_function(self, module: int, name: str) -> int:
        """Return a kernel."""
        made = ctypes.c_void_p()
        self._call("cuModuleGetFunction", ctypes.byref(made), module, name.encode())
        return int(made.value or 0)

    def allow_shared_bytes(self, function: int, dynamic_bytes: int) -> None:
        """Let a kernel have so much dynamic shared memory a block: above 48 KB it must be asked for."""
        self._call("cuFuncSetAttribute", function, _MOST_DYNAMIC_SHARED_BYTES, dynamic_bytes)

    def resident_blocks(self, function: int, threads: int, dynamic_bytes: int) -> int:
        """Return how many blocks of a kernel a multiprocessor holds at once."""
        value = ctypes.c_int()
        name = "cuOccupancyMaxActiveBlocksPerMultiprocessor"
        self._call(name, ctypes.byref(value), function, threads, dynamic_bytes)
        return value.value

    def launch_together(
        self, function: int, blocks: int, threads: int, dynamic_bytes: int, argument: bytes, stream: int
    ) -> None:
        """Enqueue a kernel of one argument all of whose blocks run at the same time; the argument is copied."""
        content = ctypes.create_string_buffer(argument, len(argument))
        arguments = (ctypes.c_void_p * 1)(ctypes.addressof(content))
        shape = (blocks, 1, 1, threads, 1, 1)
        self._call("cuLaunchCooperativeKernel", function, *shape, dynamic_bytes, stream, arguments)

    def _call(self, function: str, *arguments: object) -> None:
        """Call in this context, whatever the thread had before; not while another thread captures a run.

        What is put on a stream meanwhile would become part of the graph, and memory is refused.
        """
        library, before = self._library, ctypes.c_void_p()
        with quiet.work():
            self._check("cuCtxPushCurrent", library.cuCtxPushCurrent_v2(self._context))
            try:
                status = getattr(library, function)(*arguments)
            finally:
                library.cuCtxPopCurrent_v2(ctypes.byref(before))
        self._check(function, status)

    def _check(self, function: str, status: int) -> None:
        if status:
            name = ctypes.c_char_p()
            self._library.cuGetErrorName(status, ctypes.byref(name))
            reason = (name.value or b"unknown").decode()
            if status == _OUT_OF_MEMORY:
                raise DeviceMemoryError(f"{function} ({reason})", self._name, 0, *self.memory())
            raise ProviderError(
                f"Card {self._device_id} fails: {function} gives {status} ({reason}). Where a run before it wrote out "
                "of bounds or ran out of memory, pass shorter clips or a smaller batch; `tdt doctor` checks the card."
            )

    @property
    def _name(self) -> str:
        return f"card {self._device_id}"
