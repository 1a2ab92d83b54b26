"""Execution providers without a device: options, profiles, causes and cures, choices, placement, caches."""

from __future__ import annotations

import importlib.util
import logging
import mmap
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tdt.encoding.device_encoder import DeviceEncoder
from tdt.errors import AudioTooLongError, OptionError, ProviderError
from tdt.loading import choose_backends
from tdt.model.finding import find_model
from tdt.onnxfile import read_graph
from tdt.runtime import engine_cache, placement, provider_options, providers
from tdt.runtime.backend import Backend
from tdt.runtime.diagnosis import Facts, explain
from tdt.runtime.driver import Card, Driver, read_driver
from tdt.runtime.model_key import model_key
from tdt.runtime.ort import onnxruntime
from tdt.runtime.selection import choose_provider
from tdt.runtime.session import Session

BACKENDS = ["cuda:1,tf32,memory=2", "tensorrt:0,int8,max_batch=4", "tensorrt:0,fp16,level=5,memory=1", "tensorrt,bf16"]
CARD = Card("NVIDIA A10", (8, 6), 24 << 30)
WORKING = Driver((13, 0), "580.65.06", (CARD,))


def provider_library(name: str) -> Path:
    spec = importlib.util.find_spec("onnxruntime")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "capi" / f"libonnxruntime_providers_{name}.so"


def profile_of(backend: Backend) -> provider_options.ShapeProfile:
    files, spec = find_model(None)
    names = [port.name for port in read_graph(files.encoder).inputs]
    return provider_options.encoder_profile(names, spec, backend)


@pytest.mark.parametrize("text", BACKENDS)
def test_every_option_occurs_in_the_wheels_own_library(text: str) -> None:
    backend = replace(Backend.parse(text), stream=4096)
    library = provider_library(backend.provider)
    if not library.is_file():
        pytest.skip("plain onnxruntime is installed: it has no provider libraries")
    options = provider_options.cuda_options(backend)
    if backend.provider == "tensorrt":
        options = provider_options.tensorrt_options(backend, profile_of(backend), Path("/cache/engine"))
    with library.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        # A string may share the end of another's, so only its own end is looked for.
        absent = [key for key in [*options, "trt_no_such_option"] if content.find(key.encode() + b"\0") < 0]
    assert absent == ["trt_no_such_option"]
    assert all(isinstance(value, str) for value in options.values())


def test_cuda_options_say_what_was_asked() -> None:
    options = provider_options.cuda_options(replace(Backend.parse("cuda:1,memory=2"), stream=4096))
    assert options["device_id"] == "1"
    assert options["use_tf32"] == "0"
    assert options["cudnn_conv_algo_search"] == "HEURISTIC"
    assert options["arena_extend_strategy"] == "kNextPowerOfTwo"
    assert options["gpu_mem_limit"] == str(2 << 30)
    assert (options["has_user_compute_stream"], options["user_compute_stream"]) == ("1", "4096")
    assert provider_options.cuda_options(Backend.parse("cuda,tf32"))["use_tf32"] == "1"
    assert "gpu_mem_limit" not in provider_options.cuda_options(Backend.parse("cuda"))


@pytest.mark.parametrize(("numbers", "flags"), [("fp32", "000"), ("fp16", "100"), ("bf16", "010"), ("int8", "101")])
def test_tensorrt_numbers(numbers: str, flags: str) -> None:
    options = provider_options.tensorrt_options(Backend.parse(f"tensorrt,{numbers}"), None, Path("/c/e"))
    assert "".join(options[f"trt_{name}_enable"] for name in ("fp16", "bf16", "int8")) == flags
    assert (options["trt_engine_cache_path"], options["trt_timing_cache_path"]) == ("/c/e", "/c")
    assert not any("profile" in key for key in options)


