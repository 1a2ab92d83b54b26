"""Transcripts that people wrote: byte order marks, other encodings, and what beside each recording lies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tdt.errors import OptionError
from tdt.profiling.cases import read_references as bench_references
from tdt.profiling.selecting import recordings_of
from tdt.quantization.scoring import read_references as compare_references
from tdt.text.references import read_rows, read_text

if TYPE_CHECKING:
    from collections.abc import Callable

TABLE = "a.wav\tGrüße an alle.\n"
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16"]


def from_bench(path: Path) -> str:
    return bench_references(path)["a.wav"]


def from_compare(path: Path) -> str:
    return compare_references(path, [Path("b/a.wav")])[Path("b/a.wav")]


@pytest.mark.parametrize("read", [from_bench, from_compare])
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_table_with_and_without_a_mark(read: Callable[[Path], str], encoding: str, end: str, tmp_path: Path) -> None:
    path = tmp_path / "said.tsv"
    path.write_bytes(TABLE.replace("\n", end).encode(encoding))
    assert read(path) == "Grüße an alle."


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_texts_beside_the_recordings(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("Grüße an alle.\r\n".encode(encoding))
    assert compare_references(None, [tmp_path / "a.wav", tmp_path / "b.wav"]) == {tmp_path / "a.wav": "Grüße an alle."}


@pytest.mark.parametrize("read", [from_bench, from_compare])
def test_latin_1_is_refused_with_the_place_and_the_cure(read: Callable[[Path], str], tmp_path: Path) -> None:
    path = tmp_path / "said.tsv"
    path.write_bytes(b"b.wav\tnothing\n" + TABLE.encode("latin-1"))
    with pytest.raises(OptionError, match=r"said\.tsv.*UTF-8; line 2 holds the byte 0xfc.*iconv -f LATIN1"):
        read(path)
    beside = tmp_path / "a.txt"
    beside.write_bytes("Grüße".encode("latin-1"))
    with pytest.raises(OptionError, match=r"a\.txt.*line 1 holds the byte 0xfc"):
        compare_references(None, [tmp_path / "a.wav"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a.wav said\n", r"'a\.wav said' has no tab"),
        (b"\xff\xfea\0.\0w", "UTF-8|utf-16|holds the byte"),
        (b"a.wav\t" + b"x" * 200_000, "field larger"),
    ],
)
def test_what_is_no_table_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "said.tsv"
    path.write_bytes(content)
    with pytest.raises(OptionError, match=message):
        read_rows(path)


def test_what_is_not_there_or_a_folder_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(OptionError, match="readable file"):
            read_text(path)


def test_blank_lines_are_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "said.tsv"
    path.write_text("\n\na.wav\tyes\n\t\n  \n", encoding="utf-8")
    assert read_rows(path) == [["a.wav", "yes"]]


def test_the_nearest_name_wins(tmp_path: Path) -> None:
    path = tmp_path / "said.tsv"
    path.write_text("a.wav\tby name\nx/a.wav\tby path\na\tby stem\n", encoding="utf-8")
    assert compare_references(path, [Path("x/a.wav"), Path("y/a.wav"), Path("y/a.flac")]) == {
        Path("x/a.wav"): "by path", Path("y/a.wav"): "by name", Path("y/a.flac"): "by stem",
    }  # fmt: skip


def test_references_of_other_files_are_refused_by_the_benchmark(tmp_path: Path) -> None:
    path = tmp_path / "said.tsv"
    path.write_text(TABLE, encoding="utf-8")
    with pytest.raises(OptionError, match=r"for clips such as b\.wav"):
        recordings_of(["b.wav"], str(path))
