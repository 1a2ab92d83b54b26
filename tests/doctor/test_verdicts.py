"""`tdt doctor`: planted faults must be found, a sound machine must be called sound."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tdt.commands import main
from tdt.doctor import measuring
from tdt.doctor.decoders import decoder_checks
from tdt.doctor.prerequisites import cuda_major, findings, package_major
from tdt.doctor.report import Environment, Measured
from tdt.doctor.verdicts import TOLERANCES, distance, judge, judge_cpu
from tdt.errors import ProviderError
from tdt.runtime.driver import Card, Driver

if TYPE_CHECKING:
    from collections.abc import Callable

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
NO_DRIVER = Driver(None, "", (), "no NVIDIA driver")
CARD = Driver((13, 0), "580.65.06", (Card("A card", (8, 9), 24 << 30),))
PLAIN = Environment(
    python="3.11",
    platform="Linux",
    processor="a processor",
    driver=NO_DRIVER,
    runtime="1.31.1",
    runtime_cuda="13.0",
    providers=("TensorrtExecutionProvider", CUDA, CPU),
    packages={"onnxruntime-gpu": "1.31.1"},
    owners={"onnxruntime": ("onnxruntime-gpu",), "tdt": ("parakeet-tdt",)},
)
WITH_CARD = replace(
    PLAIN,
    driver=CARD,
    packages={
        "nvidia-cublas": "13.1.0",
        "nvidia-cuda-runtime": "13.0.96",
        "nvidia-cudnn-cu13": "9.14",
        "cupy-cuda13x": "13.6",
    },
)


@pytest.fixture(scope="module")
def on_cpu() -> Measured:
    """The CPU's own answer for the bundled clips, measured."""
    return measuring.measure(None, "cpu")


@pytest.fixture
def on_cuda(on_cpu: Measured) -> Measured:
    """What a sound card gives: the CPU's numbers with other rounding."""
    rng = np.random.default_rng(3)
    encoded = tuple(
        (frames * (1 + 1e-6 * rng.standard_normal(frames.shape))).astype(np.float32) for frames in on_cpu.encoded
    )
    nodes = {CUDA: 700, CPU: 200}
    return replace(on_cpu, provider="cuda", execution_provider=CUDA, encoded=encoded, nodes=nodes, computing_on_cpu={})


def noisy(measured: Measured, share: float) -> Measured:
    rng = np.random.default_rng(4)
    scale = [share * float(np.abs(frames).std()) for frames in measured.encoded]
    added = [rng.standard_normal(f.shape).astype(np.float32) * s for f, s in zip(measured.encoded, scale, strict=True)]
    return replace(measured, encoded=tuple(f + a for f, a in zip(measured.encoded, added, strict=True)))


def with_nan(measured: Measured) -> Measured:
    frames = measured.encoded[1].copy()
    frames[3, 5] = np.nan
    return replace(measured, encoded=(measured.encoded[0], frames, *measured.encoded[2:]))


def with_a_wrong_frame(measured: Measured) -> Measured:
    frames = measured.encoded[0].copy()
    frames[2] *= -1
    return replace(measured, encoded=(frames, *measured.encoded[1:]))


def with_features(measured: Measured) -> Measured:
    frames = measured.features[0].copy()
    frames[7, 20] += 0.01
    return replace(measured, features=(frames, *measured.features[1:]))


FAULTS: dict[str, tuple[Callable[[Measured], Measured], str]] = {
    "wrong cosine": (lambda m: noisy(m, 1.0), "encoder cosine"),
    "one wrong frame": (with_a_wrong_frame, "encoder error"),
    "NaN": (with_nan, "finite numbers"),
    "wrong lengths": (lambda m: replace(m, lengths=(m.lengths[0] - 1, *m.lengths[1:])), "lengths"),
    "too few frames": (lambda m: replace(m, encoded=(m.encoded[0][:3], *m.encoded[1:])), "lengths"),
    "CPU fallback": (lambda m: replace(m, nodes={CPU: 900}), "placement"),
    "partial CPU fallback": (lambda m: replace(m, computing_on_cpu={"MatMulInteger": 19}), "placement"),
    "features": (with_features, "features"),
    "empty transcripts": (
        lambda m: replace(m, tokens=((),) * len(m.tokens), frames=((),) * len(m.tokens)),
        "tokens",
    ),
    "one wrong token": (lambda m: replace(m, tokens=((m.tokens[0][0] + 1, *m.tokens[0][1:]), *m.tokens[1:])), "tokens"),
    "moved tokens": (
        lambda m: replace(m, frames=(tuple(frame + 2 for frame in m.frames[0]), *m.frames[1:])),
        "times",
    ),
}  # fmt: skip


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, on_cpu: Measured) -> Callable[..., None]:
    """Let the doctor see another machine."""

    def install(environment: Environment, **answers: Measured | Exception) -> None:
        def measure(model: Any, provider: str, precision: Any = None) -> Measured:
            answer = answers.get(provider, on_cpu)
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(measuring, "read_environment", lambda: environment)
        monkeypatch.setattr(measuring, "measure", measure)

    return install


