"""Graphs that go to a device: lengths never in floating point, the projection appended, weights left where they are."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from tdt.model.finding import find_model
from tdt.onnxfile import load_model
from tdt.runtime.backend import Backend
from tdt.runtime.session import Session, model_key
from tdt.surgery import encoder_graph
from tdt.surgery.editing import EditableGraph
from tdt.surgery.encoder_graph import DeviceGraph, device_graph
from tdt.surgery.lengths import float_lengths
from tdt.surgery.networks import cut_decoder

from .. import low_precision

if TYPE_CHECKING:
    from pathlib import Path

LOW = {"bfloat16": TensorProto.BFLOAT16, "float16": TensorProto.FLOAT16}


@pytest.fixture(scope="module")
def bundled() -> Any:
    return find_model(None)


@pytest.fixture(scope="module")
def exported(bundled: Any) -> onnx.ModelProto:
    return load_model(bundled[0].encoder)


@pytest.fixture(scope="module")
def prepared(bundled: Any) -> DeviceGraph:
    return device_graph(*bundled)


def exact(mel_frames: int) -> int:
    return (((mel_frames - 1) // 2) // 2) // 2 + 1


def masked_lengths(model: onnx.ModelProto, low: int, mel_frames: list[int]) -> list[int]:
    """Frames that the attention's mask lets through, with every floating-point value rounded to `low`."""
    copy = low_precision.rounded(model, low)
    graph = EditableGraph(copy)
    mask = next(node for node in copy.graph.node if node.op_type == "Less" and node.output[0].startswith("/Less"))
    name = mask.output[0]
    del copy.graph.output[:]
    copy.graph.output.append(onnx.helper.make_tensor_value_info(name, TensorProto.BOOL, ["B", "T"]))
    graph.reindex()
    graph.finish()
    session = Session(copy.SerializeToString(), Backend())
    frames = np.zeros((len(mel_frames), 128, max(mel_frames)), np.float32)
    return session.run({"audio_signal": frames, "length": np.asarray(mel_frames)}, [name])[0].sum(axis=1).tolist()


# What NVIDIA/TensorRT#4822 reports: 1201 mel frames became 149 encoder frames, not 151.
CASES = [("bfloat16", 1201, 149), ("bfloat16", 2161, 268), ("float16", 2161, 270), ("float16", 2105, 263)]


@pytest.mark.parametrize(("low", "mel_frames", "found"), CASES)
def test_an_export_loses_the_end_in_few_bits(exported: onnx.ModelProto, low: str, mel_frames: int, found: int) -> None:
    assert masked_lengths(exported, LOW[low], [mel_frames]) == [found]
    assert exact(mel_frames) > found


@pytest.mark.parametrize("low", LOW)
def test_a_prepared_graph_keeps_it(prepared: DeviceGraph, low: str) -> None:
    lengths = [1, 9, 257, 1201, 2049, 2105, 2161, 4001, 4095]
    model = onnx.load_from_string(prepared.model)
    assert masked_lengths(model, LOW[low], lengths) == [exact(length) for length in lengths]


def test_the_last_frames_are_those_of_float32(exported: onnx.ModelProto, prepared: DeviceGraph) -> None:
    """All but the lengths in float32: what a device does that rounds lengths only."""
    frames = np.random.default_rng(0).standard_normal((1, 128, 1280)).astype(np.float32)
    feeds = {"audio_signal": frames, "length": np.array([1201])}
    outputs = Session(exported.SerializeToString(), Backend()).run(feeds, ["outputs"])[0][0].T
    found = Session(prepared.model, Backend()).run(feeds, ["frames"])[0][0]
    np.testing.assert_allclose(found[:151], outputs[:151], atol=5e-6)
    short = (
        Session(exported.SerializeToString(), Backend())
        .run(feeds | {"length": np.array([1201 - 16])}, ["outputs"])[0][0]
        .T
    )
    assert np.abs(short[:151] - outputs[:151]).max() > 0.5  # what two frames less do to the end


