"""`tdt lm`: models are made, looked at and measured; what cannot be meant is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tdt.commands import main
from tdt.fusion import NgramLM

DATA = Path(__file__).resolve().parents[1] / "data"
TINY3 = str(DATA / "strategies/lm/tiny3.arpa")


@pytest.fixture
def text(tmp_path: Path) -> str:
    rows = (DATA / "eval/transcripts.tsv").read_text(encoding="utf-8").split("\n")[1:]
    path = tmp_path / "corpus.txt"
    path.write_text("".join(f"{row.split(chr(9))[1]}\n" for row in rows if row) + "# 5 €\n", encoding="utf-8")
    return str(path)


def test_build_inspect_score(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arpa = str(tmp_path / "a.arpa")
    assert main(["lm", "build", text, "-o", arpa, "--estimator", "own", "--order", "2", "--prune", "0,1"]) == 0
    built = capsys.readouterr().out
    counts = " ".join(map(str, NgramLM.read(arpa).counts))
    assert built.startswith(f"{arpa}: order 2, n-grams by order {counts}, by the estimator of this package\n")
    assert "made from 43 lines" in built
    assert "characters outside the vocabulary: '#' 1 '5' 1 '€' 1; signs were taken as spaces" in built
    assert main(["lm", "inspect", arpa, TINY3]) == 0
    shown = capsys.readouterr().out
    assert f"{TINY3}: order 3, n-grams by order 248 12639 21789\n245 of the 256 pieces of the model\n" in shown
    assert main(["lm", "score", TINY3, text]) == 0
    assert capsys.readouterr().out.startswith(f"{TINY3}: perplexity ")


def test_json(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arpa = str(tmp_path / "a.arpa.gz")
    assert main(["lm", "build", text, "-o", arpa, "--estimator", "own", "--json"]) == 0
    built = json.loads(capsys.readouterr().out)
    assert (built["estimator"], built["lines"], built["unknown"]) == ("own", 43, {"#": 1, "5": 1, "€": 1})
    assert built["counts"] == list(NgramLM.read(arpa).counts)
    assert main(["lm", "inspect", TINY3, arpa, "--json"]) == 0
    tiny, own = map(json.loads, capsys.readouterr().out.splitlines())
    assert (tiny["states"], tiny["known"], tiny["vocabulary"], own["file"]) == (12884, 245, 256, arpa)
    assert main(["lm", "score", arpa, text, "--json"]) == 0
    own_score = json.loads(capsys.readouterr().out)
    assert main(["lm", "score", TINY3, text, "--json"]) == 0
    other_score = json.loads(capsys.readouterr().out)
    assert own_score["perplexity"] < other_score["perplexity"]
    assert own_score["pieces"] == built["pieces"]


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["build", "TEXT"], 2, "--output=None cannot be used: expected a file for the language model"),
        (["inspect", TINY3, "-o", "x"], 2, "--output='x' cannot be used: expected `tdt lm build`"),
        (["score", TINY3], 2, "expected a language model and then texts"),
        (["build", "TEXT", "-o", "OUT", "--prune", "1"], 2, "prune=(1,) cannot be used"),
        (["build", "TEXT", "-o", "OUT", "--prune", "0,2,1"], 2, "prune=(0, 2, 1) cannot be used"),
        (["build", "none.txt", "-o", "OUT"], 1, "none.txt cannot be read: No such file"),
        (["build", "TEXT", "-o", "OUT", "--model", "none/"], 1, "none"),
        (["inspect", "TEXT"], 1, "this is no ARPA text. Parakeet needs a model of its pieces"),
        (["score", TINY3, TINY3 + ".none"], 1, "No such file"),
    ],
)
def test_what_cannot_be_done_is_told(
    words: list[str], status: int, said: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"TEXT": text, "OUT": str(tmp_path / "out.arpa")}
    assert main(["lm", *(names.get(word, word) for word in words)]) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("tdt lm: ")
    assert said in captured.err
    assert not (tmp_path / "out.arpa").exists()


@pytest.mark.parametrize("words", [["lm"], ["lm", "build"], ["lm", "train", "x"], ["lm", "build", "x", "--order", "6"]])
def test_wrong_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith("tdt lm: ")
