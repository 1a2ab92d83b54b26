"""Beam search as a user of the engine meets it: batches, threads, empty clips, what is refused."""

from __future__ import annotations

import dataclasses
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import tdt
from tdt.decoding.native import NativeEngine
from tdt.errors import ClosedError, DecodingError, OptionError
from tdt.fusion.beam import Beam
from tdt.model.finding import find_model
from tdt.stages import Encoded, Fusion

from ..strategies import encoded_clips, model_of, phrases_of, together
from .beam_checks import CLIPS, SHORT_CLIPS, same
from .random_models import random_automaton

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def encoded(models: Path) -> dict[str, Encoded]:
    with tdt.load(models / "parakeet-tdt-tiny-onnx") as asr:
        return encoded_clips(asr, CLIPS)


@pytest.fixture(scope="module", params=["full", "screened"])
def engine(request: pytest.FixtureRequest, models: Path) -> Iterator[NativeEngine]:
    made = NativeEngine(*find_model(models / "parakeet-tdt-tiny-onnx"), screening=request.param == "screened")
    yield made
    made.close()


def test_batches_threads_and_neighbours_change_nothing(models: Path, encoded: dict[str, Encoded]) -> None:
    files, spec = find_model(models / "parakeet-tdt-tiny-onnx")
    pieces = spec.pieces[:-1]
    lists = [None, *(Fusion(((model_of(phrases_of(name, 1.0), pieces), 1.0),)) for name in ("names", "multiword"))]
    clips = list(encoded.values())
    fusions = [lists[place % 3] for place in range(len(clips))]
    for options in ({"threads": 1, "screening": True}, {"threads": 2}, {"threads": 1, "weights": "int8"}):
        engine = NativeEngine(files, spec, **options)
        together_, _ = engine.decode_beam(together(clips), None, fusions)
        for clip, fusion, found in zip(clips, fusions, together_, strict=True):
            (alone,), _ = engine.decode_beam(clip, None, [fusion])
            assert same(alone, found)
        assert engine.counters[0] > 0


def test_what_comes_again_is_not_computed_again(models: Path, encoded: dict[str, Encoded]) -> None:
    """Four hypotheses take twice the evaluations of one: most meet at the same labels and frames again and again."""
    engine = NativeEngine(*find_model(models / "parakeet-tdt-tiny-onnx"), threads=1)
    places, batch = engine._runs.fields, together(list(encoded.values()))
    engine.decode(batch)
    greedy = engine.counters
    engine.decode_beam(batch, beam=Beam(4))
    assert engine.counters[places.EVALUATIONS] < 2.2 * greedy[places.EVALUATIONS]
    assert engine.counters[places.PREDICTIONS] < 1.9 * greedy[places.PREDICTIONS]


def test_teams_change_nothing(monkeypatch: pytest.MonkeyPatch, models: Path, encoded: dict[str, Encoded]) -> None:
    engine = NativeEngine(*find_model(models / "parakeet-tdt-tiny-onnx"), threads=3, screening=True)
    batch = together([encoded[name] for name in SHORT_CLIPS])
    expected, _ = engine.decode_beam(batch)
    monkeypatch.setattr(engine._runs.helpers, "teams", lambda _batch: (1, 2))
    found, _ = engine.decode_beam(batch)
    assert all(same(one, other) for one, other in zip(found, expected, strict=True))


def test_threads_share_an_engine(engine: NativeEngine, encoded: dict[str, Encoded]) -> None:
    expected = {name: engine.decode_beam(encoded[name])[0][0] for name in SHORT_CLIPS}
    wrong: list[str] = []

    def work() -> None:
        wrong.extend(name for name in SHORT_CLIPS if not same(engine.decode_beam(encoded[name])[0][0], expected[name]))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_nothing_allowed_says_nothing(engine: NativeEngine, encoded: dict[str, Encoded]) -> None:
    fusion = Fusion((), np.zeros(engine._spec.blank_id, bool))
    (found,), _ = engine.decode_beam(encoded["15_hello_world"], None, [fusion])
    assert {len(one.hypothesis) for one in found} == {0}


def test_empty_batches_and_clips(engine: NativeEngine) -> None:
    width = engine._spec.encoder_dim
    assert engine.decode_beam(Encoded(np.zeros((0, 0, width), np.float32), np.zeros(0, np.int64))) == ([], [])
    found, states = engine.decode_beam(Encoded(np.zeros((2, 0, width), np.float32), np.zeros(2, np.int64)))
    assert [[(one.score, len(one.hypothesis)) for one in each] for each in found] == [[(0.0, 0)]] * 2
    assert [state.frames_decoded for state in states] == [0, 0]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_frames_that_are_not_finite_raise(engine: NativeEngine, encoded: dict[str, Encoded], value: float) -> None:
    one = encoded["15_hello_world"]
    frames = one.frames.copy()
    frames[0, 7:] = value
    with pytest.raises(DecodingError, match="NaN"):
        engine.decode_beam(Encoded(frames, one.lengths))


def test_what_does_not_fit_is_refused(models: Path, engine: NativeEngine, encoded: dict[str, Encoded]) -> None:
    one = encoded["15_hello_world"]
    _, (state,) = engine.decode_beam(one, beam=Beam(4))
    _, (greedy,) = engine.decode(one)
    with pytest.raises(OptionError, match="at most the beam's 1"):
        engine.decode_beam(one, [state], None, Beam(1))
    with pytest.raises(OptionError, match="greedy"):
        engine.decode_beam(one, [greedy])
    with pytest.raises(OptionError, match="BeamState"):
        engine.decode_beam(one, [4])  # type: ignore[list-item]
    with pytest.raises(OptionError, match="one, or None, for each"):
        engine.decode_beam(one, [state, state])
    with pytest.raises(OptionError, match="0 automata"):
        engine.decode_beam(one, [state], [Fusion(((random_automaton(np.random.default_rng(0), 256), 1.0),))])
    with pytest.raises(OptionError, match="another model"):
        engine.decode_beam(one, [dataclasses.replace(state, hidden=state.hidden[:, :, 1:])])
    with pytest.raises(OptionError, match="after_blank"):
        engine.decode_beam(one, None, [Fusion((), np.ones(256, bool), after_blank=True)])
    with pytest.raises(OptionError, match="beam"):
        engine.decode_beam(one, beam=4)  # type: ignore[arg-type]
    closed = NativeEngine(*find_model(models / "parakeet-tdt-tiny-onnx"))
    closed.close()
    with pytest.raises(ClosedError):
        closed.decode_beam(one)


@pytest.mark.parametrize(
    ("name", "value"),
    [("size", 0), ("size", 65), ("size", 2.5), ("size", True), ("score_norm", 1), ("pruning", "never"),
     ("blank_score", "full"), ("max_symbols", 0)],
)  # fmt: skip
def test_a_beam_checks_its_numbers(name: str, value: Any) -> None:
    with pytest.raises(OptionError, match=name):
        Beam(**{name: value})
