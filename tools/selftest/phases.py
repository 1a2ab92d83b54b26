"""Where the decoder's kernel spends a launch: microseconds by phase, as one thread of the first and last block sees it.

The kernel is built with GREEDY_CLOCKS for this; nothing else builds it so. Frames are random: about one token in three
frames with the bench model, as speech has.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
from common import median_seconds

from tdt.decoding import card_engine
from tdt.decoding.card_launch import Launch
from tdt.kernels.decoder import greedy_fields, greedy_layout
from tdt.model.finding import find_model
from tdt.runtime.backend import Backend
from tdt.stages import Encoded

if TYPE_CHECKING:
    from collections.abc import Sequence

PHASES = greedy_fields.PHASES
FRAMES = 125  # 10 s


class Clocked(Launch):
    """A launch that adds up what clocks said: cycles [2, PHASES], the first block's and the last's, and barriers."""

    cycles: Any = np.zeros((2, len(PHASES)), np.int64)
    barriers = 0

    def take(self, read: Any, rows: list[Any]) -> Any:
        """Take the results, and the clocks beside them."""
        begin = self._places["clock"].offset
        parts = {}
        for name in ("clocks", "report"):
            place = self._places[name]
            part = read[place.offset - begin : self._end(name) - begin]
            parts[name] = np.array(part.view(np.uint32).reshape(place.shape), np.int64)
        Clocked.cycles = Clocked.cycles + parts["clocks"]
        Clocked.barriers += int(parts["report"][greedy_fields.BARRIERS])
        return super().take(read, rows)


def clocked_engine(model: Any, provider: str, weights: Any) -> card_engine.CardEngine:
    """Return an engine whose kernel is built with GREEDY_CLOCKS."""
    plain = greedy_layout.defines
    greedy_layout.defines = lambda rows, **options: {**plain(rows, **options), "GREEDY_CLOCKS": 1}
    card_engine.Launch = Clocked  # type: ignore[misc]
    files, spec = find_model(model, precision="float32")
    return card_engine.CardEngine(files, spec, Backend.parse(provider), weights=weights)


def random_batch(batch: int, width: int) -> Encoded:
    """Return an encoder's output that says nothing."""
    rng = np.random.default_rng(batch)
    frames = rng.standard_normal((batch, FRAMES, width)).astype(np.float32)
    return Encoded(frames, np.full(batch, FRAMES, np.int64))


def table(engine: card_engine.CardEngine, batch: int, width: int, mhz: float) -> list[str]:
    """Decode a batch a few times; return lines: a phase each, microseconds a launch and a token of the longest row."""
    encoded = random_batch(batch, width)
    found: Sequence[Any] = ()

    def work() -> None:
        nonlocal found
        found = engine.decode(encoded)[0]

    seconds = median_seconds(work, rounds=5, warm=2)
    Clocked.cycles, Clocked.barriers = np.zeros((2, len(PHASES)), np.int64), 0
    work()  # more than one launch, where a row has more to say than there was room for
    counts = [len(hypothesis.token_ids) for hypothesis in found]
    cycles, total = Clocked.cycles, Clocked.cycles.sum(axis=1)
    tokens, longest = sum(counts), max(counts)
    kernel_us = total[0] / mhz
    lines = [
        f"tokens {tokens}, of the longest row {longest}; barriers {Clocked.barriers}; call {seconds * 1e3:.3f} ms",
        f"kernel {kernel_us:.1f} us: {kernel_us / max(tokens, 1):.2f} a token",
        f"  {'phase':14s} {'first block':>12s} {'last block':>12s} {'a step':>8s}",
    ]
    for place, name in enumerate(PHASES):
        first, last = cycles[:, place] / mhz
        lines.append(f"  {name.lower():14s} {first:12.1f} {last:12.1f} {first / max(longest, 1):8.2f}")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="model folder (the bundled model by default)")
    parser.add_argument("--provider", default="cuda:0")
    parser.add_argument("--batches", default="1,8,32")
    parser.add_argument("--weights", default="float32,float16")
    parser.add_argument("--mhz", type=float, default=1980.0, help="clock of the multiprocessors")
    options = parser.parse_args()
    for weights in options.weights.split(","):
        engine = clocked_engine(options.model, options.provider, weights)
        width = engine.spec.encoder_dim
        for batch in map(int, options.batches.split(",")):
            print(f"--- {weights}, batch {batch}", flush=True)
            print("\n".join(table(engine, batch, width, options.mhz)), flush=True)
        engine.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
