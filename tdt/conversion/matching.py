"""Which tensor of a checkpoint goes to which place of a graph, and that nothing is left over on either side."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from tdt.conversion.decoder_places import joint_places, predictor_places
from tdt.conversion.encoder_places import encoder_places
from tdt.conversion.tracing import Place, Tracer
from tdt.errors import CheckpointError
from tdt.onnxfile import MALFORMED, StructureError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tdt.conversion.checkpoint import Checkpoint
    from tdt.conversion.recipes import Recipe
    from tdt.conversion.tensors import StoredTensor
    from tdt.surgery import EditableGraph

    Graphs = Mapping[str, EditableGraph]

_TRANSDUCER = ("encoder.", "decoder.", "joint.")
# Counters and tables that no graph has: how often a batch norm was trained, sines of positions.
_BESIDE = (".num_batches_tracked", "encoder.pos_enc.pe")
_MOST_NAMED = 6


@dataclass(frozen=True, slots=True)
class Match:
    """What goes where.

    Parameters
    ----------
    weights : mapping of str to mapping of str to Recipe
        By the graph's role, then by initializer: what it is made of. The graphs' nodes read these initializers now.
    used, unused : tuple of str
        Tensors of the checkpoint.
    kept : mapping of str to tuple of str
        By the graph's role: constants of the graph that stay as they are, small ones left out.
    """

    weights: Mapping[str, Mapping[str, Recipe]]
    used: tuple[str, ...]
    unused: tuple[str, ...]
    kept: Mapping[str, tuple[str, ...]]


def match(checkpoint: Checkpoint, graphs: Graphs) -> Match:
    """Find the place of every tensor; nodes that shared a constant get one each.

    Parameters
    ----------
    checkpoint : Checkpoint
    graphs : mapping of str to EditableGraph
        By role; edited: a replaced weight is an initializer of its own, its numbers still the old ones.

    Raises
    ------
    CheckpointError
        Where the graphs are built in an unknown way or are of another architecture than the checkpoint: tensors are
        missing or left over, shapes differ.
    """
    try:
        places = _places(checkpoint, graphs)
    except CheckpointError:
        raise
    except (StructureError, *MALFORMED) as error:
        raise CheckpointError(
            checkpoint.path,
            f"the graphs to convert onto are built in an unknown way: {error}",
            "Take another export of the same architecture (--graph)",
        ) from error
    every = [place.recipe for role in places for place in places[role]]
    used = tuple(dict.fromkeys(name for recipe in every for name in (*recipe.names, *recipe.optional)))
    _check_tensors(checkpoint, every, used)
    weights = {role: _rewired(graphs[role], found, checkpoint) for role, found in places.items()}
    kept = {role: _kept(graph, weights[role]) for role, graph in graphs.items()}
    here = tuple(name for name in used if name in checkpoint.tensors)
    return Match(weights, here, tuple(name for name in checkpoint.tensors if name not in set(here)), kept)


def _places(checkpoint: Checkpoint, graphs: Graphs) -> dict[str, tuple[Place, ...]]:
    encoder = encoder_places(graphs["encoder"])
    joint_role = "decoder_joint" if "decoder_joint" in graphs else "joiner"
    joint = joint_places(graphs[joint_role])
    fused = joint_role == "decoder_joint"
    network = graphs[joint_role if fused else "decoder"]
    top = joint.source if fused else network.graph.output[0].name
    predictor, layers = predictor_places(network, top)
    stated = checkpoint.architecture
    for what, ours, theirs in (
        ("encoder layers", encoder.layers, stated.layers),
        ("LSTM layers in its prediction network", layers, stated.predictor_layers),
        ("scaling of the encoder's input", encoder.scaled, stated.scaled),
    ):
        if ours != theirs:
            raise _misfit(checkpoint, f"it has {theirs} {what}, the graph {ours}")
    found = {"encoder": encoder.places, joint_role: joint.places}
    found["decoder_joint" if fused else "decoder"] = (*(joint.places if fused else ()), *predictor)
    return {role: _once(places) for role, places in found.items()}


def _once(places: Sequence[Place]) -> tuple[Place, ...]:
    """Return each place once; the queries' layer is met on the way to both scores."""
    found: dict[tuple[int, int], Place] = {}
    for place in places:
        other = found.setdefault((id(place.node), place.index), place)
        if other.recipe != place.recipe:
            raise StructureError(f"one node is both {other.recipe.names[0]} and {place.recipe.names[0]}")
    return tuple(found.values())


