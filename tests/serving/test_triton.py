"""Triton's side as a stand-in: the repository that is written, loaded and asked as its Python backend does."""

from __future__ import annotations

import json
import re
import runpy
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import tdt
from tdt.commands import main
from tdt.errors import ModelError, OptionError
from tdt.serving.triton import write_repository

if TYPE_CHECKING:
    from collections.abc import Iterator

CLIP = Path(tdt.__file__).parent / "models/recordings/15_hello_world.flac"


class Tensor:
    def __init__(self, name: str, values: np.ndarray) -> None:
        self._name, self._values = name, values

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> np.ndarray:
        return self._values


class Response:
    def __init__(self, output_tensors: Any = (), error: Any = None) -> None:
        self.tensors, self.failure = output_tensors, error

    def texts(self, name: str) -> list[str]:
        assert self.failure is None, self.failure
        (tensor,) = (tensor for tensor in self.tensors if tensor.name() == name)
        assert tensor.as_numpy().shape[1:] == (1,)
        assert tensor.as_numpy().dtype == np.object_
        return [text.decode() for text in tensor.as_numpy()[:, 0]]


class Request:
    def __init__(self, **inputs: list[bytes]) -> None:
        self.tensors = {
            name: Tensor(name, np.array([[v] for v in values], np.object_)) for name, values in inputs.items()
        }


