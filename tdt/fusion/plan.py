"""What a call was told beside the sound, checked and bound to a model's vocabulary: what each of its clips gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tdt.checks import instance, number, whole_number
from tdt.errors import OptionError
from tdt.fusion.beam import MOST_HYPOTHESES, Beam
from tdt.fusion.ngram import NgramLM
from tdt.fusion.phrases import Phrases, as_phrases
from tdt.fusion.scripts import allowed_pieces
from tdt.stages import Fusion

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tdt.spec import ModelSpec

LM_WEIGHT = 0.3
MOST_WEIGHT = 1e4
_OPTIONS = {"phrases", "lm", "lm_weight", "beam", "script", "allowed"}
_PER_CLIP = "phrases, a list of texts, or for each clip of a list its own (None, phrases, or several in a tuple)"


@dataclass(frozen=True, slots=True)
class FusionPlan:
    """What is added for the clips of a call, and how many hypotheses are kept.

    Parameters
    ----------
    shared : Fusion or None
        For every clip; None where nothing is added.
    each : tuple of (Fusion or None), or None
        For each clip its own, where phrases were given by clip.
    beam : Beam or None
        None for greedy decoding.
    phrases : tuple of tuple of Phrases
        Those of every clip, or by clip.
    """

    shared: Fusion | None = None
    each: tuple[Fusion | None, ...] | None = None
    beam: Beam | None = None
    phrases: tuple[tuple[Phrases, ...], ...] = ()

    def of(self, index: int) -> Fusion | None:
        """Return what is added for clip `index` of the call.

        Raises
        ------
        OptionError
            Where phrases were given by clip, and there are more clips than that.
        """
        if self.each is None:
            return self.shared
        if index >= len(self.each):
            raise OptionError("phrases", f"a list for {len(self.each)} clips", f"one for clip {index + 1}, too")
        return self.each[index]

    def phrases_of(self, index: int) -> tuple[Phrases, ...]:
        """Return the phrases of clip `index`."""
        if not self.phrases:
            return ()
        return self.phrases[0 if self.each is None else index]

    def check_count(self, clips: int) -> None:
        """Refuse phrases by clip for another number of clips.

        Raises
        ------
        OptionError
            Naming both numbers.
        """
        if self.each is not None and len(self.each) != clips:
            raise OptionError("phrases", f"a list for {len(self.each)} clips", f"one for each of the {clips} clips")


def fusion_plan(options: Mapping[str, Any], spec: ModelSpec) -> FusionPlan | None:
    """Return the plan of a call, or None where it is plain greedy decoding.

    Parameters
    ----------
    options : mapping
        `phrases`, `lm`, `lm_weight`, `beam`, `script`, `allowed`; what is missing or None is not wanted.
    spec : ModelSpec

    Raises
    ------
    OptionError
        Where an option has no usable value, or a phrase has characters that the vocabulary has not.
    """
    unknown = set(options) - _OPTIONS
    if unknown:
        raise TypeError(f"unexpected keyword argument {sorted(unknown)[0]!r}")
    models = _language_model(options.get("lm"), options.get("lm_weight"), spec)
    allowed = _allowed(options.get("script"), options.get("allowed"), spec)
    beam = _beam(options.get("beam"))
    given, by_clip = _listed(options.get("phrases"))
    fusions = [_fusion(models, phrases, allowed, spec) for phrases in given]
    if by_clip:
        return FusionPlan(None, tuple(fusions), beam, tuple(given))
    if fusions[0] is None and beam is None:
        return None
    return FusionPlan(fusions[0], None, beam, tuple(given))


def _fusion(models: tuple[Any, ...], phrases: Sequence[Phrases], allowed: Any, spec: ModelSpec) -> Fusion | None:
    """Return what is added for a clip; None where it is nothing, so that nothing is what it costs."""
    trees = tuple((one.automaton(spec), one.weight) for one in phrases)
    if not models and not trees and allowed is None:
        return None
    return Fusion((*models, *trees), allowed)


def _language_model(lm: object, weight: object, spec: ModelSpec) -> tuple[Any, ...]:
    if lm is None:
        if weight is not None:
            raise OptionError("lm_weight", weight, "an lm beside it: tdt.NgramLM.read(…)")
        return ()
    model = instance("lm", lm, NgramLM, "an n-gram language model: tdt.NgramLM.read(…)")
    weight = LM_WEIGHT if weight is None else number("lm_weight", weight, -MOST_WEIGHT, MOST_WEIGHT)
    return () if weight == 0 else ((model.automaton(spec.blank_id), weight),)


def _beam(beam: object) -> Beam | None:
    if beam is None or isinstance(beam, Beam):
        return beam
    return Beam(whole_number("beam", beam, 1, MOST_HYPOTHESES, "hypotheses"))


def _allowed(script: Any, allowed: Any, spec: ModelSpec) -> Any:
    """Return which pieces may be emitted, bool [V], or None for all."""
    if script is None and allowed is None:
        return None
    import numpy as np

    mask = np.ones(spec.blank_id, bool)
    for ids in (None if script is None else allowed_pieces(spec, script), _piece_ids(allowed, spec)):
        if ids is not None:
            one = np.zeros(spec.blank_id, bool)
            one[list(ids)] = True
            mask &= one
    return None if mask.all() else mask


def _piece_ids(allowed: Any, spec: ModelSpec) -> list[int] | None:
    if allowed is None:
        return None
    try:
        pieces = None if isinstance(allowed, (str, bytes, bytearray, memoryview, Mapping, type)) else list(allowed)
    except TypeError:  # not iterable, or an array without axes
        pieces = None
    if pieces is None:
        raise OptionError("allowed", allowed, f"ids of pieces, numbers from 0 to {spec.blank_id - 1}")
    return [whole_number("allowed", piece, 0, spec.blank_id - 1) for piece in pieces]


def _listed(given: Any) -> tuple[list[tuple[Phrases, ...]], bool]:
    """Return the phrases of every clip as one entry, or of each clip; and whether it is each."""
    if isinstance(given, (str, bytes)):
        raise OptionError("phrases", given, f"{_PER_CLIP}; a single one is a list, too")
    if isinstance(given, (list, tuple)) and any(_is_clip(entry) for entry in given):
        return [_several(entry) for entry in given], True
    return [_several(given)], False


def _is_clip(entry: object) -> bool:
    """Say whether an entry of a list is a clip's phrases, rather than a phrase."""
    return (
        entry is None
        or isinstance(entry, (Phrases, list))
        or (isinstance(entry, tuple) and (not entry or not isinstance(entry[0], str)))
    )


def _several(entry: Any) -> tuple[Phrases, ...]:
    """Return the phrases of a clip: one set, or several in a tuple, which are added; those without effect left out."""
    many: Iterable[Any] = entry if isinstance(entry, tuple) and any(map(_is_clip, entry)) else (entry,)
    found = (as_phrases(one) for one in many)
    return tuple(one for one in found if one is not None and one.weight != 0)
