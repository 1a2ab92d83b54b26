#!/usr/bin/env python3
"""Time and memory of reading a language model: ARPA text, gzip, and the mapped file beside it.

Examples
--------
    python tools/bench_lm.py                    # 10^6 n-grams of order 3 over 8192 pieces
    python tools/bench_lm.py --ngrams 3000000 --order 5
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from tdt.fusion.arpa_writing import write_arpa
from tdt.fusion.estimating import estimate

# Peak memory is that of a fresh process; the first reading loads compiled code, the least of the others counts.
READING = """
import json, resource, sys, time
from tdt.fusion import NgramLM
path, pieces, cache, runs = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "cache", int(sys.argv[4])
NgramLM.read(sys.argv[5]).automaton(pieces)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
seconds = []
for _ in range(runs):
    begin = time.perf_counter()
    made = NgramLM.read(path, cache=cache).automaton(pieces)
    seconds.append(time.perf_counter() - begin)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(json.dumps({"seconds": min(seconds), "peak_mb": peak / 1024, "states": len(made.backoffs)}))
"""


def speech(count: int, pieces: int, seed: int = 0) -> np.ndarray:
    """Return sentences of pieces whose followers are few and uneven, as those of a language are."""
    rng = np.random.default_rng(seed)
    jumps = rng.zipf(1.3, count) % 400
    ids = np.empty(count, np.int64)
    state = 0
    for place in range(count):
        state = (state * 31 + int(jumps[place]) * 7) % pieces
        ids[place] = state
    begins = rng.random(count) < 1 / 12
    begins[0] = True
    parts = np.split(ids, np.flatnonzero(begins)[1:])
    return np.concatenate([part for sentence in parts for part in ([-1], sentence, [pieces])]).astype(np.int32)


def model_file(folder: Path, ngrams: int, order: int, pieces: int) -> tuple[Path, list[int]]:
    """Write an ARPA file of about so many n-grams; return it and how many there are by order."""
    tokens = ngrams
    while True:
        model = estimate(speech(tokens, pieces), order, pieces)
        counts = [len(level.weights) for level in model.levels]
        if sum(counts) >= ngrams:
            break
        tokens = int(tokens * 1.1 * ngrams / sum(counts))
    path = folder / f"{ngrams}-{order}.arpa"
    write_arpa(path, model, pieces)
    return path, counts


def main() -> None:
    """Print one line for each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ngrams", type=int, default=1_000_000)
    parser.add_argument("--order", type=int, default=3)
    parser.add_argument("--pieces", type=int, default=8192)
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path, counts = model_file(folder, args.ngrams, args.order, args.pieces)
        small, _ = model_file(folder, 1000, args.order, args.pieces)
        packed = folder / (path.name + ".gz")
        with path.open("rb") as source, gzip.open(packed, "wb", 6) as target:
            shutil.copyfileobj(source, target)
        sys.stdout.write(f"{sum(counts)} n-grams {counts}, {path.stat().st_size / 1e6:.1f} MB of text\n")
        for label, file, cache in (("text", path, ""), ("gzip", packed, ""), ("mapped", path, "cache")):
            words = [str(file), str(args.pieces), cache, str(args.runs), str(small)]
            done = subprocess.run([sys.executable, "-c", READING, *words], check=True, capture_output=True, text=True)
            result = json.loads(done.stdout)
            sys.stdout.write(f"{label:7} {result['seconds']:6.2f} s  {result['peak_mb']:6.0f} MB more at the peak\n")


if __name__ == "__main__":
    main()
