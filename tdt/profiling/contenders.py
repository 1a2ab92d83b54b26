"""Ourselves as a contender of a benchmark."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from tdt.profiling.breakdown import break_down
from tdt.profiling.environment import file_hashes
from tdt.profiling.gpu import GpuUse, open_sampler
from tdt.profiling.placement import summarize_placement
from tdt.profiling.profile_run import Options
from tdt.profiling.worker import Answer, Facts
from tdt.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Callable

    from tdt.profiling.worker import Clips
    from tdt.recognizer import Recognizer
    from tdt.spec import Precision

# A run of the card is watched for as long, since NVML's utilisation is a mean over up to a second.
_WATCH_SECONDS = 2.0


@dataclass(slots=True)
class Ours:
    """A recogniser of this package; a :class:`tdt.profiling.worker.Contender`.

    Parameters
    ----------
    model : str or None
    provider : str
    precision : str or None
    decoder : str
        Engine: auto, native or onnx.
    known : dict
        Phrases, language model, script and beam of the calls, :class:`tdt.options.FusionOptions`.
    """

    model: str | None
    provider: str = "cpu"
    precision: Precision | None = None
    decoder: Literal["auto", "native", "onnx"] = "auto"
    known: dict[str, Any] = field(default_factory=dict)
    _recognizer: Recognizer | None = None
    _compiled_ms: list[float] = field(default_factory=list)
    _setup: dict[str, float] = field(default_factory=dict)
    _compiling: Callable[[], float] | None = None

    def load(self) -> None:
        """Load the model and warm it up."""
        from tdt.kernels.vector.jit import watch_compiling
        from tdt.loading import load

        self._compiling = watch_compiling()
        options = self._options()
        begun = time.perf_counter()
        self._recognizer = load(options.model, **options.load)
        loaded = time.perf_counter()
        self._recognizer.warmup()
        warmed = time.perf_counter()
        self._setup = {"load": loaded - begun, "compile": self._compiling(), "warmup": warmed - loaded}

    def run(self, clips: Clips, batch: int) -> list[Answer]:
        """Transcribe the clips; results are whole transcripts with words, times and confidences."""
        assert self._compiling is not None
        before = self._compiling()
        transcripts = self._loaded().transcribe(list(clips), batch_size=batch, **self.known)
        self._compiled_ms.append((self._compiling() - before) * 1e3)
        return [Answer(one.text, tuple(token.id for token in one.tokens)) for one in transcripts]

    def facts(self, clips: Clips, batch: int) -> Facts:
        """Return active provider, files, and a stage profile and the card's figures of runs of their own."""
        recognizer = self._loaded()
        timeline = Timeline()
        recognizer.transcribe(list(clips), batch_size=batch, timeline=timeline, **self.known)
        files = recognizer.files
        paths = (files.encoder, files.decoder_joint, files.decoder, files.joiner)
        on_device = self.provider != "cpu"
        placement = summarize_placement(recognizer.placement())
        return Facts(
            active=placement.active,
            precision=files.encoder_precision,
            files=file_hashes(path for path in paths if path is not None),
            setup_seconds=self._setup,
            compiled_ms=tuple(self._compiled_ms),
            profile=break_down(timeline),
            gpu=self._watched(clips, batch) if on_device else None,
            placement=placement,
        )

    def _loaded(self) -> Recognizer:
        assert self._recognizer is not None
        return self._recognizer

    def _watched(self, clips: Clips, batch: int) -> GpuUse | None:
        from tdt.runtime import Backend

        sampler, _ = open_sampler(0 if self.provider == "auto" else Backend.parse(self.provider).device_id)
        if sampler is None:
            return None
        clock = Timeline().now_ns
        with sampler:
            end = clock() + _WATCH_SECONDS * 1e9
            while clock() < end:
                self._loaded().transcribe(list(clips), batch_size=batch, **self.known)
        return sampler.use()

    def _options(self) -> Options:
        load = {"provider": self.provider, "precision": self.precision, "decoder": self.decoder}
        return Options(self.model, load, known=self.known)
