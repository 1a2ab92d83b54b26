"""Counts and modified Kneser-Ney: sums to 1, the formulas by hand, pruning, files of text, lmplz where it is there."""

from __future__ import annotations

import gzip
import math
import os
import random
import stat
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdt.errors import CorpusError, OptionError, OutputError
from tdt.fusion import NgramLM, Vocabulary, build_model, lm_building, read_corpus
from tdt.fusion import corpus as corpus_module
from tdt.fusion.arpa_writing import write_arpa
from tdt.fusion.counting import count_ngrams
from tdt.fusion.estimating import FALLBACK, discounts_of, estimate

from ..naive import ArpaDictionary
from .vocabularies import DATA, TINY

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

PIECES = 12
SENTENCES = st.lists(st.lists(st.integers(0, PIECES - 1), max_size=8), min_size=1, max_size=30)


def stream_of(sentences: Iterable[Sequence[int]], pieces: int = PIECES) -> np.ndarray:
    return np.array([symbol for sentence in sentences for symbol in (-1, *sentence, pieces)], np.int32)


def uneven(count: int, pieces: int = PIECES, seed: int = 3) -> list[list[int]]:
    """Sentences with enough different counts to discount by."""
    dice = random.Random(seed)
    weights = [1 / (rank + 1) ** 3 for rank in range(pieces)]
    sentences = []
    for _ in range(count):
        state, sentence = dice.randrange(pieces), []
        for _ in range(dice.randint(1, 12)):
            state = (state * 5 + dice.choices(range(pieces), weights)[0]) % (pieces - 1)  # the last piece never occurs
            sentence.append(state)
        sentences.append(sentence)
    return sentences


def written(folder: Path, sentences: Iterable[Sequence[int]], order: int, **settings: Any) -> tuple[str, NgramLM]:
    path = folder / "made.arpa"
    write_arpa(path, estimate(stream_of(sentences), order, PIECES, **settings), PIECES)
    return path.read_text(encoding="utf-8"), NgramLM.read(path)


# --- counting ---------------------------------------------------------------------------------------------------------


@given(sentences=SENTENCES, order=st.integers(1, 5))
def test_counts_are_those_of_dictionaries(sentences: list[list[int]], order: int) -> None:
    whole = [(-1, *sentence, PIECES) for sentence in sentences]
    raw = [Counter(line[at : at + n] for line in whole for at in range(len(line) - n + 1)) for n in range(1, order + 2)]
    found = count_ngrams(stream_of(sentences), order, PIECES)
    assert len(found) == sum(bool(counter) for counter in raw[:order])
    for n, level in enumerate(found, start=1):
        ngrams = [tuple(row) for row in level.symbols.tolist()]
        assert ngrams == sorted(raw[n - 1])
        assert level.raw.tolist() == [raw[n - 1][ngram] for ngram in ngrams]
        before = Counter(ngram[1:] for ngram in raw[n])
        for ngram, adjusted, count in zip(ngrams, level.adjusted.tolist(), level.raw.tolist(), strict=True):
            highest = n == len(found)
            assert adjusted == (count if highest or ngram[0] == -1 else before[ngram])
        if n > 1:
            below = [tuple(row) for row in found[n - 2].symbols.tolist()]
            assert [below[row] for row in level.contexts] == [ngram[:-1] for ngram in ngrams]
            assert [below[row] for row in level.suffixes] == [ngram[1:] for ngram in ngrams]


# --- probabilities ----------------------------------------------------------------------------------------------------


