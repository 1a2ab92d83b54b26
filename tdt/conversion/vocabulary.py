"""The pieces of a checkpoint: from NeMo's SentencePiece model, or from the `tokenizer.json` of Transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdt.conversion.configuration import INSTALL
from tdt.dependencies import extra
from tdt.errors import CheckpointError, ModelFileCorruptError
from tdt.showing import shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

BLANK = "<blk>"
MOST_BYTES = 32 << 20  # of a tokenizer; v3's has 0.4 MB


def pieces_of_nemo(members: Mapping[str, memoryview], config: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    """Return the pieces of a `.nemo` archive, blank last.

    Parameters
    ----------
    members : mapping
        Of the archive.
    config : mapping
        Content of `model_config.yaml`: its `tokenizer` says which member is the model.
    path : Path
        Named in errors.

    Raises
    ------
    MissingDependencyError
        Where sentencepiece is not installed.
    CheckpointError, ModelFileCorruptError
        Where there is no such tokenizer, or it cannot be read.
    """
    tokenizer = config.get("tokenizer")
    tokenizer = tokenizer if isinstance(tokenizer, dict) else {}
    if tokenizer.get("type", "bpe") not in {"bpe", "unigram"}:
        raise CheckpointError(
            path, f"its tokenizer is of type {shown(tokenizer.get('type'), 40)}; expected one SentencePiece model"
        )
    stated = str(tokenizer.get("model_path", "")).removeprefix("nemo:")
    names = [name for name in members if name == stated] or [name for name in members if name.endswith(".model")]
    if len(names) != 1:
        raise CheckpointError(path, f"it holds {len(names)} SentencePiece models (*.model), expected one")
    content = members[names[0]]
    if len(content) > MOST_BYTES:
        raise CheckpointError(path, f"its tokenizer has {len(content)} bytes; {MOST_BYTES} are more than enough")
    return (*_sentencepiece(bytes(content), path), BLANK)


def _sentencepiece(content: bytes, path: Path) -> list[str]:
    with extra("sentencepiece", "Reading NeMo's tokenizer", INSTALL):
        import sentencepiece
    try:
        processor = sentencepiece.SentencePieceProcessor(model_proto=content)
        return [str(processor.id_to_piece(index)) for index in range(processor.get_piece_size())]
    except (RuntimeError, OSError, ValueError, IndexError, TypeError) as error:
        raise ModelFileCorruptError(path, f"its tokenizer is no SentencePiece model ({str(error)[:200]})") from error


def pieces_of_transformers(tokenizer: Mapping[str, Any], count: int, path: Path) -> tuple[str, ...]:
    """Return `count` pieces of a `tokenizer.json` and the blank.

    Raises
    ------
    CheckpointError
        Where ids are missing or repeat.
    """
    model = tokenizer.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    found: dict[int, str] = {}
    if isinstance(vocabulary, dict):
        found = {index: piece for piece, index in vocabulary.items() if type(index) is int}
    elif isinstance(vocabulary, list):  # of pairs: piece and score
        found = {index: str(entry[0]) for index, entry in enumerate(vocabulary) if isinstance(entry, list) and entry}
    added = tokenizer.get("added_tokens")
    for entry in added if isinstance(added, list) else ():
        if isinstance(entry, dict) and type(entry.get("id")) is int and isinstance(entry.get("content"), str):
            found[entry["id"]] = entry["content"]
    missing = next((index for index in range(count) if index not in found), None)
    if missing is not None:
        raise CheckpointError(path, f"its tokenizer.json has no piece with the id {missing}; {count} are expected")
    return (*(found[index] for index in range(count)), BLANK)


def vocabulary_file(pieces: Sequence[str]) -> bytes:
    """Return the content of `vocab.txt` or `tokens.txt`."""
    return "".join(f"{piece} {index}\n" for index, piece in enumerate(pieces)).encode()
