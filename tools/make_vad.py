#!/usr/bin/env python
"""Write the bundled speech detector from Silero's 16 kHz sequence model, its convolutions as matrix products.

    tools/make_vad.py ORIGINAL.onnx [OUT.onnx]

Each of the detector's frames has 4 steps: a convolution a frame keeps ONNX Runtime busy with products of 4 columns.
With steps and taps laid out, one product serves all frames of a call, and a frame costs a third. Weights and results
stay.
"""

import argparse
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tdt.longform.vad import CONTEXT_SAMPLES, FRAME_SAMPLES, MODEL_PATH

WINDOW, HOP = 256, 128
STEPS = FRAME_SAMPLES // HOP
INPUT = CONTEXT_SAMPLES + FRAME_SAMPLES


class Graph:
    """Nodes and constants under way."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def constant(self, values: object, kind: type = np.int64) -> str:
        """Return the name of a constant."""
        array = np.ascontiguousarray(values, kind)
        name = f"constant_{len(self.constants)}"
        self.constants[name] = numpy_helper.from_array(array, name)
        return name

    def add(self, kind: str, *inputs: str, outputs: tuple[str, ...] = (), **options: object) -> str:
        """Add a node and return its first output."""
        outputs = outputs or (f"{kind.lower()}_{len(self.nodes)}",)
        self.nodes.append(helper.make_node(kind, list(inputs), list(outputs), **options))
        return outputs[0]

    def cut(self, x: str, axis: int, start: int, stop: int, step: int = 1) -> str:
        """Return x[start:stop:step] along an axis."""
        return self.add("Slice", x, *(self.constant([number]) for number in (start, stop, axis, step)))

    def convolution(self, x: str, weight: np.ndarray, bias: np.ndarray, steps: int, stride: int) -> tuple[str, int]:
        """Convolve x [frames, steps, channels], zeros around, with [out, channels, 3]; return the steps out, too."""
        padded = self.add("Pad", x, self.constant([0, 1, 0, 0, 1, 0]))
        after = (steps - 1) // stride + 1
        taps = [self.cut(padded, 1, tap, tap + (after - 1) * stride + 1, stride) for tap in range(weight.shape[2])]
        laid_out = self.add("Concat", *taps, axis=2)
        matrix = weight.transpose(2, 1, 0).reshape(-1, weight.shape[0])
        product = self.add("MatMul", laid_out, self.constant(matrix, np.float32))
        return self.add("Relu", self.add("Add", product, self.constant(bias, np.float32))), after


def rewritten(original: onnx.ModelProto) -> onnx.ModelProto:
    """Return the detector with the same inputs, outputs and weights."""
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in original.graph.initializer}
    (lstm,) = (node for node in original.graph.node if node.op_type == "LSTM")
    graph = Graph()
    padded = graph.add("Pad", "input", graph.constant([0, 0, 0, (STEPS + 1) * HOP - INPUT]), mode="reflect")
    hops = graph.add("Reshape", padded, graph.constant([-1, STEPS + 1, HOP]))
    windows = graph.add("Concat", graph.cut(hops, 1, 0, STEPS), graph.cut(hops, 1, 1, STEPS + 1), axis=2)
    basis = weights["stft.forward_basis_buffer"].reshape(-1, WINDOW).T
    spectrum = graph.add("MatMul", windows, graph.constant(basis, np.float32))
    bins = basis.shape[1] // 2
    parts = [graph.cut(spectrum, 2, start, start + bins) for start in (0, bins)]
    x = graph.add("Sqrt", graph.add("Add", *(graph.add("Mul", part, part) for part in parts)))
    steps = STEPS
    for layer, stride in enumerate((1, 2, 2, 1)):
        weight, bias = weights[f"encoder.{layer}.weight"], weights[f"encoder.{layer}.bias"]
        x, steps = graph.convolution(x, weight, bias, steps, stride)
    recurrent = [graph.constant(weights[name], np.float32) for name in lstm.input[1:4]]
    hidden = graph.add("LSTM", x, *recurrent, "", "h", "c", outputs=("hidden", "hn", "cn"), hidden_size=128)
    x = graph.add("Relu", graph.add("Squeeze", hidden, graph.constant([1])))
    output = graph.add("MatMul", x, graph.constant(weights["output.weight"].reshape(1, -1).T, np.float32))
    logit = graph.add("Add", output, graph.constant(weights["output.bias"], np.float32))
    graph.add("Reshape", graph.add("Sigmoid", logit), graph.constant([-1]), outputs=("speech_probs",))
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("input", ["frames", INPUT]), ("h", [1, 1, 128]), ("c", [1, 1, 128]))
    ]
    results = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("speech_probs", ["frames"]), ("hn", [1, 1, 128]), ("cn", [1, 1, 128]))
    ]
    made = helper.make_graph(graph.nodes, "silero_vad_16k", ports, results, list(graph.constants.values()))
    opset = [helper.make_opsetid("", 16)]
    model = helper.make_model(made, ir_version=8, opset_imports=opset, producer_name="parakeet-tdt tools/make_vad.py")
    onnx.checker.check_model(model, full_check=True)
    return model


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("original", type=Path)
    parser.add_argument("out", type=Path, nargs="?", default=MODEL_PATH)
    options = parser.parse_args()
    onnx.save(rewritten(onnx.load(options.original)), options.out)
    print(f"{options.out}: {options.out.stat().st_size} bytes")
