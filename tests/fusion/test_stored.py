"""The file beside an ARPA text: equal to it, made again when it changes, refused where anything in it does not fit."""

from __future__ import annotations

import logging
import os
import struct
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tdt.errors import LanguageModelError, OptionError
from tdt.fusion import NgramLM, ngram, stored
from tdt.fusion.backing_off import Graph

from .arpas import SMALL, arpa
from .vocabularies import DATA

if TYPE_CHECKING:
    from pathlib import Path

TEXT = arpa(SMALL)
HEAD = stored._HEADER.size


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "a.arpa"
    path.write_text(TEXT, encoding="utf-8", newline="")
    return path


@pytest.fixture
def kept(source: Path) -> Path:
    NgramLM.read(source, cache=True)
    return source.with_name("a.arpa.tdtlm")


def assert_equal(ours: NgramLM, theirs: NgramLM) -> None:
    assert ours.counts == theirs.counts
    for one, other in zip(ours.graph, theirs.graph, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    for one, other in zip(ours.automaton(8192), theirs.automaton(8192), strict=True):
        np.testing.assert_array_equal(one, other)


def forbid_text(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ngram, "read_arpa", lambda path: pytest.fail(f"{path} was read"))


def test_it_is_taken_instead_of_the_text_and_mapped(source: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = NgramLM.read(source)
    forbid_text(monkeypatch)
    for path, cache in ((source, True), (source, kept), (source, str(kept)), (kept, False), (kept, True)):
        mapped = NgramLM.read(path, cache=cache)
        assert_equal(mapped, plain)
        assert not mapped.graph.labels.flags.owndata
        assert not mapped.graph.labels.flags.writeable
    assert mapped.automaton(100).labels.base is not None


def test_a_whole_model_comes_back(tmp_path: Path) -> None:
    path = DATA / "strategies/lm/tiny3.arpa"
    plain = NgramLM.read(path, cache=tmp_path / "x")
    assert_equal(NgramLM.read(path, cache=tmp_path / "x"), plain)


def test_without_unk_too(tmp_path: Path) -> None:
    path = tmp_path / "b.arpa"
    path.write_text(TEXT.replace("ngram 1=6", "ngram 1=5").replace("-2\t<unk>\t0\n", ""), encoding="utf-8")
    plain = NgramLM.read(path, cache=True)
    assert np.isnan(plain.graph.unknown[0])
    assert_equal(NgramLM.read(path, cache=True), plain)


def test_nothing_is_kept_unasked(source: Path) -> None:
    NgramLM.read(source)
    assert [path.name for path in source.parent.iterdir()] == ["a.arpa"]


@pytest.mark.parametrize("change", ["size", "time"])
def test_it_is_made_again_when_the_text_changes(
    source: Path, kept: Path, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tdt")
    text = TEXT.replace("-0.2\t", "-0.4\t" if change == "time" else "-0.25\t")
    status = source.stat()
    source.write_text(text, encoding="utf-8", newline="")
    os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns + (change == "time")))
    found = NgramLM.read(source, cache=True)
    assert_equal(found, NgramLM.read(source))
    assert f"{kept} is made again: {source} has changed" in caplog.text
    assert_equal(NgramLM.read(kept), found)


def test_it_can_lie_elsewhere(source: Path, tmp_path: Path) -> None:
    NgramLM.read(source, cache=tmp_path / "models.bin")
    assert stored.is_stored(tmp_path / "models.bin")


def test_another_file_is_not_written_over(source: Path, tmp_path: Path) -> None:
    other = tmp_path / "thesis.txt"
    other.write_text("years of work", encoding="utf-8")
    for path in (other, source):
        with pytest.raises(OptionError, match=r"cache=.* this is another file"):
            NgramLM.read(source, cache=path)
    assert other.read_text(encoding="utf-8") == "years of work"
    for value in (None, 3, b"x"):
        with pytest.raises(OptionError, match="cache="):
            NgramLM.read(source, cache=value)  # type: ignore[arg-type]


def test_a_folder_that_cannot_be_written_to_is_a_line_in_the_log(
    source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = NgramLM.read(source, cache=tmp_path / "none" / "a.tdtlm")
    assert found.order == 3
    assert "none/a.tdtlm cannot be kept: No such file or directory. The text is read each time" in caplog.text


def test_a_disk_that_fills_leaves_nothing_behind(
    source: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(stored, "_write", full)
    assert NgramLM.read(source, cache=True).order == 3
    assert "No space left on device" in caplog.text
    assert [path.name for path in source.parent.iterdir()] == ["a.arpa"]


# --- what does not fit ------------------------------------------------------------------------------------------------


def packed(content: bytes, at: int, kind: str, value: object) -> bytes:
    changed = bytearray(content)
    struct.pack_into("=" + kind, changed, at, value)
    return bytes(changed)


FIRST = len(stored.MAGIC)
MISFITS = {
    "cut short": (lambda data: data[:-1], "its head promises"),
    "added to": (lambda data: data + b"x", "cut short or added to"),
    "no head": (lambda data: data[: HEAD - 1], "are less than its head"),
    "unfinished": (lambda data: stored.WRITING + data[FIRST:], "it was never finished"),
    "version": (lambda data: data.replace(b"automaton 1", b"automaton 7", 1), "another version of this package"),
    "byte order": (lambda data: packed(data, FIRST, "Q", 0x0807060504030201), "another byte order"),
    "floats": (lambda data: packed(data, FIRST + 8, "d", 2.5), "another kind of floats"),
    "states": (lambda data: packed(data, FIRST + 16, "Q", 3), "the sizes in it contradict each other"),
    "pieces": (lambda data: packed(data, FIRST + 32, "Q", 0), "the sizes in it contradict each other"),
    "arcs": (lambda data: packed(data, FIRST + 24, "Q", 1 << 60), "its head promises"),
    "weights": (lambda data: data[:-70] + bytes([data[-70] ^ 1]) + data[-69:], "the sum over them is another"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_each_misfit_has_its_sentence(name: str, source: Path, kept: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tdt")
    change, said = MISFITS[name]
    plain = NgramLM.read(source)
    kept.write_bytes(change(kept.read_bytes()))
    with pytest.raises(LanguageModelError) as caught:
        NgramLM.read(kept)
    assert said in str(caught.value)
    assert "Delete it, and read the ARPA text that it was made from" in str(caught.value)
    # Beside its text it is no reason to fail: it is made again, and the log says why.
    assert_equal(NgramLM.read(source, cache=True), plain)
    assert said in caplog.text
    assert_equal(NgramLM.read(kept), plain)


def test_any_damaged_byte_is_noticed(kept: Path) -> None:
    whole = kept.read_bytes()
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 0x10
        kept.write_bytes(damaged)
        with pytest.raises(LanguageModelError):
            NgramLM.read(kept)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("targets", 10_000), ("targets", -1), ("labels", 8192), ("backoffs", 10_000), ("arc_starts", 1 << 40),
        ("unigrams", -1), ("unigrams", 8190), ("weights", np.nan), ("unigram_weights", np.inf),
        ("backoff_weights", np.nan),
    ],
)  # fmt: skip
def test_contents_that_lie_are_not_trusted(field: str, value: float, source: Path, tmp_path: Path) -> None:
    """A file with a right sum and wrong contents: an index never leaves its array."""
    lm = NgramLM.read(source)
    array = np.array(getattr(lm.graph, field))
    array[1 if field in ("arc_starts", "backoffs") else 0] = value
    stored.keep(tmp_path / "lie", source, lm.counts, Graph(*lm.graph)._replace(**{field: array}))
    with pytest.raises(LanguageModelError):
        NgramLM.read(tmp_path / "lie").automaton(8192)


def test_threads_that_make_it_at_once_all_have_it(source: Path) -> None:
    found: list[NgramLM] = []
    threads = [threading.Thread(target=lambda: found.append(NgramLM.read(source, cache=True))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    for lm in found:
        assert_equal(lm, found[0])
    assert sorted(path.name for path in source.parent.iterdir()) == ["a.arpa", "a.arpa.tdtlm"]
