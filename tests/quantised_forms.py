"""The bundled model in the forms that people have, made with ONNX Runtime's own quantisers."""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from .parakeet_tiny import BUNDLED, OTHERS, with_metadata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ENCODER, DECODER = "encoder-model.onnx", "decoder_joint-model.onnx"
SPLIT = ("encoder.onnx", "decoder.onnx", "joiner.onnx")  # of the sherpa-onnx layout
_FILES = {ENCODER: BUNDLED / ENCODER, DECODER: BUNDLED / DECODER, SPLIT[0]: BUNDLED / ENCODER}


def source(name: str, opset: int | None = None) -> Any:
    """Return a graph of the bundled model in either layout, converted to an operator set."""
    from onnx import version_converter

    model = onnx.load(str(_FILES.get(name, OTHERS / name)))
    return model if opset is None else version_converter.convert_version(model, opset)


@contextmanager
def _silent() -> Iterator[None]:
    """Keep ONNX Runtime's quantisers from warning, of which some do by the root logger."""
    root, level = logging.getLogger(), logging.getLogger().level
    root.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(level)


def blocks(
    model: Any, bits: int, block: int, *, symmetric: bool, level: int = 0, gather: bool = False, qdq: bool = False,
    whole_channels: bool = False,
) -> Any:  # fmt: skip
    """Return a graph with its products, and with `gather` its embedding, in blocks of few bits."""
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
    from onnxruntime.quantization.quant_utils import QuantFormat

    quantizer = MatMulNBitsQuantizer(
        model,
        bits=bits,
        block_size=block,
        is_symmetric=symmetric,
        accuracy_level=level,
        quant_format=QuantFormat.QDQ if qdq else QuantFormat.QOperator,
        op_types_to_quantize=("MatMul", "Gather") if gather else ("MatMul",),
        channel_wised_quantize=whole_channels,
    )
    with _silent(), np.errstate(all="ignore"):
        quantizer.process()
    return quantizer.model.model


def half(model: Any) -> Any:
    """Return a graph in float16, its ports in float32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return convert_float_to_float16(model, keep_io_types=True)


def static(name: str, folder: Path, *, signed: bool, per_channel: bool, symmetric: bool = False) -> Any:
    """Return a graph with static Q/DQ pairs: of all operators of the decoder, of the encoder's products."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = list(_feeds(name))

        def get_next(self) -> Any:
            return self.left.pop() if self.left else None

    kind, path = QuantType.QInt8 if signed else QuantType.QUInt8, folder / f"static-{name}"
    with _silent():
        quantize_static(
            _copied(name, folder),
            str(path),
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=per_channel,
            activation_type=kind,
            weight_type=kind,
            op_types_to_quantize=["MatMul"] if name in (ENCODER, SPLIT[0]) else None,
            extra_options={"ActivationSymmetric": symmetric, "WeightSymmetric": signed},
        )
    return onnx.load(str(path))


def _copied(name: str, folder: Path) -> str:
    """Copy a graph: ONNX Runtime's quantisers write files beside the one that they read."""
    return str(shutil.copy(_FILES.get(name, OTHERS / name), folder / f"source-{name}"))


def _feeds(name: str) -> Any:
    rng = np.random.default_rng(5)
    if name in (ENCODER, SPLIT[0]):
        for _ in range(3):
            yield {"audio_signal": rng.standard_normal((1, 128, 200)).astype(np.float32), "length": np.array([200])}
        return
    for _ in range(48):
        state = np.tanh(rng.standard_normal((2, 2, 1, 160))).astype(np.float32)
        frame = {"encoder_outputs": rng.standard_normal((1, 144, 1)).astype(np.float32)}
        label = {"targets": np.array([[int(rng.integers(257))]], np.int32), "target_length": np.array([1], np.int32)}
        if name == DECODER:
            yield {**frame, **label, "input_states_1": state[0], "input_states_2": state[1]}
        elif name == SPLIT[1]:
            yield {**label, "states.1": state[0], "onnx::Slice_3": state[1]}
        else:
            yield {**frame, "decoder_outputs": state[0, :1].transpose(1, 2, 0)}


def write(folder: Path, make: Callable[[str], Any]) -> Path:
    """Write the bundled model into a new folder, with graphs that `make` returns by file name."""
    shutil.copytree(BUNDLED, folder)
    for name in (ENCODER, DECODER):
        onnx.save(make(name), str(folder / name))
    return folder


def write_split(folder: Path, make: Callable[[str], Any]) -> Path:
    """Write the bundled model into a new folder in the sherpa-onnx layout, as :func:`write` does in the other."""
    folder.mkdir(parents=True)
    shutil.copyfile(BUNDLED / "vocab.txt", folder / "tokens.txt")
    metadata = json.loads((OTHERS / "sherpa-metadata.json").read_text(encoding="utf-8"))
    for name in SPLIT:
        content = make(name).SerializeToString()
        (folder / name).write_bytes(with_metadata(content, metadata) if name == SPLIT[0] else content)
    return folder


def _dynamic(name: str, folder: Path) -> Any:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    path = folder / f"dynamic-{name}"
    with _silent():
        quantize_dynamic(_copied(name, folder), str(path), weight_type=QuantType.QInt8)
    return onnx.load(str(path))


# What the table in tools/readme/models.md calls them -> how a graph is made; the second argument is a scratch folder.
FORMS: dict[str, Callable[[str, Path], Any]] = {
    "float32": lambda name, _: source(name),
    "float16": lambda name, _: half(source(name)),
    "8 bits, dynamic (`MatMulInteger`)": _dynamic,
    "Q/DQ, int8, symmetric": lambda name, at: static(name, at, signed=True, per_channel=True, symmetric=True),
    "Q/DQ, int8, with zero points": lambda name, at: static(name, at, signed=True, per_channel=False),
    "Q/DQ, uint8": lambda name, at: static(name, at, signed=False, per_channel=False),
    "`MatMulNBits`, 8 bits": lambda name, _: blocks(source(name), 8, 32, symmetric=False),
    "`MatMulNBits`, 4 bits, with `GatherBlockQuantized`": lambda name, _: blocks(
        source(name), 4, 32, symmetric=False, gather=name in (DECODER, SPLIT[1])
    ),
    "`MatMulNBits`, accuracy level 4": lambda name, _: blocks(source(name), 4, 32, symmetric=True, level=4),
    "`MatMulNBits` in float16": lambda name, _: blocks(half(source(name)), 4, 32, symmetric=True),
    "Q/DQ of weights, int4 in whole blocks": lambda name, _: blocks(source(name, 21), 4, 16, symmetric=True, qdq=True),
    "Q/DQ of weights, uint4 in blocks": lambda name, _: blocks(source(name, 21), 4, 16, symmetric=False, qdq=True),
}
