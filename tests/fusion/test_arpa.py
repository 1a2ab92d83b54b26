"""ARPA text: numbers as Python reads them, symbols that look like white space, and what is refused by name and line."""

from __future__ import annotations

import gzip
import io
import os
import random
import tarfile
import threading
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdt.errors import LanguageModelError, LanguageModelNotFoundError
from tdt.fusion import NgramLM
from tdt.fusion import arpa_text as text_module
from tdt.fusion.arpa import read_arpa

from .arpas import PIECES, SMALL, VOCABULARY, A, arpa, symbol
from .vocabularies import DATA

if TYPE_CHECKING:
    from pathlib import Path

TINY3 = DATA / "strategies/lm/tiny3.arpa"
TEXT = arpa(SMALL)


def written(folder: Path, content: bytes | str, name: str = "a.arpa") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refusal(folder: Path, content: bytes | str, name: str = "a.arpa") -> LanguageModelError:
    path = written(folder, content, name)
    with pytest.raises(LanguageModelError) as caught:
        NgramLM.read(path)
    assert str(path) in str(caught.value)
    assert str(caught.value).endswith(".")
    return caught.value


# --- what is read -----------------------------------------------------------------------------------------------------


def test_symbols_numbers_and_markers(tmp_path: Path) -> None:
    first, second, third = read_arpa(written(tmp_path, TEXT))
    assert first.symbols[:, 0].tolist() == [-3, -1, -2, 0, 1, 60]
    assert second.symbols.tolist() == [[-1, 0], [0, 1], [1, -2], [1, 0]]
    assert third.symbols.tolist() == [[-1, 0, 1], [0, 1, 0]]
    np.testing.assert_array_equal(second.weights, np.float32(np.array([-0.25, -0.2, -0.3, -0.4]) / np.log10(np.e)))
    np.testing.assert_array_equal(second.backoffs, np.float32(np.array([-0.1, -0.3, 0, 0]) / np.log10(np.e)))
    assert third.backoffs.tolist() == [0, 0]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: ("\n\n" + text).encode(),
        lambda text: text.rstrip("\n").encode(),
        lambda text: text.replace("\\2-grams:\n", "\\2-grams:\n\n").encode(),
        lambda text: text.replace("<unk>", "<UNK>").replace("ngram 2=", "ngram  2 = ").encode(),
        lambda text: gzip.compress(text.encode()),
    ],
    ids=["CRLF", "byte order mark", "empty lines first", "no last newline", "empty line within", "KenLM's", "gzip"],
)
def test_ways_of_writing_the_same(change: Any, tmp_path: Path) -> None:
    plain, other = read_arpa(written(tmp_path, TEXT)), read_arpa(written(tmp_path, change(TEXT), "b.arpa"))
    for ours, theirs in zip(plain, other, strict=True):
        for name in ("symbols", "weights", "backoffs"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))


def numbers() -> st.SearchStrategy[str]:
    magnitude = st.floats(0, 90, allow_subnormal=False)
    styles = st.sampled_from(
        ["{!r}", "{:.5f}", "{:.0f}", "{:.25f}", "{:e}", "{:.17g}", "{:G}", "0{:.3f}", "{:.3f}e+0", " {} "]
    )
    plain = st.builds(lambda value, style: "-" + style.format(value), magnitude, styles)
    plain = plain.map(lambda text: text if not text.startswith("- ") else " -" + text[2:])
    odd = st.sampled_from(
        ["-.5", "-5.", "+0", "-0", "-1e-300", "-5e-324", "-0.1e1", "-12345678901234567890e-19", "-1E01"]
    )
    digits = st.text("0123456789", min_size=1, max_size=30).map(lambda text: "-0." + text)
    return st.one_of(plain, odd, digits)


@given(values=st.lists(st.tuples(numbers(), numbers()), min_size=1, max_size=40))
def test_numbers_are_those_of_python(values: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory) -> None:
    words = {(symbol(token),): f"{weight}\t{backoff}" for token, (weight, backoff) in enumerate(values)}
    path = written(tmp_path_factory.getbasetemp(), arpa([words]), "numbers.arpa")
    (found,) = read_arpa(path)
    for column, ours in enumerate((found.weights, found.backoffs)):
        expected = np.array([float(pair[column]) / np.log10(np.e) for pair in values], np.float32)
        np.testing.assert_array_equal(ours, expected)


