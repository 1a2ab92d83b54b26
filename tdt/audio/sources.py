"""What was given becomes bytes that can be read anywhere, or a pipe that can be read once."""

from __future__ import annotations

import io
import stat
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from tdt.errors import AudioNotFoundError, AudioReadError, AudioValueError

if TYPE_CHECKING:
    from collections.abc import Callable

# A stream may never end.
MAX_STREAM_BYTES = 1 << 32
# What comes from a pipe is kept in memory up to here, then in a temporary file.
SPOOL_BYTES = 1 << 24
_CHUNK_BYTES = 1 << 20


class Encoded:
    """The bytes of a file, of memory, of a seekable file object or of a spooled pipe, from where that stands.

    Parameters
    ----------
    file : binary file object
        Seekable. Used under a lock, and left at its end by :meth:`close`.
    name : str
        What errors call it.
    own : bool
        Whether to close the file, too.

    Attributes
    ----------
    size : int
        Bytes there were when it was opened; what a recorder adds later is not read.
    """

    def __init__(self, file: Any, name: str, *, own: bool = True) -> None:
        self.name = name
        self._file, self._own = file, own
        self._lock = threading.Lock()
        self._start = 0 if own else self._ask(file.tell)
        self.size = self._length = max(0, self._ask(file.seek, 0, io.SEEK_END) - self._start)

    def read_at(self, at: int, count: int) -> bytes:
        """Return up to `count` bytes from `at` on; fewer only at the end.

        Raises
        ------
        AudioReadError
            The system or the file object fails.
        AudioValueError
            The file object gives something else than bytes.
        """
        parts: list[bytes] = []
        left = min(count, self.size - at)
        with self._lock:
            if left > 0:
                self._ask(self._file.seek, self._start + at)
            while left > 0 and (part := _bytes_of(self._ask(self._file.read, left), self.name)):
                parts.append(part)
                left -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _ask(self, question: Callable[..., Any], *values: int) -> Any:
        """Call the file object; whatever it raises becomes an error of this source."""
        try:
            return question(*values)
        except Exception as error:
            raise AudioReadError(
                f"{self.name} cannot be read: {error}. An open binary file was expected: check it, and pass it again."
            ) from error

    def trim(self, size: int) -> None:
        """Leave out what lies behind the first `size` bytes."""
        self.size = min(self.size, size)

    def close(self) -> None:
        """Close the file, or leave a caller's at its end: it has been read."""
        if self._own:
            self._file.close()
            return
        with suppress(Exception):  # closed, or never good
            self._file.seek(self._start + self._length)


class Pipe:
    """A stream that cannot seek: its first bytes can be looked at before they are read."""

    def __init__(self, stream: Any, name: str) -> None:
        self.name = name
        self._read = getattr(stream, "read1", None) or stream.read
        self._head = b""
        self._ended = False

    def peek(self, count: int) -> bytes:
        """Return the next `count` bytes, fewer only where the stream ends, without taking them."""
        while len(self._head) < count and not self._ended:
            self._head += self._more(count - len(self._head))
        return self._head[:count]

    def read(self, count: int) -> bytes:
        """Take up to `count` bytes, as many as are there now; none at the end."""
        if not self._head:
            return b"" if self._ended else self._more(count)
        part, self._head = self._head[:count], self._head[count:]
        return part

    def skip(self, count: int) -> bool:
        """Take `count` bytes and forget them; say whether there were so many."""
        while count > 0 and (part := self.read(min(count, _CHUNK_BYTES))):
            count -= len(part)
        return count <= 0

    def _more(self, count: int) -> bytes:
        try:
            part = self._read(max(count, 1))
        except Exception as error:
            raise AudioReadError(f"{self.name} cannot be read: {error}. Pass an open binary file.") from error
        part = _bytes_of(part, self.name)
        self._ended = not part
        return part

    def close(self) -> None:
        """Leave it as it is: it is the caller's."""

    def spooled(self) -> Encoded:
        """Read all of it, into memory or a temporary file.

        Raises
        ------
        AudioReadError
            It gives too much, or there is no room.
        """
        spool: IO[bytes] = tempfile.SpooledTemporaryFile(SPOOL_BYTES, prefix="tdt-audio-")  # noqa: SIM115
        total = 0
        try:
            while part := self.read(_CHUNK_BYTES):
                total += len(part)
                if total > MAX_STREAM_BYTES:
                    raise AudioReadError(
                        f"{self.name} gave more than {MAX_STREAM_BYTES} bytes; less was expected. Pass a file."
                    )
                spool.write(part)
            return Encoded(spool, self.name)
        except OSError as error:
            spool.close()
            if isinstance(error, AudioReadError):
                raise
            raise AudioReadError(
                f"{self.name} does not fit into the temporary folder {tempfile.gettempdir()} ({error.strerror}); room "
                "for the whole stream was expected. Pass a file, or set TMPDIR to a folder with room."
            ) from error


