"""Model folders that are broken, swapped, hostile or something else: a typed error each, within a second."""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import pytest

from tdt import errors
from tdt.model.finding import find_model
from tdt.model.vocabulary import parse_vocabulary
from tdt.onnxfile import load_model, without_links
from tdt.runtime.backend import Backend
from tdt.runtime.session import Session

from .. import tiny_models
from ..tiny_models import LAYOUTS, Shape

if TYPE_CHECKING:
    from collections.abc import Callable

SMALL = Shape(vocab=50)
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32\nsize 12345\n"
HTML = b"\n<!DOCTYPE html>\n<html><head><title>404</title></head></html>"
STANDARD = {
    errors.ModelFileNotFoundError: FileNotFoundError,
    errors.ModelNotFoundError: FileNotFoundError,
    errors.ExternalDataError: OSError,
    errors.ModelFileCorruptError: ValueError,
    errors.ModelMismatchError: ValueError,
    errors.UnsupportedLayoutError: ValueError,
}


@pytest.fixture(params=LAYOUTS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tiny_models.write(tmp_path / "model", SMALL, request.param)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A model in the onnx-asr layout whose encoder keeps its weights in another file."""
    return tiny_models.write(tmp_path / "model", SMALL, external=True)


def refuse(folder: Path | str, kind: type[errors.TdtError], match: str | None = None, **options: Any) -> str:
    took: list[float] = []
    while not took or (min(took) >= 1.0 and len(took) < 3):  # a busy machine may stop a thread for a second
        start = time.perf_counter()
        with pytest.raises(kind, match=match) as caught:
            find_model(folder, **options)
        took.append(time.perf_counter() - start)
    assert min(took) < 1.0
    assert type(caught.value) is kind
    assert isinstance(caught.value, STANDARD[kind])
    message = str(caught.value)
    assert message.endswith((".", ")"))
    assert len(message) < 1500
    return message


def files_of(folder: Path, suffix: str) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix == suffix)


def vocabulary_of(folder: Path) -> Path:
    return next(path for name in ("vocab.txt", "tokens.txt") if (path := folder / name).exists())


def test_no_folder(tmp_path: Path) -> None:
    refuse(tmp_path / "nothing", errors.ModelNotFoundError, "no such folder")
    refuse("no-such-model", errors.ModelNotFoundError, "parakeet-tdt-0.6b-v3")
    refuse(tmp_path / ("x" * 900), errors.ModelNotFoundError, "too long")
    file = tmp_path / "file.onnx"
    file.write_bytes(b"x")
    refuse(file, errors.ModelNotFoundError, "is a file")
    for wrong in (3, "", "a\0b", b"bytes"):
        with pytest.raises(errors.OptionError):
            find_model(wrong)  # type: ignore[arg-type]


def test_empty_folder(tmp_path: Path) -> None:
    refuse(tmp_path, errors.UnsupportedLayoutError, "nothing")


def test_every_file_is_needed(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        path.unlink()
        refuse(folder, errors.ModelFileNotFoundError, "Found there")
        path.write_bytes(content)
    find_model(folder)


@pytest.mark.parametrize(
    ("content", "match"), [(b"", "empty"), (LFS, "Git-LFS"), (HTML, "web page"), (b"\x00\xff\xfe" * 99, None)]
)
def test_other_content_in_place_of_each_file(folder: Path, content: bytes, match: str | None) -> None:
    for path in sorted(folder.iterdir()):
        saved = path.read_bytes()
        path.write_bytes(content)
        refuse(folder, errors.ModelFileCorruptError, match)
        path.write_bytes(saved)


def test_a_folder_in_place_of_each_file(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        saved = path.read_bytes()
        path.unlink()
        path.mkdir()
        refuse(folder, errors.ModelFileCorruptError, "regular file")
        path.rmdir()
        path.write_bytes(saved)


def test_a_pipe_is_not_waited_for(folder: Path) -> None:
    path = vocabulary_of(folder)
    path.unlink()
    os.mkfifo(path)
    refuse(folder, errors.ModelFileCorruptError, "regular file")


@pytest.mark.parametrize("part", [0.01, 0.3, 0.7, 0.99])
def test_truncated_graphs(folder: Path, part: float) -> None:
    for path in files_of(folder, ".onnx"):
        saved = path.read_bytes()
        path.write_bytes(saved[: int(len(saved) * part)])
        refuse(folder, errors.ModelFileCorruptError, "whole ONNX graph|no graph")
        path.write_bytes(saved)


def test_swapped_graphs(folder: Path) -> None:
    paths = files_of(folder, ".onnx")
    for one in paths:
        for other in paths:
            if one != other:
                saved = one.read_bytes()
                shutil.copy(other, one)
                refuse(folder, errors.ModelMismatchError, "swapped")
                one.write_bytes(saved)


def test_a_graph_that_is_something_else(folder: Path) -> None:
    path = files_of(folder, ".onnx")[1]
    node = onnx.helper.make_node("Relu", ["weird\x01name"], ["日本"])
    ports = [onnx.helper.make_tensor_value_info(name, 1, ["x"]) for name in ("weird\x01name", "日本")]
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "", ports[:1], ports[1:])), path)
    refuse(folder, errors.ModelMismatchError, "something else")


def test_names_that_are_not_text(folder: Path) -> None:
    for path in files_of(folder, ".onnx"):
        saved = path.read_bytes()
        name = onnx.load(path).graph.node[0].output[0].encode()
        assert saved.count(name) >= 2
        path.write_bytes(saved.replace(name, b"\xff" * len(name)))
        refuse(folder, errors.ModelFileCorruptError, "not UTF-8")
        path.write_bytes(saved)


def test_an_onnx_file_of_another_message(folder: Path) -> None:
    path = files_of(folder, ".onnx")[0]
    path.write_bytes(onnx.helper.make_node("Relu", ["a"], ["b"]).SerializeToString())
    refuse(folder, errors.ModelFileCorruptError)


@pytest.mark.parametrize(
    "content",
    [
        "", "{", "[]", "3", "null", '"text"', '{"features_size": "80"}', '{"features_size": 80.5}',
        '{"features_size": -1}',
        '{"features_size": true}', '{"features_size": [80]}', '{"subsampling_factor": 0}',
        '{"subsampling_factor": 1e400}',
        '{"model_type": 3}', '{"max_tokens_per_step": {}}', '{"features_size": ' + "9" * 6000 + "}", "[" * 100_000,
        '{"durations": "0,x"}', '{"durations": [0, "1"]}', '{"durations": {"a": 1}}',
        '{"a": "' + "x" * 2_000_000 + '"}',
        "\ud800",
    ],
    ids=range(22),
)  # fmt: skip
def test_malformed_configuration(tmp_path: Path, content: str) -> None:
    folder = tiny_models.write(tmp_path / "m", SMALL)
    (folder / "config.json").write_bytes(content.encode("utf-8", "surrogatepass"))
    refuse(folder, errors.ModelFileCorruptError)


@pytest.mark.parametrize("value", [{"features_size": 128}, {"subsampling_factor": 6}, {"durations": [0, 1]}])
def test_configuration_of_another_model(tmp_path: Path, value: dict[str, Any]) -> None:
    folder = tiny_models.write(tmp_path / "m", SMALL)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | value))
    refuse(folder, errors.ModelMismatchError)


Lines = list[str]
EDITS: dict[str, tuple[Callable[[Lines], Lines], type[errors.TdtError]]] = {
    "no blank": (lambda lines: lines[:-1], errors.ModelMismatchError),
    "only the blank": (lambda _: ["<blk> 0"], errors.ModelMismatchError),
    "too few": (lambda lines: [*lines[:30], "<blk> 30"], errors.ModelMismatchError),
    "too many": (lambda lines: [*lines[:-1], "new 50", "<blk> 51"], errors.ModelMismatchError),
    "far too many": (
        lambda lines: [*lines[:-1], *(f"p{i} {i}" for i in range(50, 999)), "<blk> 999"],
        errors.ModelMismatchError,
    ),
    "duplicate id": (lambda lines: [lines[0], "again 0", *lines[2:]], errors.ModelMismatchError),
    "gap": (lambda lines: [*lines[:10], *lines[11:]], errors.ModelMismatchError),
    "blank first": (lambda lines: ["<blk> 0", *(f"{n}x {n}" for n in range(1, len(lines)))], errors.ModelMismatchError),
    "blank twice": (lambda lines: ["<blk> 0", *lines[1:]], errors.ModelMismatchError),
    "no ids": (lambda lines: [line.split()[0] for line in lines], errors.ModelFileCorruptError),
    "negative id": (lambda lines: ["x -1", *lines], errors.ModelFileCorruptError),
    "huge id": (lambda lines: [f"x {10**30}", *lines], errors.ModelFileCorruptError),
    "other digits": (lambda lines: ["x ٣", *lines], errors.ModelFileCorruptError),
    "blank lines only": (lambda _: ["", "  "], errors.ModelMismatchError),
}  # fmt: skip


@pytest.mark.parametrize("name", EDITS)
def test_vocabulary_that_does_not_fit(folder: Path, name: str) -> None:
    edit, kind = EDITS[name]
    path = vocabulary_of(folder)
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("".join(line + "\n" for line in edit(lines)), encoding="utf-8")
    refuse(folder, kind)


def test_vocabulary_bytes(folder: Path) -> None:
    path = vocabulary_of(folder)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"<unk>", b"\xff\xfe"))
    refuse(folder, errors.ModelFileCorruptError, "UTF-8")
    path.write_bytes(content[: len(content) // 2])
    refuse(folder, errors.ModelMismatchError, "no <blk>")
    path.write_bytes(b"x" * (17 << 20))
    refuse(folder, errors.ModelFileCorruptError, "at most")
    # What editors and Windows do to a text file is no reason to refuse it.
    path.write_bytes(b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n") + b"\n\n")
    assert find_model(folder)[1].pieces == tuple(tiny_models.pieces(SMALL))


def test_pieces_with_spaces_and_line_separators() -> None:
    content = "a b 0\n\u2028 1\n\x85 2\n  3\n<blk> 4\n".encode()
    assert parse_vocabulary(content, Path("vocab.txt")) == ("a b", "\u2028", "\x85", " ", "<blk>")


def test_rnnt_exports_are_refused_by_name(tmp_path: Path) -> None:
    for layout in LAYOUTS:
        folder = tiny_models.write(tmp_path / layout, Shape(vocab=50, durations=()), layout)
        message = refuse(folder, errors.UnsupportedLayoutError, "RNNT")
        assert "TDT" in message
        refuse(folder, errors.UnsupportedLayoutError, "RNNT", durations=[0, 1])


def test_ctc_exports_are_refused_by_name(tmp_path: Path) -> None:
    folder = tiny_models.write(tmp_path / "m", SMALL)
    (folder / "decoder_joint-model.onnx").unlink()
    model = onnx.load(folder / "encoder-model.onnx")
    del model.graph.output[1]
    onnx.save(model, folder / "model.onnx")
    (folder / "encoder-model.onnx").unlink()
    refuse(folder, errors.UnsupportedLayoutError, "CTC")


def test_other_layouts_are_refused_by_name(tmp_path: Path) -> None:
    genai = tmp_path / "genai"
    genai.mkdir()
    for name in ("genai_config.json", "encoder.onnx", "decoder.onnx", "joint.onnx"):
        (genai / name).write_bytes(b"x")
    refuse(genai, errors.UnsupportedLayoutError, "genai")
    nemo = tmp_path / "nemo"
    nemo.mkdir()
    (nemo / "parakeet.nemo").write_bytes(b"x")
    refuse(nemo, errors.UnsupportedLayoutError, r"NeMo checkpoint.*tdt convert parakeet.nemo")
    for name, words in (("model.safetensors", "Transformers.*tdt convert"), ("model.gguf", "another runtime")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_bytes(b"x")
        refuse(folder, errors.UnsupportedLayoutError, words)
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.md").write_bytes(b"x")
    refuse(other, errors.UnsupportedLayoutError, "notes.md")


def test_encoder_and_decoder_of_different_models(folder: Path, tmp_path: Path) -> None:
    other = tiny_models.write(
        tmp_path / "other",
        Shape(vocab=50, encoder_dim=40),
        "onnx-asr" if (folder / "vocab.txt").exists() else "sherpa-onnx",
    )
    name = next(path.name for path in files_of(folder, ".onnx") if path.name.startswith("encoder"))
    shutil.copy(other / name, folder / name)
    refuse(folder, errors.ModelMismatchError, "frames of 40 numbers")


# --- external weights ---------------------------------------------------------------------------------------------


def relocate(folder: Path, location: str, **entries: str) -> None:
    """Let the first external weight point elsewhere."""
    path = folder / "encoder-model.onnx"
    model = onnx.load(path, load_external_data=False)
    tensor = next(t for t in model.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL)
    for entry in tensor.external_data:
        if entry.key == "location":
            entry.value = location
        elif entry.key in entries:
            entry.value = entries[entry.key]
    onnx.save(model, path)


def test_missing_external_weights(outside: Path) -> None:
    (outside / "encoder-model.onnx.data").unlink()
    refuse(outside, errors.ExternalDataError, "not there")


def test_short_external_weights(outside: Path) -> None:
    path = outside / "encoder-model.onnx.data"
    path.write_bytes(path.read_bytes()[:-8])
    refuse(outside, errors.ExternalDataError, "cut short")
    path.write_bytes(b"")
    refuse(outside, errors.ExternalDataError, "cut short")
    path.write_bytes(LFS)
    refuse(outside, errors.ExternalDataError, "Git-LFS")
    path.write_bytes(HTML)
    refuse(outside, errors.ExternalDataError, "web page")


@pytest.mark.parametrize(
    "location",
    ["../secret", "sub/../../secret", "/etc/passwd", "C:\\secret", "\\\\host\\share", "..\\secret", "", "a\0b", "."],
)
def test_locations_outside_the_folder(outside: Path, location: str) -> None:
    (outside.parent / "secret").write_bytes(b"x" * 1_000_000)
    relocate(outside, location)
    refuse(outside, errors.ExternalDataError)
    with pytest.raises(errors.ExternalDataError):
        load_model(outside / "encoder-model.onnx")


@pytest.mark.parametrize(
    "entries", [{"length": "4"}, {"length": "-1"}, {"offset": "-8"}, {"offset": "x"}, {"offset": "9" * 30}]
)
def test_impossible_ranges_of_external_weights(outside: Path, entries: dict[str, str]) -> None:
    relocate(outside, "encoder-model.onnx.data", **entries)
    refuse(outside, errors.ExternalDataError)


def test_links_out_of_the_folder(outside: Path) -> None:
    data = outside / "encoder-model.onnx.data"
    secret = outside.parent / "secret"
    data.rename(secret)
    data.symlink_to(secret)
    refuse(outside, errors.ExternalDataError, "leads outside")
    secret.unlink()
    refuse(outside, errors.ExternalDataError)
    data.unlink()
    data.symlink_to(data)
    refuse(outside, errors.ExternalDataError)


def test_a_linked_subfolder_is_outside_too(outside: Path) -> None:
    elsewhere = outside.parent / "elsewhere"
    elsewhere.mkdir()
    (outside / "encoder-model.onnx.data").rename(elsewhere / "data")
    (outside / "sub").symlink_to(elsewhere)
    relocate(outside, "sub/data")
    refuse(outside, errors.ExternalDataError)


def as_hub_cache(model: Path, root: Path) -> Path:
    """Lay the files of `model` out as the hub's cache does: links in a snapshot to blobs beside it."""
    blobs, snapshot = root / "blobs", root / "snapshots" / "abc123"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text("abc123")
    for index, path in enumerate(sorted(model.iterdir())):
        shutil.copy(path, blobs / f"hash{index}")
        (snapshot / path.name).symlink_to(f"../../blobs/hash{index}")
    return snapshot


def test_the_hub_caches_own_links_are_followed(outside: Path, tmp_path: Path) -> None:
    snapshot = as_hub_cache(outside, tmp_path / "models--owner--name")
    assert find_model(snapshot)[1] == replace(find_model(outside)[1], name="abc123")
    assert load_model(snapshot / "encoder-model.onnx") == load_model(outside / "encoder-model.onnx")
    # Runtimes that follow no links get the graph with the blobs' own names.
    graph, blobs = without_links(snapshot / "encoder-model.onnx")
    assert isinstance(graph, bytes)
    assert blobs == tmp_path / "models--owner--name" / "blobs"
    Session(graph, Backend(), external_folder=blobs).close()
    Session(snapshot / "encoder-model.onnx", Backend()).close()
    other = tmp_path / "models--owner--name" / "secret"
    (snapshot / "encoder-model.onnx.data").resolve().rename(other)
    (snapshot / "encoder-model.onnx.data").unlink()
    (snapshot / "encoder-model.onnx.data").symlink_to(other)
    refuse(snapshot, errors.ExternalDataError, "leads outside")


def test_a_folder_of_links_made_by_hand(outside: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    linked.mkdir()
    for path in outside.iterdir():
        if path.suffix != ".data":  # the weights are found beside the graph itself
            (linked / path.name).symlink_to(path)
    find_model(linked)
