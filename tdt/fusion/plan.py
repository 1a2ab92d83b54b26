"""What a call was told beside the sound, checked and bound to a model's vocabulary: what each of its clips gets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tdt.checks import instance, items, number, whole_number
from tdt.errors import OptionError
from tdt.fusion.beam import MOST_HYPOTHESES, Beam
from tdt.fusion.ngram import NgramLM
from tdt.fusion.phrases import Phrases, as_phrases
from tdt.fusion.pieces import vocabulary_of
from tdt.fusion.scripts import allowed_pieces
from tdt.stages import Fusion

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tdt.fusion.pieces import Vocabulary
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
    fusions : tuple of (Fusion or None)
        One for every clip, or one of each; None where nothing is added.
    sequences : tuple of tuple of mappings
        Of the phrases of each, token ids → phrase.
    by_clip : bool
        Whether phrases were given by clip.
    beam : Beam or None
        None for greedy decoding.
    """

    fusions: tuple[Fusion | None, ...]
    sequences: tuple[tuple[Mapping[tuple[int, ...], str], ...], ...]
    by_clip: bool = False
    beam: Beam | None = None

    def place(self, index: int) -> int:
        """Return which entry is that of clip `index` of the call.

        Raises
        ------
        OptionError
            Where phrases were given by clip, and there are more clips than that.
        """
        if not self.by_clip:
            return 0
        if index >= len(self.fusions):
            raise OptionError("phrases", f"a list for {len(self.fusions)} clips", f"one for clip {index + 1}, too")
        return index

    def check_count(self, clips: int) -> None:
        """Refuse phrases by clip for another number of clips.

        Raises
        ------
        OptionError
            Naming both numbers.
        """
        if self.by_clip and len(self.fusions) != clips:
            raise OptionError("phrases", f"a list for {len(self.fusions)} clips", f"one for each of the {clips} clips")


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
    given, by_clip = _listed(options.get("phrases"))
    # Once, as it looks at every piece; a tokenizer beside the model is opened for phrases alone.
    vocabulary = vocabulary_of(spec if any(given) else spec.pieces)
    models = _language_model(options.get("lm"), options.get("lm_weight"), spec)
    allowed = _allowed(options.get("script"), options.get("allowed"), vocabulary)
    beam = _beam(options.get("beam"))
    fusions = tuple(_fusion(models, phrases, allowed, vocabulary) for phrases in given)
    if beam is None and not by_clip and fusions[0] is None:
        return None
    sequences = tuple(tuple(one.sequences(vocabulary) for one in phrases) for phrases in given)
    return FusionPlan(fusions, sequences, by_clip, beam)


def _fusion(models: tuple[Any, ...], phrases: Sequence[Phrases], allowed: Any, vocabulary: Vocabulary) -> Fusion | None:
    """Return what is added for a clip; None where it is nothing, so that nothing is what it costs."""
    trees = tuple((one.automaton(vocabulary), one.weight) for one in phrases)
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


def _allowed(script: Any, allowed: Any, vocabulary: Vocabulary) -> Any:
    """Return which pieces may be emitted, bool [V], or None for all."""
    import numpy as np

    mask = np.ones(len(vocabulary), bool)
    if script is not None:
        mask &= _marked(allowed_pieces(vocabulary, script), len(vocabulary))
    if allowed is not None:
        most = len(vocabulary) - 1
        pieces = items("allowed", allowed, f"ids of pieces, numbers from 0 to {most}")
        mask &= _marked([whole_number("allowed", piece, 0, most) for piece in pieces], len(vocabulary))
    return None if mask.all() else mask


def _marked(ids: Iterable[int], size: int) -> Any:
    import numpy as np

    mask = np.zeros(size, bool)
    mask[list(ids)] = True
    return mask


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
