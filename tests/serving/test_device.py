"""The one worker of a device: order, live jobs first, cancelled jobs, its end."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from tdt.errors import ServerClosedError
from tdt.serving.device import Device

if TYPE_CHECKING:
    from collections.abc import Callable


class Batches:
    """Work that waits; each notes its name."""

    def __init__(self) -> None:
        self.line: list[Callable[[], object]] = []
        self.idle: list[bool] = []

    def wait_seconds(self, now: float, *, idle: bool) -> float | None:
        if self.line:
            self.idle.append(idle)
        return 0.0 if self.line else None

    def take(self) -> Callable[[], object]:
        return self.line.pop(0)


def held(device: Device) -> tuple[threading.Event, object]:
    """Keep the device busy until the event is set."""
    begun, go = threading.Event(), threading.Event()
    future = device.submit(lambda: (begun.set(), go.wait(10)))
    assert begun.wait(10)
    return go, future


def test_jobs_run_in_order_live_ones_first_and_batches_last() -> None:
    source, order = Batches(), []
    device = Device(source)
    go, _ = held(device)
    with device.turn:
        source.line.append(lambda: order.append("batch"))
    futures = [device.submit(lambda name=name: order.append(name), live=name.startswith("live")) for name in
               ("one", "live one", "two", "live two")]  # fmt: skip
    go.set()
    for future in futures:
        future.result(10)
    device.submit(lambda: None).result(10)
    device.close()
    assert order[:4] == ["live one", "live two", "one", "two"]


def test_what_is_cancelled_before_its_turn_does_not_run() -> None:
    device, ran = Device(Batches()), []
    go, _ = held(device)
    future = device.submit(lambda: ran.append(1))
    assert future.cancel()
    go.set()
    device.submit(lambda: None).result(10)
    device.close()
    assert ran == []


def test_an_error_is_raised_where_the_result_is_awaited() -> None:
    device = Device(Batches())

    async def ask() -> None:
        assert await device.run(lambda: 5) == 5
        with pytest.raises(ZeroDivisionError):
            await device.run(lambda: 1 / 0, live=True)

    asyncio.run(ask())
    assert device.is_alive()
    device.close()


def test_closing_lets_the_run_under_way_end_and_refuses_what_comes_then() -> None:
    device, ran = Device(Batches()), []
    go, first = held(device)
    waiting = device.submit(lambda: ran.append(1))
    closer = threading.Thread(target=device.close)
    closer.start()
    go.set()
    closer.join(10)
    assert first.done()
    assert waiting.cancelled()
    assert not device.is_alive()
    assert ran == []
    with pytest.raises(ServerClosedError):
        device.submit(lambda: None)


def test_a_batch_knows_whether_the_device_had_been_idle() -> None:
    source = Batches()
    device = Device(source)
    done = threading.Event()
    go, _ = held(device)
    with device.turn:
        source.line += [lambda: None, done.set]
        device.turn.notify_all()
    go.set()
    assert done.wait(10)
    again = threading.Event()
    threading.Event().wait(0.05)
    with device.turn:
        source.line.append(again.set)
        device.turn.notify_all()
    assert again.wait(10)
    device.close()
    assert source.idle == [False, False, True]
