"""A request's body: its bytes counted and timed while they come, a form made of them; files stay without a name.

What is small stays in memory; more goes to an unnamed temporary file, which is gone with the process at the latest.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from tdt.errors import FormError, UploadTimeoutError, UploadTooLargeError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.datastructures import Headers
    from starlette.types import Receive

# Beside the file: texts of fields, and what a form puts around its parts.
FORM_BYTES = 1 << 18
_MOST_FIELDS = 64
_FIELD_BYTES = 1 << 16
# How long, at most, the rest of a refused body is read on, so that its sender gets to see the answer.
_LINGER_SECONDS = 2.0
_LINGER_BYTES = 16_000_000


class Body:
    """The body of a request.

    Parameters
    ----------
    receive : callable
        Of ASGI.
    headers : Headers
    most_bytes : int
        Of the file.
    seconds : float
        In which it must have come.

    Attributes
    ----------
    complete : bool
        Whether all of it has been read.
    """

    def __init__(self, receive: Receive, headers: Headers, most_bytes: int, seconds: float) -> None:
        self._receive, self._headers = receive, headers
        self._most, self._seconds = most_bytes, seconds
        self.complete = False

    async def form(self) -> list[tuple[str, Any]]:
        """Read it as a form of texts and files, in the order in which they came.

        Raises
        ------
        UploadTooLargeError
            At once where its declared length says so, else when so much has come.
        UploadTimeoutError
            It came too slowly.
        FormError
            It is no form, or has too many parts.
        ClientDisconnect
            The client left meanwhile.
        """
        declared = self._headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > self._most + FORM_BYTES:
            raise UploadTooLargeError(self._most)
        if not self._headers.get("content-type", "").lower().startswith("multipart/form-data"):
            raise FormError("its content type is not multipart/form-data")
        parser = _Parser(
            self._headers, self._counted(), max_files=1, max_fields=_MOST_FIELDS, max_part_size=_FIELD_BYTES
        )
        try:
            async with asyncio.timeout(self._seconds):
                form = await parser.parse()
        except TimeoutError:
            raise UploadTimeoutError(self._seconds) from None
        except MultiPartException as error:
            raise FormError(error.message.strip().rstrip(".")) from error
        if not parser.ended:
            parser.close_files()
            raise FormError("it ends before its last boundary")
        return [(name, _plain(value)) for name, value in form.multi_items()]

    async def linger(self) -> None:
        """Read the rest and forget it, not for long: who still sends may look at the answer only then."""
        try:
            async with asyncio.timeout(_LINGER_SECONDS):
                left = _LINGER_BYTES
                while not self.complete and left > 0:
                    left -= len(await self._next())
        except (TimeoutError, ClientDisconnect):
            return

    async def gone(self) -> None:
        """Return when the client has left; for after the body has been read."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _counted(self) -> AsyncGenerator[bytes]:
        read = 0
        while not self.complete:
            part = await self._next()
            read += len(part)
            if read > self._most + FORM_BYTES:
                raise UploadTooLargeError(self._most)
            yield part

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        self.complete = not message.get("more_body", False)
        part: bytes = message.get("body", b"")
        return part


class _Parser(MultiPartParser):
    """Starlette's, that knows whether the form has come to its end: of one cut short it forgets to close a file."""

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self.ended = False
        self._files: list[UploadFile] = []

    def on_headers_finished(self) -> None:
        """Take a part."""
        super().on_headers_finished()
        if self._current_part.file is not None:
            self._files.append(self._current_part.file)

    def on_end(self) -> None:
        """Note the end."""
        self.ended = True

    def close_files(self) -> None:
        """Close what the form has brought."""
        for upload in self._files:
            upload.file.close()


def _plain(value: str | UploadFile) -> Any:
    return value.file if isinstance(value, UploadFile) else value


def close_files(form: list[tuple[str, Any]]) -> None:
    """Close the files of a form."""
    for _, value in form:
        if not isinstance(value, str):
            value.close()
