"""Who may ask, and how many at a time: keys, permits, and when to try again where there is none left."""

from __future__ import annotations

import hashlib
import hmac
import math
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tdt.errors import QueueFullError, ServerClosedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tdt.serving.metrics import Metrics
    from tdt.serving.settings import Settings

_LONGEST_RETRY_SECONDS = 60
# How much the newest request counts in the mean time that one takes.
_NEWEST_SHARE = 0.1


class Admission:
    """Permits and keys of one server; used by the event loop alone.

    Parameters
    ----------
    settings : Settings
    metrics : Metrics
    clock : callable, optional
        Seconds.

    Attributes
    ----------
    under_way : int
        Permits that are taken.
    closed : bool
        Whether none is given any more.
    """

    def __init__(self, settings: Settings, metrics: Metrics, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = settings.queue
        self._metrics = metrics
        self._clock = clock
        self._keys = [_digest(key) for key in settings.api_keys]
        self._mean_seconds = 0.0
        self.under_way = 0
        self.closed = True

    def allowed(self, headers: Mapping[str, str]) -> bool:
        """Say whether a request with these headers, under names in small letters, carries one of the keys."""
        scheme, _, key = headers.get("authorization", "").partition(" ")
        return not self._keys or (scheme.lower() == "bearer" and self.knows(key.strip()))

    def knows(self, key: str) -> bool:
        """Say whether this is one of the keys; it takes the same time whichever it is, and whether it is one."""
        given = _digest(key)
        return bool(sum([hmac.compare_digest(given, one) for one in self._keys]))

    def check(self) -> None:
        """Refuse what could not be taken now anyway, before its body is read.

        Raises
        ------
        QueueFullError, ServerClosedError
        """
        if self.closed:
            raise ServerClosedError
        if self.under_way >= self._most:
            raise QueueFullError(self._most, self.retry_seconds())

    @contextmanager
    def permit(self) -> Iterator[None]:
        """Hold a place among the requests under way during the block.

        Raises
        ------
        QueueFullError, ServerClosedError
            At once where there is none.
        """
        self.check()
        begun = self._clock()
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)
            took = self._clock() - begun
            share = _NEWEST_SHARE if self._mean_seconds else 1.0
            self._mean_seconds += share * (took - self._mean_seconds)

    def retry_seconds(self) -> int:
        """Return after how many whole seconds a place is likely to be free: requests end one after another."""
        return min(max(1, math.ceil(self._mean_seconds / self._most)), _LONGEST_RETRY_SECONDS)

    def _count(self, step: int) -> None:
        self.under_way += step
        self._metrics.put("tdt_requests_under_way", self.under_way)


def _digest(key: str) -> bytes:
    """Return what is compared: of one length for all keys."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