def _check_tensors(checkpoint: Checkpoint, recipes: Sequence[Recipe], used: Sequence[str]) -> None:
    tensors = checkpoint.tensors
    needed = dict.fromkeys(name for recipe in recipes for name in recipe.names)
    missing = [name for name in needed if name not in tensors]
    if missing:
        raise _misfit(
            checkpoint,
            f"{len(missing)} of the {len(needed)} tensors that the graph needs are missing: {_listed(missing)}",
        )
    known = set(used)
    extra = [
        name
        for name, tensor in tensors.items()
        if name not in known and name.startswith(_TRANSDUCER) and not name.endswith(_BESIDE) and _matters(tensor)
    ]
    if extra:
        raise _misfit(checkpoint, f"the graph has no place for {len(extra)} of its tensors: {_listed(extra)}")
    wrong = [name for name in needed if not tensors[name].is_float]
    if wrong:
        raise CheckpointError(
            checkpoint.path, f"{_listed(wrong)} are no floating-point numbers", "Take the model's float weights"
        )


def _misfit(checkpoint: Checkpoint, problem: str) -> CheckpointError:
    return CheckpointError(
        checkpoint.path,
        f"{problem}. It says that it is {checkpoint.architecture}",
        "Take the whole checkpoint and a graph of its architecture (--graph)",
    )


def _matters(tensor: StoredTensor) -> bool:
    """Return whether leaving a tensor out changes anything: a bias of zeros does not."""
    return tensor.is_float and tensor.count > 0 and bool(tensor.values().any())


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def _rewired(graph: EditableGraph, places: Sequence[Place], checkpoint: Checkpoint) -> dict[str, Recipe]:
    """Give each place an initializer of its own, of the shape that its node takes; returns what each is made of."""
    trace = Tracer(graph)
    readers: dict[str, int] = {}
    for node in graph.graph.node:
        for name in node.input:
            readers[name] = readers.get(name, 0) + 1
    found: dict[str, Recipe] = {}
    for place in places:
        name = place.node.input[place.index]
        shape = _shape(trace, name, place, checkpoint)
        if name not in graph.initializers or readers[name] > 1 or name in found:
            name = _own(graph, name, place, shape)
        found[name] = place.recipe
    graph.reindex()
    graph.finish()
    return found


def _shape(trace: Tracer, name: str, place: Place, checkpoint: Checkpoint) -> tuple[int, ...]:
    """Return the shape of the constant at a place: that of the new weight, but for axes of one."""
    needed, there = place.recipe.shape(checkpoint.tensors), trace.shape(name)
    if there is None:  # computed from constants: an LSTM's weights stand on an axis of their own
        return (1, *needed) if place.recipe.way.startswith("gate") else needed
    plain = [tuple(size for size in shape if size != 1) for shape in (needed, there)]
    if plain[0] != plain[1] or prod(needed) != prod(there):
        raise _misfit(
            checkpoint,
            f"{' and '.join(place.recipe.names[:2])} give {list(needed)}, where the graph has {list(there)} ({name})",
        )
    return there


def _own(graph: EditableGraph, name: str, place: Place, shape: tuple[int, ...]) -> str:
    """Let one node read an initializer of its own, empty as yet, stored where the shared one is."""
    import onnx

    source, node, kind = name, graph.producers.get(name), 0
    while node is not None and source not in graph.initializers and node.input:
        kind = kind or (node.attribute[0].i if node.op_type == "Cast" else 0)
        source = node.input[0]
        node = graph.producers.get(source)
    old = graph.initializers.get(source)
    kind = kind or (onnx.TensorProto.FLOAT if old is None else old.data_type)
    tensor = onnx.TensorProto(name=graph.fresh(place.recipe.names[0]), dims=shape, data_type=kind)
    if old is not None and graph.is_external(source):
        tensor.data_location = onnx.TensorProto.EXTERNAL
    graph.add_tensor(tensor)
    place.node.input[place.index] = tensor.name
    return str(tensor.name)


def _kept(graph: EditableGraph, replaced: Mapping[str, Recipe]) -> tuple[str, ...]:
    """Return the floating-point constants that stay, with their shapes; those of a single number left out."""
    import onnx

    floats = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE, onnx.TensorProto.BFLOAT16}
    return tuple(
        f"{name} {list(tensor.dims)}"
        for name, tensor in graph.initializers.items()
        if name not in replaced and tensor.data_type in floats and prod(tensor.dims) > 1
    )
