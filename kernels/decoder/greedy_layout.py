"""Weights and buffers of the decoder on the card (greedy.cu), as arrays: how they are padded, ordered and placed."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import greedy_fields as fields

if TYPE_CHECKING:
    from collections.abc import Sequence

# MOST_ROWS and WARPS in greedy_rows.h: utterances of a launch; warps of a block.
MOST_ROWS = 128
WARPS = 8
STATIC_SHARED_BYTES = 13 << 10  # of a block, at most
PASSES = (8, 16)  # ROWS, that the kernel can be built with
WIDTH = 8  # columns are padded to whole loads of 16 bytes, of half numbers too
GROUP = 4  # weight rows that a warp multiplies at once
ALIGNMENT_BYTES = 256
_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Sizes:
    """The numbers of a model, padded as the kernel has them.

    Parameters
    ----------
    layers, hidden, joint : int
        LSTM layers; columns of the state and of the joint, multiples of 8.
    hidden_width, joint_width : int
        The same without padding.
    classes, class_rows : int
        Tokens with the blank; their rows in the output layer, a multiple of 4.
    duration_count, duration_rows : int
        Likewise for durations.
    """

    layers: int
    hidden: int
    joint: int
    hidden_width: int
    joint_width: int
    classes: int
    class_rows: int
    duration_count: int
    duration_rows: int

    def shared_bytes(self, rows: int) -> int:
        """Return the dynamic shared memory of a block: activations of a pass."""
        return 4 * rows * max(self.hidden * min(self.layers, 2), self.joint)

    def tasks(self) -> int:
        """Return the most warps that a stage has work for."""
        return max(tasks for tasks, _, _ in self.stages().values())

    def stages(self) -> dict[str, tuple[int, int, int]]:
        """Return the matrices: tasks (rows by four), columns, and how many there are of the kind."""
        return {
            "recurrent": (self.hidden, self.hidden, 1),
            "upper": (self.hidden, 2 * self.hidden, self.layers - 1),
            "predictor": (self.joint // GROUP, self.hidden, 1),
            "output": ((self.class_rows + self.duration_rows) // GROUP, self.joint, 1),
        }

    def numbers(self) -> dict[str, int]:
        """Return the fields of the argument that are this model's."""
        return {
            "layers": self.layers,
            "hidden_size": self.hidden,
            "joint_size": self.joint,
            "frame_width": self.joint_width,
            "classes": self.classes,
            "class_rows": self.class_rows,
            "duration_count": self.duration_count,
            "duration_rows": self.duration_rows,
        }


