"""n-gram language models over the pieces of a model, as automata for the decoder.

Source: NeMo `ngram_lm_batched.py: NGramGPULanguageModel` with `normalize_unk`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tdt.checks import instance, whole_number
from tdt.errors import LanguageModelError, OptionError
from tdt.fusion.arpa import PER_NATURAL, read_arpa
from tdt.fusion.arpa_text import BUILD
from tdt.fusion.backing_off import FIRST_UNIGRAM, Graph, build
from tdt.fusion.pieces import vocabulary_of
from tdt.kernels.fusion.automaton import Automaton, automaton
from tdt.kernels.fusion.scoring import score_tokens

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MOST_PIECES = 1 << 20
START = 1  # the state of <s>
# What KenLM gives to words where a model has no <unk>; NeMo's -infinity would forbid the piece for good.
NO_UNKNOWN = np.float32(-100 / PER_NATURAL)


@dataclass(frozen=True, slots=True, eq=False)
class NgramLM:
    """A model of which piece follows which, read from a file; shared by any number of threads and processes.

    Parameters
    ----------
    path : Path
        Where it comes from.
    counts : tuple of int
        How many n-grams the file has of each order, from 1 on; markers included.
    graph : Graph
        Its states and arcs.

    Examples
    --------
    >>> lm = NgramLM.read("domain.arpa", cache=True)  # doctest: +SKIP
    >>> asr.transcribe("talk.flac", lm=lm, lm_weight=0.3)  # doctest: +SKIP
    """

    path: Path
    counts: tuple[int, ...]
    graph: Graph = field(repr=False)
    _automata: dict[int, Automaton] = field(init=False, repr=False, default_factory=dict)

    def __reduce__(self) -> tuple[object, ...]:
        return NgramLM, (self.path, self.counts, Graph(*map(np.asarray, self.graph)))

    @classmethod
    def read(cls, path: str | os.PathLike[str], *, cache: bool | str | os.PathLike[str] = False) -> NgramLM:
        """Return the model in a file.

        Parameters
        ----------
        path : path
            ARPA text, perhaps compressed by gzip, over symbols ``chr(id + 100)``; or what `cache` has left.
        cache : bool or path
            Keep the model as it lies in memory in a file beside it (True: its name with `.tdtlm` behind) and take that
            the next time, as long as the text is the same by size and time. It is mapped, not read, so that processes
            share it. A folder that cannot be written to is a line in the log.

        Raises
        ------
        LanguageModelNotFoundError
            There is no such file.
        LanguageModelError
            It is another format, about words, or damaged; the message names the line.
        """
        from tdt.fusion.stored import find, is_stored, keep, map_stored

        source = Path(_path("path", path))
        if is_stored(source):
            return cls(source, *map_stored(source))
        if cache is False:
            return _from_text(source)
        place = source.with_name(source.name + ".tdtlm") if cache is True else Path(_path("cache", cache))
        found = find(place, source)
        if found is not None:
            return cls(source, *found)
        model = _from_text(source)
        keep(place, source, model.counts, model.graph)
        return model

    @property
    def order(self) -> int:
        """The length of its longest n-grams."""
        return len(self.counts)

    @property
    def pieces(self) -> tuple[int, ...]:
        """Ids of the pieces that it has met."""
        return tuple(self.graph.unigrams.tolist())

    def automaton(self, vocabulary: object) -> Automaton:
        """Return the model as an automaton over the pieces of a vocabulary, the same one each time.

        Pieces that the model has not met share the probability of `<unk>` and lead to the state that knows nothing.
        Without `<unk>` each has 10⁻¹⁰⁰, as in KenLM.

        Parameters
        ----------
        vocabulary : int, Vocabulary, recogniser or sequence of str
            How many pieces there are, without the blank; or what has them.

        Raises
        ------
        LanguageModelError
            The model has ids beyond: it was made for another vocabulary.
        """
        size = vocabulary if isinstance(vocabulary, Integral) else len(vocabulary_of(vocabulary))
        size = whole_number("vocabulary", size, 1, MOST_PIECES)
        if size not in self._automata:
            self._automata.setdefault(size, self._made(size))
        return self._automata[size]

    def _made(self, size: int) -> Automaton:
        graph, largest = self.graph, int(self.graph.unigrams[-1])
        if largest >= size:
            what = f"it has the piece {largest}, and the model's pieces end at {size - 1}: it is of another vocabulary"
            raise LanguageModelError(self.path, what, BUILD)
        weights, targets = np.empty(size, np.float32), np.zeros(size, np.int32)
        weights[:] = self._unknown(size - len(graph.unigrams))
        weights[graph.unigrams] = graph.unigram_weights
        targets[graph.unigrams] = np.arange(FIRST_UNIGRAM, FIRST_UNIGRAM + len(graph.unigrams))
        try:
            return automaton(*graph[:6], weights, targets, start=START)
        except ValueError as error:
            raise LanguageModelError(
                self.path, f"it contradicts itself: {error}", "Make it again from its ARPA text"
            ) from error

    def _unknown(self, count: int) -> Any:
        """Return what each of the pieces without a unigram scores."""
        unknown = self.graph.unknown[0]
        if np.isnan(unknown):
            return NO_UNKNOWN
        return np.float32(np.float64(unknown) - np.log(count)) if count > 1 else unknown

    def score(self, tokens: Sequence[int], *, bos: bool = True, vocabulary: object = None) -> Any:
        """Return the natural logarithm of each piece's probability after those before it.

        Parameters
        ----------
        tokens : sequence of int
        bos : bool
            Whether an utterance begins here; else nothing is known of what came before.
        vocabulary : object, optional
            As for :meth:`automaton`; by default the pieces up to the largest that the model has met.

        Returns
        -------
        ndarray [shape=(n,)], float32

        Raises
        ------
        OptionError
            A token is no piece of the vocabulary.
        """
        made = self.automaton(int(self.graph.unigrams[-1]) + 1 if vocabulary is None else vocabulary)
        size, ids = len(made.root_targets), np.asarray(tokens)
        fine = ids.ndim == 1 and (ids.size == 0 or (ids.dtype.kind in "iu" and 0 <= ids.min() <= ids.max() < size))
        if not fine:
            raise OptionError("tokens", tokens, f"ids of pieces, from 0 to {size - 1}")
        return score_tokens(made, START if bos else 0, np.ascontiguousarray(ids, np.int32))

    def perplexity(self, texts: Iterable[Sequence[int]], vocabulary: object = None) -> float:
        """Return how many pieces the model wavers between on average: exp of the mean of -score; the ends do not count.

        Parameters
        ----------
        texts : iterable of sequences of int
            Each begins with `<s>`.
        vocabulary : object, optional
            As for :meth:`score`.
        """
        total, count = 0.0, 0
        for tokens in texts:
            total += float(self.score(tokens, vocabulary=vocabulary).sum(dtype=np.float64))
            count += len(tokens)
        return float(np.exp(-total / count)) if count else float("nan")


def _from_text(path: Path) -> NgramLM:
    orders = read_arpa(path)
    return NgramLM(path, tuple(len(ngrams.weights) for ngrams in orders), build(path, orders))


def _path(name: str, value: object) -> str:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    return instance(name, value, str, "the name of a file")
