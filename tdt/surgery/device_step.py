"""One step of greedy decoding as a single graph: prediction network, joint over a few frames, and the TDT rule.

Everything that a step changes goes in and comes out as tensors, so that a device runs steps back to back without asking
the host. The prediction network runs first in each step, from the state before the last label: where the step before
emitted nothing that repeats the same numbers, and no mask is needed.

    projected [B, T, J], lengths [B], time, last_time, repeats, label [B], hidden, cell [L, B, H]
      -> time_out, last_time_out, repeats_out, label_out, hidden_out, cell_out, record [B, 8]

Times are int64. The record holds, as float32 (exact below 2**24): emitted, token, frame, duration, log-probability,
power sum, not finite, still running.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdt.surgery.joint_head import REDUCE_AXES_AS_INPUT
from tdt.surgery.networks import cut_decoder
from tdt.surgery.unrolled_lstm import unroll_lstm

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx

    from tdt.spec import ModelFiles, ModelSpec

EMITTED, TOKEN, FRAME, DURATION, LOGPROB, POWER_SUM, NOT_FINITE, RUNNING = range(8)
RECORD_COLUMNS = 8
COUNTERS = ("time", "last_time", "repeats", "label")
STATES = ("hidden", "cell")


def step_graph(files: ModelFiles, spec: ModelSpec, window: int) -> bytes:
    """Build the step.

    Parameters
    ----------
    files : ModelFiles
    spec : ModelSpec
    window : int
        Frames that the joint looks at in a step; the results do not depend on it.

    Raises
    ------
    ModelError
        As :func:`tdt.surgery.networks.cut_decoder` does.
    """
    import onnx
    from onnx import helper

    networks = cut_decoder(files, spec)
    predictor = _prefixed(unroll_lstm(onnx.load_from_string(networks.predictor)), "predictor/")
    joint = _prefixed(onnx.load_from_string(networks.joint), "joint/")
    label_type = predictor.graph.input[0].type.tensor_type.elem_type
    build = _Builder()
    build.node("Cast", ["label"], "label_cast", to=label_type)
    build.node("Unsqueeze", ["label_cast", build.integers("axis_one", [1])], "predictor/label")
    build.node("Identity", ["hidden"], "predictor/hidden")
    build.node("Identity", ["cell"], "predictor/cell")
    _windows(build, window)
    build.node("Identity", ["predictor/prediction"], "joint/prediction")
    _walk(build, spec, window)
    _advance(build, spec, window)
    _first_of_equals(build, joint, {"joint/head/token": len(spec.pieces), "joint/head/duration": len(spec.durations)})
    nodes = _ordered([*build.nodes, *predictor.graph.node, *joint.graph.node])
    weights = [*build.constants, *predictor.graph.initializer, *joint.graph.initializer]
    inputs = [_port("projected", ["B", "T", "J"]), _port("lengths", ["B"], 7)]
    inputs += [_port(name, ["B"], 7) for name in COUNTERS]
    state: list[int | str] = [spec.predictor_layers, "B", spec.predictor_hidden]
    inputs += [_port(name, state) for name in STATES]
    outputs = [_port(f"{name}_out", ["B"], 7) for name in COUNTERS] + [_port(f"{name}_out", state) for name in STATES]
    graph = helper.make_graph(nodes, "step", inputs, [*outputs, _port("record", ["B", RECORD_COLUMNS])], weights)
    opsets = {entry.domain: entry.version for entry in (*predictor.opset_import, *joint.opset_import)}
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid(domain, version) for domain, version in opsets.items()],
        ir_version=joint.ir_version,
    )
    return bytes(model.SerializeToString())


class _Builder:
    """Collects nodes and constants."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def node(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add a node of one output and return that name."""
        from onnx import helper

        self.nodes.append(helper.make_node(operator, list(inputs), [output], name=f"rule/{output}", **attributes))
        return output

    def integers(self, name: str, values: Any) -> str:
        """Add an int64 constant and return its name."""
        from onnx import numpy_helper

        full = f"constant/{name}"
        if all(tensor.name != full for tensor in self.constants):
            self.constants.append(numpy_helper.from_array(np.array(values, np.int64), full))
        return full


