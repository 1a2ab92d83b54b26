"""Models by name, against hubs without a network: a scripted one, and the real client's cache on disk."""

from __future__ import annotations

import logging
import shutil
from typing import TYPE_CHECKING

import pytest

from tdt import errors
from tdt.model import hub
from tdt.model.finding import find_model, inspect_model

from .. import tiny_models
from ..tiny_models import Shape
from .test_bad_models import as_hub_cache

if TYPE_CHECKING:
    from pathlib import Path

SMALL = Shape(vocab=50)
REPOSITORY = "owner/model"


class ScriptedHub:
    """A hub whose repository is a folder; downloads are copies into a cache folder."""

    def __init__(self, remote: Path, cache: Path) -> None:
        self.remote, self.cache = remote, cache
        self.fetched: list[str] = []
        self.error: Exception | None = None
        self.cut = 0

    def listing(self, repository: str) -> dict[str, int | None]:
        if self.error is not None:
            raise self.error
        assert repository == REPOSITORY
        return {p.relative_to(self.remote).as_posix(): p.stat().st_size for p in self.remote.rglob("*") if p.is_file()}

    def download(self, repository: str, name: str) -> Path:
        assert repository == REPOSITORY
        self.fetched.append(name)
        self.cache.mkdir(exist_ok=True)
        content = (self.remote / name).read_bytes()
        (self.cache / name).write_bytes(content[: len(content) - self.cut])
        return self.cache / name

    def cached(self, repository: str) -> Path | None:
        return self.cache if self.cache.is_dir() else None


@pytest.fixture
def scripted(tmp_path: Path) -> ScriptedHub:
    """Both precisions side by side, weights outside, and files that nobody asked for."""
    remote = tiny_models.write(tmp_path / "remote", SMALL, external=True)
    shutil.copy(remote / "encoder-model.onnx", remote / "encoder-model.int8.onnx")
    for name in ("README.md", "layers.0.weight", "encoder-model.fp16.onnx", "nemo128.onnx"):
        (remote / name).write_bytes(b"x")
    (remote / "original").mkdir()
    (remote / "original" / "config.json").write_bytes(b"x")
    return ScriptedHub(remote, tmp_path / "cache")


def test_only_the_files_asked_for_are_fetched(scripted: ScriptedHub) -> None:
    folder = hub.fetch(REPOSITORY, hub=scripted)
    wanted = ["config.json", "decoder_joint-model.onnx", "encoder-model.onnx", "encoder-model.onnx.data", "vocab.txt"]
    assert sorted(scripted.fetched) == wanted
    find_model(folder)


def test_the_other_precision_is_fetched_when_asked_for(scripted: ScriptedHub) -> None:
    hub.fetch(REPOSITORY, "int8", hub=scripted)
    assert "encoder-model.int8.onnx" in scripted.fetched
    assert "encoder-model.onnx" not in scripted.fetched


def test_what_is_in_the_cache_is_not_asked_for_again(scripted: ScriptedHub) -> None:
    first = hub.fetch(REPOSITORY, hub=scripted)
    scripted.fetched.clear()
    scripted.error = ConnectionError("no route")
    assert hub.fetch(REPOSITORY, hub=scripted) == first
    assert scripted.fetched == []


def test_a_broken_download_goes_on(scripted: ScriptedHub) -> None:
    folder = hub.fetch(REPOSITORY, hub=scripted)
    (folder / "encoder-model.onnx.data").unlink()
    scripted.fetched.clear()
    hub.fetch(REPOSITORY, hub=scripted)
    assert "encoder-model.onnx.data" in scripted.fetched
    find_model(folder)


def test_a_wrong_size_is_noticed(scripted: ScriptedHub) -> None:
    scripted.cut = 1
    with pytest.raises(errors.DownloadError, match=r"bytes after the download.*Delete it"):
        hub.fetch(REPOSITORY, hub=scripted)


def test_no_network_and_no_cache(scripted: ScriptedHub) -> None:
    scripted.error = ConnectionError("no route")
    with pytest.raises(errors.DownloadError, match=r"no route.*network"):
        hub.fetch(REPOSITORY, hub=scripted)


