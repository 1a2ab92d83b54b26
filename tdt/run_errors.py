"""What goes wrong while a model runs: providers, cards, graphs, numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdt.error_root import TdtError

if TYPE_CHECKING:
    from collections.abc import Sequence


class ProviderError(TdtError, RuntimeError):
    """An execution provider cannot do what was asked; nothing falls back silently."""


class DeviceMemoryError(ProviderError, MemoryError):
    """A card has too little memory left, at load or for a run; nothing else is wrong.

    Parameters
    ----------
    what : str
        What was being done, or what for.
    provider : str
    asked_bytes, free_bytes, total_bytes : int
        What was asked for last, and what the card has; 0 where unknown.
    loading : bool
        Whether a model was being loaded.

    Attributes
    ----------
    asked_bytes, free_bytes, total_bytes : int
        As given.
    """

    def __init__(
        self, what: str, provider: str, asked_bytes: int, free_bytes: int, total_bytes: int, *, loading: bool = False
    ) -> None:
        self.asked_bytes, self.free_bytes, self.total_bytes = asked_bytes, free_bytes, total_bytes
        asked = f"{_size(asked_bytes)} more asked for" if asked_bytes else "the size asked for is not known"
        free = f"{_size(free_bytes)} of {_size(total_bytes)} free" if total_bytes else "what is free is not known"
        remedy = (
            "End what else uses the card, or take another card, a quantised model, weights of half precision or the cpu"
            if loading
            else "Pass shorter clips or fewer at once (batch_size=), or end what else uses the card"
        )
        limit = "; raise memory=, which may be the limit" if ",memory=" in provider else ""
        super().__init__(f"{what} does not fit into the memory of {provider}: {asked}, {free}. {remedy}{limit}.")


def _size(count: int) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 2**28 else f"{count / 2**20:.1f} MiB"


class RunError(TdtError, RuntimeError):
    """A graph that loaded fails when it runs."""

    def __init__(self, graph: str, provider: str, problem: str) -> None:
        super().__init__(
            f"{graph} failed on {provider}: {problem}. Out of memory: pass shorter clips or a smaller batch. "
            "Otherwise the file contradicts itself: download it again, or check it with `tdt inspect`."
        )


class UnexpectedError(TdtError, RuntimeError):
    """Something failed that nothing here foresaw; `__cause__` is what it was."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(
            f"{name} could not be transcribed: {problem}. Other inputs are not touched by it; the logger `tdt` tells "
            "more at debug level."
        )


class DecodingError(TdtError, ArithmeticError):
    """The networks produced numbers that cannot be decoded (NaN logits)."""


class TranscriptionError(TdtError, RuntimeError):
    """Some inputs of a list failed; the others are done.

    Attributes
    ----------
    results : list
        One entry an input: its transcript, or the error that stopped it.
    """

    def __init__(self, results: Sequence[object]) -> None:
        self.results = list(results)
        failed = [(index, item) for index, item in enumerate(self.results) if isinstance(item, BaseException)]
        first = f"; the first, number {failed[0][0]}: {failed[0][1]}" if failed else "."
        super().__init__(
            f"{len(failed)} of {len(self.results)} inputs failed{first} "
            "The others are done: see .results, or pass errors='return'."
        )


class LiveStreamError(TdtError, RuntimeError):
    """A live stream is used as it cannot be."""


class StreamFinishedError(LiveStreamError):
    """A live stream was given audio after its end."""

    def __init__(self) -> None:
        super().__init__("This live stream has been finished, and takes no more audio. Open another one: asr.live().")


class StreamBusyError(LiveStreamError):
    """Two threads use one live stream at the same time."""

    def __init__(self) -> None:
        super().__init__(
            "This live stream is being used by another thread; one call at a time was expected, in the order of the "
            "audio. Push from one thread, or put a lock around it."
        )
