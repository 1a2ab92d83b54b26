"""Language models as automata: NeMo's states and scores, and those of a dictionary with back-off by its definition."""

from __future__ import annotations

import gzip
import json
import pickle
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdt.errors import LanguageModelError, OptionError
from tdt.fusion import NgramLM, Vocabulary

from ..naive import ArpaDictionary
from .arpas import BEGIN, END, PIECES, SMALL, UNKNOWN, VOCABULARY, A, B, arpa, models, symbol
from .vocabularies import DATA, TINY
from .walking import step

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FOLDER = DATA / "strategies/lm"
GOLDEN = json.loads((FOLDER / "contexts.json").read_text(encoding="utf-8"))
CONTEXTS = GOLDEN["contexts"]
TOKENS = st.lists(st.sampled_from([*PIECES, 5, 8191]), max_size=12)


def read(text: str, folder: Path) -> NgramLM:
    path = folder / "a.arpa"
    path.write_text(text, encoding="utf-8", newline="")
    return NgramLM.read(path)


# --- the ways that a model comes into memory: one answer --------------------------------------------------------------


def from_text(path: Path, _folder: Path) -> NgramLM:
    return NgramLM.read(path)


def from_gzip(path: Path, folder: Path) -> NgramLM:
    (folder / "a.arpa.gz").write_bytes(gzip.compress(path.read_bytes()))
    return NgramLM.read(folder / "a.arpa.gz")


def from_stored(path: Path, folder: Path) -> NgramLM:
    NgramLM.read(path, cache=folder / "a.tdtlm")
    return NgramLM.read(path, cache=folder / "a.tdtlm")


def from_stored_alone(path: Path, folder: Path) -> NgramLM:
    NgramLM.read(path, cache=folder / "b.tdtlm")
    return NgramLM.read(folder / "b.tdtlm")


def from_pickle(path: Path, folder: Path) -> NgramLM:
    return pickle.loads(pickle.dumps(from_stored(path, folder)))  # type: ignore[no-any-return]


WAYS = [from_text, from_gzip, from_stored, from_stored_alone, from_pickle]


@pytest.fixture(params=WAYS, ids=lambda way: way.__name__)
def tiny3(request: pytest.FixtureRequest, tmp_path: Path) -> NgramLM:
    way: Callable[[Path, Path], NgramLM] = request.param
    return way(FOLDER / GOLDEN["arpa"], tmp_path)


def test_sizes_are_those_of_nemo(tiny3: NgramLM) -> None:
    machine = tiny3.automaton(256)
    assert (tiny3.order, tiny3.counts) == (GOLDEN["max_order"], (248, 12639, 21789))
    assert len(machine.backoffs) == GOLDEN["num_states"]
    assert len(machine.labels) + len(machine.root_targets) == GOLDEN["num_arcs"]
    assert machine.start == GOLDEN["bos_state"]
    unknown = [token for token in range(256) if token not in tiny3.pieces]
    assert len(unknown) == 11
    assert all(machine.root_targets[token] == 0 for token in unknown)
    np.testing.assert_allclose(machine.root_weights[unknown], GOLDEN["unk_arc_weight"], rtol=0, atol=5e-6)


@pytest.mark.parametrize("context", CONTEXTS, ids=lambda context: f"{context['text']}-{context['bos']}")
def test_contexts_are_those_of_nemo(tiny3: NgramLM, context: dict[str, Any]) -> None:
    machine = tiny3.automaton(256)
    state = machine.start if context["bos"] else 0
    for before, token, score, after in context["path"]:
        assert state == before
        ours, state = step(machine, state, token)
        assert (state, float(ours)) == (after, pytest.approx(score, abs=5e-6))
    ours = tiny3.score(context["tokens"], bos=context["bos"], vocabulary=256)
    np.testing.assert_allclose(ours, [score for _, _, score, _ in context["path"]], rtol=0, atol=5e-6)
    chain = [state]
    while chain[-1]:
        chain.append(int(machine.backoffs[chain[-1]]))
    # Every suffix is there, so that the chain of failures counts the symbols.
    assert (state, len(chain)) == (context["state"], context["order"])
    assert chain[1:2] == [context["backoff_to"]] or state == 0
    assert float(machine.backoff_weights[state]) == pytest.approx(context["backoff_weight"], abs=5e-6)
    steps = [step(machine, state, token) for token in range(256)]
    assert [after for _, after in steps] == context["next_states"]
    scores = np.array([score for score, _ in steps])
    np.testing.assert_allclose(scores, context["scores"], rtol=0, atol=5e-6)
    assert np.log(np.exp(scores.astype(np.float64)).sum()) == pytest.approx(context["logsumexp"], abs=2e-5)


