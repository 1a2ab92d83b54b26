"""The decoder on the card, run on the host: its source under grid_host, its weights and buffers by greedy_layout."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from tdt.kernels.decoder import greedy_fields as fields
from tdt.kernels.decoder.greedy_layout import (
    MOST_ROWS,
    WARPS,
    Layer,
    Sizes,
    defines,
    entries_of,
    kept,
    pack_weights,
    places,
)
from tdt.kernels.decoder.greedy_layout import source as kernel_source

from .grid_host import CONSTANT, GIVEN, SCRATCH, Argument, Buffer, Program, build

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .grid_host import Mode

READ_FIRST = frozenset({"barrier", "lengths", "clock"})  # what the host writes before a launch


def program(
    folder: Path,
    mode: Mode,
    *,
    rows: int = 8,
    half: bool = False,
    changes: dict[str, str] | None = None,
    sizes: Sizes | None = None,
) -> Program:
    """Build the kernel, changed on purpose where a test breaks it; for one model where its sizes are given."""
    source, included = kernel_source()
    for old, new in (changes or {}).items():
        found = [name for name, text in {**included, "greedy.cu": source}.items() if old in text]
        assert len(found) == 1, f"{old!r} must be in one file, not in {found}"
        assert (included.get(found[0]) or source).count(old) == 1, f"{old!r} must be there once"
        if found[0] in included:
            included[found[0]] = included[found[0]].replace(old, new)
        else:
            source = source.replace(old, new)
    built = tuple(f"{name}={value}" for name, value in defines(rows, half=half, sizes=sizes).items())
    return build(folder, source, "greedy.cu", mode, built, included)


@dataclass(frozen=True)
class Network:
    """Weights of a decoder, as :func:`tdt.kernels.decoder.greedy_layout.pack_weights` takes them."""

    embedding: np.ndarray
    layers: tuple[Layer, ...]
    predictor: tuple[np.ndarray, np.ndarray]
    output: tuple[np.ndarray, np.ndarray]
    durations: tuple[int, ...]
    max_symbols: int = 10

    @property
    def blank(self) -> int:
        return len(self.embedding) - 1

    @cache  # noqa: B019  # tests only
    def packed(self, *, half: bool) -> tuple[Sizes, dict[str, Any]]:
        return pack_weights(self.embedding, self.layers, self.predictor, self.output, self.durations, half=half)

    def __hash__(self) -> int:
        return id(self)


@dataclass
class Decoded:
    """What a launch hands back: of each row its emissions [N, 3], scores [N, 2], clock and state; the report."""

    emissions: list[np.ndarray]
    scores: list[np.ndarray]
    clock: np.ndarray
    hidden: np.ndarray
    cell: np.ndarray
    report: np.ndarray


def decode(
    made: Program,
    network: Network,
    projected: np.ndarray,
    lengths: Sequence[int],
    *,
    rows: int = 8,
    half: bool = False,
    blocks: int = 3,
    warps: int = 2,
    capacity: int | None = None,
    start: Decoded | None = None,
    times: Sequence[int] | None = None,
    seeds: tuple[int, int] = (0, 1),
    schedule: str = "",
    keep: float = 0.5,
) -> Decoded:
    """Decode a batch in one launch; `start` and `times` carry on from another; `keep`: share of weights that stay."""
    batch, frames, width = projected.shape
    assert batch <= MOST_ROWS
    assert warps <= WARPS
    sizes, weights = network.packed(half=half)
    entries = entries_of(batch, rows)
    capacity = frames * max(network.max_symbols, 1) + 1 if capacity is None else capacity
    wanted, _ = places(sizes, batch, blocks, entries, capacity)
    values = {name: np.zeros(place.shape, place.dtype) for name, place in wanted.items()}
    values["lengths"][:] = lengths
    values["clock"][:] = [0, -1, 0, network.blank] if start is None else start.clock
    if times is not None:
        values["clock"][:, fields.TIME], values["clock"][:, fields.LAST_TIME] = times, -1
    if start is not None:
        values["hidden"][0], values["cell"][0] = start.hidden, start.cell
    buffers = {name: Buffer(array, CONSTANT) for name, array in weights.items() if array.size}
    buffers["projected"] = Buffer(np.ascontiguousarray(projected, np.float32), CONSTANT)
    for name, array in values.items():
        kind = CONSTANT if name == "lengths" else GIVEN if name in READ_FIRST else SCRATCH
        if name in {"hidden", "cell"}:  # half of each is the host's: parity 0
            buffers[name] = Buffer(array, GIVEN)
            array[1] = np.nan
        else:
            buffers[name] = Buffer(array, kind)
    numbers = sizes.numbers() | {
        "batch": batch,
        "frames": frames,
        "vectors": int(width % 4 == 0),
        "blank": network.blank,
        "max_symbols": network.max_symbols,
        "capacity": capacity,
        "entries": entries,
    }
    everything = kept(sizes, blocks, 1 << 30, half=half)[1]
    stays, stays_bytes = kept(sizes, blocks, int(keep * everything), half=half)
    numbers |= stays
    pointers = [field.name for field in fields.FIELDS if field.form == fields.POINTER]
    content = fields.pack(numbers | dict.fromkeys(pointers, 0))
    argument = Argument(content, tuple((fields.OFFSETS[name], name) for name in pointers if name in buffers))
    launch = (blocks, 32 * warps, sizes.shared_bytes(rows) + stays_bytes)
    out = made.run("greedy", launch, buffers, [argument], seeds=seeds, schedule=schedule)
    counts = out["counts"]
    return Decoded(
        [out["tokens"][row, : counts[row]] for row in range(batch)],
        [out["scores"][row, : counts[row]] for row in range(batch)],
        out["clock"],
        out["hidden_end"],
        out["cell_end"],
        out["report"],
    )


def lifted_network(lifted: Any, spec: Any) -> Network:
    """Return the network of a model whose weights were lifted."""
    layers = tuple(Layer(layer.inputs.values, layer.recurrent.values, layer.bias) for layer in lifted.layers)
    predictor = lifted.predictor.matrix.values, lifted.predictor.bias
    output = lifted.output.matrix.values, lifted.output.bias
    return Network(lifted.embedding, layers, predictor, output, tuple(spec.durations), spec.max_symbols)


def triples(decoded: Decoded) -> list[list[tuple[int, int, int]]]:
    """Return token, frame and duration of each emission, by row."""
    return [[(token, frame, step) for token, frame, step in rows.tolist()] for rows in decoded.emissions]
