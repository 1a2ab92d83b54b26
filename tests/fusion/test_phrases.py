"""Phrases as users give them: values, files, cases, the automaton they share, explanations."""

from __future__ import annotations

import copy
import dataclasses
import multiprocessing
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdt.errors import OptionError, PhraseFileError
from tdt.fusion import Phrases, Vocabulary, repeats
from tdt.fusion import phrases as phrases_module
from tdt.fusion.explaining import walk
from tdt.fusion.given import MAX_CHARACTERS, cases
from tdt.fusion.phrases import as_phrases

from .vocabularies import TINY, pieces_of
from .walking import scores_along, step

if TYPE_CHECKING:
    from pathlib import Path

    from tdt.kernels.fusion.automaton import Automaton

VOCABULARY = Vocabulary(TINY)


def same(ours: Automaton, theirs: Automaton) -> bool:
    return all(np.array_equal(mine, other) for mine, other in zip(ours, theirs, strict=True))


def total(phrases: Phrases, text: str) -> float:
    machine = phrases.automaton(VOCABULARY)
    return sum(float(score) for score, _ in scores_along(machine, VOCABULARY.encode(text)))


# --- what may be given ------------------------------------------------------------------------------------------------


def test_phrases_are_kept_as_given() -> None:
    phrases = Phrases(["Quebec", ("  amlodipine ", 2), "", " \t", "Quebec"], weight=1.5, score=2)
    assert list(phrases) == [("Quebec", 1.0), ("  amlodipine ", 2.0), ("Quebec", 1.0)]
    assert len(phrases) == 3
    assert phrases.weight == 1.5
    assert repr(phrases) == "Phrases(['Quebec', ('  amlodipine ', 2.0), 'Quebec'], score=2.0, weight=1.5)"
    assert repr(Phrases("abcdefg"[place] for place in range(7))).endswith("'d', … 3 more])")


@pytest.mark.parametrize("value", ["Quebec", b"Quebec", None, 7, {"Quebec": 2.0}, bytearray(b"a"), 1.5])
def test_what_is_no_list_is_refused(value: Any) -> None:
    with pytest.raises(OptionError, match=r"phrases=.* expected a list of texts, or of pairs"):
        Phrases(value)


@pytest.mark.parametrize(
    "entry", [b"a", None, 3, ["a"], ["a", 2.0], ("a",), ("a", 1.0, 2.0), (2.0, "a"), ("a", 1.0).__iter__()]
)
def test_what_is_no_phrase_is_refused(entry: Any) -> None:
    with pytest.raises(OptionError, match="expected each phrase to be a text, or a pair"):
        Phrases(["fine", entry])


@pytest.mark.parametrize("weight", [np.nan, np.inf, -np.inf, True, "2", None, 1e7, -1e7, [1.0], np.array([1.0])])
def test_weights_are_numbers(weight: Any) -> None:
    with pytest.raises(OptionError, match=r"the weight of 'Quebec'=.* expected a number from -1e\+06 to 1e\+06"):
        Phrases([("Quebec", weight)])


@pytest.mark.parametrize("name", ["score", "weight", "depth_scaling", "unk_score", "score_per_phrase"])
@pytest.mark.parametrize("value", [np.nan, np.inf, True, "1", None, 1e7, [1.0]])
def test_numbers_are_checked(name: str, value: Any) -> None:
    with pytest.raises(OptionError, match=f"^{name}="):
        Phrases(["a"], **{name: value})


@pytest.mark.parametrize("name", ["depth_scaling", "score_per_phrase"])
def test_some_numbers_are_not_below_zero(name: str) -> None:
    options: dict[str, Any] = {name: -0.1}
    with pytest.raises(OptionError, match=f"{name}=-0.1 .* from 0 to"):
        Phrases(["a"], **options)


@pytest.mark.parametrize("name", ["uniform_weights", "case_insensitive", "as_nemo"])
def test_flags_are_true_or_false(name: str) -> None:
    options: dict[str, Any] = {name: 1}
    with pytest.raises(OptionError, match=f"{name}=1 cannot be used: expected True or False"):
        Phrases(["a"], **options)


