"""Sessions that share a lockstep: each as it would be alone, in bounded memory, and gone without a trace."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tdt.errors import DecodingError, OptionError, QueueFullError, ServerClosedError
from tdt.live import Update
from tdt.serving import live_room, live_session
from tdt.serving.live_session import LiveAsk, LiveSession, Progress

from ..live.feeding import FRAME, Watcher, audio, feed
from ..live.test_stream import TALK, summary
from .speaking import SpeakingEngine

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ASK = LiveAsk()


def play(test: Callable[[SpeakingEngine], Awaitable[None]], **settings: Any) -> None:
    async def run() -> None:
        engine = SpeakingEngine(**settings)
        async with asyncio.timeout(120):
            await test(engine)
        assert engine.live.sessions == set()
        assert engine.metrics.value("tdt_live_streams", "test") == 0

    asyncio.run(run())


async def heard(session: LiveSession) -> list[Any]:
    """Return all that is said until it is over."""
    found: list[Any] = []
    while said := await session.said():
        found += said
    return found


async def talk(engine: SpeakingEngine, samples: np.ndarray, block: int) -> Watcher:
    watcher = Watcher()
    async with await engine.live.join(ASK, "test") as session:
        hearing = asyncio.create_task(heard(session))
        for at in range(0, len(samples), block):
            await session.hear(samples[at : at + block])
            await asyncio.sleep(0)
        session.end()
        watcher.see([item for item in await hearing if isinstance(item, Update)])
        assert session.transcript is not None
        said = "".join(watcher.finals).replace(" ", "")
        assert session.transcript.text.replace(" ", "") == said
    return watcher


@pytest.mark.parametrize("block", [320, 4000, 100_000])
def test_many_who_speak_are_as_alone_and_share_runs(block: int) -> None:
    recordings = [audio([*TALK[place:], place + 1, *TALK]) for place in range(6)]

    async def test(engine: SpeakingEngine) -> None:
        watchers = await asyncio.gather(
            *[talk(engine, samples, block + 160 * n) for n, samples in enumerate(recordings)]
        )
        for watcher, samples in zip(watchers, recordings, strict=True):
            assert summary(watcher) == summary(feed(engine.setup, samples)[1])
        assert max(len(run) for run in engine.stages.runs) > 1

    play(test)


def test_a_step_takes_one_window_of_each() -> None:
    """A client that sends all at once does not hold the device for all of it."""

    async def test(engine: SpeakingEngine) -> None:
        samples = audio([3] * 40)
        await talk(engine, samples, len(samples))
        assert engine.steps >= len(engine.stages.runs) > 10

    play(test)


def test_nothing_is_run_before_there_is_a_window() -> None:
    async def test(engine: SpeakingEngine) -> None:
        async with await engine.live.join(ASK, "test") as session:
            for _ in range(49):
                await session.hear(np.zeros(FRAME // 10, np.float32))
            await asyncio.sleep(0)
            assert (engine.steps, session.stream) == (0, None)
            await session.hear(np.zeros(FRAME // 10, np.float32))
            assert any(isinstance(item, Progress) for item in await session.said())
            assert engine.steps == 1
            assert engine.metrics.value("tdt_live_streams", "test") == 1

    play(test)


def test_who_is_ahead_of_the_model_waits() -> None:
    """No more than ten seconds wait, however much is sent; and what is said is complete."""

    async def test(engine: SpeakingEngine) -> None:
        engine.gate.clear()
        most = 0
        samples = audio(TALK * 8)

        async def send(session: LiveSession) -> None:
            nonlocal most
            for at in range(0, len(samples), 1600):
                await session.hear(samples[at : at + 1600])
                most = max(most, session._waiting_samples)
            session.end()

        async with await engine.live.join(ASK, "test") as session:
            sending = asyncio.create_task(send(session))
            while session._waiting_samples <= 16_000 * live_session.WAITING_SECONDS:
                await asyncio.sleep(0)
            for _ in range(50):
                await asyncio.sleep(0)
            assert not sending.done()
            engine.gate.set()
            said = await heard(session)
            await sending
        assert most <= 16_000 * live_session.WAITING_SECONDS + 1600
        watcher = Watcher()
        watcher.see([item for item in said if isinstance(item, Update)])
        assert summary(watcher) == summary(feed(engine.setup, samples)[1])

    play(test)


def test_who_does_not_read_is_not_listened_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_session, "_MOST_UNREAD", 3)

    async def test(engine: SpeakingEngine) -> None:
        samples = audio(TALK * 8)
        async with await engine.live.join(ASK, "test") as session:

            async def send() -> None:
                for at in range(0, len(samples), 1600):
                    await session.hear(samples[at : at + 1600])
                session.end()

            sending = asyncio.create_task(send())
            while len(session._said) < 3:
                await asyncio.sleep(0.001)
            steps = engine.steps
            for _ in range(100):
                await asyncio.sleep(0)
            assert engine.steps == steps, "nothing is read, nothing is run"
            said = await heard(session)
            await sending
        watcher = Watcher()
        watcher.see([item for item in said if isinstance(item, Update)])
        assert watcher.finals == feed(engine.setup, samples)[1].finals

    play(test)


def test_who_leaves_amid_a_step_is_let_go_and_costs_no_other_anything() -> None:
    async def test(engine: SpeakingEngine) -> None:
        gone: list[weakref.ref[Any]] = []

        async def leave_early() -> None:
            async with await engine.live.join(ASK, "test") as session:
                await session.hear(audio(TALK))
                engine.gate.clear()
                while not engine.steps:
                    await asyncio.sleep(0)
                waiting = asyncio.create_task(session.said())
                await asyncio.sleep(0)
                session.leave()
                assert await waiting == []
                gone.append(weakref.ref(session))

        other = asyncio.create_task(talk(engine, audio(TALK), 1600))
        await leave_early()
        engine.gate.set()
        assert summary(await other) == summary(feed(engine.setup, audio(TALK))[1])
        while engine.live._pump is not None:
            await asyncio.sleep(0)
        assert len(engine.live._room) == 0
        gc.collect()
        assert gone[0]() is None

    play(test)


def test_who_leaves_during_the_step_of_others_is_let_go() -> None:
    async def test(engine: SpeakingEngine) -> None:
        async with await engine.live.join(ASK, "test") as leaving:
            await leaving.hear(audio([1] * 5))
            assert await leaving.said()
            assert len(engine.live._room) == 1
            engine.gate.clear()
            steps = engine.steps
            other = asyncio.create_task(talk(engine, audio(TALK), 1600))
            while engine.steps == steps:
                await asyncio.sleep(0)
        assert len(engine.live._room) == 1, "the room belongs to the step"
        engine.gate.set()
        assert (await other).finals
        while engine.live._pump is not None:
            await asyncio.sleep(0)
        assert len(engine.live._room) == 0

    play(test)


def test_one_whose_stream_fails_is_told_and_no_other() -> None:
    async def test(engine: SpeakingEngine) -> None:
        engine.stages.fails["engine"] = error = DecodingError("no numbers")
        async with await engine.live.join(ASK, "test") as session:
            other = asyncio.create_task(talk(engine, audio(TALK), 1600))
            await session.hear(np.full(8 * FRAME, 99, np.float32))
            said = await heard(session)
            assert said[-1] is session.failure is error
            await session.hear(np.zeros(16_000 * 20, np.float32))  # does not wait for what will never be
            assert (await other).finals

    play(test)


def test_a_server_that_ends_is_told() -> None:
    async def test(engine: SpeakingEngine) -> None:
        async with await engine.live.join(ASK, "test") as session:
            engine.closed = True
            await session.hear(audio(TALK))
            assert isinstance((await heard(session))[-1], ServerClosedError)
        engine.admission.closed = True
        with pytest.raises(ServerClosedError):
            await engine.live.join(ASK, "test")

    play(test)


def test_a_server_that_drains_lets_all_have_the_last_words() -> None:
    async def test(engine: SpeakingEngine) -> None:
        async with await engine.live.join(ASK, "test") as session:
            await session.hear(audio(TALK))
            hearing = asyncio.create_task(heard(session))
            draining = asyncio.create_task(engine.live.drain(60))
            said = await hearing
            await session.hear(audio(TALK))
            assert not draining.done(), "it waits until the session is left"
        await draining
        watcher = Watcher()
        watcher.see([item for item in said if isinstance(item, Update)])
        assert summary(watcher) == summary(feed(engine.setup, audio(TALK))[1])
        with pytest.raises(ServerClosedError):
            await engine.live.join(ASK, "test")

    play(test)


def test_who_cannot_be_served_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_room, "MOST_SESSIONS", 1)

    async def test(engine: SpeakingEngine) -> None:
        with pytest.raises(OptionError, match="phrases"):
            await engine.live.join(LiveAsk(phrases=("☃",)), "test")
        async with await engine.live.join(ASK, "test"):
            with pytest.raises(QueueFullError):
                await engine.live.join(ASK, "test")
        async with await engine.live.join(LiveAsk(phrases=("one",)), "test") as session:
            session.end()
            await heard(session)
            assert session.transcript is not None
            assert session.transcript.text == ""

    play(test)


def test_a_thousand_who_say_nothing_cost_no_stream() -> None:
    async def test(engine: SpeakingEngine) -> None:
        sessions = [await (await engine.live.join(ASK, "test")).__aenter__() for _ in range(1000)]
        assert (await talk(engine, audio(TALK), 1600)).finals
        assert all(session.stream is None for session in sessions)
        for session in sessions:
            await session.__aexit__()

    play(test)
