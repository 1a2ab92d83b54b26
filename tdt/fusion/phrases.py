"""Phrases that a recogniser shall listen for: what may be given, and the automaton that it becomes."""

from __future__ import annotations

import threading
from dataclasses import FrozenInstanceError, asdict
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tdt.errors import OptionError
from tdt.fusion.given import PhraseOptions, cases, checked, joined
from tdt.fusion.phrase_files import read_phrases
from tdt.fusion.pieces import Vocabulary, vocabulary_of
from tdt.fusion.trie import Built, Trie
from tdt.lifetime import Origin, ProcessLock

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping

    from tdt.fusion.explaining import Explained
    from tdt.fusion.given import GivenPhrases
    from tdt.kernels.fusion.automaton import Automaton

VOCABULARIES_KEPT = 4
_opening = ProcessLock()


class Phrases:
    """Words and phrases that decoding shall prefer, or avoid: each continues to earn a bonus while it is being spoken.

    Immutable, equal to itself only, shared by any number of threads; pickled as what was given.

    Parameters
    ----------
    phrases : iterable of str or (str, float)
        A phrase, or a phrase and its weight, by which its score is multiplied: below 0 it is avoided, at 0 it does
        nothing. White space at the ends is stripped, else joined; what is empty then is ignored; what is given twice
        counts once, with the higher weight. Of phrases that begin alike the highest weight counts for what they share.
    score : float
        Bonus of a phrase's first token (NeMo: context_score).
    depth_scaling : float
        From the second token on the bonus is score · depth_scaling + ln(position).
    weight : float
        What the decoder multiplies all bonuses with (NeMo: boosting_tree_alpha).
    unk_score : float
        Added for tokens that begin no phrase, when none is being spoken.
    score_per_phrase : float
        If not 0, the score of a phrase is this divided by its characters, rounded to 0.01.
    uniform_weights : bool
        Every token earns the score alone; the end of a phrase earns all of it once more (Icefall's weighting).
    case_insensitive : bool
        Whether each phrase stands for its variants, too: lower case, its first letter a capital, the first letter of
        every word a capital, upper case. Those with characters outside the vocabulary are left out.
    as_nemo : bool
        NeMo 3.0.0 to the bit: phrases as given, white space kept, characters outside the vocabulary as `<unk>`, sums
        under shared prefixes kept from earlier phrases (see :class:`~tdt.fusion.trie.Trie`).

    Raises
    ------
    OptionError
        Where something given cannot be used; with `as_nemo` also for an empty phrase, on which NeMo divides by zero.

    Examples
    --------
    >>> phrases = Phrases(["Quebec", ("amlodipine", 2.0)], weight=1.5)
    >>> phrases
    Phrases(['Quebec', ('amlodipine', 2.0)], weight=1.5)
    >>> len(phrases), list(phrases)
    (2, [('Quebec', 1.0), ('amlodipine', 2.0)])
    """

    __slots__ = ("_built", "_given", "_last", "_lock", "_origin", "options")
    options: PhraseOptions
    _given: tuple[tuple[str, float], ...]
    _built: dict[Vocabulary, Built]
    _last: Vocabulary | None
    _lock: threading.Lock
    _origin: Origin

    def __init__(
        self,
        phrases: GivenPhrases,
        *,
        score: float = 1.0,
        depth_scaling: float = 2.0,
        weight: float = 1.0,
        unk_score: float = 0.0,
        score_per_phrase: float = 0.0,
        uniform_weights: bool = False,
        case_insensitive: bool = False,
        as_nemo: bool = False,
    ) -> None:
        options = PhraseOptions(
            score, depth_scaling, weight, unk_score, score_per_phrase, uniform_weights, case_insensitive, as_nemo
        )
        given = checked(phrases)
        if not as_nemo:
            given = tuple(pair for pair in given if joined(pair[0]))
        elif not all(text for text, _ in given):
            raise OptionError("phrases", "", "phrases that are not empty, with as_nemo=True")
        values = {"options": options, "_given": given, "_built": {}, "_last": None}
        for name, value in (values | {"_origin": Origin(), "_lock": threading.Lock()}).items():
            object.__setattr__(self, name, value)

    @classmethod
    def read(cls, path: str | os.PathLike[str], **options: Any) -> Phrases:
        """Return the phrases of a file: one a line, `#` comments, a tab and a weight; also sherpa-onnx's `text :2.0`.

        Parameters
        ----------
        path : path
        options : float or bool
            As of the class.

        Raises
        ------
        PhraseFileError
            Where the file cannot be read; names the line.
        OptionError
        """
        return cls(read_phrases(path), **options)

    def __setattr__(self, name: str, value: object) -> None:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        raise FrozenInstanceError(f"cannot delete field {name!r}")

    def __reduce__(self) -> tuple[object, ...]:
        return _again, (self._given, asdict(self.options))

    def __len__(self) -> int:
        return len(self._given)

    def __iter__(self) -> Iterator[tuple[str, float]]:
        return iter(self._given)

    def __repr__(self) -> str:
        shown = [repr(text if weight == 1 else (text, weight)) for text, weight in self._given[:4]]
        listed = ", ".join(shown + [f"… {len(self) - 4} more"] * (len(self) > 4))
        plain = asdict(PhraseOptions())
        others = [f", {name}={value}" for name, value in asdict(self.options).items() if value != plain[name]]
        return f"Phrases([{listed}]{''.join(others)})"

    @property
    def weight(self) -> float:
        """What the decoder multiplies the automaton's scores with, in float32."""
        return self.options.weight

    def automaton(self, vocabulary: object) -> Automaton:
        """Return the automaton for a vocabulary, built once; without `weight`.

        Parameters
        ----------
        vocabulary : Vocabulary, or an object with `spec.pieces` or `pieces`

        Raises
        ------
        OptionError
            Where a phrase has characters outside the vocabulary; names phrase and characters.
        """
        return self.built(vocabulary).automaton

    def sequences(self, vocabulary: object) -> Mapping[tuple[int, ...], str]:
        """Return the token ids of each phrase and variant, and the phrase as given; raises as :meth:`automaton`."""
        return self.built(vocabulary).sequences

    def built(self, vocabulary: object) -> Built:
        """Return all that the phrases are for a vocabulary; raises as :meth:`automaton`."""
        exact = vocabulary_of(vocabulary)
        object.__setattr__(self, "_last", exact)
        found = self._built.get(exact)
        if found is None:
            with self._building():
                found = self._built.get(exact)
                if found is None:
                    found = self._build(exact)
                    if len(self._built) >= VOCABULARIES_KEPT:
                        del self._built[next(iter(self._built))]
                    self._built[exact] = found
        return found

    def explain(self, text: str, vocabulary: object = None) -> Explained:
        """Return what the phrases do along a text, piece by piece, and why those it seems to hold do nothing.

        Parameters
        ----------
        text : str
        vocabulary : Vocabulary, or an object with `spec.pieces` or `pieces`; optional
            The one that was used last by default.

        Raises
        ------
        OptionError
            Where there is no vocabulary, or as :meth:`automaton`.
        """
        from tdt.fusion.explaining import explain

        if vocabulary is None and self._last is None:
            raise OptionError("vocabulary", None, "a recogniser, its spec or a Vocabulary: none was used so far")
        exact = vocabulary_of(self._last if vocabulary is None else vocabulary)
        return explain(text, self.built(exact), exact, self.weight)

    def _building(self) -> threading.Lock:
        """Return the lock under which automata are built; in a forked process another one, which nobody holds."""
        with _opening:
            if not self._origin.is_here():
                object.__setattr__(self, "_lock", threading.Lock())
                object.__setattr__(self, "_origin", Origin())
            return self._lock

    def _build(self, vocabulary: Vocabulary) -> Built:
        options = self.options
        sequences: dict[tuple[int, ...], str] = {}
        scores: dict[tuple[int, ...], float] = {}
        for text, weight in self._given:
            score = self._score(text) * weight
            for tokens in self._spellings(text, vocabulary):
                sequences.setdefault(tokens, text)
                scores[tokens] = max(score, scores.get(tokens, score))
        trie = Trie(len(vocabulary), options.depth_scaling, options.unk_score, options.uniform_weights, options.as_nemo)
        for tokens, score in scores.items():
            if score or options.as_nemo:
                trie.insert(tokens, score)
        return Built(trie.freeze(), sequences, scores)

    def _score(self, text: str) -> float:
        """Return the context score of a phrase of weight 1."""
        share = self.options.score_per_phrase
        characters = len(text) if self.options.as_nemo else len(joined(text))
        return (round(share / characters, 2) if share else 0.0) or self.options.score

    def _spellings(self, text: str, vocabulary: Vocabulary) -> Iterator[tuple[int, ...]]:
        if self.options.as_nemo:
            yield vocabulary.encode(text, unknown=True)
            return
        plain = joined(text)
        yield vocabulary.encode(plain)
        if self.options.case_insensitive:
            for variant in cases(plain):
                if not vocabulary.outside(variant):
                    yield vocabulary.encode(variant)


def as_phrases(value: Phrases | GivenPhrases | None) -> Phrases | None:
    """Return phrases, None for none and for an empty list; the same ones for equal lists, so that they are built once.

    Raises
    ------
    OptionError
        Where it is neither phrases nor a list of them.
    """
    if value is None or (isinstance(value, Phrases) and not len(value)):
        return None
    found = value if isinstance(value, Phrases) else _listed(checked(value))
    return found if len(found) else None


@lru_cache(maxsize=4)
def _listed(given: tuple[tuple[str, float], ...]) -> Phrases:
    return Phrases(given)


def _again(given: tuple[tuple[str, float], ...], options: dict[str, Any]) -> Phrases:
    return Phrases(given, **options)
