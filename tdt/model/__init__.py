"""A folder or a name becomes the files and numbers of a model.

Knows the published layouts, the hub and what graphs say about themselves. Opens no session and loads no weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdt.doors import door

if TYPE_CHECKING:
    from tdt.model.finding import FoundModel as FoundModel
    from tdt.model.finding import find_model as find_model
    from tdt.model.finding import inspect_model as inspect_model
    from tdt.model.inspection import describe as describe
    from tdt.model.inspection import render as render
    from tdt.model.precisions import without_precision as without_precision
    from tdt.model.sidecar import SIDECAR as SIDECAR
    from tdt.model.sidecar import SIDECAR_FORMAT as SIDECAR_FORMAT
    from tdt.model.sidecar import read_sidecar as read_sidecar

__getattr__, __all__ = door(
    __name__,
    {
        "finding": "FoundModel find_model inspect_model",
        "inspection": "describe render",
        "precisions": "without_precision",
        "sidecar": "SIDECAR SIDECAR_FORMAT read_sidecar",
    },
)
