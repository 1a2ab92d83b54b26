"""What is known beforehand reaches whatever a command runs: benchmarks, soaks, profiles, live ones as well."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import tdt
from tdt.commands import main

CLIP = str(Path(tdt.__file__).parent / "models/recordings/15_hello_world.flac")
KNOWN = ("--phrase", "Hell owned", "--phrase-weight", "6", "--script", "latin")
HEARD = "Hell owned"


def test_a_benchmark_is_of_what_is_known(tmp_path: Path) -> None:
    """Its error rate is that of the text with the phrase, and it agrees with a baseline that knows the same."""
    references, out = tmp_path / "said.tsv", tmp_path / "bench.json"
    heard = tdt.load().transcribe(CLIP, phrases=tdt.Phrases([HEARD], weight=6.0)).text
    assert heard.startswith(HEARD)
    references.write_text(f"15_hello_world.flac\t{heard}\n", encoding="utf-8")
    words = ["bench", CLIP, "--length", "as-is", "--min-runs", "1", "--min-seconds", "0", "--precision", "float32",
             "--references", str(references), "--format", "json", "-o", str(out)]  # fmt: skip
    assert main([*words, *KNOWN]) == 0
    (row,) = json.loads(out.read_text())["rows"]
    assert (row["word_error_rate"], row["agreement"]) == (0, 1)
    assert main(words) == 0
    assert json.loads(out.read_text())["rows"][0]["word_error_rate"] > 0


@pytest.mark.parametrize("live", [(), ("--live", "2")])
def test_profiles_run_with_it(live: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given: list[dict[str, Any]] = []
    for name in ("transcribe", "live"):
        inner = getattr(tdt.Recognizer, name)

        def watched(self: Any, *values: Any, inner: Any = inner, **options: Any) -> Any:
            given.append(options)
            return inner(self, *values, **options)

        monkeypatch.setattr(tdt.Recognizer, name, watched)
    assert main(["profile", CLIP, "--runs", "1", *live, *KNOWN, "-o", str(tmp_path / "p.txt")]) == 0
    assert given
    assert all(options["script"] == ("latin",) and len(options["phrases"]) == 1 for options in given)


def test_a_soak_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given: list[Any] = []
    inner = tdt.Recognizer.transcribe

    def watched(self: Any, *values: Any, **options: Any) -> Any:
        given.append(options.get("script"))
        return inner(self, *values, **options)

    monkeypatch.setattr(tdt.Recognizer, "transcribe", watched)
    assert main(["bench", CLIP, "--soak", "20", *KNOWN, "-o", str(tmp_path / "s.txt")]) == 0
    assert given[0] == ("latin",)
    assert len(set(given)) == 1


@pytest.mark.parametrize("command", ["bench", "profile", "listen"])
def test_files_are_read_before_anything_runs(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, CLIP, "--phrases", "none-there.txt"]) == 1
    assert "none-there.txt" in capsys.readouterr().err
    assert main([command, CLIP, "--lm-weight", "0.5"]) == 2
    assert "--lm" in capsys.readouterr().err
