"""Trees of phrases: NeMo's own to the number, and the rule for any phrases, texts and orders."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdt.fusion import Phrases, Vocabulary
from tdt.fusion.trie import Trie

from ..naive import PhraseScores
from .vocabularies import DATA, TINY
from .walking import arcs_of, scores_along, step

if TYPE_CHECKING:
    from tdt.kernels.fusion.automaton import Automaton

TREES: dict[str, dict[str, Any]] = json.loads((DATA / "strategies/boosting_trees.json").read_text(encoding="utf-8"))
CLOSE = 5e-7


def close(ours: float, theirs: float) -> bool:
    return abs(float(ours) - theirs) <= CLOSE * max(1.0, abs(theirs))


def options_of(config: dict[str, Any]) -> dict[str, Any]:
    named = ("depth_scaling", "unk_score", "score_per_phrase", "uniform_weights")
    return {"score": config["context_score"], **{name: config[name] for name in named}}


@pytest.fixture(params=TREES)
def golden(request: pytest.FixtureRequest) -> dict[str, Any]:
    return TREES[request.param]


def test_states_and_arcs_are_nemos(golden: dict[str, Any]) -> None:
    machine = Phrases(golden["phrases"], **options_of(golden["config"]), as_nemo=True).automaton(Vocabulary(TINY))
    tree = golden["tree"]
    assert len(machine.backoffs) == tree["num_states"]
    assert len(machine.labels) + len(machine.root_targets) == tree["num_arcs"]
    assert machine.backoffs.tolist() == tree["states"]["backoff_to"]
    for ours, theirs in zip(machine.backoff_weights, tree["states"]["backoff_weight"], strict=True):
        assert close(ours, theirs)
    theirs_by_state: dict[int, dict[int, tuple[int, float]]] = {}
    for source, target, token, weight in tree["arcs"]:
        theirs_by_state.setdefault(source, {})[token] = (target, weight)
    for state in range(tree["num_states"]):
        arcs, expected = arcs_of(machine, state), theirs_by_state.get(state, {})
        assert {token: target for token, (target, _) in arcs.items()} == {
            k: target for k, (target, _) in expected.items()
        }
        assert all(close(weight, expected[token][1]) for token, (_, weight) in arcs.items())
    assert machine.start == tree["start_state"]


def test_walks_are_nemos(golden: dict[str, Any]) -> None:
    machine = Phrases(golden["phrases"], **options_of(golden["config"]), as_nemo=True).automaton(Vocabulary(TINY))
    for at in golden["walk"]:
        others = {int(token): score for token, score in at["other_scores"].items()}
        targets = {int(token): state for token, state in at["next_states"].items()}
        for token in range(256):
            score, state = step(machine, at["state"], token)
            assert close(score, others.get(token, at["default_score"]))
            assert state == targets.get(token, 0)
        assert step(machine, at["state"], at["take"])[1] == at["to"]


# --- the rule, by name ------------------------------------------------------------------------------------------------

# Name, phrases, text, and the prefix of a phrase that is being spelled after each letter ("" for none).
STANDING: list[tuple[str, str, str, str]] = [
    ("no phrase", "", "abc", " | | "),
    ("one letter", "a", "aba", "a| |a"),
    ("one phrase", "abc", "abc", "a|ab|abc"),
    ("broken off", "abc", "abd", "a|ab| "),
    ("broken off and begun anew", "abc", "aabc", "a|a|ab|abc"),
    ("broken off into another", "abc bd", "abd", "a|ab|bd"),
    ("broken off into the middle of another", "abc bde", "abde", "a|ab|bd|bde"),
    ("goes on after its end", "ab", "abab", "a|ab|a|ab"),
    ("prefix of another", "ab abcd", "abcx", "a|ab|abc| "),
    ("prefix of another, spoken whole", "ab abcd", "abcd", "a|ab|abc|abcd"),
    ("suffix of another", "abcd cd", "abcd", "a|ab|abc|abcd"),
    ("suffix of another, after a break", "abcd cx", "abcx", "a|ab|abc|cx"),
    ("inside another", "abcd bc", "abce", "a|ab|abc| "),
    ("inside another, which goes on", "abcd bcx", "abcx", "a|ab|abc|bcx"),
    ("overlaps itself", "abab", "ababab", "a|ab|aba|abab|aba|abab"),
    ("overlaps itself by one letter", "aba", "ababa", "a|ab|aba|ab|aba"),
    ("one letter again and again", "aaa", "aaaaa", "a|aa|aaa|aaa|aaa"),
    ("overlap each other", "abc bcd cde", "abcde", "a|ab|abc|bcd|cde"),
    ("failures down a chain", "aaab aab ab b", "aaax", "a|aa|aaa| "),
    ("failures down a chain, found", "aaac aac ac c", "aaac", "a|aa|aaa|aaac"),
    ("the second failure has the piece", "abcd bce cdx", "abcdx", "a|ab|abc|abcd|cdx"),
    ("shared beginnings", "abc abd abe", "abd", "a|ab|abd"),
    ("the same twice", "ab ab", "ab", "a|ab"),
]  # fmt: skip
LETTERS = "abcdex"


def tokens_of(text: str) -> tuple[int, ...]:
    return tuple(LETTERS.index(letter) for letter in text)


def frozen(scores: dict[tuple[int, ...], float] | list[tuple[tuple[int, ...], float]], **options: Any) -> Automaton:
    trie = Trie(len(LETTERS), **options)
    for tokens, score in scores.items() if isinstance(scores, dict) else scores:
        trie.insert(tokens, score)
    return trie.freeze()


def prefix_of(machine: Automaton, state: int) -> str:
    """Return the letters that lead from the root to a state."""
    if state == 0:
        return ""
    for source in range(state):
        for token, (target, _) in arcs_of(machine, source).items():
            if target == state:
                return prefix_of(machine, source) + LETTERS[token]
    raise AssertionError(state)


def test_names_are_given_once() -> None:
    assert max(Counter(name for name, *_ in STANDING).values()) == 1


@pytest.mark.parametrize("options", [{}, {"as_nemo": True}, {"uniform_weights": True}, {"unk_score": -3.0}], ids=str)
@pytest.mark.parametrize("order", [1, -1], ids=["in order", "the other way"])
@pytest.mark.parametrize(("phrases", "text", "expected"), [case[1:] for case in STANDING], ids=[c[0] for c in STANDING])
def test_what_is_being_spelled(phrases: str, text: str, expected: str, order: int, options: dict[str, Any]) -> None:
    listed = [(tokens_of(phrase), 1.0) for phrase in phrases.split()][::order]
    machine = frozen(listed, **options)
    along = [prefix_of(machine, state) for _, state in scores_along(machine, tokens_of(text))]
    assert along == [part.strip() for part in expected.split("|")]
    oracle = PhraseScores(dict(listed), unk_score=options.get("unk_score", 0.0), uniform="uniform_weights" in options)
    for place, (score, _) in enumerate(scores_along(machine, tokens_of(text))):
        assert score == oracle(tokens_of(text[:place]), tokens_of(text)[place])


# --- the rule, by looking at every suffix -----------------------------------------------------------------------------

PHRASES = st.dictionaries(
    st.lists(st.integers(0, 2), min_size=1, max_size=6).map(tuple),
    st.sampled_from([0.5, 1.0, 1.5, 4.0, -0.5, -2.0]),
    max_size=8,
)
TEXTS = st.lists(st.integers(0, 3), max_size=30).map(tuple)


@given(PHRASES, TEXTS, st.sampled_from([0.0, 0.5, 2.0]), st.booleans(), st.randoms(use_true_random=False))
def test_scores_are_those_of_every_suffix(
    scores: dict[tuple[int, ...], float], text: tuple[int, ...], scaling: float, uniform: bool, random: Any
) -> None:
    order = list(scores.items())
    random.shuffle(order)
    machine = frozen(order, depth_scaling=scaling, uniform_weights=uniform, unk_score=0.25)
    oracle = PhraseScores(scores, scaling, unk_score=0.25, uniform=uniform)
    for place, (score, _) in enumerate(scores_along(machine, text)):
        assert score == oracle(text[:place], text[place])


@given(st.lists(st.text("ab", min_size=1, max_size=7), max_size=8))
def test_failures_are_the_longest_suffixes_that_begin_a_phrase(phrases: list[str]) -> None:
    machine = frozen([(tokens_of(phrase), 1.0) for phrase in phrases])
    prefixes = {phrase[:end] for phrase in phrases for end in range(len(phrase) + 1)} | {""}
    names = [prefix_of(machine, state) for state in range(len(machine.backoffs))]
    assert sorted(names) == sorted(prefixes)
    for name, failure in zip(names[1:], machine.backoffs[1:], strict=True):
        assert names[failure] == next(name[cut:] for cut in range(1, len(name) + 1) if name[cut:] in prefixes)


@given(PHRASES, TEXTS)
def test_what_was_given_is_what_stands_and_what_ends_keep(
    scores: dict[tuple[int, ...], float], text: tuple[int, ...]
) -> None:
    oracle, machine = PhraseScores(scores), frozen(scores)
    kept = running = 0.0
    for place, (score, _) in enumerate(scores_along(machine, text)):
        running += float(score)
        before = oracle.standing(text[:place])
        after = oracle.standing(text[: place + 1])[0]
        for suffix, shorter in pairwise(before):
            if (*suffix, text[place]) == after:
                break
            if suffix in scores:
                kept += oracle.total(suffix) - oracle.total(shorter)
        assert math.isclose(running, oracle.total(after) + kept, rel_tol=1e-5, abs_tol=1e-4)


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), max_size=8), st.sampled_from([1.0, 0.3, 7.0]))
def test_with_one_score_the_tree_is_nemos_to_the_bit(phrases: list[list[int]], score: float) -> None:
    given_ = [(tuple(phrase), score) for phrase in phrases]
    for uniform in (False, True):
        ours, theirs = (frozen(given_, uniform_weights=uniform, as_nemo=flag) for flag in (False, True))
        for mine, nemos in zip(ours, theirs, strict=True):
            assert np.array_equal(mine, nemos)


def test_nemo_takes_back_other_sums_than_it_gave() -> None:
    """A phrase that raises a shared prefix: below it NeMo's sums stay those of before."""
    scores = {tokens_of("abc"): 1.0, tokens_of("ad"): 5.0}
    broken = {
        flag: sum(float(s) for s, _ in scores_along(frozen(scores, as_nemo=flag), tokens_of("abx"))) for flag in (0, 1)
    }
    assert math.isclose(broken[0], 0.0, abs_tol=1e-6)
    assert math.isclose(broken[1], 4.0, abs_tol=1e-6)


