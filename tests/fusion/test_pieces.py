"""Text to pieces: as NeMo's tokenizer and SentencePiece do it, from the vocabulary alone or through its model."""

from __future__ import annotations

import json
import logging
import pickle
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdt.errors import ModelFileCorruptError, ModelFileNotFoundError, ModelMismatchError, OptionError
from tdt.fusion import Vocabulary, vocabulary_of
from tdt.fusion import pieces as pieces_module

from .. import naive
from .vocabularies import DATA, TINY, pieces_of

if TYPE_CHECKING:
    from pathlib import Path

LETTERS = Vocabulary(("<unk>", "▁a", "ab", "▁ab", "ba", "a", "b", "▁", "<blk>"))
OVER_WORDS = Vocabulary(("a▁b", "▁a", "▁b", "▁a▁b", "a", "b", "▁"))


def test_every_phrase_of_nemo_has_its_pieces() -> None:
    listed = json.loads((DATA / "strategies/boosting.json").read_text(encoding="utf-8"))["phrase_tokens"]
    vocabulary = Vocabulary(TINY)
    phrases = {phrase: tokens for phrases in listed.values() for phrase, tokens in phrases.items()}
    assert len(phrases) > 100
    for phrase, tokens in phrases.items():
        assert list(vocabulary.encode(phrase, unknown=True)) == tokens, phrase


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", "", id="nothing"),
        pytest.param("ab", "▁ab", id="merges go on with what was merged"),
        pytest.param("aab", "▁a ab", id="the lowest id first"),
        pytest.param("bab", "▁ b ab", id="leftmost is not lowest"),
        pytest.param("baba", "▁ b ab a", id="the lowest id, though others are to the left"),
        pytest.param("a  b", "▁a ▁ ▁ b", id="spaces are kept"),
        pytest.param("a\tb\u00a0a", "▁a ▁ b ▁a", id="white space is a space"),
        pytest.param("\uff41\uff42", "▁ab", id="wide letters"),
        pytest.param("xyz", "▁ <unk>", id="a run of unknown letters is one"),
        pytest.param("axyb", "▁a <unk> b", id="unknown within a word"),
        pytest.param("x x", "▁ <unk> ▁ <unk>", id="a space parts two runs"),
    ],
)
def test_text_becomes_pieces(text: str, expected: str) -> None:
    assert pieces_of(LETTERS, LETTERS.encode(text, unknown=True)) == expected


def test_pieces_may_go_over_words() -> None:
    assert pieces_of(OVER_WORDS, OVER_WORDS.encode("a b a")) == "▁a▁b ▁a"
    assert naive.byte_pair_encoding("▁a▁b▁a", OVER_WORDS.pieces) == ["▁a▁b", "▁a"]


@given(
    st.lists(st.text("ab▁", min_size=2, max_size=4), max_size=12, unique=True), st.text("ab ", min_size=1, max_size=24)
)
def test_merges_are_those_of_looking_at_every_pair(merges: list[str], text: str) -> None:
    vocabulary = Vocabulary((*merges, "a", "b", "▁"))
    symbols = naive.byte_pair_encoding("▁" + text.replace(" ", "▁"), vocabulary.pieces)
    assert [vocabulary.pieces[token] for token in vocabulary.encode(text)] == symbols


def test_characters_outside_are_named() -> None:
    with pytest.raises(OptionError, match=r"phrases='naïve café' cannot be used: .* which has no 'ï', 'é'"):
        Vocabulary(TINY).encode("naïve café")
    with pytest.raises(OptionError, match="no 'x'"):
        Vocabulary(("a", "▁")).encode("ax", unknown=True)  # nothing stands for unknown characters
    assert Vocabulary(TINY).outside("naïve  é ï") == ("ï", "é")


def test_bytes_stand_for_what_is_outside() -> None:
    vocabulary = Vocabulary(("<unk>", "▁", *(f"<0x{byte:02X}>" for byte in range(256)), "a"))
    assert pieces_of(vocabulary, vocabulary.encode("aé")) == "▁ a <0xC3> <0xA9>"
    assert vocabulary.outside("é") == ()


def test_special_pieces_are_not_spelled() -> None:
    vocabulary = Vocabulary(("<unk>", "<|en|>", "<|", "en", "|>", "<|en", "<", "|", ">", "e", "n", "▁"))
    assert "<|en|>" not in pieces_of(vocabulary, vocabulary.encode("<|en|>")).split()


def test_words_that_were_seen_are_forgotten_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces_module, "WORDS_KEPT", 3)
    vocabulary = Vocabulary(LETTERS.pieces)
    for word in ("a", "b", "ab", "ba", "aa"):
        assert vocabulary.encode(f"{word} {word}") == vocabulary.encode(word) * 2
        assert len(vocabulary._words) <= 3


