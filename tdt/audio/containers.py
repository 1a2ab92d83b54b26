"""FFmpeg's libraries by way of PyAV as a decoder: MP4, Matroska, AAC, and all else that libsndfile does not know.

What comes from strangers is opened here. The demuxer is chosen by :mod:`tdt.audio.formats`, never by FFmpeg's guess or
a name; it reads the one file object that it is given and may open nothing else; only decoders of sound are allowed;
and samples are made one packet at a time, as they are asked for.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import av
import av.logging
import numpy as np
from av.stream import Disposition

from tdt.audio.ending import Claims
from tdt.audio.sound import Block, Decoding, Track, block_frames
from tdt.errors import AudioReadError, OptionError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from tdt.audio.formats import Format
    from tdt.audio.sound import Blocks
    from tdt.audio.views import Kept

    Float32 = npt.NDArray[np.float32]


class RefusedError(Exception):
    """FFmpeg's libraries do not open this."""


_log = logging.getLogger("tdt")
_ERRORS = (av.error.FFmpegError, OSError, ValueError, EOFError, LookupError, RuntimeError, TypeError, ArithmeticError)
_IO_BYTES = 1 << 16
# FFmpeg's own bounds, written down: what it may read, and how much sound it may look through, to learn what is inside.
_PROBE_BYTES = 5_000_000
_PROBE_MICROSECONDS = 5_000_000
_MOST_STREAMS = 100
# Files are read as fast as the disk gives; a minute without coming to an end of the header is a fault.
_OPEN_SECONDS = 60.0
_CODECS = frozenset({
    "aac", "aac_latm", "alac", "als", "ac3", "eac3", "dca", "truehd", "mlp", "mp1", "mp1float", "mp2", "mp2float",
    "mp3", "mp3float", "mp3adu", "mp3adufloat", "mp3on4", "mp3on4float", "vorbis", "opus", "libopus", "flac",
    "speex", "tta", "tak", "wavpack", "ape", "mpc7", "mpc8", "shorten", "wmav1", "wmav2", "wmapro", "wmalossless",
    "wmavoice", "amrnb", "amrwb", "libopencore_amrnb", "libopencore_amrwb", "gsm", "gsm_ms", "g722", "g723_1",
    "g726", "g726le", "g728", "g729", "ilbc", "qcelp", "evrc", "siren", "msnsiren", "truespeech", "nellymoser",
    "real_144", "real_288", "cook", "sipr", "ralf", "atrac1", "atrac3", "atrac3al", "atrac3plus", "atrac3plusal",
    "atrac9", "qdm2", "qdmc", "mace3", "mace6", "qoa", "metasound", "twinvq", "imc", "on2avc", "wmv3", "dsd_lsbf",
    "dsd_lsbf_planar", "dsd_msbf", "dsd_msbf_planar", "dst", "s302m", "sbc", "xma1", "xma2",
})  # fmt: skip
_CODEC_FAMILIES = ("pcm_", "adpcm_")
# Types and full scale of FFmpeg's sample formats, planar or not.
_CODINGS = {
    "u8": (np.uint8, 1 << 7),
    "s16": (np.int16, 1 << 15),
    "s32": (np.int32, 1 << 31),
    "s64": (np.int64, 1 << 63),
    "flt": (np.float32, 1),
    "dbl": (np.float64, 1),
}
_NAMES = {"libopencore_amrnb": "amrnb", "libopencore_amrwb": "amrwb"}


def _refuse(url: str, *_: object) -> None:
    """Refuse what a container asks to be opened beside itself."""
    raise PermissionError(13, "a sound file may not open others", url)


