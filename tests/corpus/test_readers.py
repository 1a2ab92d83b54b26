"""Inputs become packs without any audio, and packs become items: the same ones however they are cut."""

from __future__ import annotations

import json
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from tdt.corpus.files import beside, confined
from tdt.corpus.readers import format_of, items_of, packs_of
from tdt.corpus.shards import ShardRule, numbered
from tdt.errors import AudioNotFoundError, ManifestError, OptionError, OutsideRootError

from .making import MAKERS, add, clips

RULE = ShardRule()


def items(inputs: list[str], rule: ShardRule = RULE, column: str | None = None) -> list[Any]:
    return [item for pack in packs_of(inputs, rule) for item in items_of(pack, column)]


@pytest.mark.parametrize("form", MAKERS)
def test_each_format_gives_the_same_recordings(form: str, files: list[Path]) -> None:
    inputs = MAKERS[form](files)
    (path, *_) = sorted(Path(inputs[0]).parent.glob(Path(inputs[0]).name))
    assert format_of(str(path)) == form
    found = items(inputs)
    assert all(item.problem is None for item in found)
    content = [Path(item.source).read_bytes() if isinstance(item.source, str) else item.source for item in found]
    expected = [file.read_bytes() for file in files]
    assert (sorted(content) if form == "webdataset" else content) == (
        sorted(expected) if form == "webdataset" else expected
    )


@pytest.mark.parametrize("form", MAKERS)
def test_packs_hold_the_items_whatever_the_rule(form: str, files: list[Path]) -> None:
    """What would be caught: a row or line lost or doubled where one shard ends and the next begins."""
    inputs = MAKERS[form](files)
    whole = [(item.name, item.line) for item in items(inputs)]
    for rule in (ShardRule(1), ShardRule(7), ShardRule(16, 20.0), ShardRule(37)):
        assert [(item.name, item.line) for item in items(inputs, rule)] == whole
    numbers = [shard.name for shard in numbered(packs_of(inputs, ShardRule(7)))]
    assert numbers[:2] == ["part-00000", "part-00001"]


def test_a_pack_is_what_it_holds_wherever_it_lies(files: list[Path], tmp_path: Path) -> None:
    (path,) = MAKERS["nemo"](files)
    copy = tmp_path / "manifest.jsonl"
    copy.write_bytes(Path(path).read_bytes())
    marks = [[pack.identity() for pack in packs_of([name], ShardRule(10))] for name in (path, str(copy))]
    assert marks[0] == marks[1]
    assert len(set(marks[0])) == len(marks[0]) == 5
    copy.write_bytes(copy.read_bytes().replace(b'"number": 25', b'"number": 26'))
    changed = [pack.identity() for pack in packs_of([str(copy)], ShardRule(10))]
    assert [a == b for a, b in zip(marks[0], changed, strict=True)] == [True, True, False, True, True]


