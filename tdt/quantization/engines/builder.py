"""Parse an encoder with TensorRT-RTX, count its int8 layers, and build the engine; no GPU is needed for any of it."""

from __future__ import annotations

import importlib.metadata
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tdt.errors import EngineBuildError, MissingDependencyError
from tdt.quantization.engines.layers import LayerCount, count_layers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from types import ModuleType

    from tdt.quantization.engines.targets import Shapes

INSTALL = "pip install tensorrt-rtx-cu13-libs tensorrt-rtx-cu13-bindings"
_KEPT_MESSAGES = 400


@dataclass(frozen=True, slots=True)
class Engine:
    """A serialised engine and what is in it.

    Parameters
    ----------
    data : memoryview
        The engine.
    layers : LayerCount
        From the parsed network.
    builder : str
        Version of TensorRT-RTX.
    """

    data: Any
    layers: LayerCount
    builder: str


def tensorrt_rtx() -> ModuleType:
    """Import TensorRT-RTX.

    Raises
    ------
    MissingDependencyError
        Where its wheels are not installed.
    """
    try:
        import tensorrt_rtx_bindings
    except (ImportError, OSError) as error:
        raise MissingDependencyError("tensorrt-rtx", "Building an engine", INSTALL) from error
    return tensorrt_rtx_bindings  # type: ignore[no-any-return]


def build(
    path: Path,
    targets: Sequence[str],
    shapes: Shapes,
    n_mels: int,
    *,
    min_int8: int = 0,
    check: Callable[[LayerCount], None] | None = None,
) -> Engine:
    """Build an engine of the encoder at `path` that runs on all `targets`.

    Parameters
    ----------
    path : Path
        A float or static Q/DQ encoder.
    targets : sequence of str
        Such as ``sm_89``.
    shapes : Shapes
        What it shall take.
    n_mels : int
        Mel bands.
    min_int8 : int
        Linear layers that must be int8.
    check : callable, optional
        Is given the layer count before the building starts.

    Raises
    ------
    EngineBuildError
        Where the parser rejects the graph, fewer linear layers are int8 than asked for, or the builder fails.
    """
    trt = tensorrt_rtx()
    messages: deque[str] = deque(maxlen=_KEPT_MESSAGES)
    log = _logger(trt, messages)
    builder = trt.Builder(log)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(str(path)):
        raise EngineBuildError(_rejection(path, parser))
    layers = count_layers(network)
    if check is not None:
        check(layers)
    int8 = layers.linear.get("int8", 0)
    if int8 < min_int8:
        raise EngineBuildError(
            f"{path}: {int8} linear layers of {sum(layers.linear.values())} are int8 in the parsed network; at least "
            f"{min_int8} were asked for. Quantise the model with `tdt quantize`, or ask for fewer with --min-int8."
        )
    config = builder.create_builder_config()
    config.num_compute_capabilities = len(targets)
    for index, target in enumerate(targets):
        config.set_compute_capability(getattr(trt.ComputeCapability, target.replace("_", "").upper()), index)
    _add_profile(builder, config, network, shapes, n_mels)
    data = builder.build_serialized_network(network, config)
    if data is None:
        reason = next(reversed(messages), "no reason given")
        raise EngineBuildError(f"TensorRT-RTX cannot build an engine of {path} for {', '.join(targets)}: {reason}")
    return Engine(memoryview(data).cast("B"), layers, _version())


def _add_profile(builder: Any, config: Any, network: Any, shapes: Shapes, n_mels: int) -> None:
    profile = builder.create_optimization_profile()
    features, lengths = network.get_input(0).name, network.get_input(1).name
    least, usual, most = shapes.profile(n_mels)
    profile.set_shape(features, least[0], usual[0], most[0])
    profile.set_shape(lengths, least[1], usual[1], most[1])
    config.add_optimization_profile(profile)


def _logger(trt: ModuleType, messages: deque[str]) -> Any:
    class Quiet(trt.ILogger):  # type: ignore[name-defined,misc]
        """Keeps errors for our own message instead of printing hundreds of lines."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, text: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                messages.append(" ".join(text.split()))

    return Quiet()


def _rejection(path: Path, parser: Any) -> str:
    operators: dict[str, int] = {}
    for index in range(parser.num_errors):
        operator = parser.get_error(index).node_operator() or "?"
        operators[operator] = operators.get(operator, 0) + 1
    listed = ", ".join(f"{name} ({count})" for name, count in sorted(operators.items())) or "an unknown operator"
    advice = "Build the engine from the float32 model, or from what `tdt quantize` makes of it"
    return (
        f"TensorRT's parser rejects {path}: {listed}. Dynamically quantised files have no place on TensorRT. {advice}."
        if "DynamicQuantizeLinear" in operators
        else f"TensorRT's parser rejects {path}: {listed}. {advice}."
    )


def _version() -> str:
    for name in ("tensorrt-rtx-cu13-bindings", "tensorrt-rtx-cu12-bindings", "tensorrt-rtx"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "unknown"
