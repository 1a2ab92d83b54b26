"""What phrases do along a text, for people: piece by piece, and why a phrase that seems to stand there does nothing."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tdt.checks import instance
from tdt.fusion.given import joined

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdt.fusion.pieces import Vocabulary
    from tdt.fusion.trie import Built
    from tdt.kernels.fusion.automaton import Automaton

MOST_MISSED = 20  # phrases that a text nearly holds; more would hide the others


@dataclass(frozen=True, slots=True)
class ExplainedPiece:
    """A piece of the text.

    Parameters
    ----------
    piece : str
    token : int
    state : int
        Of the automaton, after the piece.
    bonus : float
        What the decoder adds for this piece where it stands: `given` + `taken_back`.
    given, taken_back : float
        For the piece itself; and for phrases that it breaks off.
    spelled : tuple of str
        The pieces up to here with which a phrase begins.
    phrase : str or None
        One that begins so.
    ends : tuple of str
        The phrases that end here.
    """

    piece: str
    token: int
    state: int
    bonus: float
    given: float
    taken_back: float
    spelled: tuple[str, ...]
    phrase: str | None
    ends: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MissedPhrase:
    """A phrase that the text seems to hold and does not: why, its pieces."""

    phrase: str
    reason: str
    pieces: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explained:
    """What phrases do along a text; as text, a table.

    Parameters
    ----------
    text : str
    pieces : tuple of ExplainedPiece
    found : tuple of str
        The phrases that the text holds, in the order of their ends.
    missed : tuple of MissedPhrase
        At most 20.
    outside : tuple of str
        Characters that the vocabulary has not.
    """

    text: str
    pieces: tuple[ExplainedPiece, ...]
    found: tuple[str, ...]
    missed: tuple[MissedPhrase, ...]
    outside: tuple[str, ...]

    def __str__(self) -> str:
        width = max([len("piece"), *(len(step.piece) for step in self.pieces)])
        lines = [f"{'piece':<{width}}    bonus    given  taken back  phrase"]
        for step in self.pieces:
            numbers = f"{step.bonus:8.3f} {step.given:8.3f} {step.taken_back:11.3f}"
            within = f"in {step.phrase!r}" if step.phrase and step.phrase not in step.ends else ""
            said = ", ".join([*(f"ends {phrase!r}" for phrase in step.ends), *([within] if within else [])])
            lines.append(f"{step.piece:<{width}} {numbers}  {said}".rstrip())
        lines.append(f"holds {', '.join(map(repr, self.found))}" if self.found else "holds no phrase")
        if self.outside:
            lines.append(f"not in the vocabulary: {', '.join(map(repr, self.outside))}")
        lines += [f"not {miss.phrase!r} ({' '.join(miss.pieces)}): {miss.reason}" for miss in self.missed]
        return "\n".join(lines)


def explain(text: str, built: Built, vocabulary: Vocabulary, weight: float) -> Explained:
    """Return what phrases do along a text (:meth:`tdt.Phrases.explain`)."""
    instance("text", text, str, "a text")
    plain = joined(text)
    outside = vocabulary.outside(plain)
    tokens = vocabulary.encode(plain, unknown=True) if plain else ()
    machine, names = built.automaton, vocabulary.pieces
    tree = _Tree(built)
    longest = max(map(len, built.sequences), default=0)
    steps, found, state = [], dict[str, None](), machine.start
    for place, token in enumerate(tokens):
        taken_back, given, state = walk(machine, state, token)
        depth = tree.depth(state)
        begun = tokens[place + 1 - depth : place + 1]
        spans = (tokens[place + 1 - length : place + 1] for length in range(1, min(longest, place + 1) + 1))
        ends = tuple(dict.fromkeys(built.sequences[span] for span in spans if built.scores.get(span)))
        found |= dict.fromkeys(ends)
        steps.append(
            ExplainedPiece(
                names[token], token, state, (given + taken_back) * weight, given * weight, taken_back * weight,
                tuple(names[number] for number in begun), tree.phrase(state, begun), ends,
            )
        )  # fmt: skip
    missed = _missed(plain, built, names, found)
    return Explained(text, tuple(steps), tuple(found), missed, outside)


def walk(machine: Automaton, state: int, token: int) -> tuple[float, float, int]:
    """Return what is paid on the way to a state with an arc, the arc's weight, and the next state."""
    paid = np.float32(0.0)
    while state:
        begin, end = machine.arc_starts[state : state + 2]
        arc = begin + int(np.searchsorted(machine.labels[begin:end], token))
        if arc < end and machine.labels[arc] == token:
            return float(paid), float(machine.weights[arc]), int(machine.targets[arc])
        paid += machine.backoff_weights[state]
        state = int(machine.backoffs[state])
    return float(paid), float(machine.root_weights[token]), int(machine.root_targets[token])


class _Tree:
    """Where states stand in the tree of phrases."""

    def __init__(self, built: Built) -> None:
        machine = built.automaton
        self.built, self.parents = built, np.zeros(len(machine.backoffs), np.int64)
        self.parents[machine.targets] = np.repeat(np.arange(len(self.parents)), np.diff(machine.arc_starts))

    def depth(self, state: int) -> int:
        depth = 0
        while state:
            depth, state = depth + 1, int(self.parents[state])
        return depth

    def phrase(self, state: int, begun: tuple[int, ...]) -> str | None:
        """Return a phrase that begins with the tokens of a state: down the first arcs, till one ends."""
        machine = self.built.automaton
        while state and begun not in self.built.sequences:
            arc = machine.arc_starts[state]
            begun, state = (*begun, int(machine.labels[arc])), int(machine.targets[arc])
        return self.built.sequences.get(begun)


def _missed(text: str, built: Built, names: Sequence[str], found: dict[str, None]) -> tuple[MissedPhrase, ...]:
    folded = _bare(text)
    missed: dict[str, MissedPhrase] = {}
    for tokens, phrase in built.sequences.items():
        if phrase in found or phrase in missed or len(missed) == MOST_MISSED:
            continue
        bare = _bare(phrase)
        if bare and bare in folded:
            pieces = tuple(names[token] for token in tokens)
            reason = _reason(text, joined(phrase)) if built.scores[tokens] else "its weight is 0"
            missed[phrase] = MissedPhrase(phrase, reason, pieces)
    return tuple(missed.values())


def _reason(text: str, phrase: str) -> str:
    """Return why a phrase is not in a text although its letters are."""
    at = text.find(phrase)
    if at >= 0:
        if at > 0 and text[at - 1] != " ":
            return "a phrase begins where a word begins, after a space; here it does not"
        return "the text goes on without a space, so that its last pieces are others"
    if phrase.casefold() in text.casefold():
        return "written in another case; case_insensitive=True adds the usual ones"
    if _letters(phrase.casefold()) in _letters(text.casefold()):
        return "other spaces or marks; those of a phrase must be spoken as pieces, too"
    return "other accents, or cases and marks"


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text))


def _bare(text: str) -> str:
    """Return the letters and digits of a text, without case and accents."""
    return _letters(unicodedata.normalize("NFKD", text).casefold())
