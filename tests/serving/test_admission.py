"""Permits and keys."""

from __future__ import annotations

import hmac

import pytest

from tdt.errors import QueueFullError, ServerClosedError
from tdt.serving import Settings
from tdt.serving.admission import Admission
from tdt.serving.metrics import Metrics


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def opened(clock: Clock | None = None, **settings: object) -> tuple[Admission, Metrics]:
    metrics = Metrics()
    admission = Admission(Settings(**settings), metrics, clock or Clock())  # type: ignore[arg-type]
    admission.closed = False
    return admission, metrics


def test_one_more_than_the_queue_is_refused_at_once_and_places_come_back() -> None:
    admission, metrics = opened(queue=2)
    with admission.permit(), admission.permit():
        assert metrics.value("tdt_requests_under_way") == 2
        with pytest.raises(QueueFullError, match="2 requests are under way"), admission.permit():
            pass
        with pytest.raises(QueueFullError):
            admission.check()
    assert admission.under_way == 0
    admission.check()


def test_a_place_comes_back_where_the_work_fails() -> None:
    admission, _ = opened(queue=1)
    with pytest.raises(ZeroDivisionError), admission.permit():
        raise ZeroDivisionError
    assert admission.under_way == 0


@pytest.mark.parametrize(("took", "queue", "expected"), [(0.0, 4, 1), (1.0, 4, 1), (30.0, 4, 8), (9000.0, 4, 60)])
def test_when_to_try_again_is_when_a_place_is_likely_to_be_free(took: float, queue: int, expected: int) -> None:
    clock = Clock()
    admission, _ = opened(clock, queue=queue)
    for _ in range(50):
        with admission.permit():
            clock.now += took
    assert admission.retry_seconds() == expected


def test_a_closed_server_takes_nothing() -> None:
    admission, _ = opened()
    admission.closed = True
    with pytest.raises(ServerClosedError), admission.permit():
        pass


@pytest.mark.parametrize(
    ("header", "welcome"),
    [
        ("Bearer one", True), ("bearer two", True), ("Bearer  two ", True), ("Bearer three", False), ("Bearer", False),
        ("one", False), ("Basic one", False), ("", False), ("Bearer onetwo", False), ("Bearer ÿ\udce9", False),
    ],
)  # fmt: skip
def test_keys(header: str, welcome: bool) -> None:
    admission, _ = opened(api_keys=("one", "two"))
    assert admission.allowed({"authorization": header}) is welcome


def test_without_keys_everybody_is_welcome() -> None:
    admission, _ = opened()
    assert admission.allowed({})


def test_all_keys_are_compared_whichever_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    real = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda one, other: compared.append(len(one)) or real(one, other))
    admission, _ = opened(api_keys=("one", "two", "three"))
    assert admission.knows("one")
    assert not admission.knows("a much longer text than any of the keys")
    assert compared == [32] * 6
