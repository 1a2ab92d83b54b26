"""Measure an installation: what is there, and what each provider makes of the bundled clips.

Nothing that might be broken is imported here but by functions, and by those only when it was found whole.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import re
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tdt.cuda_arrays import fetched
from tdt.doctor.environment import read_environment
from tdt.doctor.packages import NEEDED_TO_RUN
from tdt.doctor.prerequisites import extra, findings
from tdt.doctor.report import Environment, Expected, Measured, Report, Verdict, failed
from tdt.errors import BrokenDependencyError, TdtError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np
    import numpy.typing as npt

    from tdt.loading import FeaturePlace
    from tdt.recognizer import Recognizer
    from tdt.runtime import Backend
    from tdt.spec import Precision

    Progress = Callable[[str], None]

RECORDINGS = Path(__file__).parents[1] / "models" / "recordings"
_RUNS = 3


def examine(
    model: str | Path | None = None,
    providers: Sequence[str] | None = None,
    *,
    precision: Precision | None = None,
    progress: Progress | None = None,
) -> Report:
    """Check this installation.

    Parameters
    ----------
    model : str, Path or None
        The model to run; None for the bundled one.
    providers : sequence of str, optional
        Provider strings to check beside the CPU; by default all that can be there.
    precision : {"float32", "float16", "int8", "int4", "int2"}, optional
        Which files of the model.
    progress : callable, optional
        Told what is being done.

    Raises
    ------
    ModelError
        Where the model itself cannot be loaded.
    OptionError
        Where a provider string cannot be read.
    """
    from tdt.runtime import Backend

    tell = progress or (lambda _: None)
    tell("reading the environment")
    environment = read_environment()
    for provider in providers or ():
        Backend.parse(provider)
    wanted, skipped = (list(providers), {}) if providers is not None else candidates(environment)
    found = findings(environment)
    missing = [name for name in NEEDED_TO_RUN if name in environment.broken]
    if missing or not environment.compiles:
        why = f"not run: {', '.join(missing) or 'the compiler'} cannot be used"
        return Report(environment, found, (), {**skipped, **dict.fromkeys(["cpu", *wanted], why)})
    tell("running on cpu")
    return Report(environment, found, tuple(_verdicts(model, wanted, precision, tell)), skipped)


def _verdicts(
    model: str | Path | None, wanted: Sequence[str], precision: Precision | None, tell: Progress
) -> Iterator[Verdict]:
    from tdt.doctor.verdicts import judge_cpu

    try:
        reference = measure(model, "cpu", precision)
    except BrokenDependencyError as error:
        yield failed("cpu", error)
        return
    except TdtError:
        raise
    except Exception as error:  # noqa: BLE001  # whatever a broken installation raises
        yield failed("cpu", error)
        return
    yield judge_cpu(reference, expected_answer() if model is None else None)
    for provider in wanted:
        if provider != "cpu":
            tell(f"running on {provider}; building TensorRT engines can take minutes")
            yield _verdict(model, provider, precision, reference)


def _verdict(model: str | Path | None, provider: str, precision: Precision | None, reference: Measured) -> Verdict:
    from tdt.doctor.decoders import decoder_checks
    from tdt.doctor.endings import ending_checks
    from tdt.doctor.verdicts import judge

    try:
        measured = measure(model, provider, precision)
        verdict = judge(measured, reference)
        return replace(verdict, checks=verdict.checks + ending_checks(measured, reference) + decoder_checks(measured))
    except Exception as error:  # noqa: BLE001  # whatever a broken installation raises, CuPy's own errors too
        return failed(provider, error)


def candidates(environment: Environment) -> tuple[list[str], dict[str, str]]:
    """Return the device providers that can be there, and why the others cannot."""
    names = {"cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
    wanted: list[str] = []
    skipped: dict[str, str] = {}
    for provider, name in names.items():
        if not environment.driver.cards:
            skipped[provider] = environment.driver.problem or "no card"
        elif name not in environment.providers:
            skipped[provider] = f"ONNX Runtime {environment.runtime} was built without it"
        elif provider == "tensorrt" and not _has_tensorrt(environment):
            skipped[provider] = f"TensorRT is not installed: pip install 'parakeet-tdt[{extra(environment)}-tensorrt]'"
        else:
            wanted.append(provider)
    # The libraries that engines are built with (tensorrt-rtx-cu13-libs) run nothing.
    rtx = any(name.startswith("onnxruntime-ep-nv-tensorrt-rtx") for name in environment.packages)
    if environment.driver.cards and rtx:
        wanted.append("tensorrt-rtx")
    else:
        skipped["tensorrt-rtx"] = (
            environment.driver.problem or "its plugin is not installed: pip install 'parakeet-tdt[rtx]'"
        )
    return wanted, skipped


def _has_tensorrt(environment: Environment) -> bool:
    if any(re.fullmatch(r"tensorrt(-cu\d+)?(-libs)?", name) for name in environment.packages):
        return True
    try:
        ctypes.CDLL("libnvinfer.so.10" if sys.platform != "win32" else "nvinfer_10.dll")
    except OSError:
        return False
    return True


def clips() -> list[Path]:
    """Return the bundled recordings."""
    return sorted(RECORDINGS.glob("*.flac"))


def expected_answer() -> Expected:
    """Return NeMo's own answer for the bundled model and recordings."""
    answers = json.loads((RECORDINGS / "nemo.json").read_text(encoding="utf-8"))
    listed = [answers[path.stem] for path in clips()]
    return Expected(
        tokens=tuple(tuple(answer["token_ids"]) for answer in listed),
        frames=tuple(tuple(answer["frames"]) for answer in listed),
        durations=tuple(tuple(answer["durations"]) for answer in listed),
    )


