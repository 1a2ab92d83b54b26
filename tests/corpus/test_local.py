"""Runs on this machine: the same bytes whatever the workers, whatever dies, however often it is started."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tdt.corpus import Hardware, Settings, ShardRule, label
from tdt.corpus.local import run_local
from tdt.corpus.readers import packs_of
from tdt.corpus.running import MOST_FAILURES, share
from tdt.corpus.shards import Shard, numbered
from tdt.corpus.work import Report
from tdt.errors import ModelNotFoundError, RunFolderError, ShardError, WorkerDiedError

from .making import MAKERS, nemo, parts, run_here, texts

if TYPE_CHECKING:
    from collections.abc import Iterator

SETTINGS = Settings({"detail": "tokens"})
RULE = ShardRule(6)


@pytest.fixture(scope="module")
def expected(files: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The parts of the manifest, by a worker in this process."""
    out = tmp_path_factory.mktemp("expected") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tdt.corpus.local.run_local", run_here)
        summary = label(nemo(files), out, SETTINGS, rule=RULE)
    assert (summary["items"], summary["failed"], summary["shards"]) == (41, 0, 7)
    assert all(line["pred_text"] for line in texts(out))
    return parts(out)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_any_number_of_workers(workers: int, files: list[Path], tmp_path: Path, expected: dict[str, bytes]) -> None:
    label(nemo(files), tmp_path / "out", SETTINGS, rule=RULE, hardware=Hardware(workers=workers))
    assert parts(tmp_path / "out") == expected


def test_a_killed_worker(files: list[Path], tmp_path: Path, expected: dict[str, bytes]) -> None:
    """What would be caught: the shard that a killed worker had, lost or done twice; a run that hangs for its answer."""
    killed: list[int] = []

    def kill(progress: Any) -> None:
        if len(killed) < 2:
            (victim, *_) = multiprocessing.active_children()
            assert victim.pid is not None
            os.kill(victim.pid, signal.SIGKILL)
            killed.append(victim.pid)

    label(nemo(files), tmp_path / "out", SETTINGS, rule=RULE, hardware=Hardware(workers=2), progress=kill)
    assert len(killed) == 2
    assert parts(tmp_path / "out") == expected
    assert not multiprocessing.active_children()


DRIVER = """
import sys
from tdt.corpus import Hardware, Settings, ShardRule, label
if __name__ == "__main__":
    label([sys.argv[1]], sys.argv[2], Settings({"detail": "tokens"}), rule=ShardRule(6), hardware=Hardware(workers=2))
"""


def alive(session: int) -> list[str]:
    """What runs in a session; a zombie, which whoever adopted it has not reaped yet (if ever), does not."""
    command = ["ps", "-o", "pid=,stat=,args=", "-s", str(session)]
    told = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    return [line for line in told if not line.split()[1].startswith("Z")]


def test_a_killed_driver(files: list[Path], tmp_path: Path, expected: dict[str, bytes]) -> None:
    """What would be caught: workers that live on, a part that was half written, shards done again or left out."""
    (manifest,) = nemo(files)
    out = tmp_path / "out"
    (tmp_path / "driver.py").write_text(DRIVER)
    driver = subprocess.Popen([sys.executable, tmp_path / "driver.py", manifest, out], start_new_session=True)
    while not list(out.glob("part-*")) and driver.poll() is None:
        time.sleep(0.01)
    driver.kill()
    driver.wait()
    done = parts(out)
    assert 0 < len(done) < len(expected), "the driver was to be killed in the middle"
    with pytest.raises(RunFolderError, match=r"a run was stopped there, with \d of 7 shards done; --resume goes on"):
        label([manifest], out, SETTINGS, rule=RULE)
    marks = {name: (out / name).stat().st_mtime_ns for name in done}
    label([manifest], out, SETTINGS, rule=RULE, hardware=Hardware(workers=1), resume=True)
    assert parts(out) == expected
    kept = [
        entry["file"]
        for entry in map(json.loads, (out / "_progress.jsonl").read_bytes().splitlines()[1:])
        if "file" in entry
    ]
    assert sorted(kept) == sorted(expected), "every shard is listed once"
    listed = [name for name in kept if name in marks]
    assert [(out / name).stat().st_mtime_ns for name in listed[: len(done) - 1]] == [
        marks[name] for name in listed[: len(done) - 1]
    ]
    until = time.monotonic() + 60
    while (left := alive(driver.pid)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not left, "workers of the killed driver live on"


def test_a_complete_run_writes_nothing(files: list[Path], tmp_path: Path, in_process: None) -> None:
    (manifest,) = nemo(files)
    first = label([manifest], tmp_path / "out", SETTINGS, rule=RULE)
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in (tmp_path / "out").iterdir()}
    for resume in (False, True):
        assert label([manifest], tmp_path / "out", SETTINGS, rule=RULE, resume=resume) == first
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in (tmp_path / "out").iterdir()} == before