def kept(sizes: Sizes, blocks: int, room_bytes: int, *, half: bool) -> tuple[dict[str, int], int]:
    """Decide how many tasks of each matrix a block keeps in shared memory: the prediction network's first.

    Its three stages have few tasks for many warps and wait for L2 one after the other; the joint's are enough to hide
    that.

    Parameters
    ----------
    sizes : Sizes
    blocks : int
        That share the tasks.
    room_bytes : int
        Of a block, beside its activations.
    half : bool
        Whether weights are float16.

    Returns
    -------
    kept : dict of str to int
        Fields of the argument.
    size : int
        Bytes that they take.
    """
    found, left = {}, room_bytes
    for name, (tasks, columns, count) in sizes.stages().items():
        size = GROUP * columns * (2 if half else 4) * count
        found[f"kept_{name}"] = min(-(-tasks // blocks), left // size) if size else 0
        left -= found[f"kept_{name}"] * size
    return found, room_bytes - left


def source() -> tuple[str, dict[str, str]]:
    """Return the kernel's text, and what it includes by name."""
    headers = {path.name: path.read_text(encoding="utf-8") for path in sorted(_HERE.glob("gr*.h"))}
    return (_HERE / "greedy.cu").read_text(encoding="utf-8"), {**headers, fields.HEADER: fields.header()}


def defines(rows: int, *, half: bool, sizes: Sizes | None = None) -> dict[str, int]:
    """Return what the kernel is built with.

    Parameters
    ----------
    rows : int
        Of a pass.
    half : bool
        Whether its weights are float16.
    sizes : Sizes, optional
        Of the one model that it serves: faster than a kernel for any.
    """
    model = {} if sizes is None else {"HIDDEN_SIZE": sizes.hidden, "JOINT_SIZE": sizes.joint}
    return {"ROWS": rows, "HALF_WEIGHTS": int(half), **model}


class Layer(NamedTuple):
    """An LSTM layer, gates in the order i, o, f, g: inputs [4 H, K], recurrent [4 H, H], bias [4 H]."""

    inputs: Any
    recurrent: Any
    bias: Any


class Place(NamedTuple):
    """Where an array lies in the memory of a launch."""

    offset: int
    shape: tuple[int, ...]
    dtype: Any


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def _padded(array: Any, *shape: int) -> Any:
    out = np.zeros(shape, np.float32)
    out[tuple(slice(size) for size in array.shape)] = array
    return out


def _by_unit(rows: Any, hidden: int, *widths: int) -> Any:
    """Return gate rows [4 H, …] as [H, 4, …], padded."""
    gates = np.asarray(rows, np.float32).reshape(4, -1, *np.shape(rows)[1:])
    return _padded(np.swapaxes(gates, 0, 1), hidden, 4, *widths)


def pack_weights(
    embedding: Any,
    layers: Sequence[Layer],
    predictor: tuple[Any, Any],
    output: tuple[Any, Any],
    durations: Sequence[int],
    *,
    half: bool,
) -> tuple[Sizes, dict[str, Any]]:
    """Order and pad a decoder's weights as the kernel reads them.

    Parameters
    ----------
    embedding : ndarray [shape=(V, E)], float32
        Row by label, the blank's last.
    layers : sequence of Layer
    predictor, output : tuple of ndarray
        The joint's projection of the prediction [J, H] and [J]; the output layer [V + D, J] and [V + D].
    durations : sequence of int
        Encoder frames by index, D of them.
    half : bool
        Whether matrices are float16; biases and the table of the first layer stay float32.

    Returns
    -------
    sizes : Sizes
    arrays : dict of str to ndarray
        By the names of :data:`.greedy_fields.FIELDS`.
    """
    classes, count = len(embedding), len(durations)
    joint_width, hidden_width = predictor[0].shape
    hidden, joint = _up(hidden_width, WIDTH), _up(joint_width, WIDTH)
    class_rows, duration_rows = _up(classes, GROUP), _up(count, GROUP)
    sizes = Sizes(
        len(layers), hidden, joint, hidden_width, joint_width, classes, class_rows, count, duration_rows
    )  # fmt: skip
    number = np.float16 if half else np.float32
    first = layers[0]
    table = np.asarray(embedding, np.float32) @ np.asarray(first.inputs, np.float32).T + first.bias
    upper = np.zeros((len(layers) - 1, hidden, 4, 2 * hidden), number)
    upper_bias = np.zeros((len(layers) - 1, hidden, 4), np.float32)
    for place, layer in enumerate(layers[1:]):
        upper[place, ..., :hidden] = _by_unit(layer.inputs, hidden, hidden)
        upper[place, ..., hidden:] = _by_unit(layer.recurrent, hidden, hidden)
        upper_bias[place] = _by_unit(layer.bias, hidden)
    rows = np.zeros((class_rows + duration_rows, joint), number)
    biases = np.zeros(class_rows + duration_rows, np.float32)
    for start, part in ((0, slice(classes)), (class_rows, slice(classes, None))):
        size = len(output[1][part])
        rows[start : start + size, :joint_width], biases[start : start + size] = output[0][part], output[1][part]
    return sizes, {
        "table": _padded(np.swapaxes(table.reshape(classes, 4, hidden_width), 1, 2), classes, hidden, 4),
        "recurrent": _by_unit(first.recurrent, hidden, hidden).astype(number),
        "upper": upper,
        "upper_bias": upper_bias,
        "predictor": _padded(predictor[0], joint, hidden).astype(number),
        "predictor_bias": _padded(predictor[1], joint),
        "output": rows,
        "output_bias": biases,
        "durations": np.asarray(durations, np.int32),
    }


def places(sizes: Sizes, batch: int, blocks: int, entries: int, capacity: int) -> tuple[dict[str, Place], int]:
    """Place all that a launch needs beside weights and frames in one piece of memory.

    First what the host writes (up to `clock`), then what it reads (`clock` to `cell_end`), then what blocks exchange.

    Returns
    -------
    places : dict of str to Place
    size : int
        Bytes altogether.
    """
    state = (sizes.layers, batch, sizes.hidden)
    integer, real = np.dtype(np.int32), np.dtype(np.float32)
    wanted = {
        "barrier": ((1,), integer),
        "lengths": ((batch,), integer),
        "clock": ((batch, fields.CLOCK_COLUMNS), integer),
        "counts": ((batch,), integer),
        "report": ((fields.REPORT_PLACES,), integer),
        "clocks": ((2, len(fields.PHASES)), integer),
        "tokens": ((batch, capacity, 3), integer),
        "scores": ((batch, capacity, 2), real),
        "hidden_end": (state, real),
        "cell_end": (state, real),
        "hidden": ((2, *state), real),
        "cell": ((2, *state), real),
        "prediction": ((batch, sizes.joint), real),
        "board": ((2, blocks, entries, 8), real),
    }
    found, offset = {}, 0
    for name, (shape, dtype) in wanted.items():
        found[name] = Place(offset, shape, dtype)
        offset = _up(offset + prod(shape) * dtype.itemsize, ALIGNMENT_BYTES)
    return found, offset


def entries_of(batch: int, rows: int) -> int:
    """Return how many entries the joint may evaluate at once: all rows, or a pass that looks ahead."""
    return max(batch, rows)