def measure(model: str | Path | None, provider: str, precision: Precision | None = None) -> Measured:
    """Run the bundled clips as one batch, stage by stage, and then joined to a long one.

    Parameters
    ----------
    model : str, Path or None
        As :func:`tdt.load` takes it.
    provider : str
        Provider string.
    precision : {"float32", "float16", "int8", "int4", "int2"}, optional
        Which files of the model.

    Raises
    ------
    TdtError
        Where the model or the provider does not run.
    """
    from tdt.doctor.decoders import redecode
    from tdt.doctor.endings import last_second
    from tdt.loading import load
    from tdt.onnxfile import read_graph
    from tdt.runtime import EXECUTION_PROVIDERS, Backend, computed_in

    backend = Backend.parse(provider)
    with load(model, provider=backend, precision=precision, features_on=_features_on(backend)) as asr:
        milliseconds: dict[str, float] = {}
        features = _best("features", milliseconds, lambda: asr.features(clips()))
        encoded = _best("encoder", milliseconds, lambda: asr.encode(features))
        hypotheses = _best("decoder", milliseconds, lambda: asr.decode(encoded))
        nodes, computing = _placed(asr)
        return Measured(
            provider=provider,
            execution_provider=EXECUTION_PROVIDERS[backend.provider],
            numbers=computed_in(backend, read_graph(asr.files.encoder)),
            features=_rows(features.frames, features.lengths, axis=1),
            encoded=_rows(encoded.frames, None, axis=0),
            lengths=tuple(int(length) for length in fetched(encoded.lengths)),
            tokens=tuple(tuple(map(int, hypothesis.token_ids)) for hypothesis in hypotheses),
            frames=tuple(tuple(map(int, hypothesis.frames)) for hypothesis in hypotheses),
            durations=tuple(tuple(map(int, hypothesis.durations)) for hypothesis in hypotheses),
            nodes=nodes,
            computing_on_cpu=computing,
            milliseconds=milliseconds,
            redecoded=redecode(asr, backend, encoded),
            ending=last_second(asr, clips()),
        )


def _features_on(backend: Backend) -> FeaturePlace:
    """Return where features are to be computed: on the card where CuPy is installed, so that it is checked as well."""
    from tdt.runtime import takes_stream

    return "device" if takes_stream(backend) and importlib.util.find_spec("cupy") is not None else "host"


def _best(stage: str, milliseconds: dict[str, float], run: Callable[[], Any]) -> Any:
    """Run once to warm up and some times more; keep the best time."""
    result = run()
    times = []
    for _ in range(_RUNS):
        start = time.perf_counter_ns()
        result = run()
        times.append((time.perf_counter_ns() - start) / 1e6)
    milliseconds[stage] = min(times)
    return result


def _rows(frames: Any, lengths: Any, *, axis: int) -> tuple[npt.NDArray[np.float32], ...]:
    """Return the utterances of a batch, cut to their lengths along `axis` of each where given."""
    host = fetched(frames)
    if lengths is None:
        return tuple(host)
    return tuple(row.take(range(int(length)), axis) for row, length in zip(host, fetched(lengths), strict=True))


def _placed(asr: Recognizer) -> tuple[dict[str, int], dict[str, int]]:
    """Return the encoder's nodes by execution provider, and those that compute on the CPU."""
    from tdt.runtime import computing_on_cpu

    nodes = asr.placement()
    return dict(Counter(node.provider for node in nodes)), dict(computing_on_cpu(nodes))
