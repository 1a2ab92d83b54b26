"""The TensorRT-RTX plugin's own library knows every option we pass; without a driver it says so in a sentence.

Real: the library of the wheel, ONNX Runtime loading it. Not real: nothing runs, it needs an RTX card.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tdt.errors import ProviderError
from tdt.model.finding import find_model
from tdt.onnxfile import read_graph
from tdt.runtime import provider_options
from tdt.runtime.backend import Backend
from tdt.runtime.driver import read_driver
from tdt.runtime.provider_files import rtx_library, rtx_version
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
    contexts = [f"ep.context_{name}" for name in ("enable", "embed_mode", "file_path")]
    absent = [key for key in [*options, *contexts, "nv_no_such_option"] if key.encode() + b"\0" not in content]
    assert absent == ["nv_no_such_option"]


def test_the_version_is_that_of_the_library_it_brings() -> None:
    assert re.fullmatch(r"1\.\d+\.\d+", rtx_version())


def test_without_a_driver_it_says_so() -> None:
    if not read_driver().problem:
        pytest.skip("this machine has a card")
    with pytest.raises(ProviderError, match=r"tensorrt-rtx:0,memory=1 cannot start: .*libcuda\.so\.1.*driver"):
        Session(find_model(None)[0].encoder, RTX)


REGISTER = """
import onnxruntime as ort, onnxruntime_ep_nv_tensorrt_rtx as plugin
assert "CUDAExecutionProvider" in ort.get_available_providers()
ort.register_execution_provider_library(plugin.get_ep_name(), plugin.get_library_path())
print(len(ort.get_ep_devices()))
"""


def test_it_registers_beside_onnxruntime_gpu(tmp_path: Path) -> None:
    """With a driver of which every function fails, so that it finds no card: what is loaded is all there is to see."""
    library = rtx_library()
    assert library is not None
    listed = subprocess.run(
        ["nm", "-D", "--undefined-only", library], capture_output=True, text=True, check=True
    ).stdout
    for name, prefix in (("libcuda.so.1", "cu[A-Z]"), ("libnvidia-ml.so.1", "nvml")):
        functions = re.findall(rf" ({prefix}\w+)$", listed, re.MULTILINE)
        assert functions
        source = tmp_path / f"{name}.c"
        source.write_text("".join(f"long {function}(void) {{ return 100; }}\n" for function in functions))
        command = ["gcc", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", tmp_path / name, source]
        subprocess.run(command, check=True)
    environment = os.environ | {"LD_LIBRARY_PATH": str(tmp_path)}
    ran = subprocess.run([sys.executable, "-c", REGISTER], env=environment, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, "1\n"), ran.stderr  # the CPU alone