def test_a_phrase_of_two_hundred_pieces() -> None:
    tokens = tokens_of("abcde" * 40)
    machine = frozen({tokens: 1.0})
    assert len(machine.backoffs) == 201
    assert machine.longest == 40  # abcde…, 5 letters shorter each time
    total = sum(float(score) for score, _ in scores_along(machine, tokens))
    assert math.isclose(total, 2 * 200 - 1 + math.lgamma(201), rel_tol=1e-6)


@pytest.mark.parametrize("score", [1e6, -1e6])
def test_huge_scores_stay_finite(score: float) -> None:
    machine = frozen({tokens_of("abcde" * 800): score * 1e6}, depth_scaling=1e6)
    assert np.isfinite(machine.backoff_weights).all()


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_page_draws_the_tree_with_its_numbers() -> None:
    page = (DATA.parents[1] / "tools/readme/fusion.md").read_text(encoding="utf-8")
    drawing = next(block for block in page.split("```") if "root ─" in block)
    scores = {tuple(map(ord, phrase)): 1.0 for phrase in ("he", "hers", "she")}
    oracle, trie = PhraseScores(scores), Trie(128)
    for tokens, score in scores.items():
        trie.insert(tokens, score)
    totals = [f"{oracle.total(prefix):.2f}" for prefix in oracle.prefixes]
    assert sorted(re.findall(r"S (\d+\.\d\d)", drawing)) == sorted(totals)
    earned = [f"{chr(prefix[-1])} +{oracle.weight(prefix):.2f}" for prefix in oracle.prefixes]
    assert sorted(re.findall(r"\w \+\d+\.\d\d", drawing)) == sorted(earned)
    by_state = trie.freeze().backoff_weights  # root, h, s, he, sh, her, she, hers
    drawn = [float(number) for number in re.findall(r"┊ (-?\d+(?:\.\d+)?)", drawing)]
    assert sorted(drawn) == sorted(round(float(by_state[state]), 2) for state in (4, 6, 5, 7))
    assert "-1.00, -1.00 and, as `he` is a whole phrase, 0" in page
    assert by_state[[1, 2, 3]].tolist() == [-1.0, -1.0, 0.0]


def test_the_page_shows_an_explanation_as_it_is() -> None:
    page = (DATA.parents[1] / "tools/readme/fusion.md").read_text(encoding="utf-8")
    shown = str(Phrases(["Toronto"]).explain("toronto Tor is", Vocabulary(TINY)))
    assert f"```text\n{shown}\n```" in page