def test_nemo_has_no_cases_and_no_empty_phrases() -> None:
    with pytest.raises(OptionError, match=r"case_insensitive=True .* as_nemo=True"):
        Phrases(["a"], case_insensitive=True, as_nemo=True)
    with pytest.raises(OptionError, match="phrases that are not empty, with as_nemo=True"):
        Phrases(["a", ""], as_nemo=True)
    assert len(Phrases([" "], as_nemo=True)) == 1


def test_a_whole_text_is_no_phrase() -> None:
    with pytest.raises(OptionError, match=f"at most {MAX_CHARACTERS} characters; this has {MAX_CHARACTERS + 1}"):
        Phrases(["a" * (MAX_CHARACTERS + 1)])


def test_phrases_do_not_change() -> None:
    phrases = Phrases(["a"])
    for name in ("options", "weight", "_given", "other"):
        with pytest.raises(dataclasses.FrozenInstanceError, match=name):
            setattr(phrases, name, 1)
    with pytest.raises(dataclasses.FrozenInstanceError, match="options"):
        del phrases.options
    assert len({phrases, phrases, Phrases(["a"])}) == 2  # equal to itself only


def test_phrases_are_pickled_as_given() -> None:
    phrases = Phrases(["Quebec", ("ten", -1.0)], weight=0.5, uniform_weights=True)
    machine = phrases.automaton(VOCABULARY)
    for other in (pickle.loads(pickle.dumps(phrases)), copy.deepcopy(phrases), copy.copy(phrases)):
        assert list(other) == list(phrases)
        assert other.options == phrases.options
        assert same(other.automaton(VOCABULARY), machine)


def test_lists_become_phrases() -> None:
    assert as_phrases(None) is None
    assert as_phrases([]) is None
    assert as_phrases(["", "  "]) is None
    assert as_phrases(Phrases([])) is None
    phrases = Phrases(["a"])
    assert as_phrases(phrases) is phrases
    listed = as_phrases(["Quebec", ("ten", 2.0)])
    assert listed is not None
    assert list(listed) == [("Quebec", 1.0), ("ten", 2.0)]
    assert as_phrases(["Quebec", ("ten", 2.0)]) is listed  # built once, though the list is another
    with pytest.raises(OptionError, match="expected a list"):
        as_phrases("Quebec")  # type: ignore[arg-type]


# --- what they weigh --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phrases", [[], ["", " \n"], [("Toronto", 0.0)]], ids=["none", "empty", "weight 0"])
def test_what_says_nothing_does_nothing(phrases: list[Any]) -> None:
    machine = Phrases(phrases).automaton(VOCABULARY)
    assert len(machine.backoffs) == 1
    assert not machine.root_weights.any()


def test_phrases_may_be_given_in_any_order_twice_and_with_spaces() -> None:
    plain = Phrases(["language model", ("Toronto", 2.0), "language"]).automaton(VOCABULARY)
    listed = [("Toronto", 0.5), "language", " language \u00a0 model\n", ("Toronto", 2.0), "", ("ten", 0.0), "Toronto"]
    other = Phrases(listed).automaton(VOCABULARY)
    for text in ("language models in Toronto", "the lang Tor ten"):
        tokens = VOCABULARY.encode(text)
        assert [score for score, _ in scores_along(plain, tokens)] == [
            score for score, _ in scores_along(other, tokens)
        ]


def test_a_weight_multiplies_the_score() -> None:
    by_weight = Phrases([("Toronto", 3.0)], score=0.5).automaton(VOCABULARY)
    assert same(by_weight, Phrases(["Toronto"], score=1.5).automaton(VOCABULARY))


def test_a_shared_prefix_has_the_highest_weight() -> None:
    machine = Phrases([("Toronto", 1.0), ("Torn", 4.0)]).automaton(VOCABULARY)
    alone = Phrases([("Torn", 4.0)]).automaton(VOCABULARY)
    first = VOCABULARY.encode("Toronto")[0]
    assert VOCABULARY.encode("Torn")[0] == first
    assert step(machine, 0, first)[0] == step(alone, 0, first)[0] == 4.0


