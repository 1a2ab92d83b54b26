"""Sound files for tests, made here: of any format that libsndfile or FFmpeg's libraries write."""

from __future__ import annotations

import io
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import soundfile
import soxr

SPEECH = Path(__file__).resolve().parents[1] / "tdt/models/recordings/03_flite-rms.flac"


class Pipe(io.RawIOBase):
    """A stream that gives bytes once, a few at a time, and cannot seek."""

    def __init__(self, content: bytes, most: int = 5000) -> None:
        super().__init__()
        self._left, self._most = memoryview(content), most

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        size = min(len(self._left) if size < 0 else size, self._most)
        part, self._left = self._left[:size], self._left[size:]
        return bytes(part)


class Kind(NamedTuple):
    """A container and a codec; `options` are the muxer's, `maker` is sndfile or ffmpeg."""

    container: str
    codec: str
    rate_hz: int
    maker: str = "ffmpeg"
    options: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return "-".join([self.container, self.codec, str(self.rate_hz), *(f"{key}={on}" for key, on in self.options)])


def speech(seconds: float, rate_hz: int = 16000) -> np.ndarray:
    """Return a recording [shape=(n,)], float32, repeated or cut to a length."""
    samples, rate = soundfile.read(SPEECH, dtype="float32")
    samples = np.resize(samples, round(seconds * rate)).astype(np.float32)
    return samples if rate == rate_hz else soxr.resample(samples, rate, rate_hz, quality="HQ").astype(np.float32)


def containers() -> list[Kind]:
    """Return the kinds of file that this PyAV writes; what it was built without differs from release to release."""
    import av

    return [kind for kind in KINDS if kind.maker == "ffmpeg" and kind.codec in av.codecs_available]


@cache
def made(kind: Kind, seconds: float = 3.0) -> bytes:
    """Return a file of this kind with so much speech, made once a session."""
    samples = speech(seconds, kind.rate_hz)
    if kind.maker == "sndfile":
        return by_sndfile(samples, kind.rate_hz, kind.container, kind.codec)
    return by_ffmpeg({"": samples[:, None]}, kind.rate_hz, kind.container, kind.codec, dict(kind.options))


def by_sndfile(samples: np.ndarray, rate_hz: int, container: str = "WAV", codec: str = "PCM_16") -> bytes:
    """Return samples [n] or [n, channels] as libsndfile writes them."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format=container, subtype=codec)
    return file.getvalue()


def by_ffmpeg(
    tracks: dict[str, np.ndarray], rate_hz: int, container: str, codec: str, options: dict[str, str] | None = None,
    *, default: str | None = None, metadata: dict[str, str] | None = None, streamed: bool = False,
) -> bytes:  # fmt: skip
    """Return tracks (by language, [n, channels]) as FFmpeg's libraries write them; `streamed`: without going back."""
    import av

    file = io.BytesIO()
    target: Any = file
    if streamed:

        class Once(io.RawIOBase):
            def writable(self) -> bool:
                return True

            def write(self, part: Any) -> int:
                return file.write(part)

        target = Once()
    with av.open(target, "w", format=container, container_options=options or {}) as written:
        written.metadata.update(metadata or {})
        streams = []
        for language, samples in tracks.items():
            layout = "mono" if samples.shape[1] == 1 else "stereo"
            if codec not in av.codecs_available:
                pytest.skip(f"PyAV {av.__version__} was built without the encoder {codec}")
            stream: Any = written.add_stream(codec, rate=rate_hz, layout=layout, **_settings(codec))
            if language:
                stream.metadata["language"] = language
            if default is not None:
                stream.disposition = int(language == default)
            streams.append(stream)
        for stream, samples in zip(streams, tracks.values(), strict=True):
            _write(written, stream, samples, rate_hz)
    return file.getvalue()


def _settings(codec: str) -> dict[str, Any]:
    return {"bit_rate": 64000} if codec in {"wmav2", "aac"} else {}


def _write(written: Any, stream: Any, samples: np.ndarray, rate_hz: int) -> None:
    import av

    size = stream.codec_context.frame_size or 1024
    convert = av.AudioResampler(format=stream.format.name, layout=stream.layout.name, rate=rate_hz)
    at = 0
    for start in range(0, len(samples), size):
        part = samples[start : start + size]
        if len(part) < size and stream.codec_context.frame_size:
            part = np.pad(part, ((0, size - len(part)), (0, 0)))
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part.T), format="fltp", layout=stream.layout.name)
        frame.sample_rate = rate_hz
        for converted in convert.resample(frame):
            converted.pts, converted.time_base = at, Fraction(1, rate_hz)
            at += converted.samples
            written.mux(stream.encode(converted))
    written.mux(stream.encode(None))


def _sndfile(text: str) -> tuple[Kind, ...]:
    return tuple(
        Kind(container, codec, int(rate), "sndfile") for container, codec, rate in map(str.split, text.split(";"))
    )


def _ffmpeg(text: str) -> tuple[Kind, ...]:
    kinds = []
    for container, codec, rate, *options in map(str.split, text.split(";")):
        pairs = tuple((key, on) for key, on in (option.split("=") for option in options))
        kinds.append(Kind(container, codec, int(rate), options=pairs))
    return tuple(kinds)


KINDS = _sndfile(
    "WAV PCM_16 16000; WAV PCM_U8 8000; WAV PCM_24 44100; WAV PCM_32 16000; WAV FLOAT 44100; WAV DOUBLE 16000;"
    "WAV ULAW 8000; WAV ALAW 8000; WAV IMA_ADPCM 16000; WAV MS_ADPCM 16000; WAV GSM610 8000; WAVEX PCM_16 16000;"
    "RF64 PCM_16 16000; W64 PCM_16 16000; AU PCM_16 16000; AU PCM_S8 16000; AU ULAW 8000; AU FLOAT 16000;"
    "AIFF PCM_16 16000; CAF PCM_16 16000; CAF ALAC_16 44100; VOC PCM_16 16000; NIST PCM_16 16000; FLAC PCM_16 16000;"
    "OGG VORBIS 44100; OGG OPUS 16000; MP3 MPEG_LAYER_III 44100"
) + _ffmpeg(
    "ogg libopus 48000; ogg flac 16000; mp3 libmp3lame 16000; mp3 libmp3lame 44100 write_xing=0; mp2 mp2 16000;"
    "mp4 aac 44100; mp4 alac 16000; ipod aac 16000; mov pcm_s16le 16000; 3gp aac 16000;"
    "mp4 aac 16000 movflags=frag_keyframe+empty_moov; adts aac 16000; latm aac 16000; matroska libopus 48000;"
    "matroska pcm_s16le 16000; matroska flac 16000; webm libopus 48000; webm libopus 48000 live=1;"
    "amr libopencore_amrnb 8000; ac3 ac3 48000; eac3 eac3 48000; mpegts aac 16000; mpeg mp2 48000; flv aac 44100;"
    "avi mp3 44100; asf wmav2 44100; wav libmp3lame 16000; tta tta 16000; wv wavpack 16000"
)