def test_profiles_name_every_dynamic_input(model_folder: Path) -> None:
    files, spec = find_model(model_folder)
    graph = read_graph(files.encoder)
    profile = provider_options.encoder_profile(
        [port.name for port in graph.inputs], spec, Backend.parse("tensorrt,max_batch=4,max_seconds=20")
    )
    dynamic = {port.name: port.shape for port in graph.inputs if not all(isinstance(n, int) for n in port.shape or ())}
    for shapes in (profile.least, profile.usual, profile.most):
        assert shapes.keys() == dynamic.keys()
        for name, shape in shapes.items():
            wanted = dynamic[name]
            assert wanted is not None
            assert len(shape) == len(wanted)
            assert all(given == fixed for given, fixed in zip(shape, wanted, strict=True) if isinstance(fixed, int))
    for name in dynamic:
        for least, usual, most in zip(profile.least[name], profile.usual[name], profile.most[name], strict=True):
            assert least <= usual <= most
    assert profile.most["audio_signal"] == (4, 128, 2001)
    assert provider_options.shape_text(profile.most) == "audio_signal:4x128x2001,length:4"


@pytest.mark.parametrize(
    ("backend", "usual"),
    [
        ("tensorrt", "4x128x2000"),
        ("tensorrt,max_batch=1", "1x128x2000"),
        ("tensorrt,opt_batch=8,opt_seconds=15", "8x128x1501"),
        ("tensorrt,max_batch=32,engines=2", "32x128x2001"),
        ("tensorrt,max_batch=32,engines=2,opt_batch=16,opt_seconds=30", "16x128x3001"),
        ("tensorrt,max_seconds=5,engines=2", "8x128x501"),
    ],
)
def test_profiles_are_tuned_for_what_was_asked(backend: str, usual: str) -> None:
    assert provider_options.shape_text(profile_of(Backend.parse(backend)).usual).startswith(f"audio_signal:{usual},")


def test_profiles_end_where_the_position_table_does() -> None:
    assert profile_of(Backend.parse("tensorrt,max_seconds=1000")).max_mel_frames == 2500 * 8


def test_a_shape_outside_the_profile_is_refused_with_the_numbers() -> None:
    profile = profile_of(Backend.parse("tensorrt,max_seconds=10"))
    profile.check_length(1001)
    with pytest.raises(AudioTooLongError, match=r"1500 mel frames \(15\.0 s\).*1001 frames.*max_seconds=15"):
        profile.check_length(1500)


CAUSES = [
    (Facts(False, 13, WORKING), "has no cuda provider", "pip uninstall -y onnxruntime onnxruntime-gpu"),
    (Facts(True, 13, WORKING, "libcudnn.so.9: cannot open"), "libcudnn.so.9 is missing", "nvidia-cudnn-cu13"),
    (Facts(True, 12, WORKING, "libcublasLt.so.12: cannot open"), "libcublasLt.so.12", "onnxruntime-gpu[cuda,cudnn]"),
    (Facts(True, 13, WORKING, "libnvinfer.so.10: cannot open"), "libnvinfer.so.10", "tensorrt-cu13>=10.13.2.6,<11"),
    (Facts(True, 13, Driver(None, "", (), "no NVIDIA driver: …"), "libcublas.so.13: cannot open"),
     "no NVIDIA driver: …; the library libcublas.so.13 is missing as well", "onnxruntime-gpu[cuda,cudnn]"),
    (Facts(True, 13, WORKING, "libcuda.so.1: cannot open"), "libcuda.so.1", "driver"),
    (Facts(True, 13, Driver(None, "", (), "no NVIDIA driver: …")), "no NVIDIA driver", "Install NVIDIA's driver"),
    (Facts(True, 13, Driver((12, 4), "550.54", (CARD,))), "driver 550.54 serves CUDA 12.4", "parakeet-tdt[cuda12]"),
    (Facts(True, 13, Driver((13, 0), "580", ())), "no card 0", "numbers"),
    (Facts(True, 13, Driver((13, 0), "580", (Card("Tesla V100", (7, 0), 1),))), "compute capability 7.0", "Another" ),
    (Facts(True, 13, WORKING, cupy="cupy-cuda12x"), "cupy-cuda12x brings CUDA 12", "pip install cupy-cuda13x"),
    (Facts(True, 13, WORKING, "x.so: undefined symbol: cudnnX, version libcudnn.so.9"), "cudnnX", "do not fit"),
    (Facts(True, 13, WORKING, runtime_error="cuDNN is unavailable: dlsym failed"), "cuDNN", "nvidia-cudnn-cu13"),
    (Facts(True, 13, WORKING, runtime_error="something new"), "something new", 'pip install "parakeet-tdt[cuda13]"'),
]  # fmt: skip


