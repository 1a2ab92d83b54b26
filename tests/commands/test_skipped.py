"""What `tdt transcribe` says of speech that stays without words, and what it then ends with."""

from __future__ import annotations

import json
import re
from contextlib import nullcontext
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

import tdt
from tdt.commands import main
from tdt.commands import transcribe as command
from tdt.commands.skipped import described
from tdt.longform import rounds

from ..skipping import skipping
from .meetings import meeting_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CHUNK = ["--chunk-seconds", "4"]
Ran = SimpleNamespace


@pytest.fixture(scope="module")
def meeting(golden_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half a minute of digits and greetings with pauses."""
    return meeting_of(golden_folder, ("06_digits_theo", "15_hello_world") * 3, tmp_path_factory.mktemp("audio"))


@pytest.fixture(scope="module")
def asr() -> Iterator[tdt.Recognizer]:
    with tdt.load() as recognizer:
        yield recognizer


@pytest.fixture
def run(asr: tdt.Recognizer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """Run the command with a model that skips frames 8 to 48 of everything, again and again."""

    def ran(*words: str, spans: Any = ((8, 48),), again: bool = True) -> Ran:
        with skipping(asr, spans, again=again):
            monkeypatch.setattr(command, "load_model", lambda *_, **__: nullcontext(asr))
            status = main(["transcribe", *words])
        captured = capsys.readouterr()
        return Ran(status=status, out=captured.out, err=captured.err)

    return ran


@pytest.mark.parametrize("cut", [[], CHUNK], ids=["short", "long"])
def test_a_line_on_standard_error_and_in_the_json(cut: list[str], run: Callable[..., Ran], meeting: Path) -> None:
    ran = run(str(meeting), "--format", "json", *cut)
    (gap,) = json.loads(ran.out)["gaps"]
    assert ran.status == 0
    assert ran.err == f"tdt transcribe: {meeting}: speech without words: {gap['start']:.1f} to {gap['end']:.1f} s\n"
    assert 0.5 < gap["start"] < gap["end"] < 4.2
    assert re.search(r"hello", ran.out, re.IGNORECASE)


@pytest.mark.parametrize("cut", [[], CHUNK], ids=["short", "long"])
def test_strict_is_a_status_and_tells_the_quiet(cut: list[str], run: Callable[..., Ran], meeting: Path) -> None:
    ran = run(str(meeting), "--strict", "-q", *cut)
    assert ran.status == 1
    assert "speech without words: " in ran.err
    assert "failed" not in ran.err
    quiet = run(str(meeting), "-q", *cut)
    assert (quiet.status, quiet.err, quiet.out) == (0, "", ran.out)


def test_strict_is_content_where_every_second_has_its_words(run: Callable[..., Ran], meeting: Path) -> None:
    for again, spans in ((True, ()), (False, ((8, 48),))):
        ran = run(str(meeting), "--strict", *CHUNK, spans=spans, again=again)
        assert (ran.status, ran.err) == (0, "")


def test_no_second_look(run: Callable[..., Ran], meeting: Path) -> None:
    ran = run(str(meeting), "--format", "json", "--no-second-look", *CHUNK, again=False)
    assert (ran.status, ran.err, json.loads(ran.out)["gaps"]) == (0, "", [])
    looked = run(str(meeting), "--format", "json", *CHUNK, again=False)
    assert len(json.loads(looked.out)["words"]) >= len(json.loads(ran.out)["words"]) + 3


def test_strict_without_a_look_is_wrong_usage(run: Callable[..., Ran], meeting: Path) -> None:
    ran = run(str(meeting), "--strict", "--no-second-look")
    assert ran.status == 2
    assert "--strict" in ran.err


@pytest.mark.parametrize("style", ["txt", "srt", "vtt", "json"])
def test_files_that_grow_are_those_that_are_written_at_once(
    style: str, run: Callable[..., Ran], meeting: Path, tmp_path: Path
) -> None:
    for again in (True, False):
        printed = run(str(meeting), "--format", style, *CHUNK, again=again)
        written = run(str(meeting), "--format", style, "-o", str(tmp_path), *CHUNK, again=again)
        assert (tmp_path / f"meeting.{style}").read_text(encoding="utf-8") == printed.out
        assert written.err == printed.err


@pytest.mark.parametrize("again", [True, False], ids=["empty", "filled"])
def test_what_is_known_of_gaps_is_kept_over_a_stop(
    again: bool, run: Callable[..., Ran], meeting: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after any block and resumed, the same bytes and the same line."""
    monkeypatch.setattr(rounds, "LOOKAHEAD_SECONDS", 5.0)
    spans = ((8, 48), (170, 190))
    words = [str(meeting), "--format", "json", *CHUNK, "-o"]
    whole = run(*words, str(tmp_path / "whole"), spans=spans, again=again)
    expected = (tmp_path / "whole/meeting.json").read_bytes()
    assert bool(json.loads(expected)["gaps"]) is again
    from tdt.commands.running import Run

    take = Run._take
    for blocks in (1, 3):
        left = [blocks]

        def stopping(self: Run, task: Any, part: Any, left: list[int] = left) -> None:
            take(self, task, part)
            left[0] -= 1
            if not left[0]:
                raise KeyboardInterrupt

        monkeypatch.setattr(Run, "_take", stopping)
        folder = str(tmp_path / str(blocks))
        assert run(*words, folder, spans=spans, again=again).status == 130
        monkeypatch.setattr(Run, "_take", take)
        resumed = run(*words, folder, "--resume", spans=spans, again=again)
        assert "going on after" in resumed.err
        assert (tmp_path / str(blocks) / "meeting.json").read_bytes() == expected
        assert resumed.err.splitlines()[1:] == whole.err.splitlines()


def test_many_gaps_are_told_in_one_line() -> None:
    gaps = [tdt.Gap(10.0 * n, 10.0 * n + 1.5) for n in range(8)]
    assert described(gaps).endswith("40.0 to 41.5 s and 3 more")
    assert described(gaps[:5]).endswith("40.0 to 41.5 s")
