"""One turn of many streams: who shares a run, and the encoder of one run beside the decoding of another."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from tdt.ahead import Ahead
from tdt.timeline import NULL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tdt.live.stream import LiveStream

# So many streams at least are worth a run of their own: eight windows of 14 s are 112 s of audio.
AHEAD_STREAMS = 8


def take_turn(ready: Sequence[LiveStream], most: int | None = None) -> None:
    """Take streams that have a window each one window further.

    Those whose stages are the same share runs. Where the encoder runs on a card, many streams are several runs, and
    the encoder has the next one while this one is decoded.

    Parameters
    ----------
    ready : sequence of LiveStream
    most : int, optional
        Streams to a run; all by default.
    """
    for streams in _kinds(ready):
        stepper, timeline = streams[0].setup.stepper, streams[0].setup.timeline
        # A profile runs the stages one after another, so that their times add up.
        ahead = stepper.works_ahead and timeline is NULL
        size = min(most or len(streams), _size(len(streams)) if ahead else len(streams))
        runs = [streams[first : first + size] for first in range(0, len(streams), size)]
        if not ahead or len(runs) == 1:
            for run in runs:
                stepper.advance(run, timeline)
            continue
        with closing(Ahead(map(stepper.begin, runs), 1)) as encoded:
            for begun in encoded:
                stepper.complete(begun)


def _kinds(ready: Iterable[LiveStream]) -> Iterator[list[LiveStream]]:
    """Yield streams whose stages are the same."""
    kinds: dict[tuple[object, ...], list[LiveStream]] = {}
    for stream in ready:
        step = stream.setup.stepper
        stages = (step.extractor, step.encoder, step.engine, stream.setup.timeline)
        key = (*map(id, stages), step.frame_samples, step.restart_frames)
        kinds.setdefault(key, []).append(stream)
    yield from kinds.values()


def _size(count: int) -> int:
    """Return how many of so many streams share a run, so that all runs are equal: a card plans anew for each shape."""
    runs = next(runs for runs in range(max(1, count // AHEAD_STREAMS), 0, -1) if count % runs == 0)
    return count // runs
