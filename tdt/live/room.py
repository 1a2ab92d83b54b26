"""Live streams that come and go, in lockstep: whoever has a window now shares a run with all others who have one."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from tdt.checks import Bounds, whole_number
from tdt.errors import OptionError, TdtError
from tdt.failures import outcome
from tdt.lifetime import Closing
from tdt.live.steps import NAME
from tdt.live.stream import LiveStream
from tdt.live.turns import take_turn

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from tdt.live.updates import Update

Answer: TypeAlias = "list[Update] | TdtError"
Store: TypeAlias = "Callable[[LiveStream], None]"

_MOST = Bounds(1, 4096, "streams")


class LiveRoom(Closing):
    """A place where live streams share their runs, that each may join and leave at any time.

    Each stream says what it says alone, whoever is there beside it. Streams of one recogniser share runs, whatever
    their rates and contexts; those with phrases or a language model of their own run by themselves. What goes wrong
    with one costs no other anything. One thread at a time may use a room. It is a context manager.

    Parameters
    ----------
    most : int, optional
        Streams to a run; more take several. By default all that are ready; on a card in equal runs of eight or more,
        the encoder a run ahead of decoding.

    Raises
    ------
    OptionError

    Examples
    --------
    >>> import numpy as np, tdt
    >>> from tdt.live import LiveRoom
    >>> asr = tdt.load()
    >>> with LiveRoom() as room:
    ...     first, second = room.join(asr.live(latency=2)), room.join(asr.live(latency=4))
    ...     answers = room.step({first: np.zeros(48000, np.float32)}, ending=[second])
    ...     room.leave(second)
    ...     (answers[first], answers[second], len(room))
    ([], [], 1)
    """

    def __init__(self, most: int | None = None) -> None:
        self._most = None if most is None else whole_number("most", most, *_MOST)
        self._streams: dict[LiveStream, None] = {}

    def __len__(self) -> int:
        return len(self._streams)

    def __iter__(self) -> Iterator[LiveStream]:
        return iter(tuple(self._streams))

    def join(self, stream: LiveStream) -> LiveStream:
        """Let a stream in, as it stands; return it.

        Parameters
        ----------
        stream : LiveStream
            Of :meth:`tdt.Recognizer.live`.

        Raises
        ------
        OptionError
            It is no live stream.
        """
        if not isinstance(stream, LiveStream):
            raise OptionError("stream", f"an object of type {type(stream).__name__}", "a stream of Recognizer.live()")
        self._streams[stream] = None
        return stream

    def leave(self, stream: LiveStream) -> None:
        """Let a stream go as it stands; it may go on by itself. One that is not here leaves nothing."""
        self._streams.pop(stream, None)

    def step(self, blocks: Mapping[LiveStream, Any], ending: Collection[LiveStream] = ()) -> dict[LiveStream, Answer]:
        """Take the next block of some streams, then the end of some; return what has become known of each of them.

        Parameters
        ----------
        blocks : mapping of LiveStream to array
            As :meth:`LiveStream.push` takes them.
        ending : collection of LiveStream
            Those that nothing follows for, after their block where they have one; they remain here until they leave.

        Returns
        -------
        dict of LiveStream to (list of Update) or TdtError
            One entry for each stream that was named: the error where its block was refused or its run failed. A stream
            whose last block is refused does not end.

        Raises
        ------
        OptionError
            One of them is not here.
        ClosedError
            The recogniser of one has been closed; nothing has been taken.
        """
        for stream in (*blocks, *ending):
            if stream not in self._streams:
                raise OptionError("stream", "a stream that is not in this room", "one that has joined it")
        ends = frozenset(ending)
        stores = {
            stream: partial(_store, block=blocks.get(stream), ends=stream in ends)
            for stream in dict.fromkeys((*blocks, *ending))
        }
        return together(stores, ends, self._most)

    def close(self) -> None:
        """Let the rest of all streams go."""
        for stream in self._streams:
            stream.close()
        self._streams.clear()


def together(
    stores: Mapping[LiveStream, Store], ending: Collection[LiveStream], most: int | None = None
) -> dict[LiveStream, Answer]:
    """Store something for each stream, work as long as one has a window, and conclude those that end.

    Parameters
    ----------
    stores : mapping of LiveStream to callable
    ending : collection of LiveStream
        Those whose end is stored.
    most : int, optional
        Streams to a run.

    Raises
    ------
    ClosedError
        A recogniser has been closed.
    """
    answers: dict[LiveStream, Answer] = {}
    active: list[LiveStream] = []
    with ExitStack() as turns:
        for lifetime in {id(stream.setup.lifetime): stream.setup.lifetime for stream in stores}.values():
            turns.enter_context(lifetime.use())
        for stream, store in stores.items():
            problem = outcome(partial(_begin, turns, stream, store), NAME)
            if isinstance(problem, TdtError):
                answers[stream] = problem
            else:
                active.append(stream)
        while ready := [stream for stream in active if stream.ready()]:
            take_turn(ready, most)
        for stream in active:
            if stream in ending:
                stream.conclude()
            answers[stream] = outcome(stream.told, NAME)
    return {stream: answers[stream] for stream in stores}


def _store(stream: LiveStream, block: Any, *, ends: bool) -> None:
    if block is not None:
        stream.offer(block)
    if ends:
        stream.end()


def _begin(turns: ExitStack, stream: LiveStream, store: Store) -> None:
    turns.enter_context(stream.turn())
    store(stream)