def test_a_phrase_of_negative_weight_is_the_mirror_of_one_that_is_wanted() -> None:
    wanted, avoided = Phrases(["Toronto"]).automaton(VOCABULARY), Phrases([("Toronto", -1)]).automaton(VOCABULARY)
    for text in ("Toronto", "Toron", "Tor is", "the Toronto's"):
        tokens = VOCABULARY.encode(text)
        pairs = zip(scores_along(wanted, tokens), scores_along(avoided, tokens), strict=True)
        assert all(ours == -theirs for (ours, _), (theirs, _) in pairs)
    assert total(Phrases([("Toronto", -1)]), "Toronto") < -10


def test_a_score_may_be_shared_out_by_characters() -> None:
    listed = ["ten", "language model"]
    first = {text: VOCABULARY.encode(text)[0] for text in listed}
    machine = Phrases(listed, score_per_phrase=6.0).automaton(VOCABULARY)
    assert step(machine, 0, first["ten"])[0] == 2.0  # 6 / 3
    assert step(machine, 0, first["language model"])[0] == np.float32(0.43)  # 6 / 14
    small = Phrases(["language model"], score_per_phrase=0.05, score=3.0).automaton(VOCABULARY)
    assert step(small, 0, first["language model"])[0] == 3.0  # 0.00 means the default


def test_pieces_that_begin_no_phrase_have_a_score_of_their_own() -> None:
    machine = Phrases(["Toronto"], unk_score=-2.0).automaton(VOCABULARY)
    first = VOCABULARY.encode("Toronto")[0]
    assert step(machine, 0, first)[0] == 1.0
    assert [step(machine, 0, token)[0] for token in range(5)] == [-2.0] * 5


def test_characters_outside_the_vocabulary_are_named() -> None:
    phrases = Phrases(["fine", "naïve café"])
    with pytest.raises(OptionError, match=r"'naïve café' .* no 'ï', 'é'"):
        phrases.automaton(VOCABULARY)
    as_nemo = Phrases(["naïve café"], as_nemo=True)
    (tokens,) = as_nemo.sequences(VOCABULARY)
    assert pieces_of(VOCABULARY, tokens) == "▁n a <unk> ve ▁ca f <unk>"


def test_nemo_keeps_white_space() -> None:
    (tokens,) = Phrases([" ten"], as_nemo=True).sequences(VOCABULARY)
    assert pieces_of(VOCABULARY, tokens) == "▁ ▁t en"


# --- cases ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ask not what", {"ask not what", "Ask not what", "Ask Not What", "ASK NOT WHAT"}),
        ("McDonald's", {"mcdonald's", "Mcdonald's", "MCDONALD'S"}),
        ("Alt-ulm", {"alt-ulm", "Alt-ulm", "Alt-Ulm", "ALT-ULM"}),
        ("10 mg", {"10 mg", "10 Mg", "10 MG"}),
        ("straße", {"straße", "Straße", "STRASSE"}),
        ("…", {"..."}),
    ],
)  # fmt: skip
def test_cases(text: str, expected: set[str]) -> None:
    assert set(cases(text)) == expected


def test_variants_stand_for_the_phrase() -> None:
    phrases = Phrases([("new York", 2.0)], case_insensitive=True)
    spelled = {pieces_of(VOCABULARY, tokens) for tokens in phrases.sequences(VOCABULARY)}
    variants = ("new York", "new york", "New york", "New York", "NEW YORK")
    assert spelled == {pieces_of(VOCABULARY, VOCABULARY.encode(variant)) for variant in variants}
    assert set(phrases.sequences(VOCABULARY).values()) == {"new York"}
    assert len({total(phrases, "new York"), total(Phrases([("new York", 2.0)]), "new York")}) == 1


def test_variants_outside_the_vocabulary_are_left_out() -> None:
    small = Vocabulary(("<unk>", "▁", *"abcdefghijklmnopqrstuvwxyz"))
    assert len(Phrases(["quebec"], case_insensitive=True).sequences(small)) == 1
    with pytest.raises(OptionError, match="no 'Q'"):
        Phrases(["Quebec"], case_insensitive=True).sequences(small)


