"""The one argument of the decoder on the card, described once: as C for the compiler, as bytes for the launch.

A field is a pointer or an int32. What it holds, and who writes and reads it, is said here and comes out beside each
line of C (:func:`header`), so that the kernel's text and the bytes that it is handed cannot differ.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

POINTER, NUMBER = "Q", "i"


class Field(NamedTuple):
    """A field of the argument.

    Parameters
    ----------
    name : str
    form : {"Q", "i"}
        A pointer or a number, as `struct` has it.
    c : str
        Its type in C.
    says : str
        Shape and owner.
    """

    name: str
    form: str
    c: str
    says: str


def _pointer(name: str, c: str, says: str) -> Field:
    return Field(name, POINTER, f"{c} *", says)


def _number(name: str, says: str) -> Field:
    return Field(name, NUMBER, "int ", says)


# B rows (utterances), T frames, L layers, H hidden and J joint columns padded to multiples of 8, V token rows (blank
# included) and D duration rows each padded to a multiple of 4, G blocks, E entries (the larger of B and ROWS), C places
# for emissions of a row. Padding is zero wherever it is multiplied.
FIELDS: tuple[Field, ...] = (
    _pointer("projected", "const float", "[B, T, frame_width] the encoder's output in the joint's space; constant"),
    _pointer("lengths", "const int", "[B] frames that count; constant"),
    _pointer("table", "const float", "[V, H, 4] layer 0's gates i, o, f, g by label, bias included; constant"),
    _pointer("recurrent", "const Weight", "[H, 4, H] layer 0, the four gate rows of a unit together; constant"),
    _pointer("upper", "const Weight", "[L - 1, H, 4, 2 H] the layers above: input part, then recurrent part; constant"),
    _pointer("upper_bias", "const float", "[L - 1, H, 4] constant"),
    _pointer("predictor", "const Weight", "[J, H] the joint's projection of the prediction; constant"),
    _pointer("predictor_bias", "const float", "[J] constant"),
    _pointer("output", "const Weight", "[V + D, J] token rows, then duration rows; constant"),
    _pointer("output_bias", "const float", "[V + D] constant"),
    _pointer("durations", "const int", "[duration_count] frames; constant"),
    _pointer("hidden", "float", "[2, L, B, H] a unit's by its warp; all read it after the layer's barrier"),
    _pointer("cell", "float", "[2, L, B, H] a unit's by its warp, who alone reads it"),
    _pointer("prediction", "float", "[B, J] a column's by its warp; all read it after the projection's barrier"),
    _pointer("board", "float4", "[2, G, E, 2] a block's line by itself; all read it after the joint's barrier"),
    _pointer("barrier", "unsigned", "[1] zero at launch; every block"),
    _pointer("clock", "int", "[B, 4] time, time of the last token, repeats there, label; at the end by block 0"),
    _pointer("counts", "int", "[B] emissions; by block 0 at the end"),
    _pointer("tokens", "int", "[B, C, 3] token, frame, duration; by block 0"),
    _pointer("scores", "float", "[B, C, 2] log-probability, power sum; by block 0"),
    _pointer("hidden_end", "float", "[L, B, H] state before the last label; by all at the end"),
    _pointer("cell_end", "float", "[L, B, H] likewise"),
    _pointer("report", "int", "[4] status, row, frame, barriers passed; by block 0 at the end"),
    _pointer("clocks", "unsigned", "[2, PHASES] cycles, by the first block and by the last; with GREEDY_CLOCKS only"),
    _number("batch", "B, from 1 to MOST_ROWS"),
    _number("frames", "T"),
    _number("frame_width", "columns of a frame, up to J"),
    _number("vectors", "whether frames may be read by 16 bytes: their address and width are multiples of that"),
    _number("layers", "L"),
    _number("hidden_size", "H"),
    _number("joint_size", "J"),
    _number("classes", "tokens with the blank, as many as count of V"),
    _number("class_rows", "V"),
    _number("duration_count", "as many as count of D"),
    _number("duration_rows", "D"),
    _number("blank", "token that emits nothing"),
    _number("max_symbols", "tokens at one frame that force the clock on; 0 for no limit"),
    _number("capacity", "C"),
    _number("entries", "E"),
    _number("kept_recurrent", "tasks of layer 0 (four rows each) whose weights a block keeps in shared memory"),
    _number("kept_upper", "likewise of each layer above"),
    _number("kept_predictor", "likewise of the joint's projection"),
    _number("kept_output", "likewise of the output layer"),
)  # fmt: skip

# In `report`.
DONE, NOT_FINITE, FULL = 0, 1, 2
STATUS, ROW, FRAME, BARRIERS = 0, 1, 2, 3
REPORT_PLACES = 4
CLOCK_COLUMNS = 4
TIME, LAST_TIME, REPEATS, LABEL = 0, 1, 2, 3

# Of a launch, in `clocks`: what the first thread of a block waits for and does.
PHASES = (
    "BEGIN", "STAGE", "LAYER_0", "LAYERS_ABOVE", "PROJECTION", "ACTIVATE", "JOINT", "MERGE", "OWN_BLOCK", "BARRIER",
    "GATHER", "WALK",
)  # fmt: skip

HEADER = "greedy_fields.h"  # the name under which the kernel includes it


def header() -> str:
    """Return the argument as C."""
    lines = [f"    {field.c}{field.name}; // {field.says}" for field in FIELDS]
    statuses = f"enum {{ DONE = {DONE}, NOT_FINITE = {NOT_FINITE}, FULL = {FULL} }};"
    phases = f"enum {{ {', '.join(PHASES)}, PHASES }};"
    return "\n".join(
        [statuses, phases, "struct Greedy {", *lines, "};", f"static_assert(sizeof(Greedy) == {SIZE});", ""]
    )


def _format() -> str:
    pointers = [field.form for field in FIELDS]
    assert pointers == sorted(pointers, key=[POINTER, NUMBER].index), "pointers first, so that nothing is padded"
    text = "<" + "".join(pointers)
    return text + "4x" * (pointers.count(NUMBER) % 2)


_FORMAT = _format()
SIZE = struct.calcsize(_FORMAT)
OFFSETS: dict[str, int] = {
    field.name: struct.calcsize("<" + "".join(before.form for before in FIELDS[:place]))
    for place, field in enumerate(FIELDS)
}


def pack(values: dict[str, int]) -> bytes:
    """Return the argument as bytes.

    Parameters
    ----------
    values : dict of str to int
        Each field's address or number.

    Raises
    ------
    KeyError
        A field is missing.
    """
    unknown = values.keys() - OFFSETS.keys()
    if unknown:
        raise KeyError(f"no such fields: {sorted(unknown)}")
    return struct.pack(_FORMAT, *(values[field.name] for field in FIELDS))
