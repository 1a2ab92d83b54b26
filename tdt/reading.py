"""How a call wants its audio: which options there are, and what counts as one source."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

from tdt.checks import instance, whole_option
from tdt.errors import OptionError
from tdt.failures import outcome, typed
from tdt.longform import DEFAULT_CUT, CutOptions
from tdt.options import FusionOptions, ReadOptions, StreamOptions
from tdt.timeline import NULL, Recorder, as_recorder

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    import numpy.typing as npt

    from tdt.audio import Opened
    from tdt.stages import Float32

    AudioSource: TypeAlias = str | os.PathLike[str] | bytes | BinaryIO | npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Reading:
    """How sources become samples, and how many share a run (see :meth:`tdt.Recognizer.transcribe`).

    Raises
    ------
    OptionError
        Where an option has no usable value.
    """

    sample_rate: int | None = None
    channel: int | None = None
    batch_size: int | None = None
    cutting: CutOptions = DEFAULT_CUT
    track: int | None = None
    second_look: bool = True

    def __post_init__(self) -> None:
        instance("second_look", self.second_look, bool)
        for name in ("sample_rate", "channel", "batch_size", "track"):
            object.__setattr__(self, name, whole_option(name, getattr(self, name)))

    def samples(self, source: Any, timeline: Recorder) -> tuple[Float32, float]:
        """Return mono 16 kHz samples and the clip's length in seconds.

        Raises
        ------
        AudioError
            In its kinds.
        """
        from tdt.audio import load_audio

        with typed(label(source), "reading"):
            if isinstance(source, os.PathLike):
                source = Path(source)
            audio = load_audio(
                source, sample_rate=self.sample_rate, channel=self.channel, track=self.track, timeline=timeline
            )
        return audio.samples, audio.seconds

    def open(self, source: Any, limit_samples: int, *, wait: bool = True) -> Opened:
        """Open a source; one that is open already is handed back. `wait`: see :func:`~tdt.audio.open_source`.

        Raises
        ------
        AudioError
            In its kinds.
        """
        from tdt.audio import Opened, open_source

        if isinstance(source, Opened):
            return source
        with typed(label(source), "reading"):
            return open_source(
                source,
                limit_samples,
                sample_rate=self.sample_rate,
                channel=self.channel,
                track=self.track,
                wait=wait,
            )


def reading_of(options: StreamOptions) -> tuple[Reading, Recorder]:
    """Return how the options of a call say that audio is read, and the call's recorder."""
    known = (
        StreamOptions.__annotations__.keys() | ReadOptions.__annotations__.keys() | FusionOptions.__annotations__.keys()
    )
    unknown = set(options) - known
    if unknown:
        raise TypeError(f"unexpected keyword argument {sorted(unknown)[0]!r}")
    cutting = CutOptions(options.get("chunk_seconds"), options.get("context_seconds"), options.get("max_memory_bytes"))
    reading = Reading(
        options.get("sample_rate"),
        options.get("channel"),
        options.get("batch_size"),
        cutting,
        options.get("track"),
        options.get("second_look", True),
    )
    return reading, as_recorder("timeline", options.get("timeline", NULL))


def fusion_of(options: StreamOptions) -> dict[str, Any]:
    """Return those options of a call that say what is known beside the sound."""
    return {name: value for name, value in options.items() if name in FusionOptions.__annotations__}


def label(source: object) -> str:
    """Return what errors call a source, also one that does not even say its name."""
    from tdt.audio import Opened, name_of

    if isinstance(source, Opened):
        source = source.reader if source.reader is not None else source.audio
    name = outcome(lambda: name_of(source), "")
    return name if isinstance(name, str) else f"<{type(source).__name__}>"


def sources_of(audio: Any) -> tuple[list[Any], bool]:
    """Return the sources that were given as a list, and whether it is one clip rather than an iterable of clips."""
    with typed(label(audio), "reading"):
        one = _is_one(audio)
    return ([audio] if one else list(audio)), one


def several(audio: Any) -> Iterable[Any]:
    """Return an iterable of sources as it is.

    Raises
    ------
    OptionError
        It is one source, or none.
    """
    with typed(label(audio), "reading"):
        one = _is_one(audio)
    if one:
        raise OptionError("audio", audio, "an iterable of sources, such as a list; transcribe() takes one alone, too")
    sources: Iterable[Any] = audio
    return sources


def _is_one(audio: object) -> bool:
    import numpy as np

    single = (str, os.PathLike, bytes, bytearray, memoryview, np.ndarray)
    array_or_file = hasattr(audio, "__dlpack__") or hasattr(audio, "read")
    return isinstance(audio, single) or array_or_file or not hasattr(audio, "__iter__")
