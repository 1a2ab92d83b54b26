"""Beam search against NeMo's answers, and against a naive search on random models, in pieces and with ties."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

import tdt
from tdt.decoding.native import NativeEngine
from tdt.fusion.beam import Beam
from tdt.model.finding import find_model
from tdt.stages import Encoded, Fusion
from tdt.surgery.lifting import lift

from .. import naive_beam
from ..strategies import answers, encoded_clips, language_model, model_of, phrases_of, said, together
from .beam_checks import CLIPS, CONFIGS, SHORT_CLIPS, check, searches
from .random_models import engine_of, random_automaton, random_frames, random_weights

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


def rule_of(config: dict[str, Any]) -> Beam:
    """Return the beam of one of NeMo's configurations."""
    given = config["beam"]
    return Beam(
        given["beam_size"],
        score_norm=given.get("score_norm", True),
        pruning=given.get("pruning_mode", "late"),
        blank_score=given.get("blank_lm_score_mode", "lm_weighted_full"),
        max_symbols=given.get("max_symbols", 10),
    )


def fusion_of(config: dict[str, Any], pieces: tuple[str, ...]) -> Fusion | None:
    """Return the language model and phrases of one of NeMo's configurations."""
    given, models = config["beam"], []
    if "ngram_lm_alpha" in given:
        models.append((model_of(language_model(), pieces), given["ngram_lm_alpha"]))
    if "boosting_list" in given:
        phrases = phrases_of(given["boosting_list"], 1.0)
        models.append((model_of(phrases, pieces), given["boosting_tree_alpha"]))
    return Fusion(tuple(models)) if models else None


def wanted(clip: list[dict[str, Any]]) -> list[list[list[int]]]:
    return [[one["tokens"], one["frames"], one["durations"]] for one in clip]


@pytest.mark.parametrize("name", CONFIGS)
def test_all_lists_are_nemos(engine: NativeEngine, encoded: dict[str, Encoded], name: str) -> None:
    config = answers("beam_malsd")["configs"][name]
    fusion = fusion_of(config, engine._spec.pieces[:-1])
    found, _ = engine.decode_beam(together([encoded[clip] for clip in CLIPS]), None, [fusion] * 27, rule_of(config))
    for clip, alternatives in zip(CLIPS, found, strict=True):
        golden = config["clips"][clip]
        assert [said(one.hypothesis) for one in alternatives] == wanted(golden), clip
        assert [one.score for one in alternatives] == pytest.approx([one["score"] for one in golden], abs=1e-3)


@pytest.mark.parametrize("clip", SHORT_CLIPS)
def test_the_naive_search_is_nemos(models: Path, encoded: dict[str, Encoded], clip: str) -> None:
    files, spec = find_model(models / "parakeet-tdt-tiny-onnx")
    weights, one = lift(files, spec), encoded[clip]
    for name in CONFIGS:
        config = answers("beam_malsd")["configs"][name]
        rule = rule_of(config)
        search, start = searches(weights, spec, one.frames[0], rule, fusion_of(config, spec.pieces[:-1]))
        found = naive_beam.ranked(search.run(int(one.lengths[0]), start), score_norm=rule.score_norm)
        golden = config["clips"][clip]
        assert [[list(x.labels), list(x.frames), list(x.durations)] for x in found] == wanted(golden), name
        assert [x.score for x in found] == pytest.approx([x["score"] for x in golden], abs=1e-3)


def test_a_beam_of_one_is_greedy(engine: NativeEngine, encoded: dict[str, Encoded]) -> None:
    batch = together(list(encoded.values()))
    greedy, _ = engine.decode(batch)
    beams, _ = engine.decode_beam(batch, beam=Beam(1))
    for one, (best,) in zip(greedy, beams, strict=True):
        assert said(best.hypothesis) == said(one)
        assert best.hypothesis.logprobs == pytest.approx(one.logprobs, abs=2e-3)
        assert best.hypothesis.entropy_confidences == pytest.approx(one.entropy_confidences, abs=2e-3)


TABLES = ((0, 1, 2, 3, 4), (0, 1), (0, 2, 5), (0,), (4, 0, 1), (1,), (3, 2))


