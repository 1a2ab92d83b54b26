"""Read a vocabulary file: one `piece id` a line, ids 0..n-1, the blank `<blk>` last."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdt.errors import ModelFileCorruptError, ModelMismatchError
from tdt.onnxfile import read_small

if TYPE_CHECKING:
    from pathlib import Path

BLANK = "<blk>"
MAX_BYTES = 16 << 20  # 8 193 pieces take 94 KB


def read_vocabulary(path: Path) -> tuple[str, ...]:
    """Return the pieces of the vocabulary file at `path`; the index is the token id, the blank is last.

    Raises
    ------
    ModelFileNotFoundError
        Where there is no such file.
    ModelFileCorruptError
        Where it is empty, not UTF-8, something else, or a line is not ``piece id``.
    ModelMismatchError
        Where ids repeat or leave gaps, or the blank is missing or not last.
    """
    return parse_vocabulary(read_small(path, MAX_BYTES), path)


def parse_vocabulary(content: bytes, path: Path) -> tuple[str, ...]:
    """Return the pieces in `content`; `path` is named in errors (see :func:`read_vocabulary`)."""
    try:
        lines = content.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ModelFileCorruptError(path, f"it is not UTF-8 text (byte {error.start})") from error
    pieces: dict[int, str] = {}
    for number, line in enumerate(lines, 1):
        entry = line.rstrip("\r")
        if not entry.strip():
            continue
        piece, token_id = _parse_line(entry, number, path)
        if token_id in pieces:
            raise ModelMismatchError(
                f"{path}, line {number}: the id {token_id} is given twice, to {pieces[token_id]!r} and {piece!r}. "
                "Expected each id once. Take the file that was published with the model."
            )
        pieces[token_id] = piece
    return _checked(pieces, path)


def _parse_line(line: str, number: int, path: Path) -> tuple[str, int]:
    cut = max(line.rfind(" "), line.rfind("\t"))
    digits = line[cut + 1 :]
    if cut < 0 or not (digits.isascii() and digits.isdigit() and len(digits) <= 9):
        raise ModelFileCorruptError(path, f"line {number} is {line[:60]!r}, expected a piece, a space and its id")
    return line[:cut], int(digits)


def _checked(pieces: dict[int, str], path: Path) -> tuple[str, ...]:
    count = len(pieces)
    missing = next((token_id for token_id in range(count) if token_id not in pieces), None)
    if missing is not None:
        raise ModelMismatchError(
            f"{path} holds {count} pieces with ids up to {max(pieces)}, but none with id {missing}. "
            f"Expected the ids 0 to {count - 1}. Take the file that was published with the model."
        )
    blanks = [token_id for token_id, piece in pieces.items() if piece == BLANK]
    if not blanks:
        raise ModelMismatchError(
            f"{path} holds {count} pieces but no {BLANK}. A transducer needs the blank as its last piece: "
            "the file was cut short, or belongs to another kind of model. Take the one published with the model."
        )
    if blanks != [count - 1]:
        raise ModelMismatchError(
            f"{path} has {BLANK} at id {min(blanks)} of {count} pieces; expected it once, as the last one. "
            "Take the file that was published with the model."
        )
    return tuple(pieces[token_id] for token_id in range(count))