def _first_of_equals(build: _Builder, joint: onnx.ModelProto, sizes: Mapping[str, int]) -> None:
    """Say each ArgMax of the joint by comparisons, in place: the first of equal logits, wherever it runs.

    CUDA's is cuDNN's reduction with indices, which leaves open which of equal values it names. Where no logit equals
    the largest (NaN), the last index stands, so that nothing is read beyond a table.
    """
    from onnx import helper, numpy_helper

    axes_as_input = {entry.domain: entry.version for entry in joint.opset_import}[""] >= REDUCE_AXES_AS_INPUT
    last = build.integers("last_axis", [2])
    for chosen in [node for node in joint.graph.node if node.op_type == "ArgMax"]:
        joint.graph.node.remove(chosen)
        logits, name = chosen.input[0], chosen.output[0]
        places = np.arange(sizes[name], dtype=np.float32)  # exact up to 2^24
        build.constants.append(numpy_helper.from_array(places, f"{name}/places"))
        build.constants.append(numpy_helper.from_array(places[-1:], f"{name}/end"))
        for operator, source, output in (
            ("ReduceMax", logits, "largest"),
            ("ReduceMin", f"{name}/candidates", "first"),
        ):
            axes: dict[str, Any] = {} if axes_as_input else {"axes": [2]}
            inputs = [source, last] if axes_as_input else [source]
            build.nodes.append(helper.make_node(operator, inputs, [f"{name}/{output}"], keepdims=1, **axes))
        build.node("Equal", [logits, f"{name}/largest"], f"{name}/equal")
        build.node("Where", [f"{name}/equal", f"{name}/places", f"{name}/end"], f"{name}/candidates")
        build.node("Cast", [f"{name}/first"], name, to=7)


def _windows(build: _Builder, window: int) -> None:
    """Gather the next frames of each utterance; beyond its end the last frame stands."""
    build.node("Unsqueeze", ["time", build.integers("axis_one", [1])], "time_column")
    build.node("Add", ["time_column", build.integers("offsets", np.arange(window)[None])], "frames_wanted")
    build.node("Sub", ["lengths", build.integers("one", 1)], "last_frame")
    build.node("Unsqueeze", ["last_frame", build.integers("axis_one", [1])], "last_column")
    build.node("Min", ["frames_wanted", "last_column"], "frames_low")
    build.node("Max", ["frames_low", build.integers("zero", 0)], "frames_there")
    build.node("Unsqueeze", ["frames_there", build.integers("axis_two", [2])], "frame_index")
    build.node("GatherND", ["projected", "frame_index"], "joint/window", batch_dims=1)
    build.node("Unsqueeze", ["lengths", build.integers("axis_one", [1])], "lengths_column")
    build.node("Less", ["frames_wanted", "lengths_column"], "valid")


def _walk(build: _Builder, spec: ModelSpec, window: int) -> None:
    """Find the position of each utterance's next token in its window: blanks move on, the first token stops."""
    node, integers = build.node, build.integers
    node("Gather", ["joint/choices", integers("zero", 0)], "tokens", axis=2)
    node("Gather", ["joint/choices", integers("one", 1)], "duration_index", axis=2)
    node("Gather", [integers("durations", spec.durations), "duration_index"], "durations_all")
    node("Equal", ["tokens", integers("blank", spec.blank_id)], "is_blank")
    node("And", ["is_blank", "valid"], "moves")
    node("Cast", ["moves"], "moves_number", to=7)
    node("Max", ["durations_all", integers("one", 1)], "durations_moved")
    node("Mul", ["durations_moved", "moves_number"], "blank_steps")
    node("Gather", ["joint/scores", integers("two", 2)], "magnitude", axis=2)
    node("Sub", ["magnitude", "magnitude"], "zero_or_nan")  # infinity minus itself is NaN as well
    node("IsNaN", ["zero_or_nan"], "broken")
    node("And", ["broken", "valid"], "broken_valid")
    position = node("Sub", ["time", "time"], "position_0")
    bad = ""
    for index in range(window):
        at = integers(f"index_{index}", index)
        here = node("Equal", [position, at], f"here_{index}")
        broken = node("Gather", ["broken_valid", at], f"broken_{index}", axis=1)
        found = node("And", [here, broken], f"bad_{index}")
        bad = node("Or", [bad, found], f"bad_until_{index}") if bad else found
        number = node("Cast", [here], f"here_number_{index}", to=7)
        step = node("Gather", ["blank_steps", at], f"step_{index}", axis=1)
        move = node("Mul", [number, step], f"move_{index}")
        position = node("Add", [position, move], f"position_{index + 1}")
    node("Identity", [bad], "bad")
    node("Identity", [position], "position")


