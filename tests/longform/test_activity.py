"""Speech on encoder frames: the grid against a loop, the hysteresis by examples, both the same in any blocks."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tdt.longform.activity import UNDECIDED_FRAMES, FrameGrid, SpeechMask


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=120), st.integers(1, 50), st.sampled_from([640, 1280]))
def test_frame_grid_takes_the_loudest_of_what_overlaps(values: list[float], block: int, frame: int) -> None:
    grid = FrameGrid(512, frame)
    got = np.concatenate([grid.add(np.array(values[i : i + block], np.float32)) for i in range(0, len(values), block)])
    assert len(got) == len(values) * 512 // frame
    for i, value in enumerate(got):
        overlapping = [v for j, v in enumerate(values) if j * 512 < (i + 1) * frame and (j + 1) * 512 > i * frame]
        assert value == np.float32(max(overlapping))


def decide(speech: list[float], block: int = 10_000) -> str:
    mask = SpeechMask()
    parts = [mask.add(np.array(speech[i : i + block], np.float32)) for i in range(0, len(speech), block)]
    return "".join("#" if talk else "." for talk in np.concatenate([*parts, mask.flush()]))


def test_what_never_becomes_sure_is_no_speech() -> None:
    assert decide([0.1, 0.5, 0.9, 0.9, 0.5, 0.9, 0.45, 0.3, 0.5, 0.6, 0.1]) == ".######...."


def test_the_onset_of_a_note_is_no_speech() -> None:
    """Plucked notes and chords, as the detector hears them: sure for a frame or two, then falling."""
    assert decide([0.0, 0.89, 0.54, 0.1, 0.0, 0.98, 0.9, 0.6, 0.5, 0.3, 0.0]) == "." * 11
    assert decide([0.0, 0.9, 0.98, 0.86, 0.6, 0.0]) == ".####.", "a short word"
    assert decide([0.0, 0.9, 0.0, 0.9, 0.0, 0.9, 0.0]) == "." * 7, "each counts by itself"


def test_what_stays_possible_for_long_is_given_the_benefit_of_the_doubt() -> None:
    assert decide([0.5] * (UNDECIDED_FRAMES - 1) + [0.1]) == "." * UNDECIDED_FRAMES
    assert decide([0.5] * UNDECIDED_FRAMES + [0.1]) == "#" * UNDECIDED_FRAMES + "."
    assert decide([0.1, 0.5]) == ".#", "the end of a recording"


@given(st.lists(st.sampled_from([0.0, 0.39, 0.41, 0.69, 0.71, 1.0]), min_size=1, max_size=100), st.integers(1, 40))
def test_decisions_do_not_depend_on_blocks(speech: list[float], block: int) -> None:
    assert decide(speech, block) == decide(speech)
    assert len(decide(speech)) == len(speech)