# --- sharing ----------------------------------------------------------------------------------------------------------


def test_an_automaton_is_built_once_for_a_vocabulary() -> None:
    phrases = Phrases(["Toronto"])
    first = phrases.automaton(VOCABULARY)
    spec = SimpleNamespace(pieces=TINY)
    assert all(phrases.automaton(value) is first for value in (spec, SimpleNamespace(spec=spec), Vocabulary(TINY)))
    others = [Vocabulary((*TINY[:-1], f"{number}")) for number in range(phrases_module.VOCABULARIES_KEPT)]
    assert len({id(phrases.automaton(other)) for other in others}) == len(others)
    assert phrases.automaton(VOCABULARY) is not first  # the oldest was dropped


def test_threads_share_phrases(monkeypatch: pytest.MonkeyPatch) -> None:
    builds = []

    class Counted(phrases_module.Trie):
        __slots__ = ()

        def freeze(self) -> Automaton:
            builds.append(threading.get_ident())
            time.sleep(0.02)
            return super().freeze()

    monkeypatch.setattr(phrases_module, "Trie", Counted)
    phrases = Phrases(["Toronto", "language model"])
    barrier = threading.Barrier(8)

    def ask(_: int) -> Automaton:
        barrier.wait()
        return phrases.automaton(VOCABULARY)

    with ThreadPoolExecutor(8) as pool:
        machines = list(pool.map(ask, range(8)))
    assert len({id(machine) for machine in machines}) == 1
    assert len(builds) == 1


def _ask_after_the_fork(phrases: Phrases, answers: Any) -> None:
    answers.put(len(phrases.automaton(VOCABULARY).backoffs))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="there is no fork here")
def test_a_fork_amid_building_finds_the_lock_open() -> None:
    phrases = Phrases(["Toronto"])
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    with phrases._building():
        child = context.Process(target=_ask_after_the_fork, args=(phrases, answers))
        child.start()
    child.join(60)
    child.kill()  # where it waits for ever
    assert child.exitcode == 0
    assert answers.get() == 1 + len(VOCABULARY.encode("Toronto"))


def test_a_hundred_thousand_phrases() -> None:
    """Of two words each, of 2000 random ones; the bound is generous, and what is counted does not depend on a clock."""
    rng = np.random.default_rng(16)
    letters = list("abcdefghijklmnopqrstuvwxyz")
    words = ["".join(rng.choice(letters, size)) for size in rng.integers(3, 11, 2000)]
    listed = [f"{words[a]} {words[b]}" for a, b in rng.integers(0, 2000, (100_000, 2))]
    phrases = Phrases(listed)
    begin = time.thread_time()
    machine = phrases.automaton(VOCABULARY)
    assert time.thread_time() - begin < 20
    sequences = phrases.sequences(VOCABULARY)
    assert len(sequences) == len(set(listed))
    prefixes = {tokens[:end] for tokens in sequences for end in range(len(tokens) + 1)}
    assert len(machine.backoffs) == len(prefixes)
    assert len(VOCABULARY._words) <= 2000 + 100  # each word was merged once


# --- files ------------------------------------------------------------------------------------------------------------


