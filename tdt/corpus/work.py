"""What a worker does with a shard: the same wherever it runs, and the same bytes each time."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tdt.corpus.columns import OWN_KEYS, error_of
from tdt.corpus.readers import items_of
from tdt.corpus.rendering import as_jsonl, as_parquet
from tdt.errors import AudioNotFoundError, StorageGoneError, TdtError
from tdt.failures import outcome
from tdt.timeline import NULL, STAGES, Timeline

if TYPE_CHECKING:
    from tdt.corpus.shards import Shard
    from tdt.corpus.transcriber import Transcriber

FORMATS = ("jsonl", "parquet")
# A shard of so many items none of which is there speaks of its storage.
_TELLING_ITEMS = 16


@dataclass(frozen=True, slots=True)
class Settings:
    """What decides what is written, apart from the input.

    Parameters
    ----------
    options : dict
        For :class:`~tdt.corpus.Transcriber`.
    format : {"jsonl", "parquet"}
    column : str, optional
        Audio column of Parquet inputs.
    schema : dict
        For Parquet output: the columns that the input's keys become, and their types.
    """

    options: dict[str, Any] = field(default_factory=dict)
    format: str = "jsonl"
    column: str | None = None
    schema: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Report:
    """A shard that is done, or why it cannot be.

    Parameters
    ----------
    number : int
        The shard's.
    identity : str
        Of its pack.
    payload : bytes
        Its file.
    items : int
    errors : dict of str to int
        Items that failed, by type.
    audio_seconds : float
        Of what was recognised.
    seconds : float
        That the worker was busy with it.
    stages : dict of str to float
        Seconds by stage.
    failure : TdtError, optional
        Why nothing of it was done.
    """

    number: int
    identity: str
    payload: bytes = b""
    items: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    audio_seconds: float = 0.0
    seconds: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)
    failure: TdtError | None = None


class Worker:
    """Does shards with one loaded model.

    Parameters
    ----------
    settings : Settings
    threads : int, optional
        Inside each stage; no part of the settings, as it changes nothing that is written.
    """

    def __init__(self, settings: Settings, threads: int | None = None) -> None:
        from tdt.corpus.transcriber import Transcriber

        self._settings = settings
        self._transcriber: Transcriber = Transcriber(**settings.options, threads=threads)
        self._transcriber.recognizer.warmup()
        # On a card, recording the stages would run them one after another.
        self._timed = str(settings.options.get("provider", "cpu")).startswith("cpu")

    def __call__(self, shard: Shard) -> Report:
        """Do a shard; an item that fails is a line with its error, and what fails the whole is told in the report."""
        done = outcome(lambda: self._done(shard), f"shard {shard.number}")
        if isinstance(done, TdtError):
            return Report(shard.number, shard.pack.identity(), failure=done)
        return done

    def _done(self, shard: Shard) -> Report:
        began, opener = time.perf_counter(), self._transcriber.opener
        opener.seconds = 0.0
        timeline = Timeline() if self._timed else None
        lines: list[dict[str, Any]] = []
        errors: Counter[str] = Counter()
        missing, first, audio_seconds = 0, "", 0.0
        items = items_of(shard.pack, self._settings.column)
        for item, result in self._transcriber.results(items, NULL if timeline is None else timeline):
            if isinstance(result, TdtError):
                told = error_of(result)
                errors[type(result).__name__] += 1
                missing += isinstance(result, AudioNotFoundError)
                first = first or str(result)
            else:
                told = self._transcriber.told(result)
                audio_seconds += result.audio_seconds
            lines.append({key: value for key, value in item.line.items() if key not in OWN_KEYS} | told)
        if missing == len(lines) >= _TELLING_ITEMS:
            raise StorageGoneError(missing, first)
        stages = _stages(timeline) | {"read": opener.seconds}
        render = time.perf_counter()
        payload = (
            as_jsonl(lines)
            if self._settings.format == "jsonl"
            else as_parquet(lines, self._settings.schema, self._transcriber.detail)
        )
        stages["render"] = time.perf_counter() - render
        took = time.perf_counter() - began
        rest = (audio_seconds, took, {name: round(value, 4) for name, value in stages.items()})
        return Report(shard.number, shard.pack.identity(), payload, len(lines), dict(errors), *rest)


def _stages(timeline: Timeline | None) -> dict[str, float]:
    """Return seconds by stage, without reading, which goes on in threads beside them."""
    if timeline is None:
        return {}
    seconds: Counter[str] = Counter()
    for span in timeline.spans:
        seconds[span.name] += span.self_ns / 1e9  # type: ignore[assignment]
    for tally in timeline.tallies:
        seconds[tally.name] += tally.total_ns / 1e9  # type: ignore[assignment]
    return {name: float(seconds[name]) for name in STAGES if seconds[name] and name != "read"}
