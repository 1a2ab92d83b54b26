"""`tdt corpus`: what is written and said, exit statuses, what cannot be meant."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tdt.commands import main
from tdt.commands.corpus_progress import Watch, line
from tdt.corpus import Progress

from ..corpus.making import clips, lines_of, nemo, recordings, run_here, texts


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tdt.corpus.local.run_local", run_here)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> str:
    return nemo(recordings(tmp_path_factory.mktemp("command") / "clips", 12, 0))[0]


def test_label_score_and_plan(manifest: str, tmp_path: Path, here: None, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    assert main(["corpus", manifest, "-o", out, "--detail", "words", "--shard-items", "5"]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("tdt corpus: 12 items, 0.0")
    assert sorted(path.name for path in Path(out).iterdir()) == [
        "_progress.jsonl",
        "_summary.json",
        *(f"part-{number:05d}.jsonl" for number in range(3)),
    ]
    assert all("words" in line and "tokens" not in line for line in texts(Path(out)))
    assert main(["corpus", "score", out, "--by", "voice"]) == 0
    overall, *groups = capsys.readouterr().out.splitlines()
    assert overall.startswith("all: WER ")
    assert overall.endswith(" words in 12 lines")
    assert len(groups) == len({line["voice"] for line in texts(Path(out))})
    assert groups[0].startswith("voice=")
    assert main(["corpus", "score", out, "--json", "--normalizer", "none"]) == 0
    assert json.loads(capsys.readouterr().out)["lines"] == 12
    assert main(["corpus", "plan", manifest, "--rtfx", "10", "--workers", "2", "--start-seconds", "0"]) == 0
    assert "12 items" not in capsys.readouterr().out
    assert main(["corpus", "plan", manifest, "--rtfx", "10", "--workers", "2", "--json", "--shard-items", "4"]) == 0
    seconds = sum(item["duration"] for item in lines_of(sorted(Path(manifest).parent.glob("*.flac"))))
    found = json.loads(capsys.readouterr().out)
    assert found["audio_seconds"] == pytest.approx(seconds)
    assert (found["shards"], found["workers"]) == (3, 2)
    assert main(["corpus", "plan", manifest, "--like", out, "--workers", "1", "--json", "--start-seconds", "0"]) == 0
    again = json.loads(capsys.readouterr().out)
    took = sum(json.loads(line).get("seconds", 0) for line in Path(out, "_progress.jsonl").read_text().splitlines()[2:])
    assert again["wall_seconds"] == pytest.approx(took, rel=0.3)  # a worker that does it all; padding is spread


def test_a_dry_run_counts_and_does_nothing(manifest: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["corpus", manifest, str(Path(manifest).parent), "-o", str(tmp_path / "out"), "--dry-run"]) == 0
    assert capsys.readouterr().out == "2 shards, 24 items, 0.01 h\n12 items do not say how long they are\n"
    assert not (tmp_path / "out").exists()
    assert main(["corpus", manifest, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["items"] == 12


def test_failed_items_are_counted_and_give_status_1(
    tmp_path: Path, here: None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m.jsonl"
    lines = [{"audio_filepath": str(clips()[0])}, {"audio_filepath": "none.wav"}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + "{\n")
    command = ["corpus", str(path), "-o", str(tmp_path / "out")]
    said = "tdt corpus: 2 of 3 items failed (1 AudioNotFoundError, 1 ManifestError); the others are done\n"
    for _ in range(2):
        assert main(command) == 1
        assert capsys.readouterr().err == said
    assert main([*command, "--detail", "words"]) == 1
    assert 'holds another run: detail was "text" and is "words"' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["m.jsonl"], 2, "a folder for the texts: -o OUT"),
        (["score"], 2, "an input behind score; a file of that name is ./score"),
        (["plan", "m.jsonl", "--rtfx", "3"], 2, "--workers=None"),
        (["plan", "m.jsonl", "--workers", "3"], 2, "--rtfx=None"),
        (["plan", "m.jsonl", "--workers", "3", "--rtfx", "2", "--like", "out"], 2, "either a number or the folders"),
        (["plan", "m.jsonl", "--workers", "3", "--like", "none"], 1, "name the folder of a run"),
        (["plan", "m.jsonl", "--rtfx", "0", "--workers", "3"], 2, "'0' cannot be used"),
        (["none.jsonl", "-o", "out"], 1, "does not exist"),
        (["none.jsonl", "--dry-run"], 1, "does not exist"),
        (["*.none", "-o", "out"], 1, "no file is of that pattern"),
        (["score", "none"], 2, "the folder of a run"),
        (["m.jsonl", "-o", "out", "--format", "csv"], 2, "invalid choice: 'csv'"),
    ],
)
def test_what_cannot_be_meant(
    words: list[str], status: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    try:
        found: Any = main(["corpus", *words])
    except SystemExit as end:
        found = end.code
    assert found == status
    assert said in capsys.readouterr().err


def test_ray_is_asked_for_where_it_is_not_there(
    manifest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["corpus", manifest, "-o", str(tmp_path / "out"), "--ray", "auto"]) == 1
    assert (
        "--ray needs the package 'ray', which is not installed. Install it with: pip install 'parakeet-tdt[ray]'"
        in (capsys.readouterr().err)
    )


def test_ctrl_c_keeps_what_is_done(manifest: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "tdt", "corpus", manifest, "-o", str(out), "--shard-items", "1", "--workers", "1"]
    run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while not list(out.glob("part-*")) and run.poll() is None:
        time.sleep(0.01)
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "the parts so far are complete, and --resume goes on" in said
    assert main([*command[3:], "--resume", "--quiet"]) == 0
    assert len(texts(out)) == 12


def test_progress_off_a_terminal_is_a_line_a_minute(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    progress = Progress(3, 9, 768, 2, 36_000.0, 36_000.0, 90.0, 3)
    with Watch(clock=lambda: now[0]) as watch:
        for now[0] in (10.0, 59.0, 61.0, 100.0, 122.0):
            watch(progress)
    expected = "3 of 9 shards, 10.00 h, 400 x real time, 2 errors, 3 min left"
    assert line(progress) == expected
    assert capsys.readouterr().err == f"tdt corpus: {expected}\n" * 2
    with Watch(quiet=True, clock=lambda: now[0]) as watch:
        now[0] = 1000.0
        watch(progress)
    assert capsys.readouterr().err == ""
    assert line(progress._replace(fresh_shards=0)).endswith("2 errors")


def test_progress_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with Watch() as watch:
        watch(Progress(3, 9, 768, 2, 36_000.0, 36_000.0, 90.0, 3))
    assert "3 of 9 shards" in capsys.readouterr().err
