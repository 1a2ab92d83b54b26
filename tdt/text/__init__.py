"""From token pieces to text: words, segments, seconds; txt, json, srt and vtt; output files that grow.

Knows hypotheses and vocabularies. Knows nothing of audio, graphs or how the tokens came about.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdt.doors import door

if TYPE_CHECKING:
    from tdt.text.confidence import Confidence as Confidence
    from tdt.text.confidence import ConfidenceLike as ConfidenceLike
    from tdt.text.confidence import confidence_of as confidence_of
    from tdt.text.detokenizer import Detokenizer as Detokenizer
    from tdt.text.hypothesis_check import check_hypothesis as check_hypothesis
    from tdt.text.references import read_rows as read_rows
    from tdt.text.references import read_text as read_text
    from tdt.text.render import FORMATS as FORMATS
    from tdt.text.render import as_dict as as_dict
    from tdt.text.render import readable_name as readable_name
    from tdt.text.render import rounded as rounded
    from tdt.text.segmenting import Segmenter as Segmenter
    from tdt.text.segmenting import merged as merged
    from tdt.text.transcript import SEGMENT_SEPARATORS as SEGMENT_SEPARATORS
    from tdt.text.transcript import Gap as Gap
    from tdt.text.transcript import Segment as Segment
    from tdt.text.transcript import Token as Token
    from tdt.text.transcript import Transcript as Transcript
    from tdt.text.transcript import Word as Word
    from tdt.text.transcript import build as build
    from tdt.text.writers import ConsoleWriter as ConsoleWriter
    from tdt.text.writers import FileWriter as FileWriter
    from tdt.text.writers import growing as growing

__getattr__, __all__ = door(
    __name__,
    {
        "confidence": "Confidence ConfidenceLike confidence_of",
        "detokenizer": "Detokenizer",
        "hypothesis_check": "check_hypothesis",
        "references": "read_rows read_text",
        "render": "FORMATS as_dict readable_name rounded",
        "segmenting": "Segmenter merged",
        "transcript": "SEGMENT_SEPARATORS Gap Segment Token Transcript Word build",
        "writers": "ConsoleWriter FileWriter growing",
    },
)
