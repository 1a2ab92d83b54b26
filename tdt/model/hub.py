"""Models by name: fetch the files of one precision from the Hugging Face hub, or find them in its local cache."""

from __future__ import annotations

import logging
import os
import re
import sys
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tdt.dependencies import needed
from tdt.errors import DownloadError, ModelError, TdtError, UnsupportedLayoutError
from tdt.kernels.vector import folders
from tdt.model.layouts import choose, recognise
from tdt.onnxfile import read_graph

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tdt.spec import ModelFiles, Precision

# Public ONNX repositories, as public code names them and their files; none was ever downloaded where this was written.
# Every other one is reached as owner/name.
NAMES: dict[str, str] = {
    "parakeet-tdt-0.6b-v2": "istupakov/parakeet-tdt-0.6b-v2-onnx",
    "parakeet-tdt-0.6b-v3": "istupakov/parakeet-tdt-0.6b-v3-onnx",
    "parakeet-tdt-1.1b": "jenerallee78/parakeet-tdt-1.1b-onnx",
    # The transducer's half of a hybrid; the repositories named tdt_ctc hold the CTC half alone.
    "parakeet-tdt_ctc-110m": "csukuangfj/sherpa-onnx-nemo-parakeet_tdt_transducer_110m-en-36000",
    # Moondream's trainings of v3: the encoder in float16, and one of 2-bit weights (MatMulNBits).
    "parakeet-ultra": "beshkenadze/parakeet-ultra-onnx",
    "parakeet-redux": "eschmidbauer/parakeet-redux-onnx",
}
_EXTRA_FILES = ("config.json", "quantization.json")
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_log = logging.getLogger("tdt")


class Hub(Protocol):
    """What is needed of a hub; the tests have one without a network."""

    def listing(self, repository: str) -> Mapping[str, int | None]:
        """Return the files of a repository with their sizes in bytes."""
        ...

    def download(self, repository: str, name: str) -> Path:
        """Fetch one file, or what is left of it, and return where it is in the cache."""
        ...

    def cached(self, repository: str) -> Path | None:
        """Return the folder of the repository in the local cache, if there is one."""
        ...


def is_name(model: str) -> bool:
    """Return whether `model` is a known name or has the form ``owner/name`` and is no path that starts here."""
    if model in NAMES:
        return True
    return _REPOSITORY.fullmatch(model) is not None and not Path(model.split("/", maxsplit=1)[0]).exists()


def fetch(model: str, precision: Precision | None = None, *, hub: Hub | None = None) -> Path:
    """Return a folder with the files of a model, fetching what is not in the local cache yet.

    Parameters
    ----------
    model : str
        One of :data:`NAMES`, or ``owner/name``.
    precision : {"float32", "float16", "int8", "int4", "int2"} or None
        Only these files are fetched; None: the finest that are published, for each graph separately.
    hub : Hub, optional
        Where to ask; the Hugging Face hub by default.

    Raises
    ------
    DownloadError
        Where the files cannot be fetched; says why and what to do.
    ModelError
        Where the repository holds no supported model.
    """
    repository = NAMES.get(model, model)
    hub = hub or HuggingFace()
    folder = hub.cached(repository)
    if folder is not None and _is_complete(folder, precision):
        return folder
    try:
        sizes = hub.listing(repository)
    except TdtError:
        raise
    except Exception as error:
        if folder is not None and _is_complete(folder, precision, offline=True):
            _log.warning("%s cannot be asked (%s); taking its files in the local cache", repository, error)
            return folder
        raise DownloadError(_explain(repository, error, partly=folder is not None)) from error
    return _fetch_listed(hub, repository, sizes, precision)


def _fetch_listed(hub: Hub, repository: str, sizes: Mapping[str, int | None], precision: Precision | None) -> Path:
    top = [name for name in sizes if "/" not in name]
    _check_folders(repository, sizes)
    files = choose(Path(repository), top, precision)
    graphs = graph_names(files)
    names = [*graphs, files.vocabulary.name, *(name for name in _EXTRA_FILES if name in sizes)]
    total = sum(sizes[name] or 0 for name in names)
    _log.info("fetching %d files (%.1f MB) and their weights from %s", len(names), total / 1e6, repository)
    with _progress():
        paths = {name: _download(hub, repository, name, sizes) for name in names}
        # Which weight files belong to a graph only the graph itself says: repositories hold stray ones.
        locations = {ref for name in graphs for ref in external_locations(paths[name])}
        for location in sorted(locations & set(sizes)):
            _download(hub, repository, location, sizes)
    return paths[names[0]].parent


def _check_folders(repository: str, names: Iterable[str]) -> None:
    """Refuse a repository whose graphs lie in folders alone; says which."""
    graphs = [name for name in names if name.endswith(".onnx")]
    if graphs and all("/" in name for name in graphs):
        folders = sorted({name.rpartition("/")[0] for name in graphs})
        raise UnsupportedLayoutError(
            f"{repository} holds its graphs in folders of its own ({', '.join(folders[:6])}); expected them beside the "
            "vocabulary. Download those of one folder, put vocab.txt and config.json (or tokens.txt) beside them, and "
            "pass that folder."
        )


