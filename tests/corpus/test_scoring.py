"""Error rates are jiwer's over all lines, counted part by part; lines that failed or have no reference stand out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jiwer
import pytest

from tdt.corpus import read_lines, score
from tdt.corpus.rendering import as_parquet, schema_of
from tdt.errors import OptionError

if TYPE_CHECKING:
    from pathlib import Path

LINES: list[dict[str, Any]] = [
    {"text": "one two three", "pred_text": "one too three", "speaker": "a"},
    {"text": "four five", "pred_text": "four five six", "speaker": "b"},
    {"text": "seven eight", "pred_text": "eight", "speaker": "a"},
    {"text": "nine", "error": {"type": "AudioReadError", "message": "m"}, "speaker": "b"},
    {"pred_text": "ten"},
]


def test_rates_are_jiwers() -> None:
    good = [line for line in LINES if "text" in line and "error" not in line]
    for parts in ([LINES], [LINES[:2], LINES[2:]], [[line] for line in LINES]):
        found = score(parts, "text", str.strip, by="speaker")
        pairs = [line["text"] for line in good], [line["pred_text"] for line in good]
        assert found.overall.wer == pytest.approx(jiwer.wer(*pairs))
        assert found.overall.cer == pytest.approx(jiwer.cer(*pairs))
        assert (found.overall.lines, found.overall.failed, found.overall.unreferenced) == (5, 1, 1)
        assert list(found.groups) == ["a", "b", "None"]
        assert found.groups["a"].wer == pytest.approx(2 / 5)
        assert found.groups["b"].wer == pytest.approx(1 / 2)
        assert (found.groups["b"].failed, found.groups["None"].wer) == (1, None)


def test_words_where_nothing_was_spoken_count() -> None:
    """What would be caught: invented words over silence, which a rate that drops empty references does not see."""
    found = score([[{"text": "", "pred_text": "hello there"}, {"text": "a b", "pred_text": "a b"}]], "text", str.strip)
    assert found.overall.wer == 1.0


def test_texts_are_normalised_on_both_sides() -> None:
    found = score(
        [[{"text": "One, TWO!", "pred_text": "one two"}]], "text", lambda text: text.lower().strip("!").replace(",", "")
    )
    assert found.overall.wer == 0.0


def test_both_forms_of_parts_are_read(tmp_path: Path) -> None:
    (tmp_path / "part-00000.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))
    other = tmp_path / "other"
    other.mkdir()
    (other / "part-00000.parquet").write_bytes(as_parquet(LINES, schema_of(LINES[0]), "text"))
    assert score(read_lines(tmp_path), "text", str.strip) == score(read_lines(other), "text", str.strip)
    with pytest.raises(OptionError, match="the folder of a run"):
        list(read_lines(tmp_path / "none"))


def test_a_key_that_no_line_has() -> None:
    with pytest.raises(OptionError, match="--references='said' cannot be used"):
        score([LINES], "said", str.strip)
