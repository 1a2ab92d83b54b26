#!/usr/bin/env python3
"""Time and memory of `tdt convert` on a checkpoint of the size of parakeet-tdt-0.6b-v3.

The checkpoint is made here: NeMo's names and shapes (699 tensors that count, 2.5 GB), random numbers, the pieces of the
graphs. Each run is a process of its own, begun when what was written before is on the disk.

Examples
--------
    tools/make_bench_model bench && python tools/bench_convert.py bench
"""

from __future__ import annotations

import argparse
import io
import os
import pickle
import resource
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import types
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tdt.model import inspect_model

WIDTH, LAYERS, HEADS, KERNEL, CHANNELS, HIDDEN, MELS = 1024, 24, 8, 9, 256, 640, 128
DURATIONS = 5


def encoder_shapes() -> dict[str, tuple[int, ...]]:
    """Return NeMo's names of an encoder's tensors, with their shapes."""
    found: dict[str, tuple[int, ...]] = {
        "encoder.pre_encode.out.weight": (WIDTH, CHANNELS * MELS // 8), "encoder.pre_encode.out.bias": (WIDTH,),
    }  # fmt: skip
    convolutions = {0: (1, 3), 2: (1, 3), 3: (CHANNELS, 1), 5: (1, 3), 6: (CHANNELS, 1)}
    for number, (inputs, size) in convolutions.items():
        found[f"encoder.pre_encode.conv.{number}.weight"] = (CHANNELS, inputs, size, size)
        found[f"encoder.pre_encode.conv.{number}.bias"] = (CHANNELS,)
    for layer in range(LAYERS):
        own: dict[str, tuple[int, ...]] = {}
        for norm in ("feed_forward1", "self_att", "conv", "feed_forward2", "out"):
            own |= {f"norm_{norm}.weight": (WIDTH,), f"norm_{norm}.bias": (WIDTH,)}
        for half in ("feed_forward1", "feed_forward2"):
            own |= {f"{half}.linear1.weight": (4 * WIDTH, WIDTH), f"{half}.linear2.weight": (WIDTH, 4 * WIDTH)}
        own |= {f"self_attn.linear_{name}.weight": (WIDTH, WIDTH) for name in ("q", "k", "v", "out", "pos")}
        own |= {f"self_attn.pos_bias_{name}": (HEADS, WIDTH // HEADS) for name in "uv"}
        own |= {
            "conv.pointwise_conv1.weight": (2 * WIDTH, WIDTH, 1), "conv.depthwise_conv.weight": (WIDTH, 1, KERNEL),
            "conv.pointwise_conv2.weight": (WIDTH, WIDTH, 1), "conv.batch_norm.num_batches_tracked": (),
        }  # fmt: skip
        own |= {f"conv.batch_norm.{name}": (WIDTH,) for name in ("weight", "bias", "running_mean", "running_var")}
        found |= {f"encoder.layers.{layer}.{name}": shape for name, shape in own.items()}
    return found


def decoder_shapes(pieces: int) -> dict[str, tuple[int, ...]]:
    """Return those of the prediction network and the joint; `pieces` without the blank."""
    found: dict[str, tuple[int, ...]] = {"decoder.prediction.embed.weight": (pieces + 1, HIDDEN)}
    for layer in range(2):
        for side in ("ih", "hh"):
            found[f"decoder.prediction.dec_rnn.lstm.weight_{side}_l{layer}"] = (4 * HIDDEN, HIDDEN)
            found[f"decoder.prediction.dec_rnn.lstm.bias_{side}_l{layer}"] = (4 * HIDDEN,)
    outputs = pieces + 1 + DURATIONS
    return found | {
        "joint.pred.weight": (HIDDEN, HIDDEN), "joint.pred.bias": (HIDDEN,), "joint.enc.weight": (HIDDEN, WIDTH),
        "joint.enc.bias": (HIDDEN,),
        "joint.joint_net.2.weight": (outputs, HIDDEN), "joint.joint_net.2.bias": (outputs,),
    }  # fmt: skip


def configuration(pieces: int) -> bytes:
    """Return `model_config.yaml`."""
    encoder = {
        "_target_": "nemo.collections.asr.modules.ConformerEncoder", "feat_in": MELS, "n_layers": LAYERS,
        "d_model": WIDTH, "subsampling": "dw_striding", "subsampling_factor": 8, "n_heads": HEADS,
        "subsampling_conv_channels": CHANNELS, "self_attention_model": "rel_pos", "use_bias": False,
        "conv_kernel_size": KERNEL, "conv_norm_type": "batch_norm", "xscaling": False,
    }  # fmt: skip
    values = {
        "target": "nemo.collections.asr.models.rnnt_bpe_models.EncDecRNNTBPEModel",
        "sample_rate": 16000,
        "preprocessor": {"sample_rate": 16000, "features": MELS, "normalize": "per_feature", "window_size": 0.025},
        "model_defaults": {"tdt_durations": list(range(DURATIONS)), "num_tdt_durations": DURATIONS},
        "encoder": encoder,
        "decoder": {"prednet": {"pred_hidden": HIDDEN, "pred_rnn_layers": 2}, "vocab_size": pieces},
        "joint": {"num_extra_outputs": DURATIONS, "num_classes": pieces, "jointnet": {"joint_hidden": HIDDEN}},
        "tokenizer": {"type": "bpe", "model_path": "nemo:tokenizer.model"},
        "decoding": {"model_type": "tdt", "durations": list(range(DURATIONS)), "greedy": {"max_symbols": 10}},
        "loss": {"loss_name": "tdt", "tdt_kwargs": {"durations": list(range(DURATIONS))}},
    }
    return yaml.safe_dump(values).encode()


def tokenizer(pieces: tuple[str, ...]) -> bytes:
    """Return a SentencePiece model of these pieces."""
    from sentencepiece import sentencepiece_model_pb2

    model: Any = sentencepiece_model_pb2.ModelProto()
    for place, piece in enumerate(pieces):
        model.pieces.add(piece=piece, score=-place, type=2 if piece == "<unk>" else 1)
    model.trainer_spec.vocab_size = len(pieces)
    return bytes(model.SerializeToString())


class _State(pickle.Pickler):
    """Pickles arrays as `torch.save` does tensors, by names that are never imported."""

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream, 2)
        self.storages: list[np.ndarray] = []
        self._rebuild = _foreign("torch._utils", "_rebuild_tensor_v2")
        self._kinds = {"f": _foreign("torch", "FloatStorage"), "i": _foreign("torch", "LongStorage")}

    def persistent_id(self, value: Any) -> Any:
        if not isinstance(value, _Storage):
            return None
        self.storages.append(value.array)
        return "storage", self._kinds[value.array.dtype.kind], str(len(self.storages) - 1), "cpu", value.array.size

    def reducer_override(self, value: Any) -> Any:
        if not isinstance(value, np.ndarray):
            return NotImplemented
        strides = tuple(step // value.itemsize for step in value.strides)
        return self._rebuild, (_Storage(value), 0, value.shape, strides, False, OrderedDict())


class _Storage:
    def __init__(self, array: np.ndarray) -> None:
        self.array = array


def _foreign(module: str, name: str) -> Any:
    """Return something that pickles as a name of another package."""
    made = type(name, (), {"__module__": module, "__qualname__": name})
    home = sys.modules.setdefault(module, types.ModuleType(module))
    setattr(home, name, made)
    return made


def numbers(name: str, shape: tuple[int, ...], noise: np.ndarray) -> np.ndarray:
    """Return a tensor's numbers: small, and near one where a norm divides or multiplies by them."""
    if name.endswith("num_batches_tracked"):
        return np.array(1, np.int64)
    count = int(np.prod(shape))
    values = np.resize(noise, count).reshape(shape)
    return np.abs(values) + 1 if "norm" in name and name.endswith(("weight", "running_var")) else values


def write_checkpoint(path: Path, pieces: tuple[str, ...]) -> int:
    """Write a `.nemo`; return how many tensors it has."""
    noise = np.random.default_rng(0).standard_normal(1 << 20, np.float32) * np.float32(0.02)
    shapes = encoder_shapes() | decoder_shapes(len(pieces))
    stream = io.BytesIO()
    pickler = _State(stream)
    pickler.dump(OrderedDict((name, numbers(name, shape, noise)) for name, shape in shapes.items()))
    weights = path.with_suffix(".ckpt")
    with zipfile.ZipFile(weights, "w") as archive:
        archive.writestr("model_weights/data.pkl", stream.getvalue())
        for key, array in enumerate(pickler.storages):
            archive.writestr(f"model_weights/data/{key}", array.data)
        archive.writestr("model_weights/version", "3\n")
    with tarfile.open(path, "w") as archive:
        archive.add(weights, "./model_weights.ckpt")
        for name, content in (
            ("model_config.yaml", configuration(len(pieces))),
            ("tokenizer.model", tokenizer(pieces)),
        ):
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    weights.unlink()
    return len(shapes)


def main() -> int:
    """Make the checkpoint, convert it several times, print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("graph", type=Path, help="folder of tools/make_bench_model")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where 5 GB may be written; the system's by default")
    options = parser.parse_args()
    *pieces, _ = inspect_model(options.graph).spec.pieces
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path, made = Path(folder, "large.nemo"), Path(folder, "made")
        count = write_checkpoint(path, tuple(pieces))
        print(f"{count} tensors, {path.stat().st_size / 1e9:.2f} GB", flush=True)
        seconds = []
        for _ in range(options.runs):
            shutil.rmtree(made, ignore_errors=True)
            os.sync()
            begin = time.perf_counter()
            command = [sys.executable, "-m", "tdt", "convert", path, "--graph", options.graph, "-o", made]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seconds.append(time.perf_counter() - begin)
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        print("seconds:", *(f"{value:.2f}" for value in seconds), f"median {statistics.median(seconds):.2f}")
        busy, peak = (usage.ru_utime + usage.ru_stime) / options.runs, usage.ru_maxrss * 1024 / path.stat().st_size
        print(f"of processors: {busy:.1f} s a run; peak memory {peak:.2f} x the file")
    return 0


if __name__ == "__main__":
    sys.exit(main())