def graph_names(files: ModelFiles) -> list[str]:
    """Return the file names of a model's graphs."""
    return [path.name for path in (files.encoder, files.decoder_joint, files.decoder, files.joiner) if path is not None]


def external_locations(path: Path) -> set[str]:
    """Return the locations of external weights that the graph at `path` names, before they are there."""
    return {ref.location for ref in read_graph(path, check=False).external}


def _download(hub: Hub, repository: str, name: str, sizes: Mapping[str, int | None]) -> Path:
    try:
        path = hub.download(repository, name)
        size = path.stat().st_size
    except TdtError:
        raise
    except Exception as error:
        raise DownloadError(_explain(f"{repository}/{name}", error, partly=True)) from error
    expected = sizes[name]
    if expected is not None and size != expected:
        raise DownloadError(
            f"{path} has {size} bytes after the download, but {repository} has {expected}. "
            "Delete it and load the model again."
        )
    return path


def _is_complete(folder: Path, precision: Precision | None, *, offline: bool = False) -> bool:
    try:
        files = recognise(folder, precision)
        for name in graph_names(files):
            read_graph(folder / name)
    except ModelError:
        return False
    # Without a wish, float32 is wanted: 8-bit files alone are all there is only if the hub says so, or cannot be asked.
    is_float = files.encoder_precision == files.decoder_precision == "float32"
    return is_float or precision is not None or offline


def _explain(what: str, error: Exception, *, partly: bool) -> str:
    kinds = {kind.__name__ for kind in type(error).__mro__}
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
    repository = "/".join(what.split("/")[:2])
    if "GatedRepoError" in kinds:
        todo = f"Accept its terms at https://huggingface.co/{repository} and log in with `hf auth login`."
    elif "RepositoryNotFoundError" in kinds or "HFValidationError" in kinds:
        todo = "Check the name; a private repository needs `hf auth login`."
    elif "OfflineModeIsEnabled" in kinds:
        todo = "The environment says to stay offline: unset HF_HUB_OFFLINE, or pass a folder with the model."
    else:
        kept = "What was fetched is kept and the download goes on from there. " if partly else ""
        todo = f"{kept}Check the network and the free disk space and try again, or pass a folder with the model."
    return f"{what} cannot be fetched from the hub: {reason}. {todo}"


@contextmanager
def _progress() -> Iterator[None]:
    """Let the client's progress bars go to stderr only where that is a terminal."""
    utils = client().utils

    hide = not sys.stderr.isatty() and not utils.are_progress_bars_disabled()
    if hide:
        utils.disable_progress_bars()
    try:
        yield
    finally:
        if hide:
            utils.enable_progress_bars()


class HuggingFace:
    """The Hugging Face hub through its own client, which resumes broken downloads and keeps a cache."""

    def listing(self, repository: str) -> Mapping[str, int | None]:
        """Return the files of a repository with their sizes in bytes."""
        info = client().HfApi().model_info(repository, files_metadata=True, timeout=10)
        return {item.rfilename: item.size for item in info.siblings or []}

    def download(self, repository: str, name: str) -> Path:
        """Fetch one file, or what is left of it, and return where it is in the cache."""
        fetched = client().hf_hub_download(
            repository, name, library_name="parakeet-tdt", cache_dir=cache_folder_to_write()
        )
        return Path(str(fetched))

    def cached(self, repository: str) -> Path | None:
        """Return the folder of the repository in the local cache, if there is one."""
        for folder_of_all in dict.fromkeys((cache_folder(), cache_folder_to_write())):
            home = folder_of_all / f"models--{repository.replace('/', '--')}"
            try:
                revision = (home / "refs" / "main").read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError):
                continue
            folder = home / "snapshots" / revision
            if re.fullmatch(r"\w+", revision) and folder.is_dir():
                return folder
        return None


def client() -> Any:
    """Import the hub's client, which counts its users unless it is told not to.

    Whoever wants to be counted says so: ``HF_HUB_DISABLE_TELEMETRY=0``.

    Raises
    ------
    BrokenDependencyError
        Where it cannot be imported.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    with needed("huggingface_hub"):
        import huggingface_hub
        import huggingface_hub.utils
    return huggingface_hub


def cache_folder() -> Path:
    """Return where the hub's client keeps its files."""
    if os.environ.get("HF_HUB_CACHE"):
        return Path(os.environ["HF_HUB_CACHE"]).expanduser()
    return Path(client().constants.HF_HUB_CACHE)


def cache_folder_to_write() -> Path:
    """Return that folder, or where it cannot be written to, a temporary one of this user; the first if neither can."""
    usual = cache_folder()
    return usual if folders.is_writable(usual) else _other_cache(usual)


@cache
def _other_cache(usual: Path) -> Path:
    temporary = folders.temporary()
    if temporary is None:
        return usual
    try:
        folders.make(temporary)
    except OSError:
        return usual
    os.environ.setdefault("HF_XET_CACHE", str(temporary / "xet"))  # what the client keeps beside, in its own home
    _log.warning("%s cannot be written to; models are fetched into %s", usual, temporary / "hub")
    return temporary / "hub"