def test_vocabularies_are_values() -> None:
    vocabulary = Vocabulary(TINY)
    assert len(vocabulary) == 256  # the blank is none
    assert vocabulary == Vocabulary(TINY[:-1])
    assert hash(vocabulary) == hash(Vocabulary(TINY))
    assert pickle.loads(pickle.dumps(vocabulary)) == vocabulary
    assert vocabulary != LETTERS


def test_a_vocabulary_is_taken_from_what_has_one() -> None:
    spec = SimpleNamespace(pieces=TINY)
    same = {id(vocabulary_of(value)) for value in (spec, SimpleNamespace(spec=spec), TINY, list(TINY))}
    assert len(same) == 1
    assert vocabulary_of(LETTERS) is LETTERS


@pytest.mark.parametrize("value", [None, 3, "pieces", [], ["<blk>"], [1, 2], b"ab"])
def test_what_is_no_vocabulary_is_refused(value: Any) -> None:
    with pytest.raises(OptionError, match="expected a vocabulary"):
        vocabulary_of(value)


# --- tokenizer.model --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SentencePiece model of 200 pieces, trained on the transcripts as NeMo's script trains them."""
    sentencepiece = pytest.importorskip("sentencepiece")
    folder = tmp_path_factory.mktemp("tokenizer")
    lines = (DATA / "eval/transcripts.tsv").read_text(encoding="utf-8").split("\n")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([line.split("\t")[1] for line in lines if "\t" in line]),
        model_prefix=str(folder / "tokenizer"), vocab_size=200, model_type="bpe", bos_id=-1, eos_id=-1,
        character_coverage=1.0, remove_extra_whitespaces=False, minloglevel=2,
    )  # fmt: skip
    path: Path = folder / "tokenizer.model"
    return path


def held(path: Path) -> tuple[str, ...]:
    processor = pytest.importorskip("sentencepiece").SentencePieceProcessor(model_file=str(path))
    return tuple(processor.id_to_piece(number) for number in range(processor.get_piece_size()))


@pytest.fixture(scope="module")
def both_ways(tokenizer: Path) -> tuple[Vocabulary, Vocabulary]:
    """The vocabulary alone, and through its tokenizer."""
    return Vocabulary(held(tokenizer)), Vocabulary(held(tokenizer), tokenizer)


def test_merges_are_those_of_sentencepiece(both_ways: tuple[Vocabulary, Vocabulary]) -> None:
    plain, through = both_ways
    assert through._processor is not None
    lines = (DATA / "eval/transcripts.tsv").read_text(encoding="utf-8").split("\n")
    words = " ".join(lines).split()
    texts = [*lines, *words, *map(str.upper, words[:200]), " two  spaces ", "naïve café ﬁt", "", " ", "żółć ½ zero"]
    for text in texts:
        clean = text.replace("\t", " ")
        assert plain.encode(clean, unknown=True) == through.encode(clean, unknown=True), clean


@given(st.text("aeinorst TEh.,'zé☃", max_size=40))
def test_any_text_is_as_sentencepiece_has_it(both_ways: tuple[Vocabulary, Vocabulary], text: str) -> None:
    plain, through = both_ways
    assert plain.encode(text, unknown=True) == through.encode(text, unknown=True)


def test_unknown_characters_are_named_through_a_tokenizer_too(tokenizer: Path) -> None:
    with pytest.raises(OptionError, match="no '☃'"):
        Vocabulary(held(tokenizer), tokenizer).encode("snow ☃")


def test_a_tokenizer_is_not_needed(
    tokenizer: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pieces = held(tokenizer)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with caplog.at_level(logging.INFO, "tdt"):
        vocabulary = Vocabulary(pieces, tokenizer)
    assert vocabulary._processor is None
    assert "sentencepiece is not installed" in caplog.text
    assert vocabulary.encode("the") == Vocabulary(pieces).encode("the")


def test_tokenizers_that_cannot_be_used_are_refused(tokenizer: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelMismatchError, match="200 pieces, the model 256"):
        Vocabulary(TINY, tokenizer)
    with pytest.raises(ModelFileNotFoundError, match=r"no tokenizer\.model"):
        Vocabulary(TINY, tmp_path / "tokenizer.model")
    (tmp_path / "tokenizer.model").write_bytes(b"no model")
    with pytest.raises(ModelFileCorruptError, match="no SentencePiece model"):
        Vocabulary(TINY, tmp_path / "tokenizer.model")
