"""An ONNX file as it lies on disk: its graph, ports, operators and where its weights are, the weights unread.

Knows bytes, protobuf and paths. Knows nothing of speech, of models made of several graphs, or of ONNX Runtime.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdt.doors import door

if TYPE_CHECKING:
    from tdt.onnxfile.content import read_small as read_small
    from tdt.onnxfile.content import size_of as size_of
    from tdt.onnxfile.external import external_locations as external_locations
    from tdt.onnxfile.forms import WeightForm as WeightForm
    from tdt.onnxfile.forms import weight_forms as weight_forms
    from tdt.onnxfile.graph import GraphInfo as GraphInfo
    from tdt.onnxfile.graph import Quantization as Quantization
    from tdt.onnxfile.graph import read_graph as read_graph
    from tdt.onnxfile.graph_parts import Port as Port
    from tdt.onnxfile.layers import Walker as Walker
    from tdt.onnxfile.loading import load_model as load_model
    from tdt.onnxfile.loading import without_links as without_links
    from tdt.onnxfile.roundings import BLOCK_LEVELS as BLOCK_LEVELS
    from tdt.onnxfile.roundings import BlockRounding as BlockRounding
    from tdt.onnxfile.roundings import Rounding as Rounding
    from tdt.onnxfile.roundings import Step as Step
    from tdt.onnxfile.roundings import rounded as rounded
    from tdt.onnxfile.walk import MALFORMED as MALFORMED
    from tdt.onnxfile.walk import Linear as Linear
    from tdt.onnxfile.walk import Matrix as Matrix
    from tdt.onnxfile.walk import StructureError as StructureError

__getattr__, __all__ = door(
    __name__,
    {
        "content": "read_small size_of",
        "external": "external_locations",
        "forms": "WeightForm weight_forms",
        "graph": "GraphInfo Quantization read_graph",
        "graph_parts": "Port",
        "layers": "Walker",
        "loading": "load_model without_links",
        "roundings": "BLOCK_LEVELS BlockRounding Rounding Step rounded",
        "walk": "MALFORMED Linear Matrix StructureError",
    },
)
