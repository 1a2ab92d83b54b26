"""The engine over the bundled model: equal to the recogniser, alone and among many; places, ends and failures."""

from __future__ import annotations

import asyncio
import io
import threading
import time
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pytest
import soundfile

import tdt
from tdt import errors
from tdt.serving import Engine, Settings
from tdt.serving import runs as serving_runs

from ..skipping import skipping

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from tdt.stages import Features

T = TypeVar("T")
Sounds = list[bytes]


@pytest.fixture(scope="module")
def asr() -> Iterator[tdt.Recognizer]:
    with tdt.load() as recognizer:
        recognizer.warmup()
        yield recognizer


@pytest.fixture(scope="module")
def sounds(eval_folder: Path) -> Sounds:
    """Ten short clips, some of them cut shorter than a second."""
    clips = [path.read_bytes() for path in sorted(eval_folder.glob("*.flac"))[::6]]
    samples, rate_hz = soundfile.read(io.BytesIO(clips[0]), dtype="float32")
    return [*clips, wav(samples[: rate_hz // 2], rate_hz), wav(samples[: rate_hz // 3], rate_hz)]


@pytest.fixture(scope="module")
def long_sound(sounds: Sounds) -> bytes:
    """A recording longer than a window."""
    parts = []
    for sound in sounds * 4:
        samples, rate_hz = soundfile.read(io.BytesIO(sound), dtype="float32")
        parts += [samples, np.zeros(rate_hz // 2, np.float32)]
    return wav(np.concatenate(parts), rate_hz)


def wav(samples: np.ndarray, rate_hz: int = 16000) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format="WAV", subtype="PCM_16")
    return file.getvalue()


def within(asr: tdt.Recognizer, work: Callable[[Engine], Awaitable[T]], **settings: Any) -> T:
    """Run work over an engine, and see that nothing is left of it."""

    async def run() -> T:
        async with Engine(asr, Settings(**settings)) as engine:
            result = await work(engine)
            assert engine.admission.under_way == 0
        return result

    result = asyncio.run(run())
    assert own_threads() == []
    return result


async def waiting(engine: Engine, least: float) -> float:
    """Wait until so many runs wait for a device that is held; return how many do."""
    while (found := engine.metrics.value("tdt_waiting_runs")) < least:
        await asyncio.sleep(0.001)
    return found


def own_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(("tdt-serving", "tdt-ahead"))]


# --- equal ------------------------------------------------------------------------------------------------------------


def test_alone_and_among_many_a_recording_gives_what_the_recogniser_gives(
    asr: tdt.Recognizer, sounds: Sounds, long_sound: bytes
) -> None:
    everything = [*sounds, long_sound]
    wanted = [asr.transcribe(sound) for sound in everything]

    async def work(engine: Engine) -> None:
        for sound, transcript in zip(everything, wanted, strict=True):
            assert await engine.transcribe(sound) == transcript  # to the last bit, as the runs are the same
        many = await asyncio.gather(*(engine.transcribe(everything[n % len(everything)]) for n in range(64)))
        assert [found.text for found in many] == [wanted[n % len(everything)].text for n in range(64)]
        assert [found.audio_seconds for found in many] == [wanted[n % len(wanted)].audio_seconds for n in range(64)]
        batches = engine.metrics.render()
        assert 'tdt_batch_size_bucket{le="1"}' in batches

    within(asr, work)


@pytest.mark.parametrize("again", [True, False], ids=["empty", "filled"])
def test_skipped_speech_is_looked_at_again(again: bool, asr: tdt.Recognizer, sounds: Sounds, long_sound: bytes) -> None:
    """Its windows go through the shared encoder beside those that come after them."""
    with skipping(asr, [(8, 40), (200, 260)], again=again) as skipped:
        wanted = [asr.transcribe(sound) for sound in (sounds[0], long_sound)]
        looks = skipped.looks

        async def work(engine: Engine) -> list[tdt.Transcript]:
            return [await engine.transcribe(sound) for sound in (sounds[0], long_sound)]

        assert within(asr, work) == wanted
        assert skipped.looks >= 2 * looks > 0
        assert bool(wanted[1].gaps) is again


def test_parts_are_those_of_a_stream(asr: tdt.Recognizer, sounds: Sounds, long_sound: bytes) -> None:
    async def work(engine: Engine) -> None:
        for sound in (sounds[0], long_sound):
            segments = [segment async for part in engine.stream(io.BytesIO(sound)) for segment in part.segments]
            assert segments == list(asr.stream(sound))

    within(asr, work)


def test_phrases_are_those_of_their_own_request(asr: tdt.Recognizer, sounds: Sounds) -> None:
    phrases = tdt.Phrases(["xylophone"], weight=30.0)
    plain = [asr.transcribe(sound).text for sound in sounds]
    guided = [asr.transcribe(sound, phrases=phrases).text for sound in sounds]
    assert plain != guided

    async def work(engine: Engine) -> None:
        asked = [engine.transcribe(sound, phrases=phrases if n % 2 else None) for n, sound in enumerate(sounds * 3)]
        found = [transcript.text for transcript in await asyncio.gather(*asked)]
        size = len(sounds)
        assert found == [(guided if n % 2 else plain)[n % size] for n in range(3 * size)]

    within(asr, work)


def test_stereo_by_channel(asr: tdt.Recognizer, sounds: Sounds) -> None:
    samples, rate_hz = soundfile.read(io.BytesIO(sounds[0]), dtype="float32")
    both = wav(np.stack([np.zeros_like(samples), samples], axis=1), rate_hz)

    async def work(engine: Engine) -> list[str]:
        return [(await engine.transcribe(both, channel=channel)).text for channel in (0, 1, None)]

    assert within(asr, work) == [asr.transcribe(both, channel=channel).text for channel in (0, 1, None)]


# --- fair -------------------------------------------------------------------------------------------------------------


def test_a_long_recording_does_not_starve_short_ones_and_live_jobs_come_first(
    asr: tdt.Recognizer, sounds: Sounds, long_sound: bytes
) -> None:
    async def work(engine: Engine) -> None:
        ended: list[str] = []

        async def note(name: str, awaited: Awaitable[Any]) -> None:
            await awaited
            ended.append(name)

        # Held until all of them wait: which comes first is then no matter of who is faster.
        go = threading.Event()
        engine.device.submit(go.wait)
        long = asyncio.ensure_future(note("long", engine.transcribe(long_sound)))
        windows = await waiting(engine, 1)
        others = [asyncio.ensure_future(note("short", engine.transcribe(sound))) for sound in sounds[:4]]
        await waiting(engine, windows + len(others))
        others.append(asyncio.ensure_future(note("live", engine.device.run(lambda: None, live=True))))
        await asyncio.sleep(0)
        go.set()
        await asyncio.gather(*others)
        assert "long" not in ended
        assert ended[0] == "live"
        await long

    within(asr, work)


# --- refused, left, failed --------------------------------------------------------------------------------------------


def test_paths_and_addresses_are_no_data(asr: tdt.Recognizer) -> None:
    async def work(engine: Engine) -> None:
        for data in ("/etc/passwd", Path("/etc/passwd"), "http://localhost/x.wav", None):
            with pytest.raises(errors.OptionError, match="bytes or a binary file object"):
                await engine.transcribe(data)  # type: ignore[arg-type]

    within(asr, work)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", errors.AudioReadError),
        (b"no sound", errors.AudioReadError),
        (wav(np.zeros(100)), errors.AudioTooShortError),
    ],
)
def test_what_is_no_sound_is_a_typed_error_that_says_the_name(
    asr: tdt.Recognizer, data: bytes, kind: type[Exception]
) -> None:
    async def work(engine: Engine) -> None:
        with pytest.raises(kind, match="The upload"):
            await engine.transcribe(data, name="The upload")

    within(asr, work)


def test_a_recording_that_breaks_off_brings_what_was_recognised(
    asr: tdt.Recognizer, sounds: Sounds, long_sound: bytes
) -> None:
    async def work(engine: Engine) -> None:
        for sound in (sounds[0], long_sound):
            cut = sound[: int(len(sound) * 0.8)]
            with pytest.raises(errors.AudioTailError) as ours:
                await engine.transcribe(cut)
            with pytest.raises(errors.AudioTailError) as theirs:
                asr.transcribe(cut)
            assert ours.value.partial == theirs.value.partial

    within(asr, work)


def test_what_is_longer_than_allowed_is_refused_also_where_it_does_not_say_its_length(
    asr: tdt.Recognizer, sounds: Sounds, long_sound: bytes
) -> None:
    unsaid = bytearray(long_sound)
    unsaid[4:8] = unsaid[40:44] = b"\xff\xff\xff\xff"  # as a writer to a pipe leaves its sizes

    async def work(engine: Engine) -> None:
        for sound in (sounds[0], long_sound, bytes(unsaid)):
            with pytest.raises(errors.RecordingTooLongError, match="longer than 1 s"):
                await engine.transcribe(sound)
        assert (await engine.transcribe(sounds[-1])).audio_seconds < 1

    within(asr, work, max_seconds=1)


def test_phrases_that_cannot_be_listened_for_concern_their_request_alone(asr: tdt.Recognizer, sounds: Sounds) -> None:
    async def work(engine: Engine) -> None:
        good = asyncio.ensure_future(engine.transcribe(sounds[0]))
        with pytest.raises(errors.OptionError):
            await engine.transcribe(sounds[0], phrases=["漢字"])
        assert (await good).text == asr.transcribe(sounds[0]).text

    within(asr, work)


def test_a_full_queue_refuses_at_once(asr: tdt.Recognizer, sounds: Sounds) -> None:
    async def work(engine: Engine) -> None:
        asked = await asyncio.gather(*(engine.transcribe(sounds[0]) for _ in range(6)), return_exceptions=True)
        assert [type(found).__name__ for found in asked] == ["Transcript"] * 2 + ["QueueFullError"] * 4

    within(asr, work, queue=2)


@pytest.mark.parametrize("which", ["short", "long"])
def test_whoever_leaves_frees_the_place_and_costs_the_others_nothing(
    asr: tdt.Recognizer, sounds: Sounds, long_sound: bytes, which: str
) -> None:
    async def work(engine: Engine) -> None:
        asked = [asyncio.ensure_future(engine.transcribe(long_sound if which == "long" else sounds[n % len(sounds)]))
                 for n in range(12)]  # fmt: skip
        stays = asyncio.ensure_future(engine.transcribe(sounds[0]))
        await asyncio.sleep(0.02)
        for one in asked:
            one.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        assert engine.admission.under_way <= 1
        assert (await stays).text == asr.transcribe(sounds[0]).text
        assert engine.metrics.value("tdt_abandoned_total") == 12

    within(asr, work)


def test_a_stream_that_nobody_reads_on_ends(asr: tdt.Recognizer, long_sound: bytes) -> None:
    async def work(engine: Engine) -> None:
        async with aclosing(engine.stream(long_sound)) as parts:
            async for _ in parts:
                break
        assert engine.admission.under_way == 0

    within(asr, work)


def test_a_request_has_its_time(asr: tdt.Recognizer, long_sound: bytes) -> None:
    async def work(engine: Engine) -> None:
        go = threading.Event()
        blocked = engine.device.submit(go.wait)
        with pytest.raises(errors.RequestTimeoutError, match=r"0\.1 s"):
            await engine.transcribe(long_sound)
        assert engine.admission.under_way == 0
        go.set()
        await asyncio.wrap_future(blocked)

    # The check of itself has its time, too: it is short.
    async def run() -> None:
        async with Engine(asr) as engine:
            object.__setattr__(engine.settings, "timeout", 0.1)
            await work(engine)

    asyncio.run(run())


class Short:
    """An encoder on a card whose memory holds `most` clips; nothing else is different."""

    def __init__(self, inner: Any, most: int) -> None:
        self._inner, self._most = inner, most
        self.sizes: list[int] = []

    def encode_for_decoding(self, features: Features, *rest: Any, **more: Any) -> Any:
        self.sizes.append(len(features.lengths))
        if len(features.lengths) > self._most:
            raise errors.DeviceMemoryError("A batch", "cuda:0", 5, 3, 10)
        return self._inner.encode_for_decoding(features, *rest, **more)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


@pytest.mark.parametrize(("most", "fails"), [(4, False), (2, True)])
def test_what_does_not_fit_the_card_is_halved_once_and_then_refused(
    asr: tdt.Recognizer, sounds: Sounds, most: int, fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(engine: Engine) -> None:
        short = Short(asr._stages.encoder, most)
        monkeypatch.setattr(engine._scheduled, "_stages", _with_encoder(asr._stages, short))
        go = threading.Event()
        engine.device.submit(go.wait)
        asked = [asyncio.ensure_future(engine.transcribe(sounds[0])) for _ in range(8)]
        await waiting(engine, 8)
        go.set()
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert short.sizes == [8, 4, 4]
        if fails:
            assert {type(one) for one in found} == {errors.DeviceMemoryError}
        else:
            assert {one.text for one in found} == {asr.transcribe(sounds[0]).text}

    within(asr, work)


def _with_encoder(stages: Any, encoder: Any) -> Any:
    from dataclasses import replace

    return replace(stages, encoder=encoder)


@pytest.mark.parametrize("stage", ["encode", "decode"])
def test_one_clip_that_fails_costs_no_other_its_result(
    asr: tdt.Recognizer, sounds: Sounds, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples, rate_hz = soundfile.read(io.BytesIO(sounds[0]), dtype="float32")
    bad = wav(samples[: -rate_hz // 5], rate_hz)
    lengths = {"encode": (len(samples) - rate_hz // 5) // 160, "decode": len(samples) - rate_hz // 5}

    async def work(engine: Engine) -> None:
        real = getattr(engine._scheduled, stage)

        def failing(first: Any, *rest: Any, **more: Any) -> Any:
            found = [len(row.samples) if stage == "decode" else int(row.lengths[0]) for row in first]
            if lengths[stage] in found:
                raise errors.DecodingError("NaN")
            return real(first, *rest, **more)

        monkeypatch.setattr(engine._scheduled, stage, failing)
        go = threading.Event()
        engine.device.submit(go.wait)
        asked = [asyncio.ensure_future(engine.transcribe(sound)) for sound in (bad, sounds[0], bad, sounds[0])]
        await waiting(engine, len(asked))
        go.set()
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(one).__name__ for one in found] == ["DecodingError", "Transcript"] * 2

    within(asr, work)


# --- beginning and ending ---------------------------------------------------------------------------------------------


def test_closing_lets_requests_be_done_and_takes_no_more(
    asr: tdt.Recognizer, sounds: Sounds, long_sound: bytes
) -> None:
    async def run() -> None:
        engine = Engine(asr)
        await engine.start()
        assert engine.healthy
        asked = [asyncio.ensure_future(engine.transcribe(sound)) for sound in (long_sound, *sounds)]
        await asyncio.sleep(0.02)
        await engine.close()
        assert not engine.healthy
        assert [(await one).text for one in asked] == [asr.transcribe(sound).text for sound in (long_sound, *sounds)]
        with pytest.raises(errors.ServerClosedError):
            await engine.transcribe(sounds[0])

    asyncio.run(run())


def test_closing_without_waiting_ends_requests_with_an_error(asr: tdt.Recognizer, long_sound: bytes) -> None:
    async def run() -> None:
        engine = Engine(asr)
        await engine.start()
        asked = [asyncio.ensure_future(engine.transcribe(long_sound)) for _ in range(3)]
        await asyncio.sleep(0.05)
        begun = time.monotonic()
        await engine.close(drain=False)
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert time.monotonic() - begun < 10
        assert all(isinstance(one, (tdt.TdtError, asyncio.CancelledError)) for one in found)

    asyncio.run(run())


def test_an_engine_that_says_something_else_than_the_recogniser_does_not_start(
    asr: tdt.Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = serving_runs.Runs._transcripts
    monkeypatch.setattr(serving_runs.Runs, "_transcripts", lambda *given: [tdt.Transcript("wrong", (), (), (), 4.025)
                                                                           for _ in real(*given)])  # fmt: skip

    async def run() -> None:
        with pytest.raises(errors.SelfCheckError, match=r"'wrong'.*'Hello world"):
            await Engine(asr).start()

    asyncio.run(run())
    assert own_threads() == []


def test_a_closed_recogniser_cannot_be_served() -> None:
    recognizer = tdt.load()
    recognizer.close()

    async def run() -> None:
        with pytest.raises(errors.ClosedError):
            await Engine(recognizer).start()

    asyncio.run(run())


def test_an_engine_that_has_not_begun_takes_nothing(asr: tdt.Recognizer, sounds: Sounds) -> None:
    async def run() -> None:
        engine = Engine(asr)
        with pytest.raises(errors.ServerClosedError):
            await engine.transcribe(sounds[0])
        with pytest.raises(errors.ServerClosedError):
            engine.device.submit(print)

    asyncio.run(run())
