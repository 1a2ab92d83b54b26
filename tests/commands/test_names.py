"""What results are called: by their input alone, never over an input or another's result, and found again later."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tdt
from tdt.commands import main
from tdt.commands.names import MOST_NAME_BYTES, fitting, note_source, output_paths, possible_names, source_of
from tdt.commands.running import journal_path

RECORDINGS = Path(tdt.__file__).parent / "models/recordings"
HELLO, DIGITS = RECORDINGS / "15_hello_world.flac", RECORDINGS / "06_digits_theo.flac"
TEXTS = {HELLO: "Hello world. Testing one, two, three.\n", DIGITS: "Seven, four, eight, seven, four, eight, three.\n"}


def names_of(*files: str, style: str = "srt") -> list[str]:
    return [path.name for path in output_paths(files, [Path("/nowhere")] * len(files), style)]


def marked(file: str, style: str = "srt") -> str:
    return possible_names(file, style)[-1]


def transcribe(capsys: pytest.CaptureFixture[str], *words: object) -> SimpleNamespace:
    status = main(["transcribe", *map(str, words)])
    return SimpleNamespace(status=status, err=capsys.readouterr().err)


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Two recordings of one name in two folders, and a folder for results."""
    paths = []
    for folder, source in (("a", HELLO), ("b", DIGITS)):
        (tmp_path / folder).mkdir()
        paths.append(tmp_path / folder / "talk.flac")
        shutil.copy(source, paths[-1])
    return paths[0], paths[1], tmp_path / "out"


@pytest.fixture
def keeps_notes(tmp_path: Path) -> None:
    (tmp_path / "note").touch()
    note_source(str(tmp_path / "note"), "/x")
    if source_of(tmp_path / "note") != "/x":
        pytest.skip("this file system keeps no extended attributes")
    (tmp_path / "note").unlink()


def test_plain_names_and_longer_ones_where_they_clash() -> None:
    assert names_of("a/lecture.mp3", "-", "c/x.tar.wav") == ["lecture.srt", "stdin.srt", "x.tar.srt"]
    assert names_of("a/talk.wav", "a/talk.flac") == ["talk.wav.srt", "talk.flac.srt"]
    assert names_of("a/talk.wav", "b/talk.wav") == [marked("a/talk.wav"), marked("b/talk.wav")]
    assert re.fullmatch(r"talk\.wav-[0-9a-f]{8}\.srt", marked("a/talk.wav"))
    assert marked("a/talk.wav") == marked(str(Path.cwd() / "a/talk.wav")) == marked("./x/../a/talk.wav")
    assert names_of("a/talk.wav", "a/talk.wav", "./a/talk.wav") == ["talk.srt"] * 3, "the same file has one result"


PATHS = st.lists(
    st.builds("{}/{}{}".format, st.sampled_from(["a", "b", "b/c"]), st.sampled_from(["x", "X", "x.wav", "ß", "ss"]),
              st.sampled_from([".wav", ".WAV", ".flac", "", ".wav.wav"])) | st.sampled_from(["-", "stdin.wav"]),
    unique=True, max_size=12,
)  # fmt: skip


@given(PATHS, st.randoms())
def test_names_differ_and_the_order_of_the_inputs_does_not_count(files: list[str], random: object) -> None:
    names = names_of(*files)
    folded = [name.casefold() for name in names]
    assert len(set(folded)) == len(files)
    shuffled = list(files)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert dict(zip(shuffled, names_of(*shuffled), strict=True)) == dict(zip(files, names, strict=True))


@given(PATHS.filter(bool), st.data())
def test_a_name_is_one_of_few_whatever_else_is_in_the_list(files: list[str], data: st.DataObject) -> None:
    for file, name in zip(files, names_of(*files), strict=True):
        assert name in possible_names(file, "srt")
        assert names_of(file)[0] == possible_names(file, "srt")[0]


# --- long names -------------------------------------------------------------------------------------------------------


@given(st.text(st.characters(blacklist_characters="/\0", blacklist_categories=("Cs",)), min_size=1, max_size=400))
def test_long_names_are_cut_and_stay_different(stem: str) -> None:
    name = fitting(stem, ".json")
    assert len(os.fsencode(name)) <= MOST_NAME_BYTES
    assert name.endswith(".json")
    if len(os.fsencode(stem)) <= MOST_NAME_BYTES - 5:
        assert name == f"{stem}.json"
    else:
        assert re.search(r"~[0-9a-f]{8}\.json$", name)
        assert name != fitting(stem + "x", ".json")