def test_float_lengths_are_found_and_gone(exported: onnx.ModelProto, prepared: DeviceGraph) -> None:
    assert "/pre_encode/conv/Cast_output_0" in float_lengths(EditableGraph(load_model(find_model(None)[0].encoder)))
    assert float_lengths(EditableGraph(onnx.load_from_string(prepared.model))) == []


def test_lengths_in_a_form_that_is_not_known_are_told(
    bundled: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from dataclasses import replace

    model = load_model(bundled[0].encoder)
    cast = next(node for node in model.graph.node if list(node.input)[:1] == ["length"])
    root = onnx.helper.make_node("Sqrt", [cast.output[0]], ["root"])
    again = onnx.helper.make_node("Mul", ["root", "root"], ["squared"])
    for node in model.graph.node:
        if node is not cast:
            node.input[:] = ["squared" if name == cast.output[0] else name for name in node.input]
    at = list(model.graph.node).index(cast)
    model.graph.node.insert(at + 1, root)
    model.graph.node.insert(at + 2, again)
    path = tmp_path / "encoder-model.onnx"
    onnx.save(model, path)
    with caplog.at_level(logging.WARNING, logger="tdt"):
        device_graph(replace(bundled[0], encoder=path), bundled[1])
    assert "computes lengths in floating point" in caplog.text


def test_the_projection_is_appended(bundled: Any, prepared: DeviceGraph) -> None:
    assert (prepared.projects, prepared.width, prepared.folder) == (True, 160, None)
    feeds = {"audio_signal": np.ones((1, 128, 200), np.float32), "length": np.array([200])}
    frames, projected = Session(prepared.model, Backend()).run(feeds, ["frames", "projected"])
    expected = Session(cut_decoder(*bundled).projector, Backend()).run({"frames": frames})[0]
    np.testing.assert_allclose(projected, expected, atol=1e-6)


def test_without_the_projection_the_graph_is_prepared_all_the_same(
    bundled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder_graph, "_append_projection", lambda model, files, spec: 0)
    graph = device_graph(*bundled)
    model = onnx.load_from_string(graph.model)
    assert not graph.projects
    assert [value.name for value in model.graph.output] == ["outputs"]
    assert float_lengths(EditableGraph(model)) == []


@pytest.fixture(scope="module")
def outside(bundled: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The bundled model with its weights in a file of their own."""
    from dataclasses import replace

    folder = tmp_path_factory.mktemp("outside")
    path = folder / "encoder-model.onnx"
    onnx.save(
        load_model(bundled[0].encoder), path, save_as_external_data=True, location="weights.data", size_threshold=0
    )
    return replace(bundled[0], encoder=path), bundled[1]


def test_weights_outside_the_file_stay_there(outside: Any, prepared: DeviceGraph) -> None:
    graph = device_graph(*outside)
    assert graph.folder == outside[0].encoder.parent
    assert len(graph.model) < 3_000_000 < len(prepared.model)
    feeds = {"audio_signal": np.ones((1, 128, 333), np.float32), "length": np.array([300])}
    ours = Session(graph.model, Backend(), external_folder=graph.folder).run(feeds)
    theirs = Session(prepared.model, Backend()).run(feeds)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_engine_has_the_same_name_wherever_the_weights_lie(outside: Any, tmp_path: Path) -> None:
    import shutil
    from dataclasses import replace

    graph = device_graph(*outside)
    copied = tmp_path / "copy"
    shutil.copytree(outside[0].encoder.parent, copied)
    again = device_graph(replace(outside[0], encoder=copied / "encoder-model.onnx"), outside[1])
    assert model_key(again.model, again.folder) == model_key(graph.model, graph.folder)
    with (copied / "weights.data").open("r+b") as stream:
        stream.seek(100)
        stream.write(b"\1\2\3\4")
    assert model_key(again.model, again.folder) != model_key(graph.model, graph.folder)
