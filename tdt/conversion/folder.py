"""The output folder: filled beside its place and moved there when all is well, or not at all."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tdt.errors import OptionError, OutputError
from tdt.whole_files import umask

if TYPE_CHECKING:
    from collections.abc import Iterator

_OURS = ("*.onnx", "*.data", "*.weights", "config.json", "quantization.json", "vocab.txt", "tokens.txt")


def check_output(folder: Path, *sources: Path, overwrite: bool) -> None:
    """Refuse a folder that holds something else, or one of the sources itself.

    Raises
    ------
    OptionError
        Saying what is there.
    """
    if folder.exists() and not folder.is_dir():
        raise OptionError("output", str(folder), "a folder, or a path where one can be made")
    if not folder.is_dir():
        return
    if folder.resolve() in {source.resolve() for source in sources}:
        raise OptionError("output", str(folder), "another folder than the model's own")
    there = sorted(entry.name for entry in folder.iterdir())
    if there and not overwrite:
        raise OptionError("output", str(folder), f"an empty folder (it holds {there[0]}), or --overwrite")


@contextmanager
def filled(folder: Path) -> Iterator[Path]:
    """Give a folder to write into; what it holds at the end takes the place of a model in `folder`.

    Whatever goes wrong in the block, `folder` is as it was and the other one is gone.

    Raises
    ------
    OutputError
        Where the system does not let it be made or moved.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{folder.name[:40]}.", suffix=".partial", dir=folder.parent))
    except OSError as error:
        raise OutputError(str(folder), error.strerror or str(error)) from error
    try:
        yield work
        _publish(work, folder)
    except OSError as error:
        if type(error).__module__.startswith("tdt"):
            raise
        raise OutputError(str(folder), error.strerror or str(error)) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _publish(work: Path, folder: Path) -> None:
    work.chmod(0o777 & ~umask())  # mkdtemp's are for one user only
    if not folder.exists():
        work.rename(folder)
        return
    fresh = {entry.name for entry in work.iterdir()}
    for entry in sorted(work.iterdir()):
        entry.replace(folder / entry.name)
    for pattern in _OURS:
        for entry in folder.glob(pattern):
            if entry.is_file() and entry.name not in fresh:
                entry.unlink()
