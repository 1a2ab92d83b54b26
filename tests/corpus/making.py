"""Corpora of the evaluation clips, the same recordings in every format; and runs of them without processes."""

from __future__ import annotations

import io
import json
import tarfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile

from tdt.corpus.work import Settings, Worker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tdt.corpus.shards import Shard
    from tdt.corpus.work import Report

EVAL = Path(__file__).resolve().parents[1] / "data/eval"
LONG_SECONDS = 61.0
RATE = 16000


@cache
def clips() -> list[Path]:
    """The evaluation clips, shortest first."""
    return sorted(EVAL.glob("*.flac"), key=lambda path: soundfile.info(path).frames)


@cache
def references() -> dict[str, tuple[str, str]]:
    """What is said in each clip, and by which voice."""
    rows = [line.split("\t") for line in (EVAL / "transcripts.tsv").read_text(encoding="utf-8").splitlines()[1:]]
    return {row[0]: (row[1], row[2]) for row in rows}


def recordings(folder: Path, short: int, long: int) -> list[Path]:
    """Write `short` clips and `long` recordings of more than a minute, the long ones in between."""
    folder.mkdir(parents=True, exist_ok=True)
    kinds = clips()[:6]
    made = []
    for number in range(short):
        source = kinds[number % len(kinds)]
        made.append(folder / f"c{number:04d}-{source.stem}.flac")
        made[-1].write_bytes(source.read_bytes())
    for number in range(long):
        parts = [soundfile.read(clips()[(7 * number + place) % len(clips())])[0] for place in range(30)]
        samples = np.concatenate(parts)[: int(LONG_SECONDS * RATE) + 1000 * number]
        path = folder / f"c{(number + 1) * short // (long + 1):04d}-long{number}.flac"
        soundfile.write(path, samples, RATE)
        made.append(path)
    return sorted(made)


def lines_of(files: Sequence[Path]) -> list[dict[str, Any]]:
    """Lines of a NeMo manifest."""
    made = []
    for number, path in enumerate(files):
        text, voice = references().get(path.stem.partition("-")[2] + ".flac", ("", "many"))
        seconds = soundfile.info(path).duration
        made.append({"audio_filepath": path.name, "duration": seconds, "text": text, "voice": voice, "number": number})
    return made


def nemo(files: Sequence[Path]) -> list[str]:
    path = files[0].parent / "manifest.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines_of(files)), encoding="utf-8")
    return [str(path)]


def lhotse(files: Sequence[Path]) -> list[str]:
    path = files[0].parent / "cuts.jsonl"
    cuts = [
        {
            "id": f"cut-{number}",
            "start": 0,
            "duration": line["duration"],
            "channel": 0,
            "type": "MonoCut",
            "recording": {
                "id": file.stem,
                "sources": [{"type": "file", "channels": [0], "source": file.name}],
                "sampling_rate": RATE,
            },
        }
        for number, (file, line) in enumerate(zip(files, lines_of(files), strict=True))
    ]
    path.write_text("".join(json.dumps(cut) + "\n" for cut in cuts), encoding="utf-8")
    return [str(path)]


def webdataset(files: Sequence[Path], tars: int = 4) -> list[str]:
    folder = files[0].parent / "tars"
    folder.mkdir(exist_ok=True)
    for number in range(tars):
        with tarfile.open(folder / f"shard-{number:03d}.tar", "w") as tar:
            for path, line in list(zip(files, lines_of(files), strict=True))[number::tars]:
                add(tar, path.stem + ".json", json.dumps({"text": line["text"]}).encode())
                add(tar, path.stem + ".flac", path.read_bytes())
    return [str(folder / "*.tar")]


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def parquet(files: Sequence[Path], group: int = 37) -> list[str]:
    import pyarrow as pa
    from pyarrow import parquet as pq

    path = files[0].parent / "table.parquet"
    rows = [
        {"audio": {"bytes": file.read_bytes(), "path": file.name}, "text": line["text"], "number": line["number"]}
        for file, line in zip(files, lines_of(files), strict=True)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=group)
    return [str(path)]


def folder(files: Sequence[Path]) -> list[str]:
    return [str(files[0].parent)]


MAKERS = {"nemo": nemo, "lhotse": lhotse, "webdataset": webdataset, "parquet": parquet, "folder": folder}


def parts(out: Path) -> dict[str, bytes]:
    """The parts of a run's folder."""
    return {path.name: path.read_bytes() for path in sorted(out.glob("part-*"))}


def texts(out: Path) -> list[dict[str, Any]]:
    """All lines of a run's folder."""
    return [json.loads(line) for content in parts(out).values() for line in content.splitlines()]


_workers: dict[str, Worker] = {}


def worker(settings: Settings) -> Worker:
    """A worker in this process, made once for the same settings."""
    key = repr(settings)
    if key not in _workers:
        _workers[key] = Worker(settings)
    return _workers[key]


def run_here(shards: Iterator[Shard], settings: Settings, *_: object) -> Iterator[Report]:
    """In place of the processes of :func:`tdt.corpus.local.run_local`."""
    yield from map(worker(settings), shards)