@pytest.fixture
def utils(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The names of `triton_python_backend_utils` that a model uses, as its documentation describes them."""
    made: Any = ModuleType("triton_python_backend_utils")
    made.Tensor, made.InferenceResponse = Tensor, Response
    made.TritonError = lambda message: message
    made.get_input_tensor_by_name = lambda request, name: request.tensors.get(name)
    monkeypatch.setitem(sys.modules, made.__name__, made)
    return made


def parsed(text: str) -> dict[str, Any]:
    """Return what a test must know of a configuration in Protocol Buffers' text format."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

    def field(proto: Any, name: str, number: int, kind: str, *, many: bool = False) -> None:
        added = proto.field.add(name=name, number=number, label=3 if many else 1)
        if kind[0].isupper():
            added.type, added.type_name = 11, f".triton.{kind}"
        else:
            added.type = {"string": 9, "int": 3, "bool": 8}[kind]

    file = descriptor_pb2.FileDescriptorProto(name="triton.proto", package="triton", syntax="proto2")
    tables = {
        "Tensor": [("name", "string"), ("data_type", "kind"), ("dims", "int*"), ("optional", "bool")],
        "Group": [("count", "int"), ("kind", "kind"), ("gpus", "int*")],
        "Batching": [("max_queue_delay_microseconds", "int")],
        "Value": [("string_value", "string")],
        "Entry": [("key", "string"), ("value", "Value")],
        "Config": [("name", "string"), ("backend", "string"), ("max_batch_size", "int"),
                   ("dynamic_batching", "Batching"), ("input", "Tensor*"), ("output", "Tensor*"),
                   ("instance_group", "Group*"), ("parameters", "Entry*")],
    }  # fmt: skip
    kinds = file.enum_type.add(name="kind")
    for number, name in enumerate(("TYPE_STRING", "KIND_CPU", "KIND_GPU")):
        kinds.value.add(name=name, number=number)
    for name, rows in tables.items():
        proto = file.message_type.add(name=name)
        for number, (entry, kind) in enumerate(rows, start=1):
            if kind == "kind":
                proto.field.add(name=entry, number=number, label=1, type=14, type_name=".triton.kind")
            else:
                field(proto, entry, number, kind.rstrip("*"), many=kind.endswith("*"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    config = message_factory.GetMessageClass(pool.FindMessageTypeByName("triton.Config"))()
    text_format.Parse(text, config)
    return {
        "name": config.name,
        "max_batch_size": config.max_batch_size,
        "inputs": [(one.name, list(one.dims), one.optional) for one in config.input],
        "outputs": [one.name for one in config.output],
        "group": (config.instance_group[0].kind, list(config.instance_group[0].gpus)),
        "parameters": {one.key: one.value.string_value for one in config.parameters},
    }


@pytest.fixture
def model(utils: ModuleType, tmp_path: Path) -> Iterator[Any]:
    assert main(["triton", str(tmp_path / "repository"), "--max-batch", "4", "-q"]) == 0
    folder = tmp_path / "repository/parakeet-tdt-tiny"
    found = parsed((folder / "config.pbtxt").read_text(encoding="utf-8"))
    made = runpy.run_path(str(folder / "1/model.py"))["TritonPythonModel"]()
    parameters = {key: {"string_value": value} for key, value in found["parameters"].items()}
    made.initialize({"model_config": json.dumps(found | {"parameters": parameters}), "model_instance_kind": "CPU"})
    yield made
    made.finalize()


def test_what_triton_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["triton", str(tmp_path), "--max-batch", "4", "-q"]) == 0
    printed = capsys.readouterr().out.split()
    assert printed == [str(tmp_path / "parakeet-tdt-tiny" / name) for name in ("config.pbtxt", "1/model.py")]
    found = parsed(Path(printed[0]).read_text(encoding="utf-8"))
    assert found == {
        "name": "parakeet-tdt-tiny", "max_batch_size": 4, "outputs": ["TEXT", "WORDS"], "group": (1, []),
        "inputs": [("AUDIO", [1], False), ("PHRASES", [1], True)],
        "parameters": {"provider": "cpu", "decoder": "auto", "weights": "auto"},
    }  # fmt: skip


def test_names_and_paths_of_all_kinds_are_read_back(tmp_path: Path) -> None:
    path = '/models/a "b"\\c/ü\n'
    files = write_repository(tmp_path, "a.b_c-1", 2, {"model": path, "provider": "tensorrt:3,int8", "precision": ""})
    found = parsed(files[0].read_text(encoding="utf-8"))
    assert found["parameters"] == {"model": path, "provider": "tensorrt:3,int8"}
    assert found["group"] == (2, [3])
    for name in ("", "a/b", "../a", "a b", ".a", "a" * 101):
        with pytest.raises(OptionError, match="name"):
            write_repository(tmp_path, name, 2, {})


def test_requests_are_answered_as_the_library_does(model: Any) -> None:
    clip = CLIP.read_bytes()
    with tdt.load() as asr:
        expected = asr.transcribe(clip)
        guided = asr.transcribe(clip, phrases=["tasting"])
    two = Request(AUDIO=[clip, clip], PHRASES=[b"", b"tasting\n\n"])
    first, second, third = model.execute([Request(AUDIO=[clip]), two, Request(AUDIO=[clip, clip, clip])])
    assert first.texts("TEXT") == [expected.text]
    assert second.texts("TEXT") == [expected.text, guided.text]
    assert third.texts("TEXT") == [expected.text] * 3
    words = json.loads(first.texts("WORDS")[0])
    assert [word["word"] for word in words] == [word.text for word in expected.words]
    assert [word["start"] for word in words] == [round(word.start, 3) for word in expected.words]


def test_one_request_that_fails_costs_no_other_anything(model: Any) -> None:
    clip = CLIP.read_bytes()
    bad, good, odd = model.execute(
        [Request(AUDIO=[b"no sound"]), Request(AUDIO=[clip]), Request(AUDIO=[clip, clip], PHRASES=[b"a"])]
    )
    assert re.search("AUDIO", bad.failure)
    assert "PHRASES" in odd.failure
    assert good.texts("TEXT") == ["Hello world. Testing one, two, three."]


def test_a_model_that_is_not_there_is_told_at_the_start(utils: ModuleType, tmp_path: Path) -> None:
    from tdt.serving.triton import TritonPythonModel

    config = {"max_batch_size": 4, "parameters": {"model": {"string_value": str(tmp_path)}}}
    with pytest.raises(ModelError):
        TritonPythonModel().initialize({"model_config": json.dumps(config)})
    assert main(["triton", str(tmp_path / "out"), "--model", str(tmp_path), "-q"]) == 1
    assert not (tmp_path / "out").exists()