def test_this_machine_is_sound(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    real = measuring.read_environment()
    monkeypatch.setattr(measuring, "read_environment", lambda: replace(real, driver=NO_DRIVER))
    assert main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is True
    (cpu,) = report["verdicts"]
    assert cpu["provider"] == "cpu"
    assert {check["name"] for check in cpu["checks"]} >= {"finite numbers", "tokens", "times", "durations"}
    assert cpu["nodes"][CPU] > 100
    assert set(cpu["milliseconds"]) == {"features", "encoder", "decoder"}
    assert set(report["skipped"]) == {"cuda", "tensorrt", "tensorrt-rtx"}
    assert "only the CPU can be used" in report["findings"][-1]["text"]
    assert "onnxruntime-gpu" in report["environment"]["packages"] or "onnxruntime" in report["environment"]["packages"]


def test_a_sound_card_is_called_sound(
    machine: Callable[..., None], on_cuda: Measured, capsys: pytest.CaptureFixture[str]
) -> None:
    machine(WITH_CARD, cuda=on_cuda)
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert "cuda: ok" in shown
    assert "not checked: tensorrt: TensorRT is not installed" in shown
    assert "All is well" in shown


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found(
    fault: str, machine: Callable[..., None], on_cuda: Measured, capsys: pytest.CaptureFixture[str]
) -> None:
    plant, name = FAULTS[fault]
    machine(WITH_CARD, cuda=plant(on_cuda))
    assert main(["doctor", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    cpu, cuda = report["verdicts"]
    assert cpu["ok"]
    assert not cuda["ok"]
    assert name in [check["name"] for check in cuda["checks"] if not check["ok"]]


def test_a_provider_that_does_not_start_is_wrong(
    machine: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    machine(WITH_CARD, cuda=ProviderError("libcudnn.so.9 is missing"))
    assert main(["doctor"]) == 1
    assert "libcudnn.so.9 is missing" in capsys.readouterr().out


def test_a_wrong_cpu_is_found(
    machine: Callable[..., None], on_cpu: Measured, capsys: pytest.CaptureFixture[str]
) -> None:
    machine(PLAIN, cpu=replace(on_cpu, durations=((9,), *on_cpu.durations[1:])))
    assert main(["doctor"]) == 1
    machine(PLAIN, cpu=FAULTS["one wrong token"][0](on_cpu))
    assert main(["doctor"]) == 1
    assert "Something is WRONG" in capsys.readouterr().out


def test_a_provider_that_was_asked_for_is_checked_on_any_machine(
    machine: Callable[..., None], on_cuda: Measured, capsys: pytest.CaptureFixture[str]
) -> None:
    machine(PLAIN, **{"cuda:0,tf32": replace(on_cuda, provider="cuda:0,tf32", numbers="tf32")})
    assert main(["doctor", "--provider", "cuda:0,tf32"]) == 0
    assert main(["doctor", "--model", "/no/such/model"]) in {0, 1}
    assert "cuda:0,tf32: ok" in capsys.readouterr().out


def test_the_doctors_own_failures(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--model", "/no/such/model"]) == 1
    assert "no such folder" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        main(["doctor", "--precision", "fp4"])
    assert stop.value.code == 2


def test_lower_precision_may_be_further_off(on_cpu: Measured, on_cuda: Measured) -> None:
    rough = noisy(on_cuda, 0.04)
    assert not judge(rough, on_cpu).ok
    for numbers in ("fp16", "bf16", "int8"):
        assert judge(replace(rough, numbers=numbers), on_cpu).ok
    for numbers in TOLERANCES:
        assert not judge(replace(noisy(on_cuda, 1.5), numbers=numbers), on_cpu).ok


def test_another_model_has_no_known_answer(on_cpu: Measured) -> None:
    assert judge_cpu(FAULTS["one wrong token"][0](on_cpu), None).ok
    assert not judge_cpu(with_nan(on_cpu), None).ok


def severities(environment: Environment) -> list[str]:
    return [finding.severity for finding in findings(environment)]


def test_sound_environments() -> None:
    assert severities(PLAIN) == ["note"]
    assert severities(WITH_CARD) == []


@pytest.mark.parametrize(
    ("environment", "severity", "words"),
    [
        (replace(PLAIN, owners={"onnxruntime": ("onnxruntime", "onnxruntime-gpu")}), "error", "overwrite each other"),
        (replace(PLAIN, owners={"tdt": ("parakeet-tdt", "tdt")}), "error", "install parakeet-tdt alone"),
        (replace(PLAIN, packages={"cupy-cuda12x": "13.4"}), "error", "two CUDA majors"),
        (replace(PLAIN, packages={"cupy-cuda12x": "13.4", "cupy-cuda13x": "13.6"}), "error", "all but one"),
        (replace(PLAIN, packages={"tensorrt-cu12": "10.9"}), "error", "CUDA 12"),
        (replace(PLAIN, packages={"tensorrt-cu13": "11.4"}), "warning", "TensorRT 10"),
        (replace(WITH_CARD, driver=replace(CARD, cuda=(12, 4))), "error", "Update the driver"),
        (replace(WITH_CARD, runtime_cuda="", packages={}), "warning", "has no CUDA provider"),
        (replace(WITH_CARD, packages={}), "note", "nvidia-cublas"),
    ],
)
def test_what_is_wrong_with_an_environment(environment: Environment, severity: str, words: str) -> None:
    matching = [finding for finding in findings(environment) if words in finding.text]
    assert [finding.severity for finding in matching] == [severity]


def test_an_environment_error_is_status_1(machine: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    machine(replace(PLAIN, owners={"onnxruntime": ("onnxruntime", "onnxruntime-gpu")}))
    assert main(["doctor"]) == 1
    assert "ERROR: onnxruntime and onnxruntime-gpu both install" in capsys.readouterr().out


def test_candidates_with_and_without_what_they_need() -> None:
    assert measuring.candidates(PLAIN)[0] == []
    wanted, skipped = measuring.candidates(
        replace(WITH_CARD, packages={"tensorrt-cu13": "10.14", "onnxruntime-ep-nv-tensorrt-rtx-cu13": "0.5.0"})
    )
    assert wanted == ["cuda", "tensorrt", "tensorrt-rtx"]
    assert skipped == {}
    # What engines are built with runs none.
    builder = {"tensorrt-rtx-cu13-libs": "1.7.1", "tensorrt-rtx-cu13-bindings": "1.7.1"}
    wanted, skipped = measuring.candidates(replace(WITH_CARD, packages=builder))
    assert "tensorrt-rtx" not in wanted
    assert "parakeet-tdt[rtx]" in skipped["tensorrt-rtx"]
    wanted, skipped = measuring.candidates(replace(WITH_CARD, providers=(CPU,)))
    assert wanted == []
    assert "built without" in skipped["cuda"]


def test_majors() -> None:
    assert [cuda_major(text) for text in ("13.0", "12.8", "", "x")] == [13, 12, None, None]
    names = ("cupy-cuda12x", "cupy-cuda13x", "tensorrt-cu13", "nvidia-cublas-cu12", "numpy")
    assert [package_major(name) for name in names] == [12, 13, 13, 12, None]


def test_edit_distance() -> None:
    assert distance([], []) == 0
    assert distance([1, 2, 3], []) == 3
    assert distance([1, 2, 3], [1, 3]) == 1
    assert distance([1, 2, 3], [3, 2, 1]) == 2
    assert distance([5, 1, 2], [1, 2, 5]) == 2


@pytest.mark.parametrize(("name", "wrong", "ok"), [("native", 0, True), ("native", 1, False), ("float16", 1, True)])
def test_decoders_of_the_same_frames_are_compared(on_cuda: Measured, name: str, wrong: int, ok: bool) -> None:
    first, *others = on_cuda.tokens
    changed = (tuple(token + (place < wrong) for place, token in enumerate(first)), *others)
    (check,) = decoder_checks(replace(on_cuda, redecoded={name: changed}))
    assert check.name == f"decoder against {name}"
    total = sum(map(len, changed))
    assert (check.ok, check.found.split(" tokens")[0]) == (ok, f"{total - wrong} of {total}")
