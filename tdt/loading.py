"""From a model's name to a recogniser that is ready to run."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Literal, cast, get_args

from tdt.aside import both
from tdt.checks import one_of, whole_option
from tdt.dependencies import require_compiler
from tdt.errors import DeviceMemoryError, OptionError, ProviderError, UnrecognizedGraphError
from tdt.lifetime import setting_up
from tdt.measuring import measured
from tdt.timeline import NULL, Recorder, as_recorder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tdt.decoding import CardWeightsKind, NativeWeightsKind
    from tdt.protocols import AcousticEncoder, Engine, Extractor
    from tdt.recognizer import Recognizer
    from tdt.runtime import Backend, WorkQueue
    from tdt.spec import ModelFiles, ModelSpec, Precision
    from tdt.text import Confidence, ConfidenceLike

DecoderKind = Literal["auto", "native", "onnx"]
WeightsKind = Literal["auto", "float32", "float16", "int8"]
FeatureVersion = Literal["2.5", "2.4"]
FeaturePlace = Literal["host", "device"]

DECODERS: tuple[str, ...] = get_args(DecoderKind)
WEIGHTS: tuple[str, ...] = get_args(WeightsKind)
FEATURE_VERSIONS: tuple[str, ...] = get_args(FeatureVersion)
FEATURE_PLACES: tuple[str, ...] = get_args(FeaturePlace)

_log = logging.getLogger("tdt")


def load(
    model: str | Path | None = None,
    *,
    provider: str | Backend = "cpu",
    precision: Precision | None = None,
    threads: int | None = None,
    decoder: DecoderKind = "auto",
    weights: WeightsKind = "auto",
    encoder_provider: str | Backend | None = None,
    decoder_provider: str | Backend | None = None,
    durations: Sequence[int] | None = None,
    max_symbols: int | None = None,
    confidence: ConfidenceLike = "entropy",
    features: FeatureVersion = "2.5",
    features_on: FeaturePlace = "host",
    stream: object = None,
    timeline: Recorder = NULL,
) -> Recognizer:
    """Load a model.

    Parameters
    ----------
    model : str, Path or None
        A folder in the onnx-asr or sherpa-onnx layout, a hub name such as `parakeet-tdt-0.6b-v3`, or None for the
        bundled parakeet-tdt-tiny.
    provider : str or Backend
        Execution provider of both parts: `cpu`, `cuda:0`, `tensorrt:0,fp16,cache=DIR`, …
    precision : {"float32", "float16", "int8", "int4", "int2"}, optional
        Which files to take; None takes the finest that the folder has, for each graph separately.
    threads : int, optional
        Threads inside each stage; all cores by default.
    decoder : {"auto", "native", "onnx"}
        Decoding engine: "auto" decodes where the encoder runs, by one kernel on CUDA and TensorRT, else by the native
        engine on the CPU; "native" is the CPU in any case; "onnx" runs the model's own graphs, slower than either.
    weights : {"auto", "float32", "float16", "int8"}
        Weights of the decoder. "auto" is float32 on a card; on the CPU it is 8-bit where the model's own decoder is,
        else float32. float16 needs a card, int8 the CPU.
    encoder_provider, decoder_provider : str or Backend, optional
        Providers of the parts, where they differ from `provider`.
    durations : sequence of int, optional
        The model's duration table in encoder frames, where the metadata does not say it; default 0, 1, 2, …
    max_symbols : int, optional
        Most tokens on one frame; default from the model's configuration, else 10 as in NeMo.
    confidence : {"entropy", "max_prob"} or Confidence
        How the confidences in transcripts are made. One that counts blanks or durations needs the native engine.
    features : {"2.5", "2.4"}
        NeMo version whose log-mel is made: from 2.5 on, or up to 2.4 (reflected edges, one frame more).
    features_on : {"host", "device"}
        Where features of host audio are computed: by compiled code on the CPU (about 0.1 ms a second of audio), or by
        CuPy on the encoder's device, where they stay. Audio that lies on a device is always computed there.
    stream : int or object, optional
        CUDA stream (its address, or a stream of CuPy or PyTorch) on which features, encoder and decoder enqueue their
        work on a card. By default they share one made at load, which keeps order with the default stream.
    timeline : Recorder, optional
        Where load and compile times are recorded.

    Returns
    -------
    Recognizer

    Raises
    ------
    ModelError
        In its kinds: not found, a file missing or corrupt, an unsupported layout, parts that do not fit together.
    OptionError
        Where an argument has no usable value.
    ProviderError
        Where a provider cannot start; nothing falls back silently.

    Examples
    --------
    >>> import tdt
    >>> with tdt.load() as asr:
    ...     asr.spec.n_mels
    128
    """
    one_of("decoder", decoder, DECODERS)
    one_of("weights", weights, WEIGHTS)
    measure, decoder = measured(confidence, decoder)
    one_of("features", features, FEATURE_VERSIONS)
    one_of("features_on", features_on, FEATURE_PLACES)
    threads, max_symbols = whole_option("threads", threads), whole_option("max_symbols", max_symbols)
    timeline = as_recorder("timeline", timeline)
    _check_providers(provider, encoder_provider, decoder_provider)
    from tdt.encoding import FeatureExtractor
    from tdt.model import find_model
    from tdt.pipeline import Stages
    from tdt.recognizer import Recognizer
    from tdt.runtime import onnxruntime, open_queues

    began = time.perf_counter()
    with setting_up(), timeline.span("load"):
        with timeline.span("files"):
            files, spec = find_model(model, precision=precision, durations=durations, max_symbols=max_symbols)
        backends = choose_backends(files, provider, encoder_provider, decoder_provider, decoder, weights)
        queues = open_queues(backends, stream)
        make_features = FeatureExtractor(spec.n_mels, spec.normalize, "constant" if features == "2.5" else "reflect")
        on_device = features_on == "device"
        device = _device_of(backends[0]) if on_device else None
        extractor: Extractor = partial(make_features, device=device, queue=queues[0])

        def make_decoder() -> Engine:
            with timeline.span("decoder"):
                return make_engine(files, spec, decoder, weights, backends[1], threads, timeline, queues[1], measure)

        def make_acoustic_encoder() -> AcousticEncoder:
            with timeline.span("encoder"):
                return make_encoder(files, spec, *backends, threads, queues[0])

        # Imported here, not by the thread: an interrupt amid an import can leave Python's import lock closed to others.
        require_compiler()
        onnxruntime()
        # A profile runs one after another, so that each part is charged with its own time.
        engine, encoder = both(make_decoder, make_acoustic_encoder, together=timeline is NULL)
    _log.info("loaded %s (%s) in %.2f s", spec.name, files.layout, time.perf_counter() - began)
    return Recognizer(files, Stages(spec, extractor, encoder, engine, measure, backends[0].on_device))


def _check_providers(both: object, encoder: object, decoder: object) -> None:
    from tdt.runtime import Backend

    for name, given in (("provider", both), ("encoder_provider", encoder), ("decoder_provider", decoder)):
        if given is None and name != "provider":
            continue
        if not isinstance(given, (str, Backend)):
            raise OptionError(name, given, "a string such as cpu or cuda:0, or a Backend")
        if given != "auto":
            Backend.parse(given)


def _device_of(encoder: Backend) -> int:
    if not encoder.on_device:
        raise OptionError("features_on", "device", f'"host" with the encoder on {encoder}')
    return encoder.device_id


def choose_backends(
    files: ModelFiles,
    provider: str | Backend,
    encoder_provider: str | Backend | None,
    decoder_provider: str | Backend | None,
    decoder: DecoderKind,
    weights: WeightsKind = "auto",
) -> tuple[Backend, Backend]:
    """Return where encoder and decoder run; `auto` is resolved here and logged with its reason.

    With the encoder on CUDA or TensorRT the decoder runs there too, unless `decoder="native"` or `weights="int8"` ask
    for the CPU, or the card cannot run the decoder's kernel; with TensorRT-RTX it stays on the CPU.

    Raises
    ------
    OptionError
        Where a provider string cannot be read.
    ProviderError
        Where float16 weights are asked for and the card cannot run the decoder.
    """
    from tdt.onnxfile import read_graph
    from tdt.runtime import Backend, advice, takes_stream

    wanted = provider if encoder_provider is None else encoder_provider
    if wanted == "auto":
        from tdt.runtime import choose_provider, form_problem, usable_providers

        graph = read_graph(files.encoder)
        problems = {name: form_problem(graph, name) for name in usable_providers()}
        usable = {name for name, problem in problems.items() if not problem or graph.quantization == "dynamic"}
        choice = choose_provider(graph.quantization, usable, graph.body)
        for name in problems.keys() - usable:
            _log.info("not on %s: %s", name, problems[name])
        _log.info("provider %s", choice.why)
        wanted = Backend(choice.provider, numbers=choice.numbers)
    encoder = Backend.parse(wanted)
    if encoder.provider == "tensorrt" and (better := advice(encoder, read_graph(files.encoder))):
        _log.warning("%s", better)
    if decoder_provider is not None and decoder_provider != "auto":
        return encoder, Backend.parse(decoder_provider)
    if not encoder.on_device:
        return encoder, encoder
    there = takes_stream(encoder) and decoder != "native" and weights != "int8"
    return encoder, encoder if there and (decoder == "onnx" or _decodes_on(encoder, weights)) else Backend()


def _decodes_on(backend: Backend, weights: WeightsKind) -> bool:
    """Return whether the decoder's kernel runs on a card; where not, log why and what is done instead."""
    from tdt.runtime import cooperative_problem, read_driver

    if read_driver().problem:  # the encoder's session says more about it
        return weights == "float16"
    problem = cooperative_problem(backend.device_id)
    if problem and weights == "float16":
        raise ProviderError(f'weights="float16" needs the decoder on {backend}, which cannot run it: {problem}.')
    if problem:
        _log.warning("decoding on the CPU: %s cannot run the decoder's kernel: %s", backend, problem)
    return not problem