@given(
    pieces=st.lists(st.sampled_from([*PIECES, 27, 28, 1947, 1948, 8091]), min_size=1, max_size=6, unique=True),
    block=st.integers(1, 80),
)
def test_blocks_of_any_size_give_the_same(
    pieces: list[int], block: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Also where a block ends within a line or a character."""
    path = written(
        tmp_path_factory.getbasetemp(), arpa([{(symbol(piece),): "-1\t-2" for piece in pieces}]), "blocks.arpa"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_module, "BLOCK", max(block, 16))
        (found,) = read_arpa(path)
    assert found.symbols[:, 0].tolist() == pieces
    assert [found.line(row) for row in range(len(pieces))] == list(range(5, 5 + len(pieces)))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("content", [TEXT.encode(), gzip.compress(TEXT.encode())], ids=["text", "gzip"])
def test_a_pipe_is_read_once(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(content,))
    writer.start()
    assert NgramLM.read(path).counts == (6, 4, 2)
    writer.join()


# --- what is refused --------------------------------------------------------------------------------------------------


def tar_of(name: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    return file.getvalue()


def zip_of(name: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, "x")
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"mmap lm http://kheafield.com/code format version 5\n\0" + bytes(100), "a binary of KenLM"),
        (tar_of("./model_config.yaml"), "a .nemo or other tar archive"),
        (gzip.compress(tar_of("model_config.yaml")), "a .nemo or other tar archive"),
        (zip_of("data.pkl"), "a zip archive"),
        (b"BZh91AY", "bzip2"), (b"\xfd7zXZ\0", "xz"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"iARPA\n", "IRSTLM"),
        (TEXT.encode("utf-16"), "UTF-16 text, not an ARPA text. Write it in UTF-8"),
        (b"", "it is empty"), (gzip.compress(b""), "it is empty"), (b"\n\n", "begins with the end of the file"),
        (b"hello world\n", r"'hello world', expected \data\ "[:-1]),
        (gzip.compress(TEXT.encode())[:-30], "breaks off"),
        (gzip.compress(TEXT.encode())[:20] + b"\xff" * 40, "damaged"),
        (bytes(5 << 20), "the line is longer than"),
    ],
    ids=lambda value: value if isinstance(value, str) else "content",  # which holds the time that it was packed at
)  # fmt: skip
def test_other_formats_are_named(content: bytes, said: str, tmp_path: Path) -> None:
    error = refusal(tmp_path, content)
    assert said in str(error)


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    error = refusal(tmp_path, gzip.compress(TEXT.replace("\\end\\", "\n" * (200 << 20)).encode(), 1))
    assert "more than 100 times" in str(error)


def test_a_name_in_gz_that_is_not(tmp_path: Path) -> None:
    assert "is not compressed by gzip" in str(refusal(tmp_path, TEXT, "a.arpa.gz"))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(LanguageModelNotFoundError, match="there is no such file"):
        NgramLM.read(tmp_path / "none.arpa")
    with pytest.raises(FileNotFoundError):
        NgramLM.read(str(tmp_path / "none.arpa"), cache=True)
    with pytest.raises(LanguageModelError, match="cannot be read"):
        NgramLM.read(tmp_path)


def changed(old: str, new: str) -> str:
    assert old in TEXT
    return TEXT.replace(old, new, 1)


@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        (changed(f"-0.5\t{A}", "-0.5\thello"), 10, "holds a symbol of several characters: this is a model of words"),
        (changed(f"-0.5\t{A}", "-0.5\ta"), 10, "'a' holds a symbol of no piece"),
        (changed(f"-0.5\t{A}", "nan\t" + A), 10, "not a finite number"),
        (changed(f"-0.5\t{A}", "-inf\t" + A), 10, "not a finite number"),
        (changed(f"-0.5\t{A}", "-1e300\t" + A), 10, "not a finite number"),
        (changed(f"-0.5\t{A}", "0.5\t" + A), 10, "above 1"),
        (changed(f"-0.5\t{A}", "x5\t" + A), 10, "'x5' is no number"),
        (changed("\t-0.25", "\t"), 10, "'' is no number"),
        (changed("\t-0.25", "\t-0.25\t3"), 10, "is no number"),
        (changed(f"-0.5\t{A}", "-0.5 " + A), 10, None),
        (changed(f"-0.25\t<s> {A}", f"-0.25\t{A}"), 15, "is no 2-gram, it has too few symbols"),
        (changed(f"-0.25\t<s> {A}", f"-0.25\t<s> {A} {A}"), 15, "is no 2-gram, it has too many symbols"),
        (changed(f"-0.25\t<s> {A}", f"-0.25\t<s>  {A}"), 15, "symbol of no piece"),
        (changed(f"-0.25\t<s> {A}", f"-0.25\t<t> {A}"), 15, "symbol"),
        (changed("ngram 2=4", "ngram 2=5"), 20, "4 of the 5 2-grams that the head promises are there, before '\\\\3-g"),
        (changed("ngram 2=4", "ngram 2=3"), 18, "there are more 2-grams than the head promises"),
        (changed("ngram 3=2", "ngram 3=99999999999"), 24, "2 of the 99999999999 3-grams"),
        (changed("ngram 2=4\n", ""), 3, "expected 'ngram 2=' and a number"),
        (changed("ngram 1=6\nngram 2=4\nngram 3=2\n", ""), 3, "no numbers of n-grams"),
        (changed("ngram 2=4", "ngram 2=four"), 3, "'ngram 2=four' stands where numbers of n-grams do"),
        (changed("\\2-grams:", "\\3-grams:"), 14, None),
        (changed("\\end\\\n", ""), 24, "the file was cut short"),
        (TEXT[: TEXT.index("\\3-grams")], 20, "the end of the file stands where \\3-grams: is expected"),
        (TEXT[: TEXT.index("-0.4")], 18, "3 of the 4 2-grams that the head promises are there, and the file ends"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line(content: str, line: int, said: str | None, tmp_path: Path) -> None:
    error = refusal(tmp_path, content)
    assert (error.line, f", line {line}: " in str(error)) == (line, True), str(error)
    assert said is None or said in str(error), str(error)


def test_a_model_of_words_is_told_what_to_do(tmp_path: Path) -> None:
    words = "\\data\\\nngram 1=3\n\n\\1-grams:\n-1\t<s>\t0\n-1\thello\n-1\tworld\n\n\\end\\\n"
    assert "tdt lm build" in str(refusal(tmp_path, words))


def test_more_orders_than_there_are(tmp_path: Path) -> None:
    head = "\\data\\\n" + "".join(f"ngram {order}=1\n" for order in range(1, 13))
    assert "orders go from 1 to 10 at most" in str(refusal(tmp_path, head))


def test_damaged_bytes_are_refused_or_read_but_never_fail_otherwise(tmp_path: Path) -> None:
    whole = TINY3.read_bytes()
    # Some n-grams of each order are enough: the head's numbers are lines like the others.
    content = TEXT.encode() + whole[:200]
    dice, read = random.Random(16), 0
    for number in range(1500):
        damaged = bytearray(TEXT.encode() if number % 3 else content)
        for _ in range(dice.randint(1, 3)):
            at = dice.randrange(len(damaged))
            kind = dice.randrange(4)
            if kind == 0:
                damaged[at] = dice.choice([dice.randrange(256), *b"\t\n\r \\<>-.0"])
            elif kind == 1:
                del damaged[at : at + dice.randint(1, 9)]
            elif kind == 2:
                damaged[at:at] = dice.randbytes(dice.randint(1, 4))
            else:
                damaged[at:at] = damaged[dice.randrange(len(damaged)) :][: dice.randint(1, 40)]
        try:
            lm = NgramLM.read(written(tmp_path, bytes(damaged), "damaged.arpa"))
            lm.score([0, 1, 0], vocabulary=VOCABULARY)
            read += 1
        except LanguageModelError:
            pass
    assert 0 < read < 1000