@pytest.mark.parametrize(("facts", "cause", "cure"), CAUSES, ids=[cause for _, cause, _ in CAUSES])
def test_every_cause_comes_with_its_cure(facts: Facts, cause: str, cure: str) -> None:
    message = str(explain(Backend.parse("cuda:0"), facts))
    assert message.startswith("cuda:0 cannot start: ")
    assert cause in message
    assert cure.lower() in message.lower()
    assert "Nothing falls back" in message


def test_a_missing_card_number_lists_those_that_are_there() -> None:
    assert "0: NVIDIA A10" in str(explain(Backend.parse("cuda:3"), Facts(True, 13, WORKING)))


def test_a_driver_that_is_not_there_is_no_error() -> None:
    driver = read_driver("libsurely-not-there.so.1")
    assert (driver.cuda, driver.cards) == (None, ())
    assert "libsurely-not-there.so.1" in driver.problem
    assert "lacks a function" in read_driver("libm.so.6").problem


@pytest.mark.parametrize("provider", ["cuda:0", "tensorrt:0", "tensorrt-rtx:0"])
def test_a_provider_that_cannot_start_raises(models: Path, provider: str) -> None:
    if not read_driver().problem:
        pytest.skip("this machine has a card")
    with pytest.raises(ProviderError, match=rf"{provider} cannot start: .*[Ii]nstall"):
        Session(models / "parakeet-tdt-tiny-onnx/encoder-model.onnx", Backend.parse(provider))


@pytest.mark.parametrize("provider", ["cuda", "tensorrt", "tensorrt-rtx"])
def test_dynamic_quantisation_is_refused_before_anything_starts(model_folder: Path, provider: str) -> None:
    with pytest.raises(ProviderError, match=r"DynamicQuantizeLinear, .* MatMulInteger, .* ConvInteger") as caught:
        DeviceEncoder(*find_model(model_folder, precision="int8"), Backend.parse(provider))
    assert "tdt quantize" in str(caught.value)
    assert 'provider="cpu"' in str(caught.value)


def test_nothing_is_usable_without_a_card() -> None:
    if not read_driver().problem:
        pytest.skip("this machine has a card")
    assert providers.usable(onnxruntime()) == set()


@pytest.mark.parametrize(
    ("quantization", "body", "usable", "expected"),
    [
        ("dynamic", "float32", {"cuda", "tensorrt"}, "cpu"),
        ("dynamic", "float32", set(), "cpu"),
        ("qdq", "float32", {"cuda", "tensorrt"}, "tensorrt,int8"),
        ("qdq", "float16", {"cuda", "tensorrt"}, "tensorrt"),
        ("qdq", "float32", {"cuda"}, "cpu"),
        ("qdq", "float32", set(), "cpu"),
        ("float", "float32", {"cuda", "tensorrt"}, "tensorrt"),
        ("float", "float16", {"cuda", "tensorrt"}, "tensorrt"),
        ("float", "float32", {"cuda"}, "cuda"),
        ("float", "float32", set(), "cpu"),
        ("weight-only", "float32", {"cuda"}, "cuda"),
    ],
)
def test_auto_chooses_and_says_why(quantization: str, body: str, usable: set[str], expected: str) -> None:
    choice = choose_provider(quantization, usable, body)
    assert Backend(choice.provider, numbers=choice.numbers) == Backend.parse(expected)
    assert choice.why.startswith(f"{expected}: ")
    assert "\n" not in choice.why


