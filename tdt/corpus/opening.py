"""Sound of items opened ahead of the recogniser, in threads, in order, by a bounded distance."""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from tdt.audio import Opened, Part, open_source
from tdt.corpus.files import confined, is_address, open_input
from tdt.errors import TdtError
from tdt.failures import outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tdt.corpus.items import Item
    from tdt.errors import AudioTailError

THREADS = 2
# As many as the recogniser takes for its batches on a CPU. Longer ones than a window are opened only.
AHEAD = 32


class Ready(NamedTuple):
    """An item with its sound, or why there is none; and where the sound breaks off, if it does."""

    item: Item
    sound: Opened | TdtError
    tail: AudioTailError | None = None


@dataclass(slots=True)
class Opener:
    """Opens items.

    Parameters
    ----------
    limit_samples : int
        16 kHz samples that are decoded at once; of what is longer, only the beginning.
    channel : int, optional
    root : str, optional
        Folder outside of which nothing is opened that a manifest names.
    seconds : float
        What opening and decoding has taken so far, over all threads.
    """

    limit_samples: int
    channel: int | None = None
    root: str | None = None
    seconds: float = 0.0

    def ahead(self, items: Iterable[Item]) -> Iterator[Ready]:
        """Yield the items in order, the next ones being opened meanwhile."""
        line: deque[tuple[Item, object]] = deque()
        pool = ThreadPoolExecutor(THREADS, thread_name_prefix="tdt-corpus")
        try:
            for item in items:
                line.append((item, pool.submit(self.open, item)))
                if len(line) > AHEAD:
                    yield line.popleft()[1].result()  # type: ignore[attr-defined]
            while line:
                yield line.popleft()[1].result()  # type: ignore[attr-defined]
        finally:
            pool.shutdown(cancel_futures=True)

    def open(self, item: Item) -> Ready:
        """Open one item; whatever goes wrong is its own."""
        began = time.perf_counter()
        opened = outcome(lambda: self._open(item), item.name, "reading")
        self.seconds += time.perf_counter() - began
        return Ready(item, opened) if isinstance(opened, TdtError) else opened

    def _open(self, item: Item) -> Ready:
        if item.problem is not None:
            return Ready(item, item.problem)
        source = item.source
        if isinstance(source, str):
            if self.root is not None and not item.trusted:
                confined(source, self.root)
            if is_address(source):
                with open_input(source) as file:
                    source = file.read()
        part = Part(item.offset, item.duration)
        opened = open_source(source, self.limit_samples, channel=self.channel, part=part, name=item.name)
        if opened.long:
            return Ready(item, opened)
        audio, tail = opened.load()
        return Ready(item, Opened(None, audio=audio), tail)
