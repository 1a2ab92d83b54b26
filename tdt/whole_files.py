"""Files that are there whole or not at all: written aside, and renamed when all is well."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def written_whole(path: Path) -> Iterator[tuple[IO[bytes], Path]]:
    """Open a file that takes the name `path` when the block ends well; otherwise nothing is left behind.

    Yields
    ------
    file : binary file
    place : Path
        Its name until then, in the same folder.

    Raises
    ------
    OSError
        It cannot be written.
    """
    number, name = tempfile.mkstemp(dir=path.parent, prefix=".tdt-", suffix=".part")
    place = Path(name)
    try:
        with os.fdopen(number, "wb") as file:
            yield file, place
        place.chmod(0o666 & ~umask())  # mkstemp's are for one user only
        place.replace(path)
    except BaseException:
        place.unlink(missing_ok=True)
        raise


def umask() -> int:
    """Return what new files are not allowed, which the system tells only to whoever sets it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