def _bytes_of(part: Any, name: str) -> bytes:
    if isinstance(part, bytes):
        return part
    if isinstance(part, (bytearray, memoryview)):
        return bytes(part)
    raise AudioValueError(
        f"{name} gave {type(part).__name__} when it was read; bytes are expected. Open the file in binary mode."
    )


def open_bytes(source: Any, name: str) -> Encoded | Pipe:
    """Open a path, bytes or a file object.

    Parameters
    ----------
    source : path, bytes or binary file object
    name : str
        What errors call it.

    Raises
    ------
    AudioNotFoundError
        The path does not exist or is a folder.
    AudioReadError
        It cannot be opened, or is empty.
    AudioValueError
        It is something else.
    """
    opened: Encoded | Pipe
    if isinstance(source, (bytes, bytearray, memoryview)):
        opened = Encoded(io.BytesIO(source), name)
    elif isinstance(source, (str, Path)):
        opened = _open_path(Path(source))
    elif hasattr(source, "read"):
        opened = Encoded(source, name, own=False) if _seekable(source, name) else Pipe(source, name)
    else:
        raise AudioValueError(
            f"Audio of type {type(source).__name__} cannot be read; expected a path, bytes, a binary file object, or "
            "an array of int16, float32 or float64 samples."
        )
    if isinstance(opened, Pipe):
        if not opened.peek(1):
            raise AudioReadError(f"{name} is empty (0 bytes); sound was expected. Check what writes to it.")
    elif opened.size == 0:
        opened.close()
        cure = "Seek to its start, or open it again" if hasattr(source, "read") else "Record or download it again"
        raise AudioReadError(f"{name} is empty (0 bytes to read); a sound file was expected. {cure}.")
    return opened


def _seekable(stream: Any, name: str) -> bool:
    try:
        return bool(stream.seekable()) and stream.tell() >= 0
    except (AttributeError, OSError):
        return False
    except ValueError as error:
        raise AudioReadError(f"{name} cannot be read: {error}. Pass an open binary file.") from error


def _open_path(path: Path) -> Encoded:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise AudioNotFoundError(f"{path} does not exist; a sound file was expected. Check the path.") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise AudioReadError(f"{str(path)!r} cannot be opened: {error}. Check the path and its permissions.") from error
    if stat.S_ISDIR(status.st_mode):
        raise AudioNotFoundError(f"{path} is a folder; a sound file was expected. Pass the files in it.")
    if not stat.S_ISREG(status.st_mode):
        raise AudioReadError(f"{path} is a device or a pipe; a regular file was expected. Pass its bytes or a stream.")
    try:
        return Encoded(path.open("rb", buffering=0), str(path))
    except OSError as error:
        raise AudioReadError(f"{path} cannot be opened: {error.strerror}. Check its permissions.") from error


def name_of(source: object) -> str:
    """Return how messages call `source`: its path, or its type."""
    if isinstance(source, (str, Path)):
        return str(source)
    label = getattr(source, "name", None)
    return label if isinstance(label, str) and label else f"<{type(source).__name__}>"