def test_a_shard_ends_at_so_many_seconds(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    lengths = [3000.0, 3000.0, 9000.0, 20000.0, 1.0]
    path.write_text("".join(json.dumps({"audio_filepath": "a.wav", "duration": one}) + "\n" for one in lengths))
    assert [pack.lengths for pack in packs_of([str(path)], ShardRule(256, 14400.0))] == [
        (3000.0, 3000.0),
        (9000.0,),
        (20000.0,),
        (1.0,),
    ]


def test_inputs_do_not_share_shards(tmp_path: Path) -> None:
    """What would be caught: a file that is added behind the others shifts what their shards hold."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text(f'{{"audio_filepath": "{name}.wav"}}\n' * 3)
    found = list(packs_of([str(tmp_path / "*.jsonl")], ShardRule(2)))
    assert [(Path(pack.path).name, pack.items) for pack in found] == [
        ("a.jsonl", 2),
        ("a.jsonl", 1),
        ("b.jsonl", 2),
        ("b.jsonl", 1),
    ]


# --- lines that are none ----------------------------------------------------------------------------------------------

BAD_LINES = [
    ("{", "no JSON object"),
    ("[1]", "no JSON object"),
    ('{"a": 1}, {"b": 2}', "no JSON object"),
    ("[" * 100_000, "no JSON object"),
    ("\u00ff\u0000", "no JSON object"),
    ('{"text": "x"}', "audio_filepath is None"),
    ('{"audio_filepath": 7}', "audio_filepath is 7"),
    ('{"audio_filepath": "a.wav", "offset": "x"}', "offset 'x'"),
    ('{"audio_filepath": "a.wav", "duration": -1}', "duration -1"),
    ('{"audio_filepath": "a.wav", "duration": NaN}', "duration nan"),
    ('{"audio_filepath": "a.wav", "offset": true}', "offset True"),
]


@pytest.mark.parametrize(("line", "said"), BAD_LINES, ids=range(len(BAD_LINES)))
def test_a_line_that_is_none_is_an_item_with_its_number(tmp_path: Path, line: str, said: str) -> None:
    """What would be caught: a bad line that ends the run, shifts the lines behind it, or vanishes."""
    path = tmp_path / "m.jsonl"
    good = '{"audio_filepath": "a.wav", "duration": 1}\n'
    path.write_text(good * 3 + "\n" + line + "\n" + good, encoding="utf-8")
    for rule in (RULE, ShardRule(1), ShardRule(2)):
        found = items([str(path)], rule)
        assert [item.problem is None for item in found] == [True, True, True, False, True]
        assert said in str(found[3].problem)
        assert found[3].problem.line == 4


def test_two_objects_on_a_line_do_not_pass_for_two_lines(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"audio_filepath": "a"}\n{"audio_filepath": "b"}, {"audio_filepath": "c"}\n[]\n')
    assert [item.problem is None for item in items([str(path)])] == [True, False, False]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty"),
        (b"\n\n", "it is empty"),
        (b"audio text\n", "line 1: it is no JSON object"),
        (b'{"file": "a"}\n', "neither audio_filepath"),
        (b"\x1f\x8b\x08\x00" + bytes(40), "compressed"),
        (b"PAR1 and nothing", "no Parquet file"),
    ],
)
def test_what_is_no_list_is_refused_at_once(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(content)
    with pytest.raises(ManifestError, match=said):
        items([str(path)])


def test_inputs_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(AudioNotFoundError, match=r"none.jsonl does not exist"):
        items([str(tmp_path / "none.jsonl")])
    with pytest.raises(ManifestError, match="no file is of that pattern"):
        items([str(tmp_path / "*.tar")])
    with pytest.raises(ManifestError, match="no audio file"):
        items([str(tmp_path)])


@pytest.mark.parametrize("line", [2**17, 2**20])
def test_a_first_line_of_any_length(tmp_path: Path, line: int) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps({"audio_filepath": "a.wav", "text": "x" * line}) + "\n")
    assert [item.name for item in items([str(path)])] == ["a.wav"]


def test_a_manifest_without_a_last_line_end(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"audio_filepath": "a.wav"}\r\n{"audio_filepath": "b.wav"}')
    assert [item.name for item in items([str(path)])] == ["a.wav", "b.wav"]


# --- one format each --------------------------------------------------------------------------------------------------


def test_duplicates_are_items_of_their_own(tmp_path: Path) -> None:
    """What would be caught: lines taken for one another because their keys are equal."""
    manifest = tmp_path / "m.jsonl"
    manifest.write_text('{"audio_filepath": "a.wav"}\n' * 3)
    assert len(items([str(manifest)])) == 3
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        for name in ("x.wav", "x.wav", "y.flac", "y.wav", "x.wav"):
            add(tar, name, b"sound")
    assert [item.name for item in items([str(tmp_path / "t.tar")])] == [
        "t.tar, x.wav",
        "t.tar, x.wav",
        "t.tar, y.flac",
        "t.tar, y.wav",
        "t.tar, x.wav",
    ]


def test_cuts_say_no_command_that_is_run(tmp_path: Path) -> None:
    """What would be caught: Lhotse's sources of type `command`, by which a manifest runs a program."""
    path = tmp_path / "cuts.jsonl"
    cut: dict[str, Any] = {"id": "c", "start": 1.5, "duration": 2.0, "type": "MonoCut", "recording": {}}
    kinds = [
        {"sources": [{"type": "file", "source": "a.wav"}]},
        {"sources": [{"type": "command", "source": "touch ran"}]},
        {"sources": [{"type": "file", "source": "a.wav"}, {"type": "file", "source": "b.wav"}]},
        {"sources": []},
        {},
        7,
    ]
    path.write_text("".join(json.dumps(cut | {"recording": kind}) + "\n" for kind in kinds))
    found = items([str(path)])
    assert [item.problem is None for item in found] == [True] + [False] * 5
    assert (found[0].offset, found[0].duration, found[0].source) == (1.5, 2.0, str(tmp_path / "a.wav"))
    assert "source is of type 'command'" in str(found[1].problem)
    path.write_text(json.dumps(cut | {"type": "MixedCut"}) + "\n")
    assert "only MonoCut" in str(items([str(path)])[0].problem)


def test_a_tar_that_breaks_off(files: list[Path]) -> None:
    """What would be caught: the samples before the break lost with it, or the break not told."""
    MAKERS["webdataset"](files)
    path = files[0].parent / "tars/shard-000.tar"
    whole = items([str(path)])
    broken = path.parent / "broken.tar"
    broken.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    found = items([str(broken)])
    broken.unlink()
    assert len(found) < len(whole)
    assert [item.source for item in found[:-1]] == [item.source for item in whole[: len(found) - 1]]
    assert f"breaks off behind {len(found) - 1} samples" in str(found[-1].problem)


def test_samples_of_a_tar(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        add(tar, "d/a.flac", b"A")
        add(tar, "d/a.json", b'{"text": "said", "__key__": "theirs"}')
        add(tar, "d/b.json", b"[]")
        add(tar, "d/b.seg1.wav", b"B")
        add(tar, "d/c.txt", b"no sound")
    one, two, three = items([str(tmp_path / "t.tar")])
    assert (one.source, one.line) == (b"A", {"text": "said", "__key__": "d/a"})
    assert (two.source, "JSON of sample d/b" in str(two.problem)) == (b"B", True)
    assert "sample d/c has no audio, but .txt" in str(three.problem)


def test_columns_of_a_table(tmp_path: Path) -> None:
    import datetime as dt

    import pyarrow as pa
    from pyarrow import parquet

    path = tmp_path / "t.parquet"
    rows = [
        {"sound": b"A", "day": dt.date(2026, 1, 2), "raw": b"\xff"},
        {"sound": None, "day": None, "raw": None},
    ]
    parquet.write_table(pa.Table.from_pylist(rows), path)
    with pytest.raises(ManifestError, match="name the one with the audio"):
        items([str(path)])
    with pytest.raises(ManifestError, match="it has no column 'sund', but sound, day, raw"):
        items([str(path)], column="sund")
    one, two = items([str(path)], column="sound")
    assert (one.source, one.line) == (b"A", {"day": "2026-01-02", "raw": "/w==", "sound": None})
    assert "holds no sound in the column 'sound'" in str(two.problem)
    parquet.write_table(pa.table({"audio": [{"bytes": None, "path": "a.wav"}], "n": [1]}), path)
    assert [(item.source, item.line) for item in items([str(path)])] == [
        (str(tmp_path / "a.wav"), {"n": 1, "audio": "a.wav"})
    ]


def test_addresses(files: list[Path]) -> None:
    """By pyarrow's file systems, of which the local one has addresses, too."""
    inputs = MAKERS["webdataset"](files)
    near, far = items(inputs), items(["file://" + inputs[0]])
    assert [(item.source, item.line) for item in far] == [(item.source, item.line) for item in near]
    (manifest,) = MAKERS["nemo"](files)
    assert [item.source for item in items(["file://" + manifest])] == [f"file://{file}" for file in files]
    assert not list(Path(files[0].parent).glob("*.none"))
    with pytest.raises(ManifestError, match="no file is of that pattern"):
        items([f"file://{files[0].parent}/*.none"])


# --- paths ------------------------------------------------------------------------------------------------------------


def test_names_lie_beside_their_manifest() -> None:
    assert beside("/data/m.jsonl", "a/b.wav") == "/data/a/b.wav"
    assert beside("m.jsonl", "b.wav") == "b.wav"
    assert beside("/data/m.jsonl", "/other/b.wav") == "/other/b.wav"
    assert beside("s3://bucket/x/m.jsonl", "b.wav") == "s3://bucket/x/b.wav"
    assert beside("/data/m.jsonl", "s3://bucket/b.wav") == "s3://bucket/b.wav"


def test_paths_are_confined_to_a_root(tmp_path: Path) -> None:
    """What would be caught: a manifest of strangers that names /etc/shadow, by dots, by links, or by another scheme."""
    root = tmp_path / "root"
    (root / "in").mkdir(parents=True)
    (tmp_path / "out.wav").write_bytes(b"x")
    (root / "link.wav").symlink_to(tmp_path / "out.wav")
    (root / "circle").symlink_to(root / "circle")
    (root / "in/good.wav").symlink_to(root / "a.wav")
    for good in ("a.wav", "in/../b.wav", "in/good.wav"):
        confined(str(root / good), str(root))
    confined("s3://bucket/root/a.wav", "s3://bucket/root/")
    bad = ["../out.wav", "link.wav", "/etc/passwd", "in/../../out.wav", "circle/a.wav", "a\0b", "s3://bucket/a.wav"]
    for name in bad:
        with pytest.raises(OutsideRootError, match="lies outside of"):
            confined(beside(f"{root}/m.jsonl", name), str(root))
    for name in ("s3://bucket/rooted/a.wav", "s3://bucket/root/../a.wav", "/bucket/root/a.wav", "gs://bucket/root/a"):
        with pytest.raises(OutsideRootError):
            confined(name, "s3://bucket/root")


def test_rules_are_checked() -> None:
    for bad in ({"items": 0}, {"items": 2.5}, {"seconds": 0}):
        with pytest.raises(OptionError):
            ShardRule(**bad)


# --- a million lines --------------------------------------------------------------------------------------------------

MEASURE = """
import sys, time
from pathlib import Path
from tdt.commands import main
main(["corpus", sys.argv[1], "--dry-run"])
# Not ru_maxrss, which begins at what the process was that this one was forked from.
print(time.process_time(), int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from Linux's /proc")
def test_a_million_lines(tmp_path: Path) -> None:
    """What would be caught: a driver that parses line by line, or keeps what it has read.

    The time is the processor's, with the start of the interpreter: the driver does nothing but this, on one core.
    """
    import subprocess
    import sys

    path = tmp_path / "million.jsonl"
    with path.open("w") as file:
        for number in range(1_000_000):
            file.write(f'{{"audio_filepath": "clips/{number % 1000:04d}/{number:07d}.flac", "duration": 3.25, ')
            file.write(f'"text": "what was said in number {number}", "speaker": "s{number % 50}"}}\n')
    best, most = 99.0, 0.0
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, check=True)
        said, figures = done.stdout.splitlines()
        assert said.startswith("3907 shards, 1000000 items, 902.78 h")
        seconds, megabytes = map(float, figures.split())
        best, most = min(best, seconds), max(most, megabytes)
        if best <= 3:
            break
        time.sleep(5)  # others at work slow a core down, too
    assert most < 300, most
    assert best <= 3, best


def test_what_is_not_read_is_not_needed(tmp_path: Path) -> None:
    """Packs come as they are asked for."""
    path = tmp_path / "m.jsonl"
    path.write_text('{"audio_filepath": "a.wav"}\n' * 1000)
    found = packs_of([str(path), str(tmp_path / "gone.jsonl")], ShardRule(10))
    assert next(found).items == 10
    assert clips()
