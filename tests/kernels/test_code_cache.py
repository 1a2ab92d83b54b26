"""Where compiled code is kept and found: in which order, in whose folders, and that nothing there makes it fail."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tdt.kernels.vector import code_cache, folders
from tdt.kernels.vector.jit import njit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ME = os.geteuid() if hasattr(os, "geteuid") else 0
AS_ROOT = pytest.mark.skipif(ME != 0, reason="only root gives files away")
NOBODY = 65534


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., code_cache.Places]]:
    """Say which places there are, and get back what is read and written; a source folder of one's own."""
    (tmp_path / "package").mkdir()

    def ask(*, given: Path | None = None, user: Path | None = None, temporary: Path | None = None) -> Any:
        code_cache.places.cache_clear()
        monkeypatch.setattr(code_cache.config, "CACHE_DIR", str(given or ""))
        monkeypatch.setattr(folders, "user_cache", lambda: user)
        monkeypatch.setattr(folders, "temporary", lambda: temporary)
        return code_cache.places(tmp_path / "package")

    yield ask
    code_cache.places.cache_clear()


def closed(monkeypatch: pytest.MonkeyPatch, *shut: Path) -> None:
    """Take the right to write below some folders away, from root too."""
    real = os.access

    def access(path: Any, mode: int) -> bool:
        inside = any(Path(path).is_relative_to(folder) for folder in shut)
        return real(path, mode) and not (inside and mode & os.W_OK)

    monkeypatch.setattr(os, "access", access)


# --- which folder -----------------------------------------------------------------------------------------------------


