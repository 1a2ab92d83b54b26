"""Word and character error rates, and the texts they are counted on."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Any, Literal, get_args

from tdt.dependencies import extra
from tdt.errors import OptionError
from tdt.text import read_rows, read_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

Normalizer = Literal["simple", "whisper", "none"]
NORMALIZERS: tuple[Normalizer, ...] = get_args(Normalizer)

_SPACES = re.compile(r"\s+")


def simple_normalizer(text: str) -> str:
    """Lower case, without punctuation (apostrophes inside words stay), single spaces."""
    kept = []
    lowered = unicodedata.normalize("NFKC", text).lower().replace("\u2019", "'")
    for index, char in enumerate(lowered):
        inside = 0 < index < len(lowered) - 1 and lowered[index - 1].isalnum() and lowered[index + 1].isalnum()
        if char == "'" and inside:
            kept.append(char)
        elif unicodedata.category(char)[0] in "PS":
            kept.append(" ")
        else:
            kept.append(char)
    return _SPACES.sub(" ", "".join(kept)).strip()


def normalizer(name: Normalizer) -> Callable[[str], str]:
    """Return the function of that name; `whisper` is OpenAI's English normaliser.

    Raises
    ------
    OptionError
        For an unknown name.
    MissingDependencyError
        Where the package `whisper-normalizer` is needed and absent.
    """
    if name == "simple":
        return simple_normalizer
    if name == "none":
        return str.strip
    if name != "whisper":
        raise OptionError("normalizer", name, f"one of {', '.join(NORMALIZERS)}")
    with extra("whisper-normalizer", "The Whisper normaliser", "pip install whisper-normalizer"):
        from whisper_normalizer.english import EnglishTextNormalizer
    english = EnglishTextNormalizer()
    return lambda text: str(english(text))


def check_scoring(name: Normalizer) -> None:
    """Refuse to begin work that ends in error rates where a package for them is absent.

    Raises
    ------
    MissingDependencyError
    """
    normalizer(name)
    _jiwer()


def _jiwer() -> Any:
    with extra("jiwer", "An error rate", "pip install jiwer"):
        import jiwer
    return jiwer


def error_rates(references: Sequence[str], texts: Sequence[str]) -> tuple[float, float]:
    """Return word and character error rate over all clips, as fractions.

    Parameters
    ----------
    references, texts : sequence of str
        Normalised already; clips without a word in the reference are left out.

    Raises
    ------
    MissingDependencyError
        Where the package `jiwer` is absent.
    """
    jiwer = _jiwer()
    kept = [(reference, text) for reference, text in zip(references, texts, strict=True) if reference]
    if not kept:
        return 0.0, 0.0
    left, right = (list(column) for column in zip(*kept, strict=True))
    return float(jiwer.wer(left, right)), float(jiwer.cer(left, right))


def read_references(file: Path | None, clips: Sequence[Path]) -> dict[Path, str]:
    """Return what was said in each clip, as far as it is known.

    Parameters
    ----------
    file : Path or None
        Tab-separated lines: file name, text, and anything. None: ``clip.txt`` beside each ``clip.wav``.
    clips : sequence of Path
        The recordings.

    Raises
    ------
    OptionError
        Where the file, or one of those beside the clips, cannot be read, or names none of the clips.
    """
    if file is None:
        beside = {clip: clip.with_suffix(".txt") for clip in clips}
        return {clip: read_text(text).strip() for clip, text in beside.items() if text.is_file()}
    texts = {row[0].strip(): row[1].strip() for row in read_rows(file)}
    found = {clip: texts[name] for clip in clips for name in (clip.stem, clip.name, str(clip)) if name in texts}
    if not found:
        raise OptionError("references", str(file), f"lines of file name and text for clips such as {clips[0].name}")
    return found