def test_no_network_and_the_wrong_precision_in_the_cache(
    scripted: ScriptedHub, caplog: pytest.LogCaptureFixture
) -> None:
    (scripted.remote / "decoder_joint-model.onnx").rename(scripted.remote / "decoder_joint-model.int8.onnx")
    folder = hub.fetch(REPOSITORY, "int8", hub=scripted)
    scripted.error = ConnectionError("no route")
    with pytest.raises(errors.DownloadError):
        hub.fetch(REPOSITORY, "float32", hub=scripted)
    # No wish: what is there is taken, and said.
    with caplog.at_level(logging.WARNING, logger="tdt"):
        assert hub.fetch(REPOSITORY, None, hub=scripted) == folder
    assert "local cache" in caplog.text


def test_a_precision_that_is_not_published(scripted: ScriptedHub) -> None:
    (scripted.remote / "encoder-model.int8.onnx").unlink()
    with pytest.raises(errors.ModelFileNotFoundError, match="int8"):
        hub.fetch(REPOSITORY, "int8", hub=scripted)
    assert scripted.fetched == []


def test_a_repository_with_its_graphs_in_folders(scripted: ScriptedHub) -> None:
    for folder in ("fp32", "int8"):
        (scripted.remote / folder).mkdir()
    for path in list(scripted.remote.glob("*.onnx")):
        path.rename(scripted.remote / ("int8" if "int8" in path.name else "fp32") / path.name)
    with pytest.raises(
        errors.UnsupportedLayoutError, match=r"in folders of its own \(fp32, int8\).*pass\s+that folder"
    ):
        hub.fetch(REPOSITORY, hub=scripted)
    assert scripted.fetched == []


def test_a_repository_with_a_checkpoint(scripted: ScriptedHub) -> None:
    for path in list(scripted.remote.glob("*.onnx")):
        path.unlink()
    (scripted.remote / "fine-tuned.nemo").write_bytes(b"x")
    with pytest.raises(errors.UnsupportedLayoutError, match=r"tdt convert fine-tuned.nemo"):
        hub.fetch(REPOSITORY, hub=scripted)


def test_a_repository_without_a_model(scripted: ScriptedHub) -> None:
    shutil.rmtree(scripted.remote)
    scripted.remote.mkdir()
    with pytest.raises(errors.UnsupportedLayoutError):
        hub.fetch(REPOSITORY, hub=scripted)


class GatedRepoError(OSError):
    pass


class RepositoryNotFoundError(OSError):
    pass


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (GatedRepoError("403"), "Accept its terms"),
        (RepositoryNotFoundError("404"), "Check the name"),
        (OSError(28, "No space left on device"), "disk space"),
        (RuntimeError(""), "network"),
    ],
)
def test_each_failure_says_what_to_do(scripted: ScriptedHub, error: Exception, advice: str) -> None:
    scripted.error = error
    with pytest.raises(errors.DownloadError, match=advice):
        hub.fetch(REPOSITORY, hub=scripted)


def test_names_and_what_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    assert hub.is_name("parakeet-tdt-0.6b-v3")
    assert hub.is_name("owner/some-model_1.0")
    for path in ("models/missing", "/owner/model", "../model", "owner/model/more", "owner", "owner\\model", "~/model"):
        assert not hub.is_name(path)


@pytest.fixture
def real_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A prepared cache of the real client, which must not use the network."""
    from huggingface_hub import constants

    cache = tmp_path / "hub"
    model = tiny_models.write(tmp_path / "plain", SMALL, external=True)
    as_hub_cache(model, cache / "models--istupakov--parakeet-tdt-0.6b-v3-onnx")
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return cache


def test_a_known_name_is_found_in_the_clients_cache(real_cache: Path) -> None:
    found = inspect_model("parakeet-tdt-0.6b-v3")
    assert found.spec.name == "parakeet-tdt-0.6b-v3"
    assert found.files.folder.is_relative_to(real_cache)
    assert find_model("istupakov/parakeet-tdt-0.6b-v3-onnx")[1].pieces == found.spec.pieces


def test_what_the_clients_cache_lacks_is_an_error_offline(real_cache: Path) -> None:
    with pytest.raises(errors.DownloadError, match="offline"):
        find_model("parakeet-tdt-0.6b-v2")
    with pytest.raises(errors.DownloadError, match="HF_HUB_OFFLINE"):
        find_model("parakeet-tdt-0.6b-v3", precision="int8")


def test_a_forged_revision_does_not_leave_the_cache(real_cache: Path) -> None:
    head = real_cache / "models--istupakov--parakeet-tdt-0.6b-v3-onnx" / "refs" / "main"
    head.write_text("../../../plain")
    with pytest.raises(errors.DownloadError):
        find_model("parakeet-tdt-0.6b-v3")