def test_auto_takes_the_numbers_along(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    from tdt import runtime
    from tdt.onnxfile import graph

    monkeypatch.setattr(runtime, "usable_providers", lambda: {"tensorrt"}, raising=False)
    monkeypatch.setattr(graph.GraphInfo, "quantization", "qdq")
    with caplog.at_level(logging.INFO, logger="tdt"):
        encoder, _ = choose_backends(find_model(None)[0], "auto", None, None, "native")
    assert str(encoder) == "tensorrt:0,int8"
    assert "provider tensorrt,int8: " in caplog.text
    assert "half precision" in caplog.text


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("cpu", None, None, "auto"), ("cpu", "cpu")),
        (("cuda:1", None, None, "auto"), ("cuda:1", "cpu")),
        (("cuda:1", None, None, "native"), ("cuda:1", "cpu")),
        (("cuda:1", None, None, "onnx"), ("cuda:1", "cuda:1")),
        (("tensorrt,fp16", None, None, "onnx"), ("tensorrt:0,fp16", "tensorrt:0,fp16")),
        (("tensorrt-rtx", None, None, "onnx"), ("tensorrt-rtx:0", "cpu")),
        (("cpu", "cuda:0", None, "auto"), ("cuda:0", "cpu")),
        (("cuda:0", None, "cpu", "onnx"), ("cuda:0", "cpu")),
        (("cpu", None, "cuda:0", "auto"), ("cpu", "cuda:0")),
    ],
)
def test_encoder_and_decoder_go_where_they_should(given: Any, expected: Any) -> None:
    files, _ = find_model(None)
    assert tuple(map(str, choose_backends(files, *given))) == expected


def test_auto_is_resolved_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    if not read_driver().problem:
        pytest.skip("this machine has a card")
    files, _ = find_model(None)
    with caplog.at_level(logging.INFO, logger="tdt"):
        encoder, decoder = choose_backends(files, "auto", None, None, "auto")
    assert (str(encoder), str(decoder)) == ("cpu", "cpu")
    assert "no usable NVIDIA card" in caplog.text
    with pytest.raises(OptionError):
        choose_backends(files, "gpu", None, None, "auto")


def test_shape_arithmetic_is_told_from_computation() -> None:
    cpu, cuda = "CPUExecutionProvider", "CUDAExecutionProvider"
    nodes = placement.classify(
        [
            (cuda, "a", "MatMul"),
            (cpu, "b", "Gather"),
            (cpu, "c", "Transpose"),
            (cpu, "d", "Softmax"),
            (cpu, "e", "Concat"),
        ],
        {"b": False, "c": True},
    )
    assert placement.computing_on_cpu(nodes) == {"Transpose": 1, "Softmax": 1}
    assert placement.count(nodes)[cpu]["Gather"] == 1
    with pytest.raises(ProviderError, match="2 computing nodes land on the CPU"):
        placement.require_on_device(nodes, "encoder.onnx", "cuda:0")
    placement.require_on_device(nodes[:2], "encoder.onnx", "cuda:0")
    dynamic = placement.classify([(cpu, "a", "DynamicQuantizeLinear"), (cpu, "b", "MatMulInteger")])
    with pytest.raises(ProviderError, match="dynamically quantised \\(1 DynamicQuantizeLinear, 1 MatMulInteger\\)"):
        placement.require_on_device(dynamic, "encoder.int8.onnx", "cuda:0")


@pytest.mark.parametrize("name", ["encoder-model.onnx", "encoder-model.int8.onnx", "decoder_joint-model.onnx", "step"])
def test_float_outputs_are_those_of_onnx_own_inference(models: Path, name: str) -> None:
    import onnx

    from tdt.surgery.device_step import step_graph

    folder = models / "parakeet-tdt-tiny-onnx"
    model = onnx.load_from_string(step_graph(*find_model(folder), 2)) if name == "step" else onnx.load(folder / name)
    graph = onnx.shape_inference.infer_shapes(model).graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.output)}
    wanted = {
        node.name: types[node.output[0]] in {1, 10, 11, 16}
        for node in graph.node
        if node.name and node.op_type in placement.SHAPE_OPERATORS and types.get(node.output[0])
    }
    found = placement.float_outputs(model)
    assert len(wanted) > 20
    assert {key: found[key] for key in wanted} == wanted
    assert set(wanted.values()) == {True, False}


