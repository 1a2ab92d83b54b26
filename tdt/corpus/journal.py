"""What a run has done, line by line: the text of `_progress.jsonl`, without any file.

The first line is the fingerprint: all that decides what is written, apart from the input. Then a line for each start,
and one for each shard, added when its file has its name. A last line that was not finished does not count.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = "_progress.jsonl"
VERSION = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """A shard that is done; `at` is when, in seconds since the run was last started."""

    shard: int
    id: str
    file: str
    bytes: int
    items: int
    errors: dict[str, int]
    audio_seconds: float
    seconds: float
    stages: dict[str, float]
    at: float


@dataclass(slots=True)
class Journal:
    """What a journal says.

    Parameters
    ----------
    fingerprint : dict or None
        None where there is no journal.
    done : dict of int to Entry
        By shard.
    walls : list of float
        Seconds that each start has lasted, up to its last shard.
    """

    fingerprint: dict[str, Any] | None = None
    done: dict[int, Entry] = field(default_factory=dict)
    walls: list[float] = field(default_factory=list)

    def add(self, entry: Entry) -> None:
        """Take up a shard."""
        self.done[entry.shard] = entry
        self.walls = self.walls or [0.0]
        self.walls[-1] = max(self.walls[-1], entry.at)


def read(data: bytes) -> Journal:
    """Return what a journal says; lines that are none are passed over: their shards are done again."""
    journal = Journal()
    for line in data.split(b"\n")[:-1]:
        try:
            value = json.loads(line)
            if "fingerprint" in value:
                journal.fingerprint = dict(value["fingerprint"])
            elif "start" in value:
                journal.walls.append(0.0)
            else:
                journal.add(Entry(**value))
        except (ValueError, TypeError, KeyError):
            continue
    return journal


def first_line(fingerprint: Mapping[str, Any]) -> bytes:
    """Return the line that a journal begins with."""
    return _line({"version": VERSION, "fingerprint": dict(fingerprint)})


def start_line(number: int) -> bytes:
    """Return the line of a start."""
    return _line({"start": number})


def entry_line(entry: Entry) -> bytes:
    """Return the line of a shard."""
    return _line(asdict(entry))


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=True).encode() + b"\n"


def difference(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    """Return in which values two fingerprints differ, or "".

    Examples
    --------
    >>> difference({"detail": "text", "model": "ab"}, {"detail": "words", "model": "ab"})
    'detail was "text" and is "words"'
    """
    gone = "not there"

    def shown(values: Mapping[str, Any], key: str) -> str:
        return json.dumps(values[key]) if key in values else gone

    plain = json.loads(json.dumps(dict(ours)))
    keys = [key for key in {**theirs, **plain} if theirs.get(key, gone) != plain.get(key, gone)]
    return ", ".join(f"{key} was {shown(theirs, key)} and is {shown(plain, key)}" for key in keys)