def test_the_goldens_hold_what_they_are_to_show() -> None:
    assert len(CONTEXTS) == 8
    assert {context["bos"] for context in CONTEXTS} == {True, False}
    assert {context["order"] for context in CONTEXTS} == {1, 2, 3}


# --- against a dictionary ---------------------------------------------------------------------------------------------


@given(text=models(), tokens=TOKENS, bos=st.booleans(), way=st.sampled_from(WAYS))
def test_scores_are_those_of_a_dictionary(
    text: str, tokens: list[int], bos: bool, way: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("lm")
    (folder / "a.arpa").write_text(text, encoding="utf-8", newline="")
    lm = way(folder / "a.arpa", folder)
    expected = ArpaDictionary(text, VOCABULARY).scores(tokens, bos=bos)
    np.testing.assert_allclose(lm.score(tokens, bos=bos, vocabulary=VOCABULARY), expected, rtol=1e-5, atol=1e-5)


@given(text=models(), tokens=TOKENS)
def test_a_state_is_that_of_the_last_tokens(
    text: str, tokens: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Equal futures are equal states: what lies further back than N - 1 tokens is forgotten."""
    lm = read(text, tmp_path_factory.getbasetemp())
    machine = lm.automaton(VOCABULARY)

    def after(state: int, listed: list[int]) -> int:
        for token in listed:
            state = step(machine, state, token)[1]
        return state

    last = max(lm.order - 1, 1)
    for end in range(last, len(tokens) + 1):
        assert after(machine.start, tokens[:end]) == after(0, tokens[end - last : end])


@given(text=models())
def test_states_are_numbered_by_order_then_by_pieces(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    lm = read(text, tmp_path_factory.getbasetemp())
    found = ArpaDictionary(text, VOCABULARY)
    machine = lm.automaton(VOCABULARY)
    ids = {BEGIN: -1} | {symbol(piece): piece for piece in PIECES}
    kept = sorted(
        ([ids[word] for word in ngram] for ngram in found.weights if END not in ngram and UNKNOWN not in ngram),
        key=lambda ngram: (len(ngram), ngram),
    )
    named = [ngram for ngram in kept if len(ngram) < max(lm.order, 2)]
    assert len(machine.backoffs) == 1 + len(named)
    for state, ngram in enumerate(named, start=1):
        begin, rest = (1, ngram[1:]) if ngram[0] == -1 else (0, ngram)
        for token in rest:
            begin = step(machine, begin, token)[1]
        assert begin == state


# --- edges ------------------------------------------------------------------------------------------------------------


def test_missing_backoffs_are_zero(tmp_path: Path) -> None:
    lm = read(arpa([{(BEGIN,): "-99", (A,): "-0.5", (B,): "-1"}, {(A, B): "-0.1"}]), tmp_path)
    np.testing.assert_allclose(lm.score([0, 0, 1]), np.log(10) * np.array([-0.5, -0.5, -0.1]), rtol=1e-6)


def test_without_unk_a_new_piece_has_next_to_no_probability(tmp_path: Path) -> None:
    lm = read(arpa([{(BEGIN,): "-99\t-1", (A,): "-0.5", (B,): "-1"}]), tmp_path)
    machine = lm.automaton(5)
    np.testing.assert_allclose(machine.root_weights[:5] / np.log(10), [-0.5, -1, -100, -100, -100], rtol=1e-6)
    assert machine.root_targets.tolist() == [2, 3, 0, 0, 0]


def test_pieces_that_were_not_met_share_unk(tmp_path: Path) -> None:
    words = {(UNKNOWN,): "-1", (BEGIN,): "-99", (A,): "-0.5"}
    lm = read(arpa([words]), tmp_path)
    assert lm.automaton(2).root_weights[1] == np.float32(-np.log(10))
    np.testing.assert_allclose(lm.automaton(5).root_weights[1:5], -np.log(10) - np.log(4), rtol=1e-6)
    assert lm.automaton(1).root_weights[0] == np.float32(-0.5 / np.log10(np.e))


def test_a_suffix_that_was_pruned_is_passed_over(tmp_path: Path) -> None:
    """d e is in the file and e, d d e are, but d e as a context is not: its back-off would be 0."""
    words = {(BEGIN,): "-99", (A,): "-0.5\t-0.3", (B,): "-1\t-0.2"}
    text = arpa([words, {(A, A): "-0.2\t-0.4", (B, A): "-0.3"}, {(A, A, B): "-0.1", (B, A, B): "-0.6"}])
    machine = read(text, tmp_path).automaton(2)
    assert step(machine, step(machine, 2, 0)[1], 1)[1] == 3  # the state of e, not of d e
    assert machine.longest == 2


def test_ends_and_unknown_words_within_longer_ngrams_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with_unknown = [*SMALL[:1], {**SMALL[1], (A, UNKNOWN): "-1", (UNKNOWN, A): "-1"}]
    plain, other = read(arpa([SMALL[0], SMALL[1]]), tmp_path), read(arpa(with_unknown), tmp_path)
    for ours, theirs in zip(plain.automaton(100), other.automaton(100), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert "2 2-grams with <unk> are left out" in caplog.text


@pytest.mark.parametrize(
    ("orders", "said"),
    [
        ([{(A,): "-1", (UNKNOWN,): "-1"}], "it has no <s>"),
        ([{(BEGIN,): "-1", (UNKNOWN,): "-1"}], "it has no unigram of a piece"),
        ([SMALL[0], {(A, symbol(7)): "-1"}], "line 14: the n-gram '0 7' has a piece that is no unigram of the file"),
        ([SMALL[0], {(A, symbol(50000)): "-1"}], "'0 50000' has a piece that is no unigram"),
        ([SMALL[0], SMALL[1], {(B, B, A): "-1"}], "line 21: the n-gram '1 1 0' begins with"),
        ([SMALL[0], {}, {(B, B, A): "-1"}], "begins with an n-gram that the file does not hold"),
        ([SMALL[0], {(A, BEGIN): "-1"}], "'0 <s>' has <s> or </s> within"),
        ([SMALL[0], {(END, A): "-1"}], "'</s> 0' has <s> or </s> within"),
    ],
)  # fmt: skip
def test_models_that_contradict_themselves(orders: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(LanguageModelError) as caught:
        read(arpa(orders), tmp_path)
    assert said in str(caught.value)


@pytest.mark.parametrize(("order", "old"), [(1, f"-0.75\t{B}"), (2, f"-0.4\t{B} {A}"), (3, f"-0.1\t{A} {B} {A}")])
def test_an_ngram_that_stands_twice_is_named(order: int, old: str, tmp_path: Path) -> None:
    counts = [len(ngrams) + (number == order) for number, ngrams in enumerate(SMALL, start=1)]
    text = arpa(SMALL, counts).replace(old, f"{old}\n{old}", 1)
    with pytest.raises(LanguageModelError, match="stands twice") as caught:
        read(text, tmp_path)
    assert caught.value.line == text[: text.index(old)].count("\n") + 2


def test_another_vocabulary_is_refused(tmp_path: Path) -> None:
    lm = read(arpa(SMALL), tmp_path)
    with pytest.raises(LanguageModelError, match="has the piece 60, and the model's pieces end at 59"):
        lm.automaton(60)
    assert len(lm.automaton(61).root_targets) == 61


@pytest.mark.parametrize("vocabulary", [0, -1, True, 2.5, None, "pieces", [], 1 << 30])
def test_what_is_no_vocabulary_is_refused(vocabulary: object, tmp_path: Path) -> None:
    lm = read(arpa(SMALL), tmp_path)
    with pytest.raises(OptionError, match="vocabulary="):
        lm.automaton(vocabulary)


@pytest.mark.parametrize("tokens", [[-1], [256], [[0, 1]], [0.5], "ab", [None]])
def test_what_is_no_token_is_refused(tokens: Any) -> None:
    lm = NgramLM.read(FOLDER / "tiny3.arpa")
    with pytest.raises(OptionError, match="tokens="):
        lm.score(tokens, vocabulary=256)


def test_an_automaton_is_made_once_and_threads_share_it() -> None:
    lm = NgramLM.read(FOLDER / "tiny3.arpa")
    vocabulary = Vocabulary(TINY)
    made: list[Any] = []
    threads = [threading.Thread(target=lambda: made.append(lm.automaton(vocabulary))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 8
    assert all(machine is lm.automaton(256) for machine in made)
    assert lm.automaton(np.int64(256)) is lm.automaton(256)
    assert lm.automaton(list(TINY)) is lm.automaton(256)


def test_perplexity_is_that_of_the_scores() -> None:
    lm = NgramLM.read(FOLDER / "tiny3.arpa")
    texts = [[29, 101, 203, 59, 9], [], [63]]
    scores = np.concatenate([lm.score(text) for text in texts])
    assert lm.perplexity(texts) == pytest.approx(np.exp(-scores.mean()))
    assert np.isnan(lm.perplexity([]))
    assert lm.score([], bos=False).shape == (0,)


@pytest.mark.parametrize("path", [None, 3, b"a.arpa", ["a"]])
def test_what_is_no_name_is_refused(path: Any) -> None:
    with pytest.raises(OptionError, match="path="):
        NgramLM.read(path)
