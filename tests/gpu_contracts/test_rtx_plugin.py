"""The TensorRT-RTX plugin's own library knows every option we pass; without a driver it says so in a sentence.

Real: the library of the wheel, ONNX Runtime loading it. Not real: nothing runs, it needs an RTX card.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tdt.errors import ProviderError
from tdt.model.finding import find_model
from tdt.onnxfile.graph import read_graph
from tdt.runtime import provider_options
from tdt.runtime.backend import Backend
from tdt.runtime.driver import read_driver
from tdt.runtime.session import Session

RTX = Backend.parse("tensorrt-rtx:0,memory=1")


def test_every_option_occurs_in_the_plugins_library() -> None:
    spec = importlib.util.find_spec("onnxruntime_ep_nv_tensorrt_rtx")
    assert spec is not None
    assert spec.origin is not None
    files, model = find_model(None)
    names = [port.name for port in read_graph(files.encoder).inputs]
    profile = provider_options.encoder_profile(names, model, RTX)
    options = provider_options.tensorrt_rtx_options(RTX, profile, Path("/cache"))
    content = (Path(spec.origin).parent / "libonnxruntime_providers_nv_tensorrt_rtx.so").read_bytes()
    absent = [key for key in [*options, "nv_no_such_option"] if key.encode() + b"\0" not in content]
    assert absent == ["nv_no_such_option"]


def test_without_a_driver_it_says_so() -> None:
    if not read_driver().problem:
        pytest.skip("this machine has a card")
    with pytest.raises(ProviderError, match=r"tensorrt-rtx:0,memory=1 cannot start: .*libcuda\.so\.1.*driver"):
        Session(find_model(None)[0].encoder, RTX)
