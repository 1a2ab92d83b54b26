"""WebDataset's tars: files that follow each other and share a name up to its first dot are a sample.

A tar is a shard: it is read once from front to back, also from far away. Of a sample, the audio member is taken and a
JSON member gives keys; a sample with two audio members is two items.
"""

from __future__ import annotations

import json
import tarfile
from itertools import groupby
from typing import TYPE_CHECKING, Any

from tdt.audio import AUDIO_SUFFIXES
from tdt.corpus.files import open_input, size_of
from tdt.corpus.items import Item, Pack
from tdt.errors import ManifestError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tdt.corpus.shards import ShardRule

_Member = tuple[str, str, bytes]  # key, ending, content
MOST_MEMBER_BYTES = 1 << 32


def packs(path: str, rule: ShardRule) -> Iterator[Pack]:  # noqa: ARG001
    """Yield the one pack of a tar."""
    yield Pack("webdataset", path, 0, None, size=size_of(path))


def items(pack: Pack, column: str | None = None) -> Iterator[Item]:  # noqa: ARG001
    """Yield the items of a tar; where it breaks off, the last one says so.

    Raises
    ------
    AudioError
        It cannot be opened.
    """
    name = pack.path.rpartition("/")[2]
    count = 0
    with open_input(pack.path) as file:
        members = _members(file)
        samples = groupby(members, key=lambda member: member[0])
        while True:
            try:
                key, sample = next(samples)
                found = _items(name, key, list(sample))
            except StopIteration:
                return
            except (tarfile.TarError, OSError, EOFError, ValueError) as error:
                count += 1
                problem = ManifestError(name, f"the tar breaks off behind {count - 1} samples ({error})", count)
                yield Item(f"{name}, its end", {"__key__": ""}, problem=problem)
                return
            count += 1
            yield from found


def count(path: str) -> int:
    """Return how many audio members a tar holds, by its headers."""
    with open_input(path) as file, tarfile.open(fileobj=file, mode="r:") as tar:
        return sum(member.isfile() and _ending(member.name)[1] in AUDIO_SUFFIXES for member in tar)


def _members(file: Any) -> Iterator[_Member]:
    with tarfile.open(fileobj=file, mode="r|") as tar:
        for member in tar:
            tar.members = []  # type: ignore[attr-defined]  # else it remembers all of them
            if not member.isfile():
                continue
            key, ending = _ending(member.name)
            if member.size > MOST_MEMBER_BYTES:
                raise ValueError(f"{member.name} holds {member.size} bytes")
            content = tar.extractfile(member)
            yield key, ending, b"" if content is None else content.read()


def _ending(name: str) -> tuple[str, str]:
    """Return a member's key and its ending, both as WebDataset has them: the first dot of the last part divides."""
    folder, slash, base = name.rpartition("/")
    stem, dot, ending = base.partition(".")
    return folder + slash + stem, (dot + ending).lower()


def _items(tar: str, key: str, members: list[_Member]) -> list[Item]:
    line: dict[str, Any] = {"__key__": key}
    problem = None
    for _, ending, content in members:
        if ending != ".json":
            continue
        try:
            line = json.loads(content) | line
        except (ValueError, TypeError, RecursionError):
            problem = ManifestError(tar, f"the JSON of sample {key} is no object")
    found = [
        Item(f"{tar}, {key}{ending}", line, content, problem=problem)
        for _, ending, content in members
        if "." + ending.rpartition(".")[2] in AUDIO_SUFFIXES
    ]
    silent = ManifestError(tar, f"sample {key} has no audio, but {', '.join(ending for _, ending, _ in members)}")
    return found or [Item(f"{tar}, {key}", line, problem=silent)]
