"""The wall around ONNX Runtime: typed errors, quiet logs, buffers read and written in place."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from onnx import TensorProto, helper

from tdt.errors import ModelFileCorruptError, RunError, TdtError
from tdt.runtime.backend import Backend
from tdt.runtime.session import Session

if TYPE_CHECKING:
    from pathlib import Path


def doubling() -> bytes:
    port = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        "double",
        [port("x", TensorProto.FLOAT, ["N", 2])],
        [port("y", TensorProto.FLOAT, ["N", 2])],
    )
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    )


def test_ports_are_named() -> None:
    session = Session(doubling(), Backend())
    assert [(port.name, port.dtype, port.shape) for port in session.inputs] == [("x", "tensor(float)", ("N", 2))]
    assert [port.name for port in session.outputs] == ["y"]


def test_threads_do_not_stay_busy_after_a_run() -> None:
    options = Session(doubling(), Backend(), threads=2)._session.get_session_options()
    assert options.get_session_config_entry("session.force_spinning_stop") == "1"


def test_bound_buffers_are_read_and_written_in_place() -> None:
    session = Session(doubling(), Backend())
    given, result = np.zeros((3, 2), np.float32), np.zeros((3, 2), np.float32)
    binding = session.bind({"x": given}, {"y": result})
    for value in (1.0, -4.0):
        given[:] = value
        binding.run()
        assert (result == 2 * value).all()


def test_a_slice_of_a_buffer_can_be_bound() -> None:
    buffer, result = np.arange(8, dtype=np.float32).reshape(4, 2), np.zeros((4, 2), np.float32)
    Session(doubling(), Backend()).bind({"x": buffer[1:3]}, {"y": result[2:]}).run()
    assert result.tolist() == [[0, 0], [0, 0], [4, 6], [8, 10]]


def test_a_bound_run_that_fails_is_typed() -> None:
    given, result = np.zeros((3, 2), np.float32), np.zeros((2, 2), np.float32)
    with pytest.raises(RunError, match="a graph made at load failed on cpu"):
        Session(doubling(), Backend()).bind({"x": given}, {"y": result}).run()


@pytest.mark.parametrize("feeds", [{"x": np.zeros((1, 3), np.float32)}, {"x": np.zeros((1, 2))}, {"z": np.zeros(2)}])
def test_feeds_that_do_not_fit_are_typed(feeds: dict[str, np.ndarray]) -> None:
    with pytest.raises(RunError) as caught:
        Session(doubling(), Backend()).run(feeds)
    assert isinstance(caught.value, TdtError)


@pytest.mark.parametrize("content", [b"", b"\0" * 40, b"version https://git-lfs", b"\x08\x08\x12\x03abc"])
def test_files_that_are_no_graphs_are_typed(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "encoder-model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelFileCorruptError, match=r"encoder-model\.onnx"):
        Session(path, Backend())


def test_the_runtime_is_quiet(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from tdt.runtime.session import Session; from tdt.runtime.backend import Backend\n"
        "try: Session(Path('broken.onnx'), Backend())\n"
        "except Exception: pass\n"
        "try: Session(Path('good.onnx'), Backend()).run({'x': __import__('numpy').zeros((1, 3), 'float32')})\n"
        "except Exception: pass\n"
    )
    (tmp_path / "broken.onnx").write_bytes(doubling()[:-9])
    (tmp_path / "good.onnx").write_bytes(doubling())
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("", "")
