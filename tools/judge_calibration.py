#!/usr/bin/env python
"""Judge calibration methods and SmoothQuant: on a model, and on a copy with planted outlier channels.

    tools/judge_calibration.py MODEL --audio RECORDINGS --references transcripts.tsv

Every other recording calibrates; the rest is judged, words on the recordings and tokens on four noisy copies too. The
copy computes the same function: a few channels of every layer norm's output are enlarged, as large transformers have
them, and the matrices that read them shrink to match. A method deserves to be a default where it beats plain min-max
on either without losing on the other.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

# method, smoothquant, centre
METHODS = [
    ("minmax", "off", False), ("percentile", "off", False), ("mse", "off", False), ("entropy", "off", False),
    ("minmax", "off", True), ("minmax", "auto", True), ("minmax", "search", True), ("minmax", "0.5", True),
    ("percentile", "search", True), ("mse", "search", True),
]  # fmt: skip


def plant_outliers(source: Path, target: Path, factor: float, channels: int) -> None:
    """Write a copy of the encoder whose layer norms have outlier channels and whose function is the same."""
    import onnx

    from tdt.onnxfile import load_model
    from tdt.quantization.parts import DEFAULT_PARTS, find_linears
    from tdt.surgery.editing import EditableGraph
    from tdt.surgery.prepare import prepare_encoder

    model = load_model(source)
    prepare_encoder(model)
    graph = EditableGraph(model)
    readers: dict[str, list[str]] = {}
    for linear in find_linears(graph):
        maker = graph.producers.get(linear.source)
        if linear.part in DEFAULT_PARTS and maker is not None and maker.op_type == "LayerNormalization":
            readers.setdefault(linear.source, []).append(linear.weight)
    rng = np.random.default_rng(0)
    for norm, weights in readers.items():
        scale = np.ones(graph.weight(weights[0]).shape[0], np.float32)
        chosen = rng.choice(len(scale), channels, replace=False)
        scale[chosen] = factor * rng.uniform(0.5, 1.5, channels)
        for name in graph.producers[norm].input[1:]:
            graph.add_constant(name, graph.weight(name) * scale, exact_name=True)
        for name in weights:
            graph.add_constant(name, graph.weight(name) / scale[:, None], exact_name=True)
    onnx.save_model(model, str(target))


def perturbed(clips: list[np.ndarray], copies: int = 4) -> list[np.ndarray]:
    """Return copies with other gain, start and a little noise: tokens at the edge fall to both sides often enough."""
    rng = np.random.default_rng(7)
    made = []
    for clip in clips:
        for _ in range(copies):
            silence = np.zeros(int(rng.integers(0, 1200)), np.float32)
            loudness = np.sqrt(np.mean(clip**2)) * 10 ** (-rng.uniform(28, 45) / 20)
            noise = rng.standard_normal(len(silence) + len(clip)).astype(np.float32) * loudness
            noisy = (np.concatenate([silence, clip]) + noise).astype(np.float32)
            made.append(noisy * np.float32(rng.uniform(0.6, 1.5)))
    return made


def judge(
    model: Path, calibration: list[Path], tests: list[Path], references: dict[Path, str]
) -> list[dict[str, object]]:
    from tdt.audio.loading import load_audio
    from tdt.quantization.agreement import tokens_equal
    from tdt.quantization.comparison import Variant, compare
    from tdt.quantization.pipeline import quantize
    from tdt.quantization.recipe import Recipe
    from tdt.quantization.scoring import error_rates, simple_normalizer

    plain = [load_audio(path).samples for path in tests]
    samples = [*plain, *perturbed(plain)]
    said = [simple_normalizer(references[path]) for path in tests]
    rows = []
    with tempfile.TemporaryDirectory() as work:
        for number, (method, smooth, centre) in enumerate(METHODS):
            sys.stderr.write(f"{model.name}: {method}, smoothquant {smooth}\n")
            folder = Path(work) / str(number)
            made = quantize(model, calibration, folder, Recipe(method=method, smoothquant=smooth, centre=centre))
            first, second = compare(
                [Variant(str(model), precision="float32"), Variant(str(folder))], samples, (20.0,), runs=1
            )
            length = second.lengths[0]
            texts = [[simple_normalizer(text) for text in one.texts[: len(said)]] for one in (first, second)]
            rates = [error_rates(said, heard)[0] for heard in texts]
            rows.append({
                "method": method, "smoothquant": smooth, "centre": centre, "wer": rates[1], "wer_float32": rates[0],
                "tokens_equal": tokens_equal(first.tokens, second.tokens),
                "cosine": length.cosine, "worst_cosine": length.worst_cosine, "error": length.error,
                "smoothed": sum(item["alpha"] > 0 for item in made.sidecar["smoothquant"]),
            })  # fmt: skip
    return rows


def main() -> int:
    from tdt.quantization.clips import find_audio
    from tdt.quantization.scoring import read_references

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--audio", type=Path, nargs="+", required=True)
    parser.add_argument("--references", type=Path)
    parser.add_argument("--factor", type=float, default=40.0, help="how much larger planted channels are")
    parser.add_argument("--channels", type=int, default=4, help="how many a layer norm")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    recordings = find_audio(arguments.audio)
    references = read_references(arguments.references, recordings)
    results = {}
    with tempfile.TemporaryDirectory() as work:
        planted = Path(work) / "planted"
        shutil.copytree(arguments.model, planted, ignore=shutil.ignore_patterns("encoder*"))
        plant_outliers(
            arguments.model / "encoder-model.onnx", planted / "encoder-model.onnx", arguments.factor, arguments.channels
        )
        for model in (arguments.model, planted):
            results[model.name] = judge(model, recordings[::2], recordings[1::2], references)
    for name, rows in results.items():
        print(f"\n{name} (float32 WER {100 * rows[0]['wer_float32']:.2f} %)")
        print(f"{'method':12} {'smoothquant':12} centred norms  WER %  tokens equal %  cosine   worst frame  error %")
        for row in rows:
            centred = "yes" if row["centre"] else "no"
            print(
                f"{row['method']:12} {row['smoothquant']:12} {centred:7} {row['smoothed']:5d}  {100 * row['wer']:5.2f}"
                f"  {100 * row['tokens_equal']:14.2f}  {row['cosine']:.5f}  {row['worst_cosine']:11.4f}"
                f"  {100 * row['error']:7.2f}"
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
