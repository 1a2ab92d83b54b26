#!/usr/bin/env python3
"""What phrases, language models and beams cost the decode stage, as ratios to greedy decoding in the same rounds.

    tools/bench_fusion.py [--model DIR] [--encoded CACHE.npz] [--batches 1,16]

DIR is in the onnx-asr layout (tools/make_bench_model writes one in the shapes of parakeet-tdt-0.6b-v3; the bundled
model by default). Real speech goes in, the evaluation clips; their encoder output can be kept with --encoded. The
phrases are 20 000 of random pieces, the language model is one of a million n-grams of order 3.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from _decode_peers import batches_of
from bench_decode import EVAL, encoded_clips
from bench_lm import model_file

from tdt.decoding.native import NativeEngine
from tdt.fusion.beam import Beam
from tdt.fusion.ngram import NgramLM
from tdt.fusion.trie import Trie
from tdt.model.finding import find_model
from tdt.profiling.environment import describe, environment_block
from tdt.stages import Encoded, Fusion

PHRASES, NGRAMS = 20_000, 1_000_000


class Contestant(NamedTuple):
    """A way to decode, and what its time is compared with."""

    name: str
    fusion: Fusion | None = None
    beam: Beam | None = None

    def run(self, engine: NativeEngine, batches: list[Encoded]) -> tuple[float, int]:
        """Decode all batches; return seconds and tokens."""
        started, tokens = time.perf_counter(), 0
        for batch in batches:
            fusions = [self.fusion] * len(batch.lengths)
            if self.beam is None:
                tokens += sum(map(len, engine.decode(batch, fusions=fusions)[0]))
            else:
                found, _ = engine.decode_beam(batch, None, fusions, self.beam)
                tokens += sum(len(best[0].hypothesis) for best in found)
        return time.perf_counter() - started, tokens


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="model folder, onnx-asr layout (bundled model by default)")
    parser.add_argument("--audio", type=Path, default=EVAL, help="folder of speech clips (default: tests/data/eval)")
    parser.add_argument("--encoded", type=Path, help="keep encoder outputs here (.npz)")
    parser.add_argument("--batches", default="1,16", help="batch sizes")
    parser.add_argument("--clips", type=int, default=32, help="how many clips")
    parser.add_argument("--rounds", type=int, default=7, help="passes of each contestant, interleaved")
    parser.add_argument("--weights", choices=("float32", "int8"), default="float32", help="of the decoder")
    options = parser.parse_args()
    print(describe(environment_block()))
    files, spec = find_model(options.model, precision="float32")
    clips = encoded_clips(options)[0]
    clips = (clips * -(-options.clips // len(clips)))[: options.clips]
    engine = NativeEngine(files, spec, weights=options.weights)
    for size in [int(part) for part in options.batches.split(",")]:
        report(size, measured(contestants(spec.blank_id), engine, batches_of(clips, size), options.rounds))
    return 0


def contestants(pieces: int) -> list[Contestant]:
    """Return greedy decoding twice, so that the noise is seen, and what is added to it."""
    trie = Trie(pieces)
    rng = np.random.default_rng(0)
    for _ in range(PHRASES):
        trie.insert(rng.integers(1, pieces, rng.integers(2, 7)).tolist(), 1.0)
    with tempfile.TemporaryDirectory() as folder:
        lm = NgramLM.read(model_file(Path(folder), NGRAMS, 3, pieces)[0]).automaton(pieces)
    phrases, both = Fusion(((trie.freeze(), 1.0),)), Fusion(((lm, 0.3), (trie.freeze(), 1.0)))
    allowed = np.arange(pieces) % 4 != 3
    return [
        Contestant("greedy"),
        Contestant("greedy again"),
        Contestant(f"{PHRASES} phrases", phrases),
        Contestant(f"{NGRAMS} n-grams", Fusion(((lm, 0.3),))),
        Contestant("both", both),
        Contestant("three quarters of the pieces allowed", Fusion(allowed=allowed)),
        Contestant("beam 2", beam=Beam(2)),
        Contestant("beam 4", beam=Beam(4)),
        Contestant("beam 4, both", both, Beam(4)),
    ]


def measured(
    ways: list[Contestant], engine: NativeEngine, batches: list[Encoded], rounds: int
) -> dict[str, list[tuple[float, int]]]:
    """Run every way once a round; the first round warms up and is not kept."""
    results: dict[str, list[tuple[float, int]]] = {way.name: [] for way in ways}
    for number in range(rounds + 1):
        for way in ways:
            found = way.run(engine, batches)
            if number:
                results[way.name].append(found)
    return results


def report(size: int, results: dict[str, list[tuple[float, int]]]) -> None:
    """Print medians, and the medians of the ratios to greedy decoding, taken round by round."""
    base: Any = np.array([seconds for seconds, _ in results["greedy"]])
    print(f"\nB = {size}\n| way | ms | tokens | times greedy | a token |\n|---|---|---|---|---|")
    base_tokens = results["greedy"][0][1]
    for name, passes in results.items():
        seconds, tokens = np.array([each[0] for each in passes]), passes[0][1]
        ratio = float(np.median(seconds / base))
        each = ratio * base_tokens / max(1, tokens)
        print(f"| {name} | {1e3 * np.median(seconds):.1f} | {tokens} | {ratio:.3f} | {each:.3f} |")


if __name__ == "__main__":
    sys.exit(main())