def make_encoder(
    files: ModelFiles,
    spec: ModelSpec,
    backend: Backend,
    decoder_backend: Backend,
    threads: int | None,
    queue: WorkQueue | None = None,
) -> AcousticEncoder:
    """Return the encoder for a backend; on a device, its output stays there where the decoder is on the same one.

    Raises
    ------
    ProviderError
        Where the provider cannot start.
    """
    if not backend.on_device:
        from tdt.encoding import Encoder

        return Encoder(files, spec, backend, threads)
    from tdt.encoding import DeviceEncoder
    from tdt.runtime import takes_stream

    together = (
        takes_stream(backend) and takes_stream(decoder_backend) and backend.device_id == decoder_backend.device_id
    )
    return DeviceEncoder(files, spec, backend, threads, decode_on="device" if together else "host", queue=queue)


def make_engine(
    files: ModelFiles,
    spec: ModelSpec,
    decoder: DecoderKind,
    weights: WeightsKind,
    backend: Backend,
    threads: int | None,
    timeline: Recorder = NULL,
    queue: WorkQueue | None = None,
    measure: Confidence | None = None,
) -> Engine:
    """Return the decoding engine that was asked for; with `measure` one that gives what these confidences count.

    Raises
    ------
    OptionError
        Where the native engine, or its weights, are asked for together with another provider or engine.
    UnrecognizedGraphError
        Where "native" is asked for and the graph's structure is not known to it.
    """
    from tdt.runtime import takes_stream

    if decoder == "native" and backend.on_device:
        raise OptionError(
            "decoder", decoder, f'"auto" or "onnx" with the decoder on {backend} (native runs on the cpu)'
        )
    if decoder == "onnx" and weights != "auto":
        raise OptionError("weights", weights, '"auto" with decoder="onnx", which runs the weights of the file')
    if weights == "float16" and not takes_stream(backend):
        raise OptionError("weights", weights, f'"auto", "float32" or "int8" with the decoder on {backend}')
    try:
        if decoder != "onnx" and takes_stream(backend):
            from tdt.decoding import CardEngine

            return CardEngine(files, spec, backend, weights=cast("CardWeightsKind", weights), queue=queue)
        if decoder == "native" or (decoder == "auto" and not backend.on_device):
            from tdt.decoding import NativeEngine

            kind, steps = cast("NativeWeightsKind", weights), measure is not None and measure.needs_steps
            return NativeEngine(files, spec, weights=kind, threads=threads, steps=steps, timeline=timeline)
    except DeviceMemoryError as short:
        sizes = (short.asked_bytes, short.free_bytes, short.total_bytes)
        raise DeviceMemoryError("The decoder", str(backend), *sizes, loading=True) from short
    except UnrecognizedGraphError as problem:
        if decoder == "native":
            raise
        _log.warning("%s Decoding goes through ONNX Runtime instead, which is slower.", problem)
    if backend.on_device:
        from tdt.decoding import make_device_engine

        return make_device_engine(files, spec, backend, threads, queue)
    from tdt.decoding import OnnxEngine

    return OnnxEngine(files, spec, backend, threads)
