"""Windows over pushed samples: those of NeMo's buffer, however the samples come, and never more memory."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdt.live.contexts import Contexts
from tdt.live.windowing import Window, WindowBuffer

NEMO = json.loads((Path(__file__).parents[1] / "data/streaming.json").read_text(encoding="utf-8"))
FRAME = 1280


def windows_of(contexts: Contexts, samples: np.ndarray, cuts: list[int]) -> list[Window]:
    buffer, found = WindowBuffer(contexts), []
    pieces = np.split(samples, sorted(cuts))
    for number, piece in enumerate([*pieces, None]):
        if piece is None:
            buffer.end()
        else:
            buffer.add(piece)
        while buffer.ready():
            window = buffer.peek()
            assert window is not None
            assert number == len(pieces) or not window.last
            buffer.advance(window)
            found.append(window)
        assert buffer.peek() is None
    return found


@pytest.mark.parametrize("name", NEMO["contexts"])
def test_windows_are_nemos(name: str) -> None:
    setting = NEMO["contexts"][name]
    contexts = Contexts(*setting["encoder_frames"], FRAME)
    for recording, golden in zip(NEMO["recordings"], setting["recordings"], strict=True):
        samples = np.arange(recording["samples"], dtype=np.float32)
        found = windows_of(contexts, samples, list(range(0, len(samples), 1600)))
        assert [[window.end, window.left, window.chunk] for window in found] == [c[:3] for c in golden["chunks"]]
        for window in found:
            np.testing.assert_array_equal(window.samples, samples[window.start - window.left : window.end])


@given(
    st.integers(0, 5), st.integers(1, 4), st.integers(0, 4), st.integers(0, 30_000),
    st.lists(st.integers(0, 30_000), max_size=12),
)  # fmt: skip
def test_every_sample_is_decoded_once_however_it_comes(
    left: int, chunk: int, right: int, count: int, cuts: list[int]
) -> None:
    contexts = Contexts(left, chunk, right, FRAME)
    samples = np.arange(count, dtype=np.float32)
    found = windows_of(contexts, samples, [cut for cut in cuts if cut <= count])
    whole = windows_of(contexts, samples, [])
    assert len(found) == len(whole)
    for ours, theirs in zip(found, whole, strict=True):
        assert ours[1:] == theirs[1:]
        np.testing.assert_array_equal(ours.samples, theirs.samples)
    assert [window.start for window in found] == [0, *(w.start + w.chunk for w in found[:-1])][: len(found)]
    for window in found:
        np.testing.assert_array_equal(window.samples, samples[window.start - window.left : window.end])
        assert len(window.samples) <= contexts.frames * FRAME
        if not window.last:
            assert (window.chunk, window.end - window.start) == (chunk * FRAME, (chunk + right) * FRAME)
            assert window.left == min(window.start, left * FRAME)
    remaining = count - (found[-1].start + found[-1].chunk if found else 0)
    if found and not found[-1].last:
        assert remaining == right * FRAME, "the right context of the window before is all that remains"
    else:
        assert remaining == (0 if count >= 160 else count)


def test_a_full_buffer_never_grows() -> None:
    buffer = WindowBuffer(Contexts(5, 2, 2, FRAME))
    held = buffer._samples
    for _ in range(400):
        buffer.add(np.ones(999, np.float32))
        while buffer.ready():
            window = buffer.peek()
            assert window is not None
            buffer.advance(window)
    assert buffer._samples is held


def test_a_window_is_its_own() -> None:
    buffer = WindowBuffer(Contexts(1, 1, 0, FRAME))
    buffer.add(np.ones(FRAME, np.float32))
    window = buffer.peek()
    assert window is not None
    window.samples[:] = 7
    again = buffer.peek()
    assert again is not None
    assert np.all(again.samples == 1)