def test_the_first_that_can_be_written_to(
    places: Callable[..., code_cache.Places], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package, given, user, temporary = (tmp_path / name for name in ("package", "given", "user", "temporary"))
    for folder in (given, user, temporary):
        folder.mkdir()

    def written(*shut: Path, given: Path | None = given) -> Path | None:
        with monkeypatch.context() as patch:
            closed(patch, *shut)
            write: Path | None = places(given=given, user=user, temporary=temporary).write
        return write

    assert written().is_relative_to(given)  # type: ignore[union-attr]
    assert written(given=None) == package / "__pycache__"
    assert written(given) == package / "__pycache__"
    assert written(given, package).is_relative_to(user / "code")  # type: ignore[union-attr]
    assert written(given, package, user).is_relative_to(temporary / "code")  # type: ignore[union-attr]
    assert written(given, package, user, temporary) is None
    assert places().write == package / "__pycache__"


def test_what_cannot_be_written_to_is_read(
    places: Callable[..., code_cache.Places], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Code that was compiled when an image was built serves whoever runs it."""
    beside, user = tmp_path / "package/__pycache__", tmp_path / "user"
    beside.mkdir()
    closed(monkeypatch, tmp_path / "package")
    found = places(user=user)
    assert found.read == (beside, found.write)
    assert found.write.is_relative_to(user)  # type: ignore[union-attr]


def test_a_given_folder_is_the_only_one(places: Callable[..., code_cache.Places], tmp_path: Path) -> None:
    (tmp_path / "package/__pycache__").mkdir()
    found = places(given=tmp_path / "given", user=tmp_path / "user")
    assert found.read == (found.write,)
    assert not (tmp_path / "given").exists(), "nothing is made before something is kept"


@AS_ROOT
def test_nothing_is_read_from_another_users_folder(
    places: Callable[..., code_cache.Places], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given = tmp_path / "given"
    own = places(given=given).write
    assert own is not None
    own.mkdir(parents=True)
    assert places(given=given).read == (own,)
    os.chown(own, NOBODY, NOBODY)
    assert own not in places(given=given).read
    beside = tmp_path / "package/__pycache__"
    beside.mkdir()
    os.chown(beside, NOBODY, NOBODY)
    assert places().read == ()
    os.chown(tmp_path / "package", NOBODY, NOBODY)  # who owns the sources may compile them
    assert places().read == (beside,)


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("XDG_CACHE_HOME", "TEMP", "TMP"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    return tmp_path / "home"


def test_the_users_cache_folder(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert folders.user_cache() == home / ".cache/tdt"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # not valid, by the standard
    assert folders.user_cache() == home / ".cache/tdt"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert folders.user_cache() == tmp_path / "xdg/tdt"
    (tmp_path / "xdg/tdt").mkdir(parents=True)
    (tmp_path / "xdg/tdt").chmod(0o777)
    assert folders.user_cache() is None, "everybody can write there"


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    assert folders.user_cache() is None


@AS_ROOT
@pytest.mark.parametrize("part", [".cache", ".cache/tdt"])
def test_the_cache_folder_of_somebody_else(home: Path, part: str) -> None:
    """As with `sudo -E`: root must not run code that a user has put there."""
    (home / ".cache/tdt").mkdir(parents=True)
    assert folders.user_cache() == home / ".cache/tdt"
    os.chown(home / part, NOBODY, NOBODY)
    assert folders.user_cache() is None


@pytest.mark.skipif(os.name != "posix", reason="folders of several users")
def test_the_temporary_folder_is_this_users_alone(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / f"tmp/tdt-{ME}"
    assert folders.temporary() == mine
    folders.make(mine)
    assert mine.stat().st_mode & 0o777 == 0o700
    assert folders.temporary() == mine
    for mode in (0o701, 0o720, 0o777):
        mine.chmod(mode)
        assert folders.temporary() != mine, f"{mode:o}"
    mine.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    mine.symlink_to(tmp_path / "elsewhere")
    assert folders.temporary() != mine, "a link that somebody may have laid"
    mine.unlink()
    mine.touch()
    assert folders.temporary() != mine
    mine.unlink()
    closed(monkeypatch, tmp_path, Path("/tmp"), Path("/var/tmp"))
    assert folders.temporary() is None


@AS_ROOT
def test_somebody_elses_temporary_folder(home: Path, tmp_path: Path) -> None:
    mine = tmp_path / f"tmp/tdt-{ME}"
    mine.mkdir(mode=0o700)
    os.chown(mine, NOBODY, NOBODY)
    assert folders.temporary() != mine
    with pytest.raises(PermissionError, match="someone else"):
        folders.make(mine)


# --- finding and keeping ----------------------------------------------------------------------------------------------

MODULE = """
from tdt.kernels.vector.jit import njit

@njit
def twice(x):
    return {factor} * x
"""
USE = """
import json, logging, sys
logging.basicConfig(format="%(message)s")
sys.path.insert(0, sys.argv[1])
import doubling
print(json.dumps([doubling.twice(21), sum(doubling.twice.stats.cache_hits.values())]))
"""


def use(folder: Path, factor: int = 2, **environment: str) -> tuple[list[int], str]:
    """Call a compiled function in a new process; return its result and how often code was found, and the log."""
    import json

    folder.mkdir(exist_ok=True)
    text = MODULE.format(factor=factor)
    if not (folder / "doubling.py").exists() or (folder / "doubling.py").read_text() != text:
        (folder / "doubling.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", USE, str(folder)],
        capture_output=True, text=True, check=False, env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def test_code_is_found_again_and_follows_the_source(tmp_path: Path) -> None:
    folder = tmp_path / "code"
    assert use(folder) == ([42, 0], "")
    assert use(folder) == ([42, 1], "")
    (folder / "doubling.py").touch()  # dates say nothing: images and archives change them
    assert use(folder) == ([42, 1], "")
    assert use(folder, 3) == ([63, 0], "")


@pytest.mark.parametrize("ending", ["nbi", "nbc"])
@pytest.mark.parametrize("damage", [b"", b"\x80\x05garbage", None])
def test_damaged_files_are_compiled_anew(tmp_path: Path, ending: str, damage: bytes | None) -> None:
    folder = tmp_path / "code"
    use(folder)
    (file,) = (folder / "__pycache__").glob(f"*.{ending}")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2] if damage is None else damage)
    assert use(folder) == ([42, 0], "")
    assert use(folder) == ([42, 1], ""), "and mended"


def test_a_folder_that_fails_when_written_to_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A full disk, a quota, a file system that lies about rights."""
    blocked = tmp_path / "blocked"
    blocked.write_text("a file, where a folder is to be made")
    code_cache._said.cache_clear()

    def one(x: float) -> float:
        return x + 1

    def two(x: float) -> float:
        return x + 2

    with caplog.at_level(logging.WARNING, logger="tdt"):
        for function, expected in ((one, 2.0), (two, 3.0)):
            compiled = njit(function)
            file = code_cache.caching.IndexDataCacheFile(str(blocked / "sub"), "x", "stamp")
            compiled._cache._cache_file = file
            compiled._cache._files = [file]
            compiled._cache._impl._locator.places = code_cache.Places((), blocked / "sub", own=False)
            assert compiled(1.0) == expected
    code_cache._said.cache_clear()
    assert caplog.text.count("cannot be kept") == 1
    assert "NUMBA_CACHE_DIR" in caplog.text


def test_without_any_folder_code_stays_in_memory(tmp_path: Path) -> None:
    code = """
    import logging, sys
    logging.basicConfig(format="%(message)s")
    from tdt.kernels.vector import folders
    folders.is_writable = lambda folder: False
    import doubling
    from tdt.kernels.vector.jit import njit
    print(doubling.twice(21), doubling.twice(2.5), njit(lambda x: 3 * x)(21))
    """
    (tmp_path / "doubling.py").write_text(MODULE.format(factor=2))
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.stdout == "42 5.0 63\n"
    assert done.stderr.count("cannot be kept (no folder can be written to)") == 1
    assert not list(tmp_path.rglob("*.nb?"))  # Python's own .pyc are another matter


def test_without_the_compiler_the_reason_is_named(tmp_path: Path) -> None:
    code = """
    import tdt
    for options in ({}, {"decoder": "onnx"}):
        try:
            tdt.load(**options)
        except tdt.BrokenDependencyError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True, text=True, check=True, env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
    )  # fmt: skip
    assert done.stdout.count("NUMBA_DISABLE_JIT turns its compiler off") == 2
    assert done.stdout.count("Unset it.") == 2


def test_packages_can_be_moved(tmp_path: Path) -> None:
    """Entries beside the sources hold wherever these lie: compiled in one layer of an image, they run in the next."""
    use(tmp_path / "here")
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert use(tmp_path / "there") == ([42, 1], "")
