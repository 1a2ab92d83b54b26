"""What the decoder on the card is handed: its argument as bytes and as C, weights in order, places in memory."""

from __future__ import annotations

import re
import struct

import numpy as np
import pytest

from tdt.kernels.decoder import greedy_fields as fields
from tdt.kernels.decoder import greedy_layout as layout


def numbered() -> dict[str, int]:
    return {field.name: number for number, field in enumerate(fields.FIELDS, 1)}


def test_the_bytes_lie_where_c_looks_for_them() -> None:
    content = fields.pack(numbered())
    assert len(content) == fields.SIZE
    offset = 0
    # Each line of C by the rules of C: a pointer is 8 bytes at a multiple of 8, an int 4 at a multiple of 4.
    for kind, name in re.findall(r"^    (.*?)(\w+); //", fields.header(), re.MULTILINE):
        size, form = (8, "<Q") if kind.endswith("*") else (4, "<i")
        offset = -(-offset // size) * size
        assert struct.unpack_from(form, content, offset) == (numbered()[name],), name
        assert fields.OFFSETS[name] == offset
        offset += size
    assert -(-offset // 8) * 8 == fields.SIZE
    assert f"static_assert(sizeof(Greedy) == {fields.SIZE})" in fields.header()


def test_every_field_says_shape_and_owner() -> None:
    for field in fields.FIELDS:
        if field.form == fields.POINTER:
            assert re.match(r"\[[^\]]+\] \w", field.says), field.name


def test_a_field_that_is_missing_or_unknown_is_refused() -> None:
    values = numbered()
    with pytest.raises(KeyError, match="nonsense"):
        fields.pack(values | {"nonsense": 1})
    del values["blank"]
    with pytest.raises(KeyError, match="blank"):
        fields.pack(values)


def test_the_kernel_uses_every_field() -> None:
    text, headers = layout.source()
    names = {field.name for field in fields.FIELDS}
    used = set(re.findall(r"\ba\.(\w+)", "".join([text, *headers.values()])))
    assert used == names
    included = set(re.findall(r'#include "([^"]+)"', text + "".join(headers.values())))
    assert included == set(headers), "the compiler is handed what is included, and nothing else"


def test_numbers_that_the_host_repeats_are_the_kernels() -> None:
    text = layout.source()[1]["greedy_rows.h"]
    assert f"#define MOST_ROWS {layout.MOST_ROWS} " in text
    assert f"#define WARPS {layout.WARPS} " in text


def test_assembly_stands_in_one_file() -> None:
    text, headers = layout.source()
    assert {name for name, one in {**headers, "greedy.cu": text}.items() if "asm" in one} == {"grid.h"}


@pytest.mark.parametrize("half", [False, True])
def test_weights_are_padded_and_ordered(half: bool) -> None:
    rng = np.random.default_rng(3)
    hidden, joint, classes, durations = 10, 14, 7, (0, 1, 3)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    stack = [layout.Layer(normal(40, 6 if not index else 10), normal(40, 10), normal(40)) for index in range(3)]
    embedding, predictor = normal(classes, 6), (normal(joint, hidden), normal(joint))
    output = (normal(classes + 3, joint), normal(classes + 3))
    sizes, arrays = layout.pack_weights(embedding, stack, predictor, output, durations, half=half)
    assert sizes == layout.Sizes(3, 16, 16, 10, 14, 7, 8, 3, 4)
    number = np.float16 if half else np.float32
    unit, gate, label = 4, 2, 5
    row = gate * hidden + unit
    expected = embedding[label] @ stack[0].inputs[row] + stack[0].bias[row]
    assert arrays["table"][label, unit, gate] == pytest.approx(expected, rel=1e-5)
    np.testing.assert_array_equal(arrays["recurrent"][unit, gate, :10], stack[0].recurrent[row].astype(number))
    above = arrays["upper"][1, unit, gate]
    np.testing.assert_array_equal(above[:10], stack[2].inputs[row].astype(number))
    np.testing.assert_array_equal(above[16:26], stack[2].recurrent[row].astype(number))
    assert not above[10:16].any()
    assert not above[26:].any()
    assert arrays["upper_bias"][1, unit, gate] == stack[2].bias[row]
    np.testing.assert_array_equal(arrays["output"][:7, :14], output[0][:7].astype(number))
    np.testing.assert_array_equal(arrays["output"][8:11, :14], output[0][7:].astype(number))
    np.testing.assert_array_equal(arrays["output_bias"][[6, 8]], output[1][[6, 7]])
    assert not arrays["output"][7].any()
    assert {name for name, array in arrays.items() if array.dtype == np.float16} == (
        {"recurrent", "upper", "predictor", "output"} if half else set()
    )
    assert sizes.shared_bytes(8) == 8 * 32 * 4
    assert sizes.tasks() == 16


def test_the_bytes_in_the_kernels_head_are_those_of_v3() -> None:
    sizes = layout.Sizes(2, 640, 640, 640, 640, 8193, 8196, 5, 8)
    parts = {
        "layer 0": 4 * sizes.hidden**2,
        "layer 1": 8 * sizes.hidden**2,
        "projection": sizes.joint * sizes.hidden,
        "joint": (sizes.class_rows + sizes.duration_rows) * sizes.joint,
    }
    parts["a token"] = sum(parts.values())
    text, _ = layout.source()
    for name, numbers in parts.items():
        line = re.search(rf"^//     {name} +([\d.]+) MB +([\d.]+) MB", text, re.MULTILINE)
        assert line is not None, name
        assert [float(number) for number in line.groups()] == pytest.approx(
            [numbers * 4 / 1e6, numbers * 2 / 1e6], abs=0.006
        )


def test_places_do_not_overlap_and_are_aligned() -> None:
    sizes = layout.Sizes(2, 16, 24, 10, 20, 7, 8, 3, 4)
    places, size = layout.places(sizes, 5, 3, layout.entries_of(5, 8), 6)
    assert places["board"].shape == (2, 3, 8, 8)
    end = 0
    for place in places.values():
        assert place.offset >= end
        assert place.offset % layout.ALIGNMENT_BYTES == 0
        end = place.offset + int(np.prod(place.shape)) * place.dtype.itemsize
    assert end <= size
    names = list(places)
    assert names[:3] == ["barrier", "lengths", "clock"], "one copy there"
    back = ["clock", "counts", "report", "clocks", "tokens", "scores", "hidden_end", "cell_end"]
    assert names[2 : 2 + len(back)] == back, "one copy back"


@pytest.mark.parametrize("half", [False, True])
def test_what_stays_in_shared_memory_fits_and_is_all_that_fits(half: bool) -> None:
    sizes = layout.Sizes(2, 640, 640, 640, 640, 8193, 8196, 5, 8)
    number = 2 if half else 4
    left = {}
    # Shared memory of a block, and multiprocessors: as the kernel's head has them.
    for card, limit, blocks in (("H100", 232_448, 132), ("RTX 4090", 101_376, 128), ("A100", 166_912, 108)):
        room = limit - layout.STATIC_SHARED_BYTES - sizes.shared_bytes(8)
        kept, taken = layout.kept(sizes, blocks, room, half=half)
        assert taken <= room
        stays = total = 0
        for name, (tasks, columns, count) in sizes.stages().items():
            size, mine = 4 * columns * number * count, kept[f"kept_{name}"]
            assert mine == -(-tasks // blocks) or room - taken < size, "another task of it would fit"
            stays, total = stays + min(mine * blocks, tasks) * size, total + tasks * size
        left[card] = round((total - stays) / 1e6, 1)
    text, _ = layout.source()
    line = re.search(
        rf"^//     float{16 if half else 32} +([\d.]+) +\d+ +([\d.]+) +\d+ +([\d.]+) +\d+$", text, re.MULTILINE
    )
    assert line is not None
    assert [float(number) for number in line.groups()] == list(left.values())
    assert layout.kept(sizes, 132, 0, half=half) == (dict.fromkeys(kept, 0), 0)


def test_a_model_of_one_layer_keeps_nothing_of_layers_above() -> None:
    kept, taken = layout.kept(layout.Sizes(1, 16, 24, 10, 20, 7, 8, 3, 4), 3, 1 << 20, half=False)
    assert kept == {"kept_recurrent": 6, "kept_upper": 0, "kept_predictor": 2, "kept_output": 1}
    assert taken == 16 * (6 * 16 + 2 * 16 + 24)
