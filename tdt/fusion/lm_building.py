"""A language model from text, by KenLM's lmplz where it is installed, else by our own estimator."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from tdt.checks import one_of, whole_number
from tdt.errors import CorpusError, OptionError
from tdt.fusion.arpa_writing import symbol_names, write_arpa, write_sentences, written_aside
from tdt.fusion.corpus import Corpus, read_corpus
from tdt.fusion.estimating import estimate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tdt.fusion.pieces import Vocabulary

MOST_ORDER = 5
ESTIMATORS = ("auto", "lmplz", "own")
_TOOL = "lmplz"


@dataclass(frozen=True, slots=True)
class BuiltModel:
    """A language model that was written.

    Attributes
    ----------
    path : Path
    estimator : str
        What made it: the path of lmplz, or `own`.
    corpus : Corpus
        What it was made from.
    notes : tuple of str
        What a user should know.
    """

    path: Path
    estimator: str
    corpus: Corpus
    notes: tuple[str, ...]


def build_model(
    texts: Sequence[Path],
    vocabulary: Vocabulary,
    output: Path,
    *,
    order: int = 3,
    prune: Sequence[int] = (0,),
    estimator: str = "auto",
    progress: Callable[[str, float, float], None] | None = None,
) -> BuiltModel:
    """Write an ARPA file of pieces, made from text.

    Parameters
    ----------
    texts : sequence of Path
        A sentence a line.
    vocabulary : Vocabulary
        Of the model that the language model is for.
    output : Path
        Compressed where its name ends in .gz.
    order : int
        Length of the longest n-grams, 1 to 5.
    prune : sequence of int
        n-grams that occur so often or less are left out, by order from 1 on; the last number counts for all further
        orders. The first is 0, and they must not fall.
    estimator : str
        `lmplz`, `own`, or `auto`: lmplz where it is on the PATH.
    progress : callable, optional
        Told (task, done, total).

    Raises
    ------
    OptionError, CorpusError, OutputError
    """
    order = whole_number("order", order, 1, MOST_ORDER)
    thresholds = _thresholds(prune, order)
    tool = _tool(estimator)
    symbol_names(len(vocabulary))
    corpus = read_corpus(texts, vocabulary, progress)
    tell = progress or _nobody
    tell("estimating", 0, 1)
    if tool:
        notes: tuple[str, ...] = ()
        _by_lmplz(tool, corpus, len(vocabulary), output, order, thresholds)
    else:
        model = estimate(corpus.stream, order, len(vocabulary), thresholds)
        notes = model.notes
        write_arpa(output, model, len(vocabulary))
    tell("estimating", 1, 1)
    return BuiltModel(output, tool or "own", corpus, notes)


def _thresholds(prune: Sequence[int], order: int) -> tuple[int, ...]:
    given = tuple(whole_number("prune", item, 0, 1 << 40) for item in prune)
    rising = all(left <= right for left, right in pairwise(given))
    if not given or given[0] != 0 or not rising or len(given) > order:
        expected = f"1 to {order} numbers, one an order, of which the first is 0 and none is below the one before"
        raise OptionError("prune", tuple(prune), expected)
    return given


def _tool(estimator: str) -> str:
    """Return where lmplz is, nothing for our own estimator."""
    one_of("estimator", estimator, ESTIMATORS)
    found = shutil.which(_TOOL) if estimator != "own" else None
    if estimator == "lmplz" and not found:
        raise OptionError("estimator", estimator, "own or auto: there is no lmplz on the PATH; it is a part of KenLM")
    return found or ""


def _by_lmplz(tool: str, corpus: Corpus, pieces: int, output: Path, order: int, prune: tuple[int, ...]) -> None:
    """Have lmplz count and estimate; its own messages are told only where it fails."""
    with tempfile.TemporaryDirectory(prefix="tdt-lm-") as folder:
        sentences = Path(folder) / "sentences"
        with sentences.open("wb") as file:
            write_sentences(file, corpus.stream, pieces)
        command = [tool, "--order", str(order), "--discount_fallback", "--temp_prefix", folder + "/", "--memory", "25%"]
        if any(prune):
            command += ["--prune", *map(str, prune)]
        arpa = Path(folder) / "model.arpa"
        command += ["--text", str(sentences), "--arpa", str(arpa)]
        ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if ended.returncode or not arpa.is_file():
            said = ended.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
            raise CorpusError(
                f"{tool} failed (status {ended.returncode}): {said}. Try another order, or estimator='own'."
            )
        with written_aside(output) as file, arpa.open("rb") as made:
            shutil.copyfileobj(made, file)


def _nobody(task: str, done: float, total: float) -> None:
    """Tell nobody."""