def write(path: Path, content: bytes | str) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_files_of_phrases(tmp_path: Path) -> None:
    content = (
        "\ufeffQuebec\r\n# a comment\n\n  New York  \namlodipine\t2.0\nSPEECH RECOGNITION :3.5\nten\t-1e0\n"
        "C# and : colons\nratio 3:4\nat 12 :half\ntab\there\t 0.5 \nend"
    )
    phrases = Phrases.read(write(tmp_path / "phrases.txt", content), weight=2.0, case_insensitive=True)
    assert list(phrases) == [
        ("Quebec", 1.0), ("New York", 1.0), ("amlodipine", 2.0), ("SPEECH RECOGNITION", 3.5), ("ten", -1.0),
        ("C# and : colons", 1.0), ("ratio 3:4", 1.0), ("at 12 :half", 1.0), ("tab\there", 0.5), ("end", 1.0),
    ]  # fmt: skip
    assert phrases.weight == 2.0
    assert phrases.options.case_insensitive


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("fine\nQuebec\ttwo\n", r"phrases\.txt, line 2: 'two' is no weight\. Expected UTF-8 text, one phrase a line"),
        ("# one\n\nQuebec\tnan", "line 3: 'nan' is no weight"),
        ("Quebec\tinf", "line 1: 'inf' is no weight"),
        ("Quebec :1.2.3", "line 1: '1.2.3' is no weight"),
        (b"fine\nQu\xe9bec\n", "line 2: it is not UTF-8 text"),
        ("Quebec".encode("utf-16"), "line 1: it is not UTF-8 text"),
    ],
)
def test_faulty_files_are_refused_by_line(tmp_path: Path, content: bytes | str, message: str) -> None:
    with pytest.raises(PhraseFileError, match=message):
        Phrases.read(write(tmp_path / "phrases.txt", content))


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(PhraseFileError, match=r"cannot be read .*No such file"):
        Phrases.read(tmp_path / "phrases.txt")
    with pytest.raises(PhraseFileError, match=r"cannot be read"):
        Phrases.read(tmp_path)
    with pytest.raises(PhraseFileError, match=r"cannot be read .*null"):
        Phrases.read("a\0b")
    with pytest.raises(OptionError, match="path=7"):
        Phrases.read(7)  # type: ignore[arg-type]
    with pytest.raises(PhraseFileError) as caught:
        Phrases.read(write(tmp_path / "a", "x\tq"))
    assert pickle.loads(pickle.dumps(caught.value)).line == caught.value.line == 1


def test_files_that_are_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tdt.fusion.phrase_files.MAX_BYTES", 4)
    with pytest.raises(PhraseFileError, match="more than"):
        Phrases.read(write(tmp_path / "phrases.txt", "Quebec"))


# --- explanations -----------------------------------------------------------------------------------------------------


def test_explanations_follow_the_automaton() -> None:
    phrases = Phrases(["language model", "model ship", "ten"], weight=0.5)
    text = "a language modest model ship ten"
    explained = phrases.explain(text, VOCABULARY)
    machine, tokens = phrases.automaton(VOCABULARY), VOCABULARY.encode(text)
    assert [piece.token for piece in explained.pieces] == list(tokens)
    for piece, (score, state) in zip(explained.pieces, scores_along(machine, tokens), strict=True):
        assert piece.state == state
        assert piece.bonus == pytest.approx(0.5 * float(score), abs=1e-5)
        assert piece.bonus == pytest.approx(piece.given + piece.taken_back, abs=1e-9)
    assert explained.found == ("model ship", "ten")
    assert min(piece.taken_back for piece in explained.pieces) < -10
    spelled = {"".join(piece.spelled) for piece in explained.pieces}
    assert {"", "▁language▁mod", "▁model▁ship", "▁ten"} <= spelled
    inside = [piece for piece in explained.pieces if piece.piece == "▁mod" or piece.spelled[-1:] == ("d",)]
    assert {piece.phrase for piece in inside} <= {"language model", "model ship"}
    shown = str(explained)
    assert "holds 'model ship', 'ten'" in shown
    assert "in 'language model'" in shown
    assert "ends 'ten'" in shown
    assert f"{explained.pieces[-1].bonus:8.3f}" in shown.split("\n")[-2]


