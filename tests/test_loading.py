"""Loading: the parts are made side by side, and none is left open where the other fails."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

import tdt
from tdt.aside import both
from tdt.decoding.greedy import OnnxEngine
from tdt.decoding.native import NativeEngine
from tdt.loading import make_engine
from tdt.model.finding import find_model
from tdt.runtime.backend import Backend
from tdt.timeline import Timeline


class Part:
    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


def failing() -> NoReturn:
    raise tdt.ModelMismatchError("no")


@pytest.mark.parametrize("together", [True, False])
def test_the_part_that_was_made_is_closed_where_the_other_fails(together: bool) -> None:
    made: list[Part] = []

    def making() -> Part:
        made.append(Part())
        return made[-1]

    for first, second in ((failing, making), (making, failing)):
        with pytest.raises(tdt.ModelMismatchError):
            both(first, second, together=together)
    assert all(part.closed for part in made)
    assert set(both(making, making, together=together)) == set(made[-2:])


def test_parts_are_made_side_by_side() -> None:
    meeting = threading.Barrier(2, timeout=30)

    def making() -> Part:
        meeting.wait()
        return Part()

    both(making, making, together=True)


@pytest.mark.parametrize(("decoder", "kind"), [("auto", NativeEngine), ("native", NativeEngine), ("onnx", OnnxEngine)])
def test_decoder_chooses_the_engine(decoder: Any, kind: type, model_folder: Path) -> None:
    files, spec = find_model(model_folder)
    engine = make_engine(files, spec, decoder, "auto", Backend(), 1)
    assert isinstance(engine, kind)
    engine.close()


def test_a_graph_that_the_native_engine_does_not_know_goes_through_onnx_runtime(
    monkeypatch: pytest.MonkeyPatch, model_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise tdt.UnrecognizedGraphError(Path("decoder.onnx"), "a GRU where an LSTM is expected")

    monkeypatch.setattr("tdt.decoding.NativeEngine", refuse)
    files, spec = find_model(model_folder)
    engine = make_engine(files, spec, "auto", "auto", Backend(), 1)
    assert isinstance(engine, OnnxEngine)
    assert "GRU" in caplog.text
    engine.close()
    with pytest.raises(tdt.UnrecognizedGraphError):
        make_engine(files, spec, "native", "auto", Backend(), 1)


def test_native_decoding_is_for_the_cpu() -> None:
    nothing: Any = SimpleNamespace()
    with pytest.raises(tdt.OptionError, match="native runs on the cpu"):
        make_engine(nothing, nothing, "native", "auto", Backend.parse("cuda:0"), None)


def test_a_timeline_of_loading_has_its_parts() -> None:
    timeline = Timeline()
    tdt.load(timeline=timeline).close()
    assert {"load", "load/files", "load/decoder", "load/encoder"} <= {span.path for span in timeline.spans}
