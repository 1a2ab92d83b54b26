"""The decoders that tools/bench_decode.py compares: ours, and onnx-asr's own loop on the same graph file."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tdt.decoding.greedy import OnnxEngine
from tdt.decoding.native import NativeEngine
from tdt.runtime.backend import Backend
from tdt.stages import Encoded, in_rows

if TYPE_CHECKING:
    from pathlib import Path

PEER_THREADS = (1, 2)


class Pass(NamedTuple):
    """What one pass over all clips gave."""

    seconds: float
    tokens: int
    evaluations: int
    weight_bytes: int


class Ours:
    """One of our engines on batches of B utterances."""

    def __init__(self, name: str, engine: Any, batches: list[Encoded]) -> None:
        self.name, self.engine, self.batches = name, engine, batches

    def run(self, clock: Any) -> Pass:
        tokens = evaluations = weight_bytes = 0
        started = clock()
        for batch in self.batches:
            hypotheses, _ = self.engine.decode(batch)
            tokens += sum(len(hypothesis) for hypothesis in hypotheses)
            if isinstance(self.engine, NativeEngine):
                evaluations += int(self.engine.counters[1])
                weight_bytes += self.engine.weight_bytes()
        return Pass(clock() - started, tokens, evaluations, weight_bytes)


class OnnxAsr:
    """onnx-asr's `_decoding`, given our encoder output; its own session, its own loop, no log-probabilities.

    With `spinning` its threads go on spinning after a run, as by default: then they take time from whoever comes next.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        folder: Path,
        vocabulary: int,
        threads: int,
        clips: list[Any],
        provider: str = "CPUExecutionProvider",
        *,
        spinning: bool = False,
    ) -> None:
        import onnxruntime as rt
        from onnx_asr.models.nemo import NemoConformerTdt

        options = rt.SessionOptions()
        options.intra_op_num_threads = threads
        if not spinning:
            options.add_session_config_entry("session.force_spinning_stop", "1")
        self.name, self.clips, self.evaluations = name, clips, 0
        peer = NemoConformerTdt.__new__(NemoConformerTdt)
        peer.config = json.loads((folder / "config.json").read_text())
        peer.use_low_precision = False
        peer._vocab_size, peer._blank_idx = vocabulary, vocabulary - 1
        peer._decoder_joint = rt.InferenceSession(str(path), options, providers=[provider])
        self.peer, self.bytes = peer, path.stat().st_size

    def run(self, clock: Any) -> Pass:
        tokens = 0
        started = clock()
        for clip in self.clips:
            (result,) = self.peer._decoding(clip[None], np.array([len(clip)]))
            tokens += len(result[0])
        return Pass(clock() - started, tokens, 0, 0)


def batches_of(clips: list[Any], size: int) -> list[Encoded]:
    """Group clips of like length, as `transcribe` does, and pad each group."""
    order = sorted(range(len(clips)), key=lambda index: -len(clips[index]))
    made = []
    for start in range(0, len(order), size):
        group = [clips[index] for index in order[start : start + size]]
        made.append(Encoded(in_rows(group), np.array([len(clip) for clip in group], np.int64)))
    return made


def quantised_copy(path: Path, target: Path) -> Path:
    """Make the 8-bit file as the published ones are made: quantize_dynamic with QInt8 weights."""
    if not target.is_file():
        from onnxruntime.quantization import QuantType, quantize_dynamic

        target.parent.mkdir(parents=True, exist_ok=True)
        quantize_dynamic(path, target, weight_type=QuantType.QInt8)
    return target


def our_engines(files: Any, spec: Any, int8_file: Path) -> dict[str, Any]:
    """Return our engines by name; the last one decodes the peer's own 8-bit file."""
    return {
        "native float32": NativeEngine(files, spec, weights="float32"),
        "native int8": NativeEngine(files, spec, weights="int8"),
        "native, int8 file": NativeEngine(replace(files, decoder_joint=int8_file), spec),
        "onnx float32": OnnxEngine(files, spec, Backend.parse("cpu")),
    }
