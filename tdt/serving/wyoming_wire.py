"""The Wyoming protocol's events, as they go over the wire: a line of JSON, more JSON, then bytes.

Written from its description (OHF-voice/wyoming, README, "Format"). What is malformed, too long or cut short is an error
of its own kind here, not the end of the stream.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from tdt.errors import FieldError
from tdt.version import __version__

LONGEST_LINE = 1 << 16
LONGEST_DATA = 1 << 18
LONGEST_PAYLOAD = 1 << 20


@dataclass(frozen=True, slots=True)
class Event:
    """An event.

    Parameters
    ----------
    type : str
    data : dict
    payload : bytes
    """

    type: str
    data: dict[str, Any] = field(default_factory=dict)
    payload: bytes = b""

    def encoded(self) -> bytes:
        """Return the event as it is written."""
        data = json.dumps(self.data, ensure_ascii=False).encode() if self.data else b""
        head: dict[str, Any] = {"type": self.type, "version": __version__}
        if data:
            head["data_length"] = len(data)
        if self.payload:
            head["payload_length"] = len(self.payload)
        return json.dumps(head).encode() + b"\n" + data + self.payload


async def read_event(reader: asyncio.StreamReader) -> Event | None:
    """Return the next event; None where the stream ends between two.

    Parameters
    ----------
    reader : StreamReader
        Whose limit is at least :data:`LONGEST_LINE`.

    Raises
    ------
    FieldError
        It is none, is too long, or is cut short.
    """
    try:
        line = await reader.readuntil(b"\n")
    except asyncio.IncompleteReadError as error:
        if not error.partial.strip():
            return None
        raise FieldError("event", "is cut short", "a line of JSON") from None
    except asyncio.LimitOverrunError:
        raise FieldError("event", "has a header without an end", f"at most {LONGEST_LINE} bytes") from None
    head = _object(line)
    kind, data = head.get("type"), head.get("data") or {}
    if not isinstance(kind, str) or not isinstance(data, dict):
        raise FieldError("event", "has no type, or data of another kind", "a type and an object")
    more = await _read(reader, head, "data_length", LONGEST_DATA)
    payload = await _read(reader, head, "payload_length", LONGEST_PAYLOAD)
    return Event(kind, data | (_object(more) if more else {}), payload)


async def _read(reader: asyncio.StreamReader, head: dict[str, Any], name: str, most: int) -> bytes:
    count = head.get(name) or 0
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= most:
        raise FieldError(name, f"is {json.dumps(count)[:40]}", f"a whole number of bytes, at most {most}")
    try:
        return await reader.readexactly(count)
    except asyncio.IncompleteReadError:
        raise FieldError(name, f"says {count} bytes, and fewer came", "as many as it says") from None


def _object(raw: bytes) -> dict[str, Any]:
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise FieldError("event", "is no JSON object", "one")
    return found