@pytest.mark.parametrize("screening", [False, True])
@pytest.mark.parametrize("seed", range(28))
def test_random_models_are_searched_as_naively(monkeypatch: pytest.MonkeyPatch, seed: int, screening: bool) -> None:
    """Beams beyond the vocabulary, tables of any durations, few labels a frame, automata, masks, tokens that tie."""
    rng = np.random.default_rng(seed)
    tokens, twins = int(rng.choice([2, 3, 6, 17, 40])), seed % 4 == 1
    model = random_weights(
        rng, tokens, TABLES[seed % len(TABLES)], layers=1 + seed % 2, spread=float(rng.uniform(0.3, 1.5)),
        blank_bias=float(rng.uniform(-1, 3)), twins=twins,
    )  # fmt: skip
    beam = Beam(
        int(rng.choice([1, 2, 3, 4, 6, 9, 20])),
        pruning=("late", "early")[seed // 2 % 2],
        blank_score=("lm_weighted_full", "no_score")[seed // 4 % 2],
        max_symbols=int(rng.integers(1, 4)),
    )
    lengths = [0, 1, *rng.integers(1, 12, 4).tolist()]
    encoded, fusions = random_frames(rng, lengths, 12), []
    for place in range(len(lengths)):
        models = (
            ()
            if twins
            else tuple((random_automaton(rng, tokens), float(rng.uniform(0.1, 2))) for _ in range(place % 3))
        )
        allowed = rng.random(tokens) < 0.6 if place % 2 else None
        fusions.append(Fusion(models, allowed))
    engine = engine_of(monkeypatch, model, screening=screening)
    for added in (None, fusions):
        found, _ = engine.decode_beam(encoded, None, added, beam)
        for u, alternatives in enumerate(found):
            search, start = searches(*model, encoded.frames[u], beam, None if added is None else added[u])
            check(alternatives, naive_beam.ranked(search.run(lengths[u], start)))


def test_what_ties_is_in_the_order_of_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_weights(np.random.default_rng(5), 8, (1, 2), twins=True, blank_bias=-3)
    encoded = random_frames(np.random.default_rng(6), [5], 12)
    (found,), _ = engine_of(monkeypatch, model).decode_beam(encoded, beam=Beam(8))
    ties = [(a, b) for a, b in pairwise(found) if a.score == b.score]
    assert len(ties) > 3
    assert all(a.hypothesis.token_ids.tolist() < b.hypothesis.token_ids.tolist() for a, b in ties)


@settings(max_examples=40, derandomize=True)
@given(seed=some.integers(0, 10_000), cuts=some.lists(some.integers(0, 20), max_size=4), size=some.integers(1, 6))
def test_pieces_go_on_where_the_last_one_ended(seed: int, cuts: list[int], size: int) -> None:
    rng = np.random.default_rng(seed)
    model = random_weights(rng, 7, TABLES[seed % len(TABLES)], twins=seed % 5 == 0)
    fusion = Fusion(((random_automaton(rng, 7), 0.7),)) if seed % 2 else None
    encoded, beam = random_frames(rng, [20], 12), Beam(size, max_symbols=2)
    borders = [0, *sorted(cuts), 20]
    with pytest.MonkeyPatch.context() as patch:
        engine = engine_of(patch, model)
    search, naive = searches(*model, encoded.frames[0], beam, fusion)
    states = None
    for first, last in pairwise(borders):
        piece = Encoded(encoded.frames[:, first:last], np.array([last - first]))
        (found,), states = engine.decode_beam(piece, states, [fusion], beam)
        naive = search.run(last - first, naive, before=first)
        check(found, naive_beam.ranked(naive))
        assert states[0].frames_decoded == last
        assert len(states[0].settled) <= min(len(one.labels) for one in naive)
        naive = [dataclasses.replace(one, time=one.time - (last - first)) for one in naive]
    whole, _ = engine.decode(encoded)
    if size == 1 and fusion is None:
        assert search.max_symbols == 2 or said(found[0].hypothesis) == said(whole[0])


def test_screened_scores_sum_up_to_the_exact_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flat distributions over thousands of tokens, the worst there is for estimates, over hundreds of steps."""
    model = random_weights(np.random.default_rng(1), 4000, (0, 1, 2), width=128, spread=1.0, blank_bias=2)
    encoded = random_frames(np.random.default_rng(2), [300], 128)
    (exact,), _ = engine_of(monkeypatch, model, screening=False).decode_beam(encoded)
    engine = engine_of(monkeypatch, model, screening=True)
    (found,), _ = engine.decode_beam(encoded)
    assert [said(one.hypothesis) for one in found] == [said(one.hypothesis) for one in exact]
    assert [one.score for one in found] == pytest.approx([one.score for one in exact], abs=1e-3, rel=1e-5)
    assert engine.counters[engine._runs.fields.REFINED] > 0


def test_there_is_always_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many labels at every frame: more of them than memory is there for at first."""
    model = random_weights(np.random.default_rng(3), 30, (0, 0, 1), blank_bias=-8)
    encoded, beam = random_frames(np.random.default_rng(4), [12, 5], 12), Beam(3, max_symbols=40)
    found, _ = engine_of(monkeypatch, model).decode_beam(encoded, beam=beam)
    assert len(found[0][0].hypothesis) > 12 + 4
    for u, alternatives in enumerate(found):
        search, start = searches(*model, encoded.frames[u], beam)
        check(alternatives, naive_beam.ranked(search.run(int(encoded.lengths[u]), start)))
