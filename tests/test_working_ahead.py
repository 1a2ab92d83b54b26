"""Batches of short clips with the next ones under way: really at the same time, and nothing else is any different."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

import tdt
from tdt.errors import DeviceMemoryError, UnexpectedError
from tdt.pipeline import in_order
from tdt.reading import Reading
from tdt.timeline import NULL, Timeline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy as np

    from tdt.pipeline import Result, Stages
    from tdt.timeline import Recorder

PATIENCE_SECONDS = 30.0


@pytest.fixture(scope="module")
def asr() -> Iterator[tdt.Recognizer]:
    with tdt.load() as recognizer:
        yield recognizer


@pytest.fixture(scope="module")
def clips(asr: tdt.Recognizer, golden_folder: Path) -> list[np.ndarray]:
    """Nine of several lengths, one of them shorter than a second."""
    names = ("15_hello_world.flac", "06_digits_theo.flac", "08_short_0p3s.flac")
    read = [Reading().samples(golden_folder / name, NULL)[0] for name in names]
    return [samples[number * 400 :] if len(samples) > 16_000 else samples for number in range(3) for samples in read]


me = threading.current_thread


def ahead() -> int:
    """Count the threads that work ahead."""
    return sum(thread.name == "tdt-ahead" for thread in threading.enumerate())


class Watched:
    """The stages of a recogniser with something to be done before each call of one."""

    def __init__(self, stages: Stages, *, works_ahead: bool = True, **before: Callable[[Any], None]) -> None:
        self._stages, self._before = stages, before
        self.calls: list[str] = []
        self.threads: dict[str, set[str]] = {}
        self.stages = replace(stages, extractor=self.features, encoder=self, engine=self, works_ahead=works_ahead)

    def _note(self, stage: str, given: Any) -> None:
        self.calls.append(stage)
        self.threads.setdefault(stage, set()).add(me().name)
        self._before.get(stage, lambda _: None)(given)

    def features(self, batch: Any, timeline: Recorder = NULL) -> Any:
        self._note("features", batch)
        return self._stages.extractor(batch, timeline)

    def encode_for_decoding(self, features: Any, timeline: Recorder = NULL) -> Any:
        self._note("encode", features)
        return self._stages.encoder.encode_for_decoding(features, timeline)

    def decode(self, encoded: Any, states: Any = None, timeline: Recorder = NULL) -> Any:
        self._note("decode", encoded)
        return self._stages.engine.decode(encoded, states, timeline)

    def run(self, clips: list[np.ndarray], batch_size: int = 2, timeline: Recorder = NULL) -> Iterator[Result]:
        long_form = self.stages.long_form(Reading(batch_size=batch_size))
        return in_order(self.stages.results(clips, Reading(), long_form, timeline))


def test_results_and_their_order_are_the_same(asr: tdt.Recognizer, clips: list[np.ndarray]) -> None:
    places, calls = {}, {}
    for works_ahead in (False, True):
        watched = Watched(asr._stages, works_ahead=works_ahead)
        long_form = watched.stages.long_form(Reading(batch_size=2))
        places[works_ahead] = list(watched.stages.results(clips, Reading(), long_form))
        calls[works_ahead] = sorted(watched.calls)
    assert calls[True] == calls[False]
    assert places[True] == places[False]
    assert [index for index, _ in places[True]] != sorted(index for index, _ in places[True])


def test_the_next_batches_are_under_way_while_one_is_decoded(asr: tdt.Recognizer, clips: list[np.ndarray]) -> None:
    """The first decode waits for the second batch in the encoder, and for the features of the third."""
    reached = {"features": threading.Semaphore(0), "encode": threading.Semaphore(0)}
    first = threading.Event()
    met: list[bool] = []

    def decoding(_: Any) -> None:
        if not first.is_set():
            first.set()
            for stage, batches in (("encode", 2), ("features", 3)):
                met.extend(reached[stage].acquire(timeout=PATIENCE_SECONDS) for _ in range(batches))

    watched = Watched(
        asr._stages,
        decode=decoding,
        encode=lambda _: reached["encode"].release(),
        features=lambda _: reached["features"].release(),
    )
    assert len(list(watched.run(clips[:8]))) == 8  # as many as are read ahead
    assert met == [True] * 5
    assert watched.threads == {"features": {"tdt-ahead"}, "encode": {"tdt-ahead"}, "decode": {me().name}}


@pytest.mark.parametrize("stage", ["features", "encode", "decode"])
@pytest.mark.parametrize("error", [IndexError("out of bounds"), DeviceMemoryError("The encoder", "cuda:0", 1, 2, 3)])
def test_what_fails_costs_no_other_clip_its_result(
    stage: str, error: Exception, asr: tdt.Recognizer, clips: list[np.ndarray]
) -> None:
    """The clip of a third of a second among others: its batch is gone through one by one, where it fails again."""
    found: dict[bool, list[Result]] = {}
    lengths = {"features": 16_000, "encode": 100, "decode": 13}

    def failing(given: Any) -> None:
        members = [len(clip) for clip in given] if stage == "features" else given.lengths.tolist()
        if lengths[stage] in members:
            raise error

    for works_ahead in (False, True):
        watched = Watched(asr._stages, works_ahead=works_ahead, **{stage: failing})
        found[works_ahead] = list(watched.run(clips, batch_size=4))
    kinds = [type(result) for result in found[True]]
    assert kinds == [tdt.Transcript, tdt.Transcript, UnexpectedError if type(error) is IndexError else type(error)] * 3
    assert [str(result) for result in found[True]] == [str(result) for result in found[False]]


@pytest.mark.parametrize("stage", ["features", "encode", "decode"])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_comes_out_after_what_was_done(
    stage: str, kind: type[BaseException], asr: tdt.Recognizer, clips: list[np.ndarray]
) -> None:
    calls: list[int] = []

    def ending(_: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise kind

    watched = Watched(asr._stages, **{stage: ending})
    long_form = watched.stages.long_form(Reading(batch_size=2))
    done = []
    with pytest.raises(kind):
        done.extend(watched.stages.results(clips, Reading(), long_form))
    assert ahead() == 0


def test_who_stops_early_leaves_no_thread_and_can_close(clips: list[np.ndarray]) -> None:
    with tdt.load() as recognizer:
        recognizer._stages = replace(recognizer._stages, works_ahead=True)
        results = recognizer.transcribe_each(clips, batch_size=2)
        next(results)
        assert ahead() > 0
        results.close()  # type: ignore[attr-defined]
        assert ahead() == 0
    with pytest.raises(tdt.ClosedError):
        recognizer.transcribe(clips[0])


def test_a_profile_runs_the_stages_one_after_another(asr: tdt.Recognizer, clips: list[np.ndarray]) -> None:
    watched, timeline = Watched(asr._stages), Timeline()
    assert len(list(watched.run(clips[:4], timeline=timeline))) == 4
    assert watched.calls == ["features", "encode", "decode"] * 3
    assert {span.thread for span in timeline.spans} == {threading.get_ident()}


def test_on_the_cpu_nothing_works_ahead(asr: tdt.Recognizer) -> None:
    assert not asr._stages.works_ahead
