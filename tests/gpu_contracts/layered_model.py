"""An encoder of the published 0.6B's depth, with the bundled one's widths: its eight layers three times over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx

from tdt.onnxfile import load_model
from tdt.surgery.editing import EditableGraph

if TYPE_CHECKING:
    from pathlib import Path

_BEFORE, _LAYERS = "/pre_encode/out/Add_output_0", 8


def write_layered(source: Path, target: Path, times: int = 3) -> Path:
    """Write the encoder `source` with all its layers `times` over; the copies share their weights."""
    model = load_model(source)
    graph = EditableGraph(model)
    last = graph.producers["outputs"]
    assert last.op_type == "Transpose"
    layers = _behind(graph, _BEFORE) - {id(last)}
    nodes = [node for node in model.graph.node if id(node) in layers]
    made = {name for node in nodes for name in node.output}
    end = last.input[0]
    for copy in range(1, times):
        for node in nodes:
            twin = model.graph.node.add()
            twin.CopyFrom(node)
            twin.name = f"{node.name}/{copy}"
            twin.input[:] = [_twin(name, end, made, copy) for name in node.input]
            twin.output[:] = [f"{name}/{copy}" for name in node.output]
        end = f"{last.input[0]}/{copy}"
    last.input[0] = end
    graph.reindex()
    graph.finish()
    assert sum(node.op_type == "Conv" for node in model.graph.node) == 5 + 3 * _LAYERS * times
    onnx.save(model, target)
    return target


def _twin(name: str, end: str, made: set[str], copy: int) -> str:
    if name == _BEFORE:
        return end
    return f"{name}/{copy}" if name in made else name


def _behind(graph: EditableGraph, name: str) -> set[int]:
    """Nodes that depend on the numbers of a value; what is made of its shape alone, the masks, all layers share."""
    found: set[int] = set()
    names = [name]
    while names:
        at = names.pop()
        for node in graph.consumers.get(at, []):
            if id(node) not in found and not (at == name and node.op_type == "Shape"):
                found.add(id(node))
                names.extend(node.output)
    return found