def _advance(build: _Builder, spec: ModelSpec, window: int) -> None:
    """Work out the emission at the position, and the clock, label and states after it."""
    node, integers = build.node, build.integers
    node("Min", ["position", integers("window_last", window - 1)], "inside")
    node("Unsqueeze", ["inside", integers("axis_one", [1])], "inside_column")
    for source, picked in (("tokens", "token"), ("durations_all", "duration")):
        node("GatherElements", [source, "inside_column"], f"{picked}_column", axis=1)
        node("Squeeze", [f"{picked}_column", integers("axis_one", [1])], picked)
    node("GatherND", ["joint/scores", "inside_column"], "score", batch_dims=1)
    node("Add", ["time", "position"], "frame")
    node("Less", ["frame", "lengths"], "frame_valid")
    node("Less", ["position", integers("window_size", window)], "in_window")
    node("Equal", ["token", integers("blank", spec.blank_id)], "blank_there")
    node("Not", ["blank_there"], "token_there")
    node("And", ["frame_valid", "in_window"], "may_emit")
    node("And", ["may_emit", "token_there"], "emitted")
    node("Equal", ["last_time", "frame"], "same_frame")
    node("Cast", ["same_frame"], "same_number", to=7)
    node("Mul", ["repeats", "same_number"], "repeats_kept")
    node("Add", ["repeats_kept", integers("one", 1)], "repeats_new")
    node("Equal", ["duration", integers("zero", 0)], "stays")
    node("Less", [integers("cap", _cap(spec) - 1), "repeats_new"], "too_many")
    node("And", ["stays", "too_many"], "forced")
    node("Cast", ["forced"], "forced_number", to=7)
    node("Add", ["duration", "forced_number"], "token_step")
    node("Cast", ["emitted"], "emitted_number", to=7)
    node("Mul", ["token_step", "emitted_number"], "clock_step")
    node("Add", ["frame", "clock_step"], "time_out")
    node("Where", ["emitted", "frame", "last_time"], "last_time_out")
    node("Where", ["emitted", "repeats_new", "repeats"], "repeats_out")
    node("Where", ["emitted", "token", "label"], "label_out")
    node("Unsqueeze", ["emitted", integers("axes_state", [0, 2])], "emitted_state")
    node("Where", ["emitted_state", "predictor/next_hidden", "hidden"], "hidden_out")
    node("Where", ["emitted_state", "predictor/next_cell", "cell"], "cell_out")
    node("Less", ["time_out", "lengths"], "running")
    columns = []
    for name in ("emitted", "token", "frame", "duration", "bad", "running"):
        node("Cast", [name], f"{name}_float", to=1)
        columns.append(node("Unsqueeze", [f"{name}_float", integers("axis_one", [1])], f"{name}_entry"))
    node("Slice", ["score", integers("from_0", [0]), integers("to_2", [2]), integers("axis_one", [1])], "score_entries")
    node("Concat", [*columns[:4], "score_entries", *columns[4:]], "record", axis=1)


def _cap(spec: ModelSpec) -> int:
    """Return the number of tokens at one frame that forces the clock on; without a cap, one never reached."""
    return spec.max_symbols if spec.max_symbols > 0 else np.iinfo(np.int32).max


def _prefixed(model: onnx.ModelProto, prefix: str) -> onnx.ModelProto:
    from onnx import compose

    return compose.add_prefix(model, prefix)


def _ordered(nodes: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Sort nodes so that each follows what it needs."""
    producers = {name: index for index, node in enumerate(nodes) for name in node.output if name}
    order: list[onnx.NodeProto] = []
    state = [0] * len(nodes)

    def visit(index: int) -> None:
        if state[index]:
            return
        state[index] = 1
        for name in nodes[index].input:
            if name in producers:
                visit(producers[name])
        order.append(nodes[index])

    for index in range(len(nodes)):
        visit(index)
    return order


def _port(name: str, shape: Sequence[int | str], element_type: int = 1) -> onnx.ValueInfoProto:
    from onnx import helper

    return helper.make_tensor_value_info(name, element_type, list(shape))