@pytest.mark.parametrize(
    ("stem", "long"), [("n" * 246, False), ("n" * 250, True), ("ü" * 125, False), ("😀" * 62, True)]
)
def test_inputs_with_the_longest_names(
    stem: str, long: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """246 bytes and an ending fit; the journal of a long recording, which is named after its output, did not."""
    talk = tmp_path / f"{stem}.flac"
    shutil.copy(HELLO, talk)
    for style, words in (("txt", []), ("json", ["--chunk-seconds", "2"])):
        ran = transcribe(capsys, talk, "--format", style, "-o", tmp_path / style, *words)
        assert (ran.status, ran.err) == (0, "")
        (written,) = (tmp_path / style).iterdir()
        assert (written.name == f"{stem}.{style}") is (len(os.fsencode(f"{stem}.{style}")) <= MOST_NAME_BYTES)
        assert len(os.fsencode(journal_path(written).name)) <= MOST_NAME_BYTES
        again = transcribe(capsys, talk, "--format", style, "-o", tmp_path / style, "--skip-existing")
        assert "1 skipped" in again.err
    assert (next((tmp_path / "txt").iterdir())).read_text() == TEXTS[HELLO]


# --- equal names from two folders -------------------------------------------------------------------------------------


def test_what_two_inputs_of_one_name_gave_is_skipped_in_any_order_and_alone(
    two: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, out = two
    assert transcribe(capsys, first, second, "-o", out).status == 0
    texts = {path.name: path.read_text() for path in out.iterdir()}
    assert texts == {marked(str(first), "txt"): TEXTS[HELLO], marked(str(second), "txt"): TEXTS[DIGITS]}
    for inputs in ((second, first), (second,), (first,)):
        ran = transcribe(capsys, *inputs, "-o", out, "--skip-existing")
        assert f"0 done, {len(inputs)} skipped" in ran.err
    assert {path.name: path.read_text() for path in out.iterdir()} == texts


def test_the_result_of_another_file_is_neither_taken_for_ones_own_nor_overwritten(
    two: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str], keeps_notes: None
) -> None:
    first, second, out = two
    assert transcribe(capsys, first, "-o", out).status == 0
    for words in (["--skip-existing"], []):
        assert transcribe(capsys, second, "-o", out, *words).status == 0
        assert {path.name: path.read_text() for path in out.iterdir()} == {
            "talk.txt": TEXTS[HELLO],
            "talk.flac.txt": TEXTS[DIGITS],
        }
    ran = transcribe(capsys, second, first, "-o", out, "--skip-existing")
    assert "0 done, 2 skipped" in ran.err


def test_results_of_files_that_have_moved_are_still_theirs(
    two: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    first, _, out = two
    assert transcribe(capsys, first, "-o", out, "--format", "json", "--chunk-seconds", "2").status == 0
    moved = (tmp_path / "a").rename(tmp_path / "moved") / "talk.flac"
    assert "0 done, 1 skipped" in transcribe(capsys, moved, "-o", out, "--format", "json", "--skip-existing").err
    assert [path.name for path in out.iterdir()] == ["talk.json"]


def test_a_file_given_twice_is_done_once(two: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    first, _, out = two
    ran = transcribe(capsys, first, first.parent, first, "-o", out, "--chunk-seconds", "2", "--jobs", "3")
    assert (ran.status, [path.name for path in out.iterdir()]) == (0, ["talk.txt"])
    assert (out / "talk.txt").read_text().startswith("Hello world.")


# --- results over inputs ----------------------------------------------------------------------------------------------


def test_an_input_is_never_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    talk, other = tmp_path / "talk.txt", tmp_path / "other.flac"  # recordings, whatever their names
    shutil.copy(HELLO, talk)
    shutil.copy(DIGITS, other)
    before = talk.read_bytes()
    for inputs in ([talk], [other, talk]):
        ran = transcribe(capsys, *inputs, "-o", tmp_path)
        assert ran.status == 2
        assert f"the result of {talk} would overwrite {talk}" in ran.err
    link = tmp_path / "other.json"
    link.symlink_to(talk)
    ran = transcribe(capsys, other, talk, "--format", "json", "-o", tmp_path)
    assert (ran.status, "would overwrite" in ran.err) == (2, True)
    assert talk.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.flac", "other.json", "talk.txt"]


def test_an_output_folder_among_the_inputs_is_fine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(HELLO, tmp_path / "talk.flac")
    assert transcribe(capsys, tmp_path / "talk.flac", "-o", tmp_path, "--format", "srt").status == 0
    assert (tmp_path / "talk.srt").is_file()
