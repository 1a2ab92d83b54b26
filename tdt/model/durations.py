"""The duration table of a model, and whether vocabulary and joint network fit each other. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

from tdt.checks import whole_number
from tdt.errors import ModelFileCorruptError, ModelMismatchError, OptionError, UnsupportedLayoutError
from tdt.model.roles import ports_text
from tdt.showing import shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tdt.onnxfile import GraphInfo
    from tdt.spec import ModelFiles

MOST_FRAMES = 10_000  # of a duration
_MOST_ENTRIES = 10_000
MAX_DEFAULT_DURATIONS = 64  # more outputs than this beside the tokens are no durations, but a wrong vocabulary


def joint_width(joint: GraphInfo) -> int | None:
    """Return the number of outputs of the joint network: tokens, blank and durations."""
    logits = joint.outputs[0]
    return logits.fixed(-1) or joint.width_of(logits.name)


def duration_table(
    files: ModelFiles,
    decoder: GraphInfo,
    joint: GraphInfo,
    pieces: Sequence[str],
    declared: Mapping[str, Any],
    given: Sequence[int] | None = None,
) -> tuple[int, ...]:
    """Return the encoder frames that each duration output stands for.

    Parameters
    ----------
    files : ModelFiles
        Named in errors.
    decoder, joint : GraphInfo
        The graph with the embedding and the one with the logits; the same where they are fused.
    pieces : sequence of str
        The vocabulary with the blank.
    declared : mapping
        `config.json` and metadata; the table may stand there as ``durations`` or ``tdt_durations``.
    given : sequence of int, optional
        The table as the caller gives it; it wins.

    Raises
    ------
    ModelMismatchError
        Where vocabulary and networks, or table and joint network, do not fit.
    UnsupportedLayoutError
        Where the joint network has no duration outputs.
    OptionError
        Where `given` is no such table.
    """
    width = joint_width(joint)
    if width is None:
        raise ModelMismatchError(
            f"{joint.path} does not declare how many outputs it has ({ports_text(joint)}). Export the model again."
        )
    table = as_table("durations", given) if given is not None else _declared_table(files, declared)
    stated = declared.get("vocab_size")
    _check_vocabulary(files, decoder, joint, len(pieces), width, stated, known=table is not None)
    count = width - len(pieces)
    if count == 0:
        raise UnsupportedLayoutError(
            f"{joint.path}: this is an RNNT export. Its {width} outputs are the {len(pieces)} pieces of "
            f"{files.vocabulary.name}, and none is left for durations; expected a TDT model."
        )
    if table is None:
        return tuple(range(count))
    if len(table) != count:
        raise ModelMismatchError(
            f"The table of durations {shown(table, 60)} has {len(table)} entries, but {joint.path} has {width} outputs "
            f"for {len(pieces)} pieces, so {count} durations. Pass durations= with {count} numbers."
        )
    return table


def _check_vocabulary(
    files: ModelFiles, decoder: GraphInfo, joint: GraphInfo, count: int, width: int, stated: object, *, known: bool
) -> None:
    """Compare the vocabulary's size with the embedding, the metadata and the joint network, whichever tell it."""
    rows = decoder.embedding_rows
    wrong = ""
    if rows is not None and (count > rows or (count < rows and not known)):
        wrong = f"the embedding of {decoder.path.name} has {rows} rows"
    elif isinstance(stated, str) and stated.isdigit() and len(stated) < 9 and int(stated) not in {count, count - 1}:
        wrong = f"the model's metadata says vocab_size {stated}, without the blank"
    elif count > width:
        wrong = f"{joint.path.name} has only {width} outputs"
    elif not known and width - count > MAX_DEFAULT_DURATIONS:
        wrong = f"{joint.path.name} has {width} outputs, which would leave {width - count} durations"
    if wrong:
        raise ModelMismatchError(
            f"{files.vocabulary} holds {count} pieces with the blank, but {wrong}. "
            "It belongs to another model or was cut short: take the vocabulary published with the model."
        )


def _declared_table(files: ModelFiles, declared: Mapping[str, Any]) -> tuple[int, ...] | None:
    for key in ("durations", "tdt_durations"):
        value = declared.get(key)
        if value is None:
            continue
        if isinstance(value, str):
            words = value.strip().strip("[]()").replace(",", " ").split()
            value = [int(word) if word.isascii() and word.isdigit() and len(word) < 9 else word for word in words]
        try:
            return as_table(key, value)
        except OptionError as error:
            raise ModelFileCorruptError(files.folder, f"its metadata is wrong: {error}") from error
    return None


def as_table(name: str, values: object) -> tuple[int, ...]:
    """Return `values` as a duration table; `name` is what errors call it.

    Raises
    ------
    OptionError
        Where they are not whole numbers, each 0 or more.
    """
    entries: list[object] = []
    if isinstance(values, Iterable) and not isinstance(values, (str, bytes)):
        with suppress(TypeError):  # an array without an axis
            entries = list(islice(values, _MOST_ENTRIES + 1))
    try:
        table = tuple(whole_number(name, entry, 0, MOST_FRAMES) for entry in entries)
    except OptionError:
        table = ()
    if not 0 < len(table) <= _MOST_ENTRIES:
        raise OptionError(name, values, "whole numbers of encoder frames, each 0 or more, such as (0, 1, 2, 3, 4)")
    return table