def mass(text: str, lm: NgramLM, history: list[int], bos: bool) -> float:
    """Return the sum of the probabilities of all pieces, and of the end, after some pieces."""
    scores = np.array([lm.score([*history, token], bos=bos, vocabulary=PIECES)[-1] for token in range(PIECES)])
    words = [*(["<s>"] if bos else []), *(chr(token + 100) for token in history)]
    last = lm.order - 1
    end = ArpaDictionary(text, PIECES).log_probability(
        tuple(words[len(words) - last :] if last < len(words) else words), "</s>"
    )
    return float(np.exp(scores.astype(np.float64)).sum()) + math.exp(end)


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("prune", [(0,), (0, 1), (0, 0, 2)])
def test_probabilities_sum_to_one_after_anything(order: int, prune: tuple[int, ...], tmp_path: Path) -> None:
    text, lm = written(tmp_path, uneven(400), order, prune=prune[:order])
    assert lm.order == order
    assert PIECES - 1 not in lm.pieces  # one piece never occurs, so that <unk> counts, too
    dice = random.Random(1)
    histories = [[], *([dice.randrange(PIECES - 1) for _ in range(dice.randint(1, 6))] for _ in range(20))]
    for history in histories:
        for bos in (True, False):
            assert mass(text, lm, history, bos) == pytest.approx(1, abs=1e-4)


