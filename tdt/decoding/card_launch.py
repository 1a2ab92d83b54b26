"""One launch of the decoder on a card: what is written before, the kernel's argument, what is read after."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tdt.stages import DecoderState, Hypothesis

if TYPE_CHECKING:
    from tdt.decoding.card_weights import CardWeights
    from tdt.runtime import CardMemory, CudaStream
    from tdt.spec import ModelSpec

Status = Literal["done", "not finite", "full"]


@dataclass
class Row:
    """An utterance on its way: where it stands, and what it has emitted so far.

    Parameters
    ----------
    spec : ModelSpec
    length : int
        Encoder frames.
    before : DecoderState, optional
        Where its last piece left it.
    """

    spec: ModelSpec
    length: int
    before: DecoderState | None
    clock: list[int] = field(init=False)
    hidden: Any = field(init=False)
    cell: Any = field(init=False)
    emissions: list[Any] = field(default_factory=list)
    scores: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        state = self.before
        self.clock = [state.skip if state else 0, -1, 0, state.label if state else self.spec.blank_id]
        self.hidden, self.cell = (state.hidden, state.cell) if state else (None, None)

    @property
    def runs(self) -> bool:
        """Whether there are frames left for it."""
        return self.clock[0] < self.length

    def hypothesis(self) -> Hypothesis:
        """Return what was emitted, frames counted from the start of the utterance."""
        from tdt.kernels.decoder.confidence import tsallis_confidence

        if not self.emissions:
            return Hypothesis.empty()
        start = np.int32(self.before.frames_decoded if self.before else 0)
        tokens, frames, durations = np.ascontiguousarray(np.concatenate(self.emissions).T)
        logprobs, powers = np.ascontiguousarray(np.concatenate(self.scores).T)
        confidences = tsallis_confidence(powers, self.spec.blank_id + 1)
        return Hypothesis(tokens, frames + start, durations, logprobs, confidences)

    def state(self) -> DecoderState:
        """Return what its next piece needs."""
        shape = (self.spec.predictor_layers, self.spec.predictor_hidden)
        hidden, cell = (
            np.zeros(shape, np.float32) if part is None else np.array(part) for part in (self.hidden, self.cell)
        )
        start = self.before.frames_decoded if self.before else 0
        return DecoderState(self.clock[3], hidden, cell, self.clock[0] - self.length, start + self.length)


class Launch:
    """One launch: where everything lies, and the copies to and fro.

    Parameters
    ----------
    weights : CardWeights
    spec : ModelSpec
    rows : list of Row
        As they stand now.
    pass_rows, blocks, capacity : int
        Rows of a pass; blocks; emissions of a row that there is room for.
    kept : dict of str to int
        What blocks keep of the weights; see :func:`tdt.kernels.decoder.greedy_layout.kept`.
    """

    def __init__(
        self,
        weights: CardWeights,
        spec: ModelSpec,
        rows: list[Row],
        pass_rows: int,
        blocks: int,
        capacity: int,
        kept: dict[str, int],
    ) -> None:
        from tdt.kernels.decoder import greedy_fields, greedy_layout

        self._fields, self._weights, self._rows = greedy_fields, weights, rows
        entries = greedy_layout.entries_of(len(rows), pass_rows)
        self._places, self.size_bytes = greedy_layout.places(weights.sizes, len(rows), blocks, entries, capacity)
        self._numbers = (
            weights.sizes.numbers()
            | kept
            | {
                "batch": len(rows),
                "blank": spec.blank_id,
                "max_symbols": spec.max_symbols,
                "capacity": capacity,
                "entries": entries,
            }
        )

    def put(self, queue: CudaStream, memory: CardMemory) -> None:
        """Enqueue what the kernel finds: lengths and clocks in one copy, and states, where one is not zero."""
        first, last = self._places["barrier"], self._places["clock"]
        head = np.zeros(self._end("clock") - first.offset, np.uint8)
        lengths = np.array([row.length for row in self._rows], np.int32)
        clock = np.array([row.clock for row in self._rows], np.int32)
        for place, values in ((self._places["lengths"], lengths), (last, clock)):
            head[place.offset : place.offset + values.nbytes] = values.view(np.uint8).reshape(-1)
        queue.put(memory.array(first.offset, head.shape, np.uint8), head)
        for name in ("hidden", "cell"):
            place = self._places[name]
            target = memory.array(place.offset, place.shape[1:], place.dtype)  # the half that is read first
            given = [getattr(row, name) for row in self._rows]
            if all(part is None for part in given):
                queue.context.clear(target.pointer, target.nbytes, queue.pointer)
                continue
            state = np.zeros(target.shape, np.float32)
            for place_of_row, part in enumerate(given):
                if part is not None:
                    state[:, place_of_row, : part.shape[1]] = part
            queue.put(target, state)

    def argument(self, memory: CardMemory, frames_pointer: int, frames: int) -> bytes:
        """Return the kernel's argument for frames [B, `frames`, J] at an address."""
        width = self._weights.sizes.joint_width
        values = self._numbers | self._weights.pointers
        values |= {name: memory.pointer + place.offset for name, place in self._places.items()}
        values |= {"projected": frames_pointer, "frames": frames}
        values["vectors"] = int(width % 4 == 0 and frames_pointer % 16 == 0)
        return self._fields.pack(values)

    def read(self, queue: CudaStream, memory: CardMemory) -> Any:
        """Enqueue one copy of all results; it holds them after the next wait."""
        begin = self._places["clock"].offset
        source = memory.array(begin, (self._end("cell_end") - begin,), np.uint8)
        return queue.read(source)

    def take(self, read: Any, rows: list[Row]) -> tuple[Status, int, int]:
        """Put the results where they belong; return the status, and the row and frame that it is about."""
        begin, found = self._places["clock"].offset, {}
        for name in ("clock", "counts", "report", "tokens", "scores", "hidden_end", "cell_end"):
            place = self._places[name]
            part = read[place.offset - begin : self._end(name) - begin]
            found[name] = part.view(place.dtype).reshape(place.shape)
        width = self._weights.sizes.hidden_width
        for number, row in enumerate(rows):
            count = int(found["counts"][number])
            row.clock = found["clock"][number].tolist()
            row.hidden, row.cell = (found[name][:, number, :width] for name in ("hidden_end", "cell_end"))
            if count:
                row.emissions.append(found["tokens"][number, :count])
                row.scores.append(found["scores"][number, :count])
        status, number, frame = found["report"][: self._fields.BARRIERS].tolist()
        names: dict[int, Status] = {self._fields.NOT_FINITE: "not finite", self._fields.FULL: "full"}
        return names.get(status, "done"), number, frame

    def _end(self, name: str) -> int:
        place = self._places[name]
        return int(place.offset + np.prod(place.shape) * place.dtype.itemsize)
