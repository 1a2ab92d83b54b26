"""The TDT rule, case by case, with scripted logits and no model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tdt.kernels.decoder import tdt_rule
from tdt.kernels.decoder.confidence import row_statistics, tsallis_confidence

from .. import naive

BLANK = 3
TABLE = (0, 1, 2, 3, 4)


def row(token: int, duration_index: int, durations: int = 5, classes: int = BLANK + 1) -> np.ndarray:
    """Logits that name a token and a duration index."""
    out = np.zeros(classes + durations, np.float32)
    out[token] = 5
    out[classes + duration_index] = 5
    return out


def decode(
    logits: Any, length: int, *, durations: Any = TABLE, max_symbols: int = 10, window: int = 1, start: int = 0
) -> tuple[list[tuple[int, int, int]], int]:
    """Drive the compiled rule as the engines do; `logits(frame, emitted)` as in the oracle."""
    clock = np.zeros((1, tdt_rule.CLOCK_COLUMNS), np.int64)
    clock[0, [tdt_rule.TIME, tdt_rule.LENGTH, tdt_rule.LAST_TIME]] = start, length, -1
    capacity = (length + 1) * max(max_symbols, 1) + 60
    out, stats = np.zeros((1, capacity, 3), np.int32), np.zeros((1, capacity, 2), np.float32)
    rows = np.flatnonzero([start < length])
    rounds = 0
    while len(rows):
        rounds += 1
        assert rounds < 2000, "the clock stands still"
        time, count = clock[0, tdt_rule.TIME], clock[0, tdt_rule.COUNT]
        block = np.array([logits(min(time + offset, length - 1), int(count)) for offset in range(window)], np.float32)
        tokens, steps = block[:, : -len(durations)], block[:, -len(durations) :]
        choices = np.stack([tokens.argmax(1), steps.argmax(1)], axis=1)[None].astype(np.int64)
        scores = np.stack([tokens.max(1), tokens.sum(1), np.abs(block).sum(1)], axis=1)[None].astype(np.float32)
        rows, _, failed, _ = tdt_rule.scan_windows(
            choices, scores, rows, clock, np.array(durations, np.int64), tokens.shape[1] - 1, max_symbols, out, stats
        )
        if failed >= 0:
            raise ArithmeticError
    emitted = [tuple(int(value) for value in entry) for entry in out[0, : clock[0, tdt_rule.COUNT]]]
    return emitted, int(clock[0, tdt_rule.TIME] - length)


def script(*rows: np.ndarray, frames: dict[int, np.ndarray] | None = None) -> Any:
    """Logits that depend on the frame alone, or on the number of tokens so far."""
    if frames is not None:
        return lambda time, emitted: frames.get(time, row(BLANK, 1))
    return lambda time, emitted: rows[emitted] if emitted < len(rows) else row(BLANK, 1)


def test_a_token_stands_at_the_frame_before_the_clock_advances() -> None:
    assert decode(script(row(0, 2), row(1, 1)), 5) == ([(0, 0, 2), (1, 2, 1)], 0)


def test_blank_with_duration_zero_counts_as_one() -> None:
    seen: list[int] = []

    def logits(time: int, emitted: int) -> np.ndarray:
        seen.append(time)
        return row(BLANK, 0)

    assert decode(logits, 4) == ([], 0)
    assert seen == [0, 1, 2, 3]


def test_blank_takes_the_best_duration_not_the_best_above_zero() -> None:
    # ONNX Runtime GenAI takes the best duration >= 1 for blanks: it would jump by 4 here.
    logits = row(BLANK, 0)
    logits[-1] = 4
    assert decode(script(frames={0: logits, 1: row(2, 1)}), 5)[0] == [(2, 1, 1)]


def test_durations_are_looked_up_in_the_table() -> None:
    assert decode(script(row(0, 1), row(1, 2)), 20, durations=(0, 2, 5, 8, 9))[0] == [(0, 0, 2), (1, 2, 5)]


def test_the_table_may_be_unsorted_and_lack_zero() -> None:
    assert decode(script(row(0, 0, 3), row(1, 2, 3)), 5, durations=(4, 2, 1))[0] == [(0, 0, 4), (1, 4, 1)]


def test_durations_move_the_clock_of_tokens_too() -> None:
    # An implementation that ignores durations on tokens repeats the word (meetily: 8 to 11 times).
    always = row(0, 4)
    assert decode(lambda time, emitted: always, 12)[0] == [(0, 0, 4), (0, 4, 4), (0, 8, 4)]


@pytest.mark.parametrize("cap", [1, 2, 5, 10])
def test_at_most_max_symbols_tokens_at_one_frame(cap: int) -> None:
    always = row(1, 0)
    emitted, over = decode(lambda time, emitted: always, 3, max_symbols=cap)
    assert emitted == [(1, frame, 0) for frame in range(3) for _ in range(cap)]
    assert over == 0


def test_six_tokens_at_one_frame_stay_there() -> None:
    # sherpa-onnx moves on after five.
    emitted, _ = decode(script(*[row(0, 0)] * 6), 3)
    assert [frame for _, frame, _ in emitted] == [0] * 6


def test_the_cap_does_not_add_a_frame_when_the_last_token_moves() -> None:
    # NeMo's per-utterance loop (strategy "greedy") adds one frame there; label looping does not.
    emitted, _ = decode(script(row(0, 0), row(1, 2), row(2, 1)), 9, max_symbols=2)
    assert emitted == [(0, 0, 0), (1, 0, 2), (2, 2, 1)]


def test_max_symbols_one_is_not_one_frame_too_many() -> None:
    # The per-utterance loop moves one extra frame on every step here.
    assert decode(script(row(0, 1), row(1, 1)), 4, max_symbols=1)[0] == [(0, 0, 1), (1, 1, 1)]


def test_blanks_are_not_counted_as_symbols() -> None:
    # Two blanks of duration 0, then two tokens at one frame: a loop that counts blanks would stop after none.
    frames = {0: row(BLANK, 0), 1: row(BLANK, 0)}

    def logits(time: int, emitted: int) -> np.ndarray:
        return frames.get(time, row(0, 0) if emitted < 2 else row(BLANK, 1))

    assert decode(logits, 4, max_symbols=3)[0] == [(0, 2, 0), (0, 2, 0)]


def test_the_count_starts_anew_at_each_frame() -> None:
    steps = [row(0, 0), row(0, 1), row(0, 0), row(0, 1)]
    assert [entry[1] for entry in decode(script(*steps), 6, max_symbols=2)[0]] == [0, 0, 1, 1]


def test_durations_are_not_rewritten_at_the_cap() -> None:
    assert decode(script(*[row(2, 0)] * 4), 2, max_symbols=2)[0] == [(2, 0, 0), (2, 0, 0), (2, 1, 0), (2, 1, 0)]


@pytest.mark.parametrize("cap", [0, -1])
def test_without_a_cap_blank_zero_still_advances(cap: int) -> None:
    assert decode(lambda time, emitted: row(BLANK, 0), 5, max_symbols=cap) == ([], 0)


def test_a_token_is_kept_when_its_duration_passes_the_end() -> None:
    assert decode(script(row(0, 1), row(1, 4)), 3) == ([(0, 0, 1), (1, 1, 4)], 2)


def test_no_final_blank_is_needed() -> None:
    assert decode(script(row(0, 1), row(1, 1)), 2) == ([(0, 0, 1), (1, 1, 1)], 0)


@pytest.mark.parametrize("start", [0, 3])
def test_no_frames_no_tokens(start: int) -> None:
    assert decode(script(row(0, 1)), 0, start=start) == ([], start)


def test_a_jump_beyond_the_piece_leaves_the_rest_for_the_next() -> None:
    assert decode(script(row(0, 1)), 2, start=5) == ([], 3)


def test_ties_go_to_the_first_index() -> None:
    logits = np.zeros(BLANK + 1 + 5, np.float32)
    logits[[1, 2, BLANK]] = 7
    logits[BLANK + 1 + np.array([1, 3])] = 7
    assert decode(script(logits), 1)[0] == [(1, 0, 1)]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", [0, BLANK, BLANK + 1, -1])
def test_logits_that_are_not_finite_are_refused(value: float, column: int) -> None:
    logits = row(0, 1)
    logits[column] = value
    with pytest.raises(ArithmeticError):
        decode(script(frames={2: logits}), 4)


def test_an_unused_window_entry_may_hold_anything() -> None:
    broken = np.full(BLANK + 1 + 5, np.nan, np.float32)
    assert decode(script(frames={0: row(0, 4), 1: broken}), 4, window=4)[0] == [(0, 0, 4)]


@pytest.mark.parametrize("window", [1, 2, 4, 8])
def test_frames_beyond_the_end_are_never_read(window: int) -> None:
    projected = np.arange(6, dtype=np.float32).reshape(1, 6, 1)
    clock = np.zeros((1, tdt_rule.CLOCK_COLUMNS), np.int64)
    clock[0, [tdt_rule.TIME, tdt_rule.LENGTH]] = 2, 4
    out = np.full((1, window, 1), -1, np.float32)
    tdt_rule.gather_windows(projected, np.array([0]), clock, out)
    assert out[0, :, 0].tolist() == [2, 3, 3, 3, 3, 3, 3, 3][:window]


durations_tables = st.lists(st.integers(0, 5), min_size=1, max_size=5).map(tuple)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), durations=durations_tables, cap=st.integers(1, 4), window=st.sampled_from([1, 2, 4]))
def test_random_logits_give_what_the_naive_loop_gives(data: Any, durations: Any, cap: int, window: int) -> None:
    length, classes = data.draw(st.integers(0, 7)), data.draw(st.integers(2, 4))
    start = data.draw(st.integers(0, 3))
    shape = (max(length, 1), 6, classes + len(durations))
    # Small integers: ties are frequent.
    table = data.draw(hnp.arrays(np.float32, shape, elements=st.integers(-2, 2).map(float)))

    def logits(time: int, emitted: int) -> np.ndarray:
        return table[time, emitted % 6]

    expected = naive.greedy_tdt(logits, length, durations, classes - 1, cap, start)
    assert decode(logits, length, durations=durations, max_symbols=cap, window=window, start=start) == expected


@settings(max_examples=100, deadline=None)
@given(logits=hnp.arrays(np.float32, st.integers(2, 40), elements=st.floats(-30, 30, width=32)))
def test_row_statistics_give_log_softmax_and_nemos_confidence(logits: np.ndarray) -> None:
    best, logprob, power_sum = row_statistics(logits)
    assert best == int(np.argmax(logits))
    # float64 sums of at most 40 float32 logits against the same in another order.
    assert logprob == pytest.approx(naive.log_softmax(logits)[best], abs=1e-9)
    expected = min(max(naive.tsallis_confidence(logits), 0.0), 1.0)
    assert float(tsallis_confidence(power_sum, len(logits))) == pytest.approx(expected, abs=1e-6)  # returned as float32


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_row_statistics_mark_rows_that_are_not_finite(value: float) -> None:
    assert row_statistics(np.array([1, value, 0], np.float32))[0] == -1


def test_confidence_is_zero_for_a_uniform_row_and_one_for_certainty() -> None:
    _, _, uniform = row_statistics(np.zeros(257, np.float32))
    _, _, certain = row_statistics(np.array([200, *[0] * 256], np.float32))
    assert float(tsallis_confidence(uniform, 257)) == pytest.approx(0, abs=1e-9)
    assert float(tsallis_confidence(certain, 257)) == pytest.approx(1, abs=1e-6)