@contextmanager
def open_container(
    file: Kept, fmt: Format, name: str, track: int | None = None, *, block_seconds: float | None = None
) -> Iterator[Decoding]:
    """Open a container and close it again.

    Parameters
    ----------
    file : Kept
        Seekable, or a pipe.
    fmt : Format
    name : str
        What errors call the source.
    track : int, optional
        Which audio track, from 0; the first default one where not given, else the first.
    block_seconds : float, optional
        Length of the blocks; ten seconds where not given.

    Raises
    ------
    RefusedError
        It is damaged at its head, or holds no sound that can be decoded.
    OptionError
        There is no such track.
    """
    av.logging.set_level(None)
    container = _opened(file, fmt)
    try:
        streams = list(container.streams.audio)
        tracks = _tracks(container, streams)
        chosen = _choose(tracks, streams, track, name)
        for stream in container.streams:
            if stream is not streams[chosen] and hasattr(stream, "discard"):
                stream.discard = _DISCARD_ALL
        seconds = tracks[chosen].seconds
        timed = fmt.timed and len(container.streams) == 1
        claims = Claims(seconds if fmt.exact else None, seconds if timed else None)
        packets = _Packets(container, streams[chosen], file, name)
        blocks = _blocks(packets, claims, _Gathering(block_seconds))
        yield Decoding(blocks, tracks, chosen, seconds, container.format.name)
    finally:
        container.close()


_DISCARD_ALL = 48


def _opened(file: Kept, fmt: Format) -> Any:
    names = [name for name in av.codecs_available if name.startswith(_CODEC_FAMILIES)]
    options = {
        "format_whitelist": fmt.demuxer,
        "codec_whitelist": ",".join([*_CODECS, *names]),
        "protocol_whitelist": "none",
        "probesize": str(_PROBE_BYTES),
        "analyzeduration": str(_PROBE_MICROSECONDS),
        "max_streams": str(_MOST_STREAMS),
    }
    seekable = hasattr(file, "seek")
    try:
        return av.open(
            file,
            "r",
            format=fmt.demuxer,
            container_options=options,
            **_metadata_errors(av.__version__),
            buffer_size=_IO_BYTES,
            timeout=(_OPEN_SECONDS, None) if seekable else None,
            io_open=_refuse,
        )
    except _ERRORS as error:
        file.check()
        raise RefusedError(_said(error)) from error


def _metadata_errors(version: str) -> dict[str, Any]:
    """Return how titles that are no UTF-8 are read: PyAV replaces what it cannot read by itself from 19 on."""
    return {"metadata_errors": "replace"} if int(version.split(".", 1)[0]) < 19 else {}


def _said(error: BaseException) -> str:
    """Return what FFmpeg says, which knows many errors by a number alone."""
    known = not isinstance(error, av.error.FFmpegError) or isinstance(error, av.error.PatchWelcomeError)
    return (str(error).strip(" .:") if known else "") or "its data is damaged"


def _tracks(container: Any, streams: list[Any]) -> tuple[Track, ...]:
    usable = [number for number, stream in enumerate(streams) if _usable(stream)]
    marked = [number for number in usable if streams[number].disposition & Disposition.default]
    default = next(iter([*marked, *usable]), 0)
    whole = container.duration / av.time_base if container.duration else None
    found = []
    for number, stream in enumerate(streams):
        context = stream.codec_context
        seconds = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else whole
        codec = _NAMES.get(context.name, context.name) if context is not None else "?"
        rate, channels = (0, 0) if context is None else (context.sample_rate or 0, context.channels or 0)
        metadata = stream.metadata
        language, title = metadata.get("language", ""), metadata.get("title", "")
        language = "" if language == "und" else language
        found.append(Track(number, codec, rate, channels, seconds, language, title, number == default))
    return tuple(found)


def _usable(stream: Any) -> bool:
    """Say whether there is a decoder of sound for a stream."""
    context = stream.codec_context
    return context is not None and (context.name in _CODECS or context.name.startswith(_CODEC_FAMILIES))


def _choose(tracks: tuple[Track, ...], streams: list[Any], track: int | None, name: str) -> int:
    if not tracks:
        raise RefusedError("it holds no audio track")
    if track is None:
        track = next(item.number for item in tracks if item.default)
    if track >= len(tracks):
        held = f"0 to {len(tracks) - 1}: {name} has {len(tracks)} audio track(s), see `tdt inspect`"
        raise OptionError("track", track, held)
    if not _usable(streams[track]):
        raise RefusedError(f"its sound is coded as {tracks[track].codec}, for which there is no decoder")
    return track


