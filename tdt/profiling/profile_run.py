"""Runs a profile: load, warm up, then the stages of real calls, one after another."""

from __future__ import annotations

import tempfile
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from tdt.audio import BlockReader
from tdt.profiling import memory, nodes
from tdt.profiling.breakdown import break_down
from tdt.profiling.environment import environment_block, file_hashes, invocation
from tdt.timeline import NULL, Recorder, Timeline

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from tdt.profiling.breakdown import Breakdown
    from tdt.recognizer import Recognizer

    Source: TypeAlias = str | os.PathLike[str] | npt.NDArray[np.float32]

# Rounds over the files are begun until there were enough, or until this long has passed.
_MOST_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Options:
    """What to profile.

    Parameters
    ----------
    model : str or None
    load : dict
        Further arguments of :func:`tdt.load`, the provider as text among them.
    batch_size : int
        Files to a call.
    runs : int
        Rounds over the files.
    live : {4, 2, 1}, optional
        Push the files through live streams of this latency; a call is a chunk then.
    known : dict
        Phrases, language model, script and beam of the calls, :class:`tdt.options.FusionOptions`.
    """

    model: str | None
    load: dict[str, Any]
    batch_size: int = 1
    runs: int = 10
    live: int | None = None
    known: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NodeRun:
    """A run under ONNX Runtime's own profiler: slower than a plain one, so its times explain and do not compare.

    Parameters
    ----------
    timeline : Timeline
        Of that run, for one trace of both.
    profiles : tuple of OrtProfile
        A session each, the warm-up cut off.
    load_ms : dict
        Graph → how long ORT read it and how long it optimised it.
    arena_bytes : dict
        Graph → the most that the session's arenas held.
    """

    timeline: Timeline
    profiles: tuple[nodes.OrtProfile, ...]
    load_ms: dict[str, dict[str, float]]
    arena_bytes: dict[str, int]


@dataclass(frozen=True, slots=True)
class Profile:
    """All that `tdt profile` found; parts that were not asked for are None."""

    timeline: Timeline
    breakdown: Breakdown
    model: dict[str, Any]
    node_run: NodeRun | None = None
    stage_memory: tuple[memory.StageMemory, ...] | None = None

    def to_dict(self, top: int = 50) -> dict[str, Any]:
        """Return the JSON document; of the nodes, the `top` dearest."""
        whole = self.breakdown.to_dict()
        whole |= {"command": invocation(), "model": self.model, "environment": environment_block()}
        if self.node_run is not None:
            rows = nodes.top_nodes(self.node_run.profiles)
            whole["nodes"] = [asdict(row) for row in rows[:top]]
            whole["load_ms"] = self.node_run.load_ms
            whole["arena_bytes"] = self.node_run.arena_bytes
        if self.stage_memory is not None:
            whole["memory"] = [asdict(row) for row in self.stage_memory]
        return whole


def run_profile(
    sources: Sequence[Source], options: Options, *, with_nodes: bool = False, with_memory: bool = False
) -> Profile:
    """Profile the transcription of `sources`.

    Raises
    ------
    TdtError
        As :func:`tdt.load` and `transcribe` do, for the first source that fails.
    """
    timeline = Timeline()
    with _loaded(options, timeline) as recognizer:
        _warm(recognizer, sources, options, timeline)
        end = time.perf_counter() + _MOST_SECONDS
        for finished in range(options.runs):
            if finished and time.perf_counter() > end:
                break
            _transcribe(recognizer, sources, options, timeline)
        model = _describe(recognizer, options)
    node_run = run_nodes(sources, options) if with_nodes or with_memory else None
    stage_memory = tuple(_run_memory(sources, options)) if with_memory else None
    return Profile(timeline, break_down(timeline), model, node_run, stage_memory)


def _loaded(options: Options, recorder: Recorder) -> Recognizer:
    from tdt.loading import load

    return load(options.model, **options.load, timeline=recorder)


def _warm(recognizer: Recognizer, sources: Sequence[Source], options: Options, recorder: Recorder) -> None:
    with recorder.span("warmup"):
        recognizer.warmup()
        _transcribe(recognizer, sources[: options.batch_size], options, NULL)


def _transcribe(recognizer: Recognizer, sources: Sequence[Source], options: Options, recorder: Recorder) -> None:
    """Transcribe everything once, a call a batch; live, a call a chunk."""
    if options.live is not None:
        for source in sources:
            _listen(recognizer, source, options, recorder)
        return
    size = options.batch_size
    for start in range(0, len(sources), size):
        batch = list(sources[start : start + size])
        given = batch if size > 1 else batch[0]
        recognizer.transcribe(given, batch_size=size, timeline=recorder, **options.known)


def _listen(recognizer: Recognizer, source: Source, options: Options, recorder: Recorder) -> None:
    stream = recognizer.live(latency=options.live, timeline=recorder, **options.known)
    with BlockReader(source) as reader, stream:
        for block in reader:
            stream.push(block)
        stream.finish()


def _describe(recognizer: Recognizer, options: Options) -> dict[str, Any]:
    files = recognizer.files
    paths = [path for path in (files.encoder, files.decoder_joint, files.decoder, files.joiner) if path is not None]
    return {
        "name": recognizer.spec.name,
        "layout": files.layout,
        "encoder_precision": files.encoder_precision,
        "decoder_precision": files.decoder_precision,
        "files": file_hashes(paths),
        "provider": str(options.load.get("provider", "cpu")),
        "batch_size": options.batch_size,
        "live": options.live,
    }


def run_nodes(sources: Sequence[Source], options: Options) -> NodeRun:
    """Run once more under ONNX Runtime's profiler and return what it found after a warm-up."""
    with tempfile.TemporaryDirectory(prefix="tdt-profile-") as name:
        folder = Path(name)
        provider = f"{options.load.get('provider', 'cpu')},profile={folder}"
        profiled = replace(options, load={**options.load, "provider": provider})
        timeline = Timeline()
        with _loaded(profiled, timeline) as recognizer:
            _transcribe(recognizer, sources[: options.batch_size], profiled, NULL)
            begun_ns = timeline.now_ns()
            _transcribe(recognizer, sources, profiled, timeline)
        whole = [_read(path) for path in sorted(folder.glob("*@*.json"))]
    return NodeRun(
        timeline,
        tuple(profile.since(begun_ns) for profile in whole),
        {profile.name: nodes.load_times_ms(profile) for profile in whole},
        {profile.name: nodes.arena_peak_bytes(profile) for profile in whole},
    )


def _read(path: Path) -> nodes.OrtProfile:
    """Read a profile that a session named after its graph and start."""
    name, _, started = path.stem.rpartition("@")
    return nodes.read_ort_profile(path, name, started_unix_ns=int(started))


def _run_memory(sources: Sequence[Source], options: Options) -> list[memory.StageMemory]:
    """Load and run once more, noting memory in place of time."""
    memory.trim()
    recorder = memory.MemoryRecorder()
    with _loaded(options, recorder) as recognizer:
        _warm(recognizer, sources, options, recorder)
        _transcribe(recognizer, sources, options, recorder)
    return recorder.rows()
