"""What is known beside the sound: phrases, language models, scripts; and how many hypotheses are kept.

Knows vocabularies and text. Makes automata and masks for the decoder; knows nothing of models, audio or engines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdt.doors import door

if TYPE_CHECKING:
    from tdt.fusion.beam import MOST_HYPOTHESES as MOST_HYPOTHESES
    from tdt.fusion.beam import Beam as Beam
    from tdt.fusion.corpus import read_corpus as read_corpus
    from tdt.fusion.lm_building import ESTIMATORS as ESTIMATORS
    from tdt.fusion.lm_building import build_model as build_model
    from tdt.fusion.ngram import NgramLM as NgramLM
    from tdt.fusion.phrases import Phrases as Phrases
    from tdt.fusion.phrases import as_phrases as as_phrases
    from tdt.fusion.pieces import Vocabulary as Vocabulary
    from tdt.fusion.pieces import vocabulary_of as vocabulary_of
    from tdt.fusion.plan import FusionPlan as FusionPlan
    from tdt.fusion.plan import fusion_plan as fusion_plan
    from tdt.fusion.repeating import repeats as repeats
    from tdt.fusion.scripts import allowed_pieces as allowed_pieces
    from tdt.fusion.scripts import count_scripts as count_scripts

__getattr__, __all__ = door(
    __name__,
    {
        "beam": "MOST_HYPOTHESES Beam",
        "corpus": "read_corpus",
        "lm_building": "ESTIMATORS build_model",
        "ngram": "NgramLM",
        "phrases": "Phrases as_phrases",
        "pieces": "Vocabulary vocabulary_of",
        "plan": "FusionPlan fusion_plan",
        "repeating": "repeats",
        "scripts": "allowed_pieces count_scripts",
    },
)
