"""Many live streams in lockstep: whatever has a window goes through one run of the encoder and one of the decoder."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from tdt.errors import OptionError
from tdt.lifetime import Closing
from tdt.live.room import together
from tdt.live.stream import LiveStream, Setup

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from tdt.live.room import Answer, Store


class LiveBatch(Closing):
    """Several live streams that share their runs; made by :meth:`tdt.Recognizer.live_batch`.

    Each stream says what it says alone. What goes wrong with one stands in its place in the answer, and costs no other
    anything. It is a context manager.

    Parameters
    ----------
    setup : Setup
    count : int
        Streams.

    Attributes
    ----------
    streams : tuple of LiveStream
        For their `hypothesis`, `transcript` and `state`.
    """

    def __init__(self, setup: Setup, count: int) -> None:
        self._setup = setup
        self.streams = tuple(LiveStream(setup) for _ in range(count))

    def __len__(self) -> int:
        return len(self.streams)

    def push(self, blocks: Sequence[Any]) -> list[Answer]:
        """Take the next block of each stream; return what has become known of each.

        Parameters
        ----------
        blocks : sequence of array or None
            One a stream, as :meth:`LiveStream.push` takes them, of any lengths; None where nothing has come.

        Returns
        -------
        list of (list of Update) or TdtError
            One a stream: the error where its block was refused or its run failed.

        Raises
        ------
        OptionError
            Not one entry a stream.
        ClosedError
            The recogniser has been closed.
        """
        if not isinstance(blocks, (list, tuple)) or len(blocks) != len(self.streams):
            raise OptionError("blocks", blocks, f"a list of {len(self.streams)} blocks, None where nothing has come")
        return self._run([None if block is None else partial(LiveStream.offer, block=block) for block in blocks])

    def finish(self, which: Sequence[int] | None = None) -> list[Answer]:
        """Decode what remains of some streams, or of all, and close their utterances; return as :meth:`push` does.

        Parameters
        ----------
        which : sequence of int, optional
            Numbers of the streams; all by default. The others go on.

        Raises
        ------
        OptionError
            There is no such stream.
        ClosedError
            The recogniser has been closed.
        """
        ending = range(len(self.streams)) if which is None else which
        for number in ending:
            if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < len(self.streams):
                raise OptionError("which", number, f"numbers of streams, 0 to {len(self.streams) - 1}")
        chosen = set(ending)
        return self._run([LiveStream.end if place in chosen else None for place in range(len(self.streams))], chosen)

    def close(self) -> None:
        """Let the rest of all streams go."""
        for stream in self.streams:
            stream.close()

    def _run(self, stores: Sequence[Store | None], ending: Collection[int] = ()) -> list[Answer]:
        """Store something for each stream, then work as long as one has a window."""
        given = {self.streams[place]: store for place, store in enumerate(stores) if store is not None}
        with self._setup.lifetime.use():  # also where nothing is stored
            answers = together(given, frozenset(self.streams[place] for place in ending))
        return [answers.get(stream, []) for stream in self.streams]