def test_engine_folders_differ_where_engines_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ort = SimpleNamespace(__version__="1.31.1")
    monkeypatch.setattr(engine_cache, "read_driver", lambda: WORKING)
    monkeypatch.setattr(engine_cache, "tensorrt_version", lambda: "10.16.1.11")
    backend = Backend.parse(f"tensorrt:0,fp16,cache={tmp_path}")
    profile = profile_of(backend)
    first = engine_cache.engine_name(ort, backend, profile, "abc")
    assert first.startswith("nvidia-a10-fp16-")
    assert engine_cache.engine_name(ort, backend, profile, "abc") == first
    others = {
        engine_cache.engine_name(ort, backend, profile, "abd"),
        engine_cache.engine_name(SimpleNamespace(__version__="1.31.2"), backend, profile, "abc"),
        engine_cache.engine_name(ort, replace(backend, level=5), profile, "abc"),
        engine_cache.engine_name(ort, replace(backend, numbers="bf16"), profile, "abc"),
        engine_cache.engine_name(ort, backend, profile_of(replace(backend, max_batch=2)), "abc"),
    }
    assert engine_cache.engine_name(ort, replace(backend, stream=4096), profile, "abc") == first
    monkeypatch.setattr(engine_cache, "tensorrt_version", lambda: "10.15.1")
    others.add(engine_cache.engine_name(ort, backend, profile, "abc"))
    monkeypatch.setattr(engine_cache, "read_driver", lambda: Driver((13, 0), "590.1", (CARD,)))
    others.add(engine_cache.engine_name(ort, backend, profile, "abc"))
    monkeypatch.setattr(engine_cache, "read_driver", lambda: Driver((13, 0), "590.1", (Card("RTX 4090", (8, 9), 1),)))
    others.add(engine_cache.engine_name(ort, backend, profile, "abc"))
    assert len(others | {first}) == 9


def test_a_build_says_that_it_takes_minutes_and_that_it_lives(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    monkeypatch.setattr(engine_cache, "_HEARTBEAT_SECONDS", 0.02)
    with caplog.at_level(logging.WARNING, logger="tdt"), engine_cache.building(Backend.parse("tensorrt"), tmp_path):
        time.sleep(0.1)
    assert "can take minutes" in caplog.text
    assert "still building" in caplog.text
    assert "is ready" in caplog.text
    caplog.clear()
    (tmp_path / "x.engine").touch()
    with engine_cache.building(Backend.parse("tensorrt"), tmp_path):
        pass
    assert not caplog.text


def test_model_keys_follow_the_content(tmp_path: Path, models: Path) -> None:
    whole = (models / "parakeet-tdt-tiny-onnx/decoder_joint-model.onnx").read_bytes()
    path = tmp_path / "model.onnx"
    path.write_bytes(whole)
    assert model_key(path) == model_key(whole)
    assert re.fullmatch("[0-9a-f]{64}", model_key(whole))
    changed = bytearray(whole)
    changed[-100] ^= 1
    assert model_key(bytes(changed)) != model_key(whole)


def test_model_keys_follow_external_weights(tmp_path: Path) -> None:
    from .. import tiny_models

    tiny_models.write(tmp_path, tiny_models.Shape(vocab=40), "onnx-asr", external=True)
    encoder = find_model(tmp_path)[0].encoder
    before = model_key(encoder)
    data = next(iter(read_graph(encoder).external)).file
    content = bytearray(data.read_bytes())
    content[-1] ^= 1
    data.write_bytes(bytes(content))
    assert model_key(encoder) != before