def _blocks(packets: _Packets, claims: Claims, gathered: _Gathering) -> Blocks:
    """Decode packet by packet; what cannot be decoded in the middle is passed over, at the end it is a break."""
    total, rate_hz = 0, 0
    try:
        for frame in packets:
            total, rate_hz = total + frame.samples, frame.sample_rate
            yield from gathered.add(rate_hz, _samples(frame))
    except AudioReadError:  # of the source, not of what it holds
        yield from gathered.rest()
        raise
    yield from gathered.rest()
    return claims.problem(total, rate_hz, packets.seconds, packets.trouble)


class _Packets:
    """The frames of a track, packet by packet.

    Attributes
    ----------
    trouble : str
        What the decoder said of the packets since the last that it could decode.
    """

    def __init__(self, container: Any, stream: Any, file: Kept, name: str) -> None:
        self._packets = container.demux(stream)
        self._stream, self._file, self._name = stream, file, name
        self.trouble = ""
        self._ticks = 0
        stream.codec_context.thread_type = "NONE"
        stream.codec_context.thread_count = 1

    @property
    def seconds(self) -> float:
        """Up to where the times of the packets have come."""
        return float((self._ticks - (self._stream.start_time or 0)) * (self._stream.time_base or 0))

    def __iter__(self) -> Iterator[Any]:
        """Yield frames."""
        damaged = 0
        while (packet := self._next()) is not None:
            try:
                frames = packet.decode()
            except _ERRORS:
                if packet.size:  # the last is empty, and asks for what the decoder still holds
                    damaged, self.trouble = damaged + 1, "its last frames cannot be decoded"
                continue
            if frames:
                self.trouble = ""
            yield from frames
        if damaged:
            _log.warning("%s: %d damaged packets cannot be decoded and are left out", self._name, damaged)

    def _next(self) -> Any:
        """Return the next packet; None where none can be had."""
        try:
            packet = next(self._packets, None)
        except _ERRORS as error:
            self.trouble = f"the rest cannot be taken apart: {_said(error)}"
            packet = None
        self._file.check()
        if packet is not None and packet.pts is not None:
            self._ticks = max(self._ticks, packet.pts + (packet.duration or 0))
        return packet


class _Gathering:
    """Frames of one rate and number of channels, gathered to blocks."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._held: list[Float32] = []
        self._count = 0
        self._kind = (0, 0)
        self._full = 0

    def add(self, rate_hz: int, samples: Float32) -> Iterator[Block]:
        """Take samples [shape=(n, channels)]; yield what is full, or of another kind."""
        kind = (rate_hz, samples.shape[1])
        if kind != self._kind:
            yield from self.rest()
            self._kind = kind
            self._full = block_frames(*kind) if self._seconds is None else block_frames(*kind, self._seconds)
        self._held.append(samples)
        self._count += len(samples)
        if self._count >= self._full:
            yield from self.rest()

    def rest(self) -> Iterator[Block]:
        """Yield what is held."""
        if self._count:
            yield Block(self._kind[0], np.concatenate(self._held))
        self._held, self._count = [], 0


def _samples(frame: Any) -> Float32:
    """Return a frame's samples [shape=(n, channels)], float32, integers divided by their full scale."""
    kind = frame.format.name
    coding, scale = _CODINGS[kind.removesuffix("p")]
    # Of the planes themselves: PyAV's own to_ndarray takes as long as decoding does.
    planes = [np.frombuffer(plane, coding) for plane in frame.planes]
    if frame.format.is_planar:
        values = planes[0][: frame.samples, None] if len(planes) == 1 else np.stack(planes, 1)[: frame.samples]
    else:
        channels = frame.layout.nb_channels
        values = planes[0][: frame.samples * channels].reshape(-1, channels)
    made: Float32 = values.astype(np.float32, copy=False)
    if scale == 1:
        return made
    return (made - np.float32(scale) if kind.startswith("u8") else made) * np.float32(1 / scale)