@given(sentences=SENTENCES, order=st.integers(1, 4))
def test_probabilities_of_any_corpus_sum_to_one(
    sentences: list[list[int]], order: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if not any(sentences):
        sentences = [*sentences, [1]]
    text, lm = written(tmp_path_factory.getbasetemp(), sentences, order)
    for history in ([], sentences[-1][:2]):
        if all(token in lm.pieces for token in history):
            assert mass(text, lm, history, bos=True) == pytest.approx(1, abs=1e-4)


def test_a_bigram_model_by_hand() -> None:
    """Chen and Goodman's formulas in plain dictionaries, for every pair."""
    sentences = uneven(400)
    lines = [(-1, *sentence, PIECES) for sentence in sentences]
    pairs = Counter(pair for line in lines for pair in pairwise(line))
    single = Counter(right for _, right in pairs)

    def discount(counts: Iterable[int]) -> list[float]:
        n1, n2, n3, n4 = (sum(count == wanted for count in counts) for wanted in (1, 2, 3, 4))
        share = n1 / (n1 + 2 * n2)
        return [0, 1 - 2 * share * n2 / n1, 2 - 3 * share * n3 / n2, 3 - 4 * share * n4 / n3]

    assert estimate(stream_of(sentences), 2, PIECES).notes == (
        f"order 1 has too few different counts to discount by: {FALLBACK} are taken",
    )
    by_pair = discount(pairs.values())
    by_single = [0, *FALLBACK]  # too few pieces for other counts of counts
    total = sum(single.values())
    left = sum(by_single[min(count, 3)] for count in single.values()) / total
    first, second = estimate(stream_of(sentences), 2, PIECES).levels

    def unigram(symbol: int) -> float:
        return (single[symbol] - by_single[min(single[symbol], 3)]) / total + left / (PIECES + 1)

    for (symbol,), weight in zip(first.symbols.tolist(), first.weights.tolist(), strict=True):
        assert symbol == -1 or 10**weight == pytest.approx(unigram(symbol))
    followers = {left: {b: count for (a, b), count in pairs.items() if a == left} for left, _ in pairs}
    gammas = {
        context: sum(by_pair[min(count, 3)] for count in after.values()) / sum(after.values())
        for context, after in followers.items()
    }
    for (context, symbol), weight in zip(second.symbols.tolist(), second.weights.tolist(), strict=True):
        count = pairs[context, symbol]
        high = (count - by_pair[min(count, 3)]) / sum(followers[context].values())
        assert 10**weight == pytest.approx(high + gammas[context] * unigram(symbol))
    for (symbol,), backoff in zip(first.symbols.tolist(), first.backoffs.tolist(), strict=True):
        assert 10**backoff == pytest.approx(gammas.get(symbol, 1))


@pytest.mark.parametrize("counts", [[], [1], [1, 2, 3], [1, 1, 2, 3, 3, 3, 3, 4]])
def test_discounts_that_the_formula_cannot_give(counts: list[int]) -> None:
    found, computed = discounts_of(np.array(counts, np.int64))
    assert (found.tolist(), computed) == ([0, *FALLBACK], False)


def test_pruned_ngrams_are_left_out_and_nothing_that_others_need() -> None:
    stream = stream_of(uneven(300))
    whole, pruned = estimate(stream, 4, PIECES), estimate(stream, 4, PIECES, prune=(0, 1, 2))
    raw = count_ngrams(stream, 4, PIECES)
    for n, threshold in enumerate((0, 1, 2, 2)):
        assert len(whole.levels[n].weights) == len(raw[n].raw)
        assert len(pruned.levels[n].weights) == int((raw[n].raw > threshold).sum() if n else len(raw[n].raw))
    assert len(estimate(stream, 4, PIECES, prune=(0, 10**6)).levels) == 1


def test_a_model_fits_its_text_better_than_a_shorter_one_and_another(tmp_path: Path) -> None:
    sentences, others = uneven(600), uneven(100, seed=8)
    found = [written(tmp_path, sentences, order)[1] for order in (1, 2, 3)]
    one, two, three = (lm.perplexity(others, PIECES) for lm in found)
    assert max(two, three) < 0.6 * one  # each piece depends on the one before
    own = [lm.perplexity(sentences, PIECES) for lm in found]
    assert own == sorted(own, reverse=True)


def test_lines_that_are_too_short_are_told() -> None:
    model = estimate(stream_of([[1], [2]]), 5, PIECES)
    assert len(model.levels) == 3
    assert "no line is long enough for order 5: the model has order 3" in model.notes


# --- texts ------------------------------------------------------------------------------------------------------------

VOCABULARY = Vocabulary(TINY)


def corpus_of(folder: Path, content: str | bytes, name: str = "a.txt") -> Any:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_corpus([path], VOCABULARY)


def test_lines_become_pieces(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, "\ufeffTurn on the lights.\r\n\n  Hello \t world.  \n")
    expected = [VOCABULARY.encode("Turn on the lights."), VOCABULARY.encode("Hello world.")]
    assert [tuple(text.tolist()) for text in corpus.texts()] == expected
    assert (corpus.lines, corpus.sentences, corpus.tokens) == (2, 2, sum(map(len, expected)))
    assert corpus.stream.tolist() == [-1, *expected[0], 256, -1, *expected[1], 256]
    packed = corpus_of(tmp_path, gzip.compress(b"Turn on the lights.\nHello world."), "b.gz")
    assert packed.stream.tolist() == corpus.stream.tolist()


def test_characters_outside_the_vocabulary_are_counted(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, 'He said "hello world" twice\nAnd then жук came home\nжук\n')
    expected = ["He said hello world twice", "And then", "came home"]
    assert [tuple(text.tolist()) for text in corpus.texts()] == [VOCABULARY.encode(text) for text in expected]
    assert corpus.unknown == {'"': 2, "ж": 2, "у": 2, "к": 2}
    assert (corpus.lines, corpus.broken) == (3, 2)


@pytest.mark.parametrize("content", ["", "\n\n  \n", "жук\n", "((((\n"])
def test_without_text_there_is_no_model(content: str, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"a\.txt: there is no text"):
        corpus_of(tmp_path, content)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"fine\nGr\xfc\xdfe\n", "line 2: the byte 0xfc is no UTF-8"), (b"\x1f\x8b\x08" + bytes(30), "cannot be read"),
     (gzip.compress(b"hello " * 99)[:-9], "cannot be read")],
    ids=["bytes that are no UTF-8", "damaged gzip", "gzip that breaks off"],
)  # fmt: skip
def test_texts_that_cannot_be_read(content: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=said):
        corpus_of(tmp_path, content)
    with pytest.raises(CorpusError, match="No such file"):
        read_corpus([tmp_path / "none.txt"], VOCABULARY)


def test_progress_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, told = tmp_path / "a.txt", list[tuple[str, float, float]]()
    monkeypatch.setattr(corpus_module, "STEP_BYTES", 1000)
    path.write_text("hello world\n" * 400, encoding="utf-8")
    read_corpus([path], VOCABULARY, lambda *what: told.append(what))
    size = path.stat().st_size
    assert told[-1] == ("reading", size, size)
    assert len(told) == 6
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)


# --- the whole --------------------------------------------------------------------------------------------------------

