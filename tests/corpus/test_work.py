"""A shard's lines: the input's, with a text or an error; as JSON lines and as Parquet."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from tdt.corpus.readers import packs_of
from tdt.corpus.rendering import as_jsonl, as_parquet
from tdt.corpus.shards import Shard, ShardRule
from tdt.corpus.work import Report, Settings
from tdt.errors import StorageGoneError

from .making import clips, worker

TEXT = Settings({"detail": "text"})


def done(path: Path, settings: Settings = TEXT) -> list[Report]:
    packs = packs_of([str(path)], ShardRule())
    return [worker(settings)(Shard(number, pack)) for number, pack in enumerate(packs)]


def manifest(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def test_a_line_is_the_inputs_and_the_text(tmp_path: Path) -> None:
    """What would be caught: keys lost or written anew, and what an earlier run said of a line taken for this one's."""
    clip = str(clips()[0])
    lines = [
        {"audio_filepath": clip, "speaker": "ä", "nested": {"a": [1, 2.5, None]}, "big": 2**70},
        {"audio_filepath": clip, "pred_text": "old", "error": {"type": "old"}, "words": [], "tokens": []},
        {"audio_filepath": clip, "text": "\ud800 half a pair"},
    ]
    (report,) = done(manifest(tmp_path / "m.jsonl", lines))
    assert report.failure is None
    assert (report.items, report.errors) == (3, {})
    found = [json.loads(line) for line in report.payload.decode().splitlines()]
    text = found[0]["pred_text"]
    assert text
    assert found[0] == lines[0] | {"pred_text": text}
    assert found[1] == {"audio_filepath": clip, "pred_text": text}
    assert found[2] == lines[2] | {"pred_text": text}
    assert "ä".encode() in report.payload
    assert set(report.stages) >= {"read", "features", "encoder", "text", "render"}


