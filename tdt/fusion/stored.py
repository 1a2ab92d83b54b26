"""A language model as it lies in memory, in a file: a header, then arrays that are mapped instead of read.

    magic text with the version       another one while the file is being written
    two numbers                       tell another byte order or another kind of floats
    sizes, source, CRC-32             of the arrays; size and time of the ARPA text; the sum over all that is here
    arrays                            each at a multiple of 64 bytes, in the order of Graph

It is written aside and renamed, so that readers see it whole or not at all. Nothing in it is trusted: sizes must fill
the file exactly, the sum must be right, and :func:`~tdt.kernels.fusion.automaton.automaton` checks what is in them.
"""

from __future__ import annotations

import logging
import mmap
import os
import struct
import zlib
from typing import IO, TYPE_CHECKING, NamedTuple

import numpy as np

from tdt.errors import LanguageModelError, OptionError
from tdt.fusion.arpa import MOST_ORDERS
from tdt.fusion.backing_off import Graph
from tdt.whole_files import written_whole

if TYPE_CHECKING:
    from pathlib import Path

_FAMILY = b"tdt n-gram automaton "
MAGIC, WRITING = _FAMILY + b"1\n\0", _FAMILY + b"?\n\0"
_ORDER_TEST, _FLOAT_TEST = 0x0102030405060708, 1.5
_ALIGNMENT = 64
_HEADER = struct.Struct(f"={len(MAGIC)}sQdQQQQqII{MOST_ORDERS}Q")
_KINDS = Graph(np.int64, np.int32, np.int32, np.float32, np.int32, np.float32, np.int32, np.float32, np.float32)
_PLAIN = 9  # fields of the header before the counts
_log = logging.getLogger("tdt")


class _Header(NamedTuple):
    magic: bytes
    order_test: int
    float_test: float
    states: int
    arcs: int
    unigrams: int
    source_size: int
    source_time: int
    checksum: int
    counts: tuple[int, ...]

    def packed(self) -> bytes:
        padded = self.counts + (0,) * (MOST_ORDERS - len(self.counts))
        return _HEADER.pack(*self[:-1], len(self.counts), *padded)

    @classmethod
    def unpacked(cls, data: bytes) -> _Header:
        values = _HEADER.unpack(data)
        plain, orders = values[:_PLAIN], values[_PLAIN]
        return cls._make((*plain, values[_PLAIN + 1 :][:orders]))

    def places(self) -> tuple[list[tuple[int, int]], int]:
        """Return where each array begins and its length, and the size of the file."""
        states, arcs, unigrams = self.states, self.arcs, self.unigrams
        lengths = (states + 1, arcs, arcs, arcs, states, states, unigrams, unigrams, 1)
        at, places = _HEADER.size, []
        for length, kind in zip(lengths, _KINDS, strict=True):
            at = -(-at // _ALIGNMENT) * _ALIGNMENT
            places.append((at, length))
            at += length * np.dtype(kind).itemsize
        return places, at


def is_stored(path: Path) -> bool:
    """Say whether a file is one of these, of any version, finished or not."""
    try:
        if not path.is_file():  # a pipe gives its bytes once
            return False
        with path.open("rb") as file:
            return file.read(len(_FAMILY)) == _FAMILY
    except OSError:
        return False


def map_stored(path: Path) -> tuple[tuple[int, ...], Graph]:
    """Return the numbers of n-grams by order and the graph, which stays in the file.

    Raises
    ------
    LanguageModelError
        Says what does not fit.
    """
    _, counts, graph = _mapped(path)
    return counts, graph


def find(path: Path, source: Path) -> tuple[tuple[int, ...], Graph] | None:
    """Return what :func:`keep` has left, if it was made from this source as it is now; else say in the log why not.

    Raises
    ------
    OptionError
        There is another file of that name, which must not be written over.
    """
    if not path.exists():
        return None
    if not is_stored(path):
        raise OptionError(
            "cache", str(path), "a name that is free, or a model that was kept there: this is another file"
        )
    try:
        header, counts, graph = _mapped(path)
        if (header.source_size, header.source_time) == _identity(source):
            return counts, graph
        _log.info("%s is made again: %s has changed", path, source)
    except LanguageModelError as error:
        _log.info("%s is made again: %s", path, error)
    except OSError:  # the source is missing, and whoever reads it says so
        pass
    return None


def keep(path: Path, source: Path, counts: tuple[int, ...], graph: Graph) -> None:
    """Write a graph; where that is not possible, say so in the log."""
    try:
        with written_whole(path) as (file, _):
            _write(file, _identity(source), counts, graph)
    except OSError as error:
        _log.warning("%s cannot be kept: %s. The text is read each time", path, error.strerror)


def _write(file: IO[bytes], source: tuple[int, int], counts: tuple[int, ...], graph: Graph) -> None:
    sizes = (len(graph.backoffs), len(graph.labels), len(graph.unigrams))
    header = _Header(WRITING, _ORDER_TEST, _FLOAT_TEST, *sizes, *source, 0, counts)
    file.write(header.packed())
    final = header._replace(magic=MAGIC)
    checksum = zlib.crc32(final.packed())
    for (at, _), array in zip(header.places()[0], graph, strict=True):
        for data in (bytes(at - file.tell()), np.ascontiguousarray(array).view(np.uint8).data):
            checksum = zlib.crc32(data, checksum)
            file.write(data)
    file.flush()
    file.seek(0)
    file.write(final._replace(checksum=checksum).packed())
    file.flush()
    os.fsync(file.fileno())  # a renamed file must not be empty after a loss of power


def _mapped(path: Path) -> tuple[_Header, tuple[int, ...], Graph]:
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < _HEADER.size:
                raise _unfit(path, f"it is cut short: {size} bytes are less than its head")
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise _unfit(path, f"it cannot be mapped ({error.strerror})") from error
    header = _Header.unpacked(data[: _HEADER.size])
    _check(path, header, size)
    checksum = zlib.crc32(header._replace(checksum=0).packed())
    same = header.packed() == data[: _HEADER.size]
    if not same or zlib.crc32(memoryview(data)[_HEADER.size :], checksum) != header.checksum:
        raise _unfit(path, "its contents are damaged: the sum over them is another")
    places, _ = header.places()
    graph = Graph(*(np.frombuffer(data, kind, length, at) for (at, length), kind in zip(places, _KINDS, strict=True)))
    if graph.unigrams[0] < 0 or (np.diff(graph.unigrams) <= 0).any():
        raise _unfit(path, "its pieces do not rise")
    return header, header.counts, graph


def _check(path: Path, header: _Header, size: int) -> None:
    if header.magic == WRITING:
        raise _unfit(path, "it was never finished: whoever wrote it was ended")
    if header.magic != MAGIC:
        raise _unfit(path, "it was written by another version of this package")
    if header.order_test != _ORDER_TEST:
        raise _unfit(path, "it was written on a machine of another byte order")
    if header.float_test != _FLOAT_TEST:
        raise _unfit(path, "it was written on a machine of another kind of floats")
    if not header.counts or header.unigrams < 1 or header.states < header.unigrams + 2:
        raise _unfit(path, "its head is damaged: the sizes in it contradict each other")
    _, expected = header.places()
    if size != expected:
        raise _unfit(path, f"it has {size} bytes, and its head promises {expected}: it was cut short or added to")


def _identity(source: Path) -> tuple[int, int]:
    status = source.stat()
    return status.st_size, status.st_mtime_ns


def _unfit(path: Path, problem: str) -> LanguageModelError:
    return LanguageModelError(path, problem, "Delete it, and read the ARPA text that it was made from")