def test_the_order_of_the_reports_changes_nothing(
    files: list[Path], tmp_path: Path, expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Backwards, and some twice, as a cluster may hand them over."""

    def backwards(shards: Iterator[Shard], settings: Settings, *rest: object) -> Iterator[Report]:
        reports = list(run_here(shards, settings))
        yield from reports[::-1]
        yield from reports[:2]

    monkeypatch.setattr("tdt.corpus.local.run_local", backwards)
    summary = label(nemo(files), tmp_path / "out", SETTINGS, rule=RULE)
    assert parts(tmp_path / "out") == expected
    assert (summary["items"], summary["shards"], summary["complete"]) == (41, 7, True)


@pytest.mark.parametrize("form", MAKERS)
def test_every_format_says_the_same(form: str, files: list[Path], tmp_path: Path, in_process: None) -> None:
    label(MAKERS[form](files), tmp_path / "out", Settings({"detail": "text"}), rule=ShardRule(11))
    found = sorted(line["pred_text"] for line in texts(tmp_path / "out"))
    label(nemo(files), tmp_path / "plain", Settings({"detail": "text"}))
    assert found == sorted(line["pred_text"] for line in texts(tmp_path / "plain"))


def test_parquet_output(files: list[Path], tmp_path: Path, in_process: None) -> None:
    from pyarrow import parquet

    settings = Settings({"detail": "words"}, format="parquet")
    label(nemo(files), tmp_path / "out", settings, rule=ShardRule(20))
    table = parquet.read_table(tmp_path / "out", filters=None)
    assert table.num_rows == 41
    assert table.schema.names == ["audio_filepath", "duration", "text", "voice", "number", "other", "pred_text",
                                  "words", "gaps", "error"]  # fmt: skip
    label(nemo(files), tmp_path / "lines", Settings({"detail": "text"}))
    assert table.column("pred_text").to_pylist() == [line["pred_text"] for line in texts(tmp_path / "lines")]


def test_an_input_that_changed_is_refused(files: list[Path], tmp_path: Path, in_process: None) -> None:
    """What would be caught: texts of one recording under the line of another."""
    (manifest,) = nemo(files)
    copy = files[0].parent / "copy.jsonl"
    lines = Path(manifest).read_text().splitlines(keepends=True)
    copy.write_text("".join(lines[:20]))
    label([str(copy)], tmp_path / "out", SETTINGS, rule=RULE)
    copy.write_text("".join(lines[1:21]))
    with pytest.raises(RunFolderError, match=r"part-00000.jsonl was made of another input than shard 0"):
        label([str(copy)], tmp_path / "out", SETTINGS, rule=RULE, resume=True)
    copy.write_text("".join(lines[:20]))
    more = files[0].parent / "more.jsonl"
    more.write_text("".join(lines[20:25]))
    label([str(copy), str(more)], tmp_path / "out", SETTINGS, rule=RULE, resume=True)
    assert len(texts(tmp_path / "out")) == 25
    copy.unlink()
    more.unlink()


def poisoned(line: Any, settings: Settings, threads: int | None, card: str | None) -> None:
    """In place of a worker's process: the third shard kills it."""
    while True:
        shard = line.recv()
        if shard.number == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        line.send(Report(shard.number, shard.pack.identity(), b"x\n", 1, {}, 1.0, 1.0))


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_shard_that_kills_its_workers(files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What would be caught: a decoder's crash on one file that takes the whole run down, or runs for ever."""
    context = multiprocessing.get_context("fork")
    monkeypatch.setattr("tdt.corpus.local.serve", poisoned)
    monkeypatch.setattr("multiprocessing.get_context", lambda kind: context)
    with pytest.raises(
        ShardError, match=r"1 shards could not be done, the first, number 2: .*died 3 times \(signal 9"
    ) as caught:
        label(nemo(files), tmp_path / "out", Settings(), rule=RULE, hardware=Hardware(workers=2))
    assert caught.value.shards == [2]
    assert len(parts(tmp_path / "out")) == 6
    assert json.loads((tmp_path / "out/_summary.json").read_bytes())["complete"] is False


def test_workers_that_cannot_start(files: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError):
        label(nemo(files), tmp_path / "out", Settings({"model": str(tmp_path / "none")}))
    shards = numbered(packs_of(nemo(files), RULE))
    settings = Settings({"model": str(tmp_path / "none")})
    with pytest.raises(ModelNotFoundError):
        list(run_local(shards, settings, 1, 1))
    assert not multiprocessing.active_children()


def test_shards_that_fail_as_a_whole(files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are done; where all fail, the run ends early; and it can be gone on with."""
    failing = {1, 3}

    def some(shards: Iterator[Shard], settings: Settings, *_: object) -> Iterator[Report]:
        for report in run_here(shards, settings):
            failed = WorkerDiedError(report.number, 3, "signal 9") if report.number in failing else None
            yield Report(report.number, report.identity, failure=failed) if failed else report

    monkeypatch.setattr("tdt.corpus.local.run_local", some)
    with pytest.raises(ShardError) as caught:
        label(nemo(files), tmp_path / "out", SETTINGS, rule=RULE)
    assert caught.value.shards == [1, 3]
    assert len(parts(tmp_path / "out")) == 5
    failing.clear()
    assert label(nemo(files), tmp_path / "out", SETTINGS, rule=RULE, resume=True)["complete"]
    failing |= set(range(100))
    with pytest.raises(ShardError) as caught:
        label(nemo(files), tmp_path / "all", SETTINGS, rule=ShardRule(1))
    assert len(caught.value.shards) == MOST_FAILURES


def test_workers_share_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert share(Settings(), Hardware(), 100) == (8, 1, [])
    assert share(Settings(), Hardware(threads=4), 100) == (2, 4, [])
    assert share(Settings(), Hardware(workers=3), 100) == (3, 2, [])
    assert share(Settings(), Hardware(), 2) == (2, 4, [])
    monkeypatch.setattr("tdt.corpus.running._models_in_memory", lambda _: 2)
    assert share(Settings(), Hardware(), 100) == (2, 4, [])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,3")
    card = Settings({"provider": "cuda"})
    assert share(card, Hardware(), 100) == (3, None, ["0", "1", "3"])
    assert share(card, Hardware(gpus_per_worker=0.5), 100) == (6, None, ["0", "0", "1", "1", "3", "3"])
    assert share(card, Hardware(workers=2), 100) == (2, None, ["0", "1", "3"])