def test_a_failed_item_is_a_line_with_its_error_and_no_text(tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_bytes(b"RIFF, but no sound")
    good = {"audio_filepath": str(clips()[0])}
    lines = [good, {"audio_filepath": "none.wav", "pred_text": ""}, {"audio_filepath": "bad.wav"}, {"x": 1}, good]
    (report,) = done(manifest(tmp_path / "m.jsonl", lines))
    found = [json.loads(line) for line in report.payload.decode().splitlines()]
    assert report.errors == {"AudioNotFoundError": 1, "AudioReadError": 1, "ManifestError": 1}
    assert [line.get("error", {}).get("type") for line in found] == [
        None,
        "AudioNotFoundError",
        "AudioReadError",
        "ManifestError",
        None,
    ]
    assert all(("pred_text" in line) != ("error" in line) for line in found)
    assert "line 4: audio_filepath is None" in found[3]["error"]["message"]


def test_paths_outside_of_the_root_are_not_opened(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "in.flac").write_bytes(clips()[0].read_bytes())
    (root / "link.flac").symlink_to(clips()[0])
    names = ["in.flac", "link.flac", str(clips()[0]), "../root/in.flac", "../out.flac"]
    path = manifest(root / "m.jsonl", [{"audio_filepath": name} for name in names])
    (report,) = done(path, Settings({"detail": "text", "root": str(root)}))
    found = [json.loads(line) for line in report.payload.decode().splitlines()]
    assert ["error" in line for line in found] == [False, True, True, False, True]
    assert report.errors == {"OutsideRootError": 3}


def test_storage_that_is_gone_fails_the_shard(tmp_path: Path) -> None:
    """What would be caught: a mount that drops, and thousands of shards of error lines that count as done."""
    path = manifest(tmp_path / "m.jsonl", [{"audio_filepath": f"gone/{number}.wav"} for number in range(20)])
    (report,) = done(path)
    assert isinstance(report.failure, StorageGoneError)
    assert report.payload == b""
    assert "All 20 recordings are missing" in str(report.failure)
    few = manifest(tmp_path / "few.jsonl", [{"audio_filepath": f"gone/{number}.wav"} for number in range(3)])
    assert done(few)[0].errors == {"AudioNotFoundError": 3}


def test_an_input_that_vanishes_fails_the_shard(files: list[Path], tmp_path: Path) -> None:
    """What would be caught: a tar that is deleted between the count and the work, written as a part without lines."""
    from .making import webdataset

    (pattern,) = webdataset(files)
    source = sorted(Path(pattern).parent.glob("*.tar"))[0]
    moved = tmp_path / "t.tar"
    moved.write_bytes(source.read_bytes())
    (pack,) = packs_of([str(moved)], ShardRule())
    moved.unlink()
    report = worker(TEXT)(Shard(0, pack))
    assert type(report.failure).__name__ == "AudioNotFoundError"
    assert report.payload == b""


def test_details(tmp_path: Path) -> None:
    path = manifest(tmp_path / "m.jsonl", [{"audio_filepath": str(clips()[0])}])
    for detail, keys in (
        ("text", {"pred_text"}),
        ("words", {"pred_text", "words"}),
        ("tokens", {"pred_text", "words", "tokens"}),
    ):
        (report,) = done(path, Settings({"detail": detail}))
        line = json.loads(report.payload)
        assert set(line) == {"audio_filepath"} | keys
    assert {"text", "start", "end", "confidence"} == set(line["words"][0])
    assert {"id", "piece", "frame", "duration", "start", "end", "confidence"} == set(line["tokens"][0])


SCHEMA = {"audio_filepath": "string", "duration": "double", "ok": "bool", "tags": "json"}


def test_parquet_has_one_schema_and_loses_nothing() -> None:
    """What would be caught: parts whose types depend on which lines they hold, which no reader joins again."""
    from pyarrow import parquet

    word = {"text": "a", "start": 0.1, "end": 0.2, "confidence": 0.5}
    lines: list[dict[str, Any]] = [
        {
            "audio_filepath": "a",
            "duration": 2,
            "ok": True,
            "tags": ["x"],
            "pred_text": "t",
            "words": [word],
            "gaps": [{"start": 1.0, "end": 2.5}],
        },
        {"audio_filepath": 7, "duration": "long", "ok": 1, "more": {"a": 1}, "pred_text": "t", "words": []},
        {"audio_filepath": "\ud800", "duration": 2**60, "error": {"type": "T", "message": "m"}},
        {},
    ]
    tables = [
        parquet.read_table(io.BytesIO(as_parquet(part, SCHEMA, "words"))) for part in (lines, lines[:1], lines[3:], [])
    ]
    assert all(table.schema == tables[0].schema for table in tables)
    rows = tables[0].to_pylist()
    assert rows[0] | {"words": None} == {
        "audio_filepath": "a", "duration": 2.0, "ok": True, "tags": '["x"]', "other": None, "pred_text": "t",
        "words": None, "gaps": [{"start": 1.0, "end": 2.5}], "error": None,
    }  # fmt: skip
    assert rows[1]["gaps"] is None
    assert rows[0]["words"] == [{**word, "boosted": None}]
    others = [json.loads(row["other"] or "{}") for row in rows]
    assert others[1] == {"audio_filepath": 7, "duration": "long", "ok": 1, "more": {"a": 1}}
    assert others[2] == {"audio_filepath": "\ud800", "duration": 2**60}
    assert rows[2]["error"] == {"type": "T", "message": "m", "partial_text": None}
    assert as_parquet(lines, SCHEMA, "words") == as_parquet(lines, SCHEMA, "words")


def test_json_lines() -> None:
    assert as_jsonl([{"a": "é"}, {"b": "\udfff"}]) == '{"a": "é"}\n{"b": "\\udfff"}\n'.encode()


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_change_nothing(threads: int, files: list[Path]) -> None:
    from tdt.corpus.work import Worker

    from .making import nemo

    (path,) = nemo(files)
    settings = Settings({"detail": "tokens"})
    (pack,) = packs_of([path], ShardRule())
    assert Worker(settings, threads)(Shard(0, pack)).payload == worker(settings)(Shard(0, pack)).payload
