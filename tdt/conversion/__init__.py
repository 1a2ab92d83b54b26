"""Checkpoints without torch: NeMo's and Transformers' weights put into published graphs, and one layout into the other.

Knows archives, pickles of tensors, and whose weight is whose. Knows nothing of the command line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdt.doors import door

if TYPE_CHECKING:
    from tdt.conversion.pipeline import LAYOUTS as LAYOUTS
    from tdt.conversion.pipeline import Converted as Converted
    from tdt.conversion.pipeline import convert as convert

__getattr__, __all__ = door(__name__, {"pipeline": "Converted LAYOUTS convert"})