@pytest.mark.parametrize(
    ("phrase", "text", "reason"),
    [
        pytest.param("Toronto", "in toronto", "another case; case_insensitive=True", id="case"),
        pytest.param("Mrs. Martin", "Mrs Martin", "other spaces or marks", id="marks"),
        pytest.param("ice cream", "icecream", "other spaces or marks", id="spaces"),
        pytest.param("cafe", "in the café", "other accents", id="accents"),
        pytest.param("ton", "Washington", "begins where a word begins", id="no word start"),
        pytest.param("perfect", "perfectly", "goes on without a space", id="goes on"),
    ],
)
def test_explanations_say_why_a_phrase_is_missed(phrase: str, text: str, reason: str) -> None:
    letters = sorted({letter for word in (phrase, text) for letter in word} - {" "})
    vocabulary = Vocabulary(("<unk>", "tl", "▁", *letters))  # tl: a piece that goes over the end of "perfect"
    explained = Phrases([phrase]).explain(text, vocabulary)
    assert explained.found == ()
    (missed,) = explained.missed
    assert missed.phrase == phrase
    assert reason in missed.reason
    assert f"not {phrase!r} ({' '.join(missed.pieces)}): " in str(explained)
    assert "holds no phrase" in str(explained)


def test_explanations_name_phrases_of_no_weight() -> None:
    explained = Phrases([("ten", 0.0)]).explain("ten", VOCABULARY)
    assert explained.found == explained.pieces[-1].ends == ()
    assert [(missed.phrase, missed.reason) for missed in explained.missed] == [("ten", "its weight is 0")]


def test_explanations_name_unknown_letters() -> None:
    explained = Phrases(["ten"]).explain("naïve ten", VOCABULARY)
    assert explained.outside == ("ï",)
    assert explained.found == ("ten",)
    assert "not in the vocabulary: 'ï'" in str(explained)


def test_explanations_take_the_vocabulary_that_was_used_last() -> None:
    phrases = Phrases(["ten"])
    with pytest.raises(OptionError, match=r"vocabulary=None .* none was used so far"):
        phrases.explain("ten")
    phrases.automaton(VOCABULARY)
    assert phrases.explain("ten").found == ("ten",)
    assert phrases.explain("").pieces == ()
    with pytest.raises(OptionError, match="text=3"):
        phrases.explain(3)  # type: ignore[arg-type]


@given(st.lists(st.text("abc", min_size=1, max_size=5), max_size=5), st.text("abc ", max_size=20))
def test_the_walk_of_explanations_is_the_automatons(listed: list[str], text: str) -> None:
    vocabulary = Vocabulary(("▁", "a", "b", "c", "ab", "▁a"))
    machine, state = Phrases(listed).automaton(vocabulary), 0
    for token, (score, expected) in zip(
        vocabulary.encode(text), scores_along(machine, vocabulary.encode(text)), strict=True
    ):
        paid, own, state = walk(machine, state, token)
        assert state == expected
        assert np.float32(np.float32(paid) + np.float32(own)) == score


# --- phrases again and again ------------------------------------------------------------------------------------------


def test_repeats_are_found() -> None:
    names = {(1,): "a", (1, 2): "ab", (3, 4, 5): "cde", (1, 1): "aa"}
    assert repeats((1,) * 8, names) == ()
    assert repeats((7, *(1,) * 9, 7), names) == (("a", 9, 1),)
    assert repeats((1, 2) * 9 + (1,), names) == (("ab", 9, 0),)
    assert repeats((9, *(3, 4, 5) * 10, 3, *(1, 2) * 12), names) == (("cde", 10, 1), ("ab", 12, 32))
    assert repeats((1,) * 18, names) == (("a", 18, 0), ("aa", 9, 0))
    assert repeats((1,) * 19, names) == (("a", 19, 0), ("aa", 9, 0))
    assert repeats((1,) * 3, names, most=2) == (("a", 3, 0),)
    assert repeats((), names) == ()
    assert repeats((6,) * 30, names) == ()


@given(st.lists(st.integers(0, 2), max_size=40), st.integers(1, 4))
def test_repeats_are_those_of_counting_from_every_place(tokens: list[int], most: int) -> None:
    names = {(0,): "x", (1,): "y", (0, 1): "xy", (0, 1, 1): "xyy"}
    expected = set()
    for phrase, name in names.items():
        place = 0
        while place < len(tokens):
            times = 0
            while tuple(tokens[place + times * len(phrase) :][: len(phrase)]) == phrase:
                times += 1
            if times > most:
                expected.add((name, times, place))
            place += max(1, times * len(phrase))
    assert set(repeats(tokens, names, most)) == expected
