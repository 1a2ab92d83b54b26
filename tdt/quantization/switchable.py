"""One session in which each group of layers runs in float or in 8 bits, as asked run by run.

Measuring what each of a hundred groups does alone would otherwise take a hundred sessions of gigabytes. Every product
sits in an If: one branch multiplies in float, the other quantises its input and multiplies integers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdt.quantization.source import feeds_of
from tdt.surgery import ZERO_POINT, EditableGraph, wants_unsigned

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import onnx

    from tdt.quantization.pipeline import Calibrated
    from tdt.quantization.writer import QuantisedLinear
    from tdt.runtime import Backend
    from tdt.stages import Features, Float32

_FLOAT, _BOOL = 1, 9


class SwitchableEncoder:
    """An encoder whose groups of layers are switched to 8 bits one by one.

    Parameters
    ----------
    calibrated : Calibrated
        The float encoder with smoothing folded in.
    groups : mapping of str to sequence of QuantisedLinear
        What is switched together.
    backend : Backend
        Where it runs.
    threads : int, optional
        Threads inside an operator.
    """

    def __init__(
        self,
        calibrated: Calibrated,
        groups: Mapping[str, Sequence[QuantisedLinear]],
        backend: Backend,
        threads: int | None = None,
    ) -> None:
        from tdt.runtime import Session

        self._switches = {name: f"quantise/{index}" for index, name in enumerate(groups)}
        model = _switchable(calibrated.graph, groups, self._switches)
        self._session = Session(
            model.SerializeToString(),
            backend,
            threads=threads,
            external_folder=calibrated.source.folder,
            name="the switchable encoder",
        )
        self._spec = calibrated.source.spec

    def run(self, features: Features, quantised: Collection[str]) -> Float32:
        """Return the encoder's valid output ``[B, D, T']`` with the groups in `quantised` in 8 bits."""
        feeds: dict[str, Any] = feeds_of(self._session.inputs, features)
        feeds |= {switch: np.asarray(name in quantised) for name, switch in self._switches.items()}
        (out,) = self._session.run(feeds, [self._session.outputs[0].name])
        valid = self._spec.encoder_length(int(features.lengths.max()))
        return np.ascontiguousarray(out[:, :, :valid], np.float32)

    def close(self) -> None:
        """Release the session."""
        self._session.close()


def _switchable(
    source: EditableGraph, groups: Mapping[str, Sequence[QuantisedLinear]], switches: Mapping[str, str]
) -> onnx.ModelProto:
    import onnx
    from onnx import helper

    model = onnx.ModelProto()
    model.CopyFrom(source.model)
    graph = EditableGraph(model)
    for name, layers in groups.items():
        model.graph.input.append(helper.make_tensor_value_info(switches[name], _BOOL, []))
        for layer in layers:
            product = graph.producers[layer.linear.node]
            output = layer.linear.node
            product.output[0] = graph.fresh(f"{output}/float")
            branches = {
                "then_branch": _integer_branch(layer, f"{output}/integer"),
                "else_branch": _float_branch(layer, product.output[0]),
            }
            graph.add("If", [switches[name]], output, outputs=[output], **branches)
    graph.reindex()
    graph.finish()
    return model


def _float_branch(layer: QuantisedLinear, output: str) -> onnx.GraphProto:
    from onnx import helper

    node = helper.make_node("MatMul", [layer.linear.source, layer.linear.weight], [output])
    return helper.make_graph([node], f"{output}/graph", [], [helper.make_tensor_value_info(output, _FLOAT, None)])


def _integer_branch(layer: QuantisedLinear, output: str) -> onnx.GraphProto:
    from onnx import helper, numpy_helper

    offset = layer.grid.offset
    zero = np.asarray(ZERO_POINT - offset, np.uint8) if wants_unsigned() else np.asarray(-offset, np.int8)
    constants = {
        "scale": np.asarray(layer.grid.scale, np.float32),
        "zero": zero,
        "values": layer.weight.values,
        "scales": layer.weight.scales,
        "zeros": np.zeros(len(layer.weight.scales), np.int8),
    }
    names = {key: f"{output}/{key}" for key in constants}
    inner = {key: f"{output}/{key}" for key in ("quantized", "dequantized", "weight")}
    pair = [names["scale"], names["zero"]]
    nodes = [
        helper.make_node("QuantizeLinear", [layer.linear.source, *pair], [inner["quantized"]]),
        helper.make_node("DequantizeLinear", [inner["quantized"], *pair], [inner["dequantized"]]),
        helper.make_node(
            "DequantizeLinear", [names["values"], names["scales"], names["zeros"]], [inner["weight"]], axis=1
        ),
        helper.make_node("MatMul", [inner["dequantized"], inner["weight"]], [output]),
    ]
    initializers = [numpy_helper.from_array(value, names[key]) for key, value in constants.items()]
    ports = [helper.make_tensor_value_info(output, _FLOAT, None)]
    return helper.make_graph(nodes, f"{output}/graph", [], ports, initializers)