TEXT = "".join(f"{line}\n" for line in (DATA / "eval/transcripts.tsv").read_text(encoding="utf-8").split("\n"))


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def test_a_model_is_built_and_read_again(text: Path, tmp_path: Path) -> None:
    built = build_model([text, text], VOCABULARY, tmp_path / "a.arpa.gz", order=4, prune=(0, 0, 1), estimator="own")
    lm = NgramLM.read(built.path)
    assert (built.estimator, lm.order) == ("own", 4)
    assert built.path.read_bytes()[:2] == b"\x1f\x8b"
    perplexity = lm.perplexity(built.corpus.texts(), VOCABULARY)
    assert 1 < perplexity < 30
    again = build_model([text, text], VOCABULARY, tmp_path / "b.arpa.gz", order=4, prune=(0, 0, 1), estimator="own")
    assert again.path.read_bytes() == built.path.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.arpa.gz", "b.arpa.gz", "corpus.txt"]


def lmplz_in(folder: Path, script: str) -> str:
    """Put a stand-in for KenLM's program into a folder; return the PATH with it."""
    tool = folder / "lmplz"
    tool.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def test_lmplz_is_used_where_it_is_installed(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given the sentences in NeMo's encoding, and what it writes is the model."""
    folder = tmp_path / "bin"
    folder.mkdir()
    made = DATA / "strategies/lm/tiny3.arpa"
    cases = f'--text) cp "$2" {folder}/text;; --arpa) cp {made} "$2";;'
    script = f'echo "$@" > {folder}/words; while [ $# -gt 0 ]; do case $1 in {cases} esac; shift; done'
    monkeypatch.setenv("PATH", lmplz_in(folder, script))
    built = build_model([text], VOCABULARY, tmp_path / "a.arpa", order=3, prune=(0, 0, 1))
    assert built.estimator == str(folder / "lmplz")
    assert built.path.read_bytes() == made.read_bytes()
    words = (folder / "words").read_text(encoding="utf-8")
    assert "--order 3 --discount_fallback" in words
    assert "--prune 0 0 1" in words
    first = (folder / "text").read_bytes().decode("utf-8").split("\n")[0]
    assert [ord(character) - 100 for character in first[::2]] == next(iter(built.corpus.texts())).tolist()
    assert set(first[1::2]) == {" "}
    assert build_model([text], VOCABULARY, tmp_path / "b.arpa", estimator="own").estimator == "own"


def test_lmplz_that_fails_is_told(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", lmplz_in(folder, "echo first >&2; echo no memory >&2; exit 3"))
    with pytest.raises(CorpusError, match=r"lmplz failed \(status 3\): no memory\. Try"):
        build_model([text], VOCABULARY, tmp_path / "a.arpa")
    assert not (tmp_path / "a.arpa").exists()


def test_lmplz_that_is_not_there(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lm_building.shutil, "which", lambda name: None)
    with pytest.raises(OptionError, match="there is no lmplz on the PATH"):
        build_model([text], VOCABULARY, tmp_path / "a.arpa", estimator="lmplz")
    assert build_model([text], VOCABULARY, tmp_path / "a.arpa").estimator == "own"


@pytest.mark.parametrize(
    "settings",
    [{"order": 0}, {"order": 6}, {"order": 2.5}, {"prune": ()}, {"prune": (1,)}, {"prune": (0, 2, 1)},
     {"prune": (0, 0, 0, 1)}, {"prune": (0, -1)}, {"estimator": "kenlm"}],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_asked_for(settings: dict[str, Any], text: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=f"{next(iter(settings))}="):
        build_model([text], VOCABULARY, tmp_path / "a.arpa", **settings)


def test_a_vocabulary_that_characters_cannot_write(text: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="at most 55196 pieces"):
        build_model([text], Vocabulary(tuple(map(str, range(60_000)))), tmp_path / "a.arpa")


def test_an_output_that_cannot_be_written(text: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No such file"):
        build_model([text], VOCABULARY, tmp_path / "none/a.arpa", estimator="own")
