"""Audio in: files, bytes, streams and arrays become 16 kHz mono float32 samples, checked once, here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdt.audio import clip
from tdt.audio.arrays import as_array, as_float32, checked_rate
from tdt.audio.clip import Audio
from tdt.audio.mixing import Mixer
from tdt.audio.reader import BlockReader
from tdt.audio.sources import name_of
from tdt.checks import whole_option
from tdt.cuda_arrays import as_cupy, on_device
from tdt.errors import AudioTooShortError
from tdt.spec import HOP_SAMPLES, SAMPLE_RATE_HZ
from tdt.timeline import NULL

if TYPE_CHECKING:
    from tdt.timeline import Recorder


def load_audio(
    source: Any,
    *,
    sample_rate: int | None = None,
    channel: int | None = None,
    track: int | None = None,
    timeline: Recorder = NULL,
) -> Audio:
    """Read a clip, mix it to one channel and resample it to 16 kHz (soxr HQ, as NeMo's goldens are made).

    Parameters
    ----------
    source : path, bytes, binary file object, or array [shape=(n,) or (n, channels)]
        Everything that libsndfile or FFmpeg's libraries read. A file object is read from where it stands to its end.
        Arrays are int16, float32 or float64, of NumPy or anything that speaks DLPack. Those on a CUDA device stay there
        where they are at 16 kHz already, without a copy if mono float32; others are resampled on the host.
    sample_rate : int, optional
        Rate of arrays in Hz; 16000 where not given. Files know theirs.
    channel : int, optional
        The channel to take, from 0. None takes the mean of all.
    track : int, optional
        The audio track of a file to take, from 0. None takes the default one.
    timeline : Recorder, optional
        Receives the spans "read" and "resample".

    Returns
    -------
    Audio

    Raises
    ------
    AudioNotFoundError
        The path does not exist or is a folder.
    AudioReadError
        The file cannot be opened, is empty, or is not audio.
    AudioTailError
        The file breaks off; what lies before is dropped here (a recogniser transcribes it).
    AudioTooShortError
        Fewer than 160 samples at 16 kHz.
    AudioValueError
        Samples that are not finite, or an array of a shape or type that is not audio.
    OptionError
        `sample_rate`, `channel` or `track` out of range.
    """
    name = name_of(source)
    if on_device(source):
        return _from_device(source, name, sample_rate, channel, timeline)
    array = as_array(source)
    if array is None:
        with timeline.span("read"):
            reader = BlockReader(source, sample_rate=sample_rate, channel=channel, track=track)
            if reader.holds_more_than(clip.MAX_SAMPLES):
                raise clip.too_large(name)
        audio, problem = reader.load(timeline)
        if problem is not None:
            raise problem
        return audio
    with timeline.span("read"):
        rate_hz, _ = checked_rate(sample_rate), whole_option("track", track)
        mixer = Mixer(name, channel)
        samples = mixer.mono(as_float32(array, name), rate_hz)
        mixer.finish()
    return clip.as_audio([(rate_hz, samples)], name, timeline)


def _from_device(source: Any, name: str, sample_rate: int | None, channel: int | None, timeline: Recorder) -> Audio:
    array = as_cupy(source)
    if checked_rate(sample_rate) != SAMPLE_RATE_HZ:
        return load_audio(array.get(), sample_rate=sample_rate, channel=channel, timeline=timeline)
    with timeline.span("read", clock="host+sync"):
        mixer = Mixer(name, channel)
        samples = mixer.mono(as_float32(array, name), SAMPLE_RATE_HZ)
        mixer.finish()
    if len(samples) < HOP_SAMPLES:
        raise AudioTooShortError(name, len(samples), SAMPLE_RATE_HZ)
    return Audio(samples, len(samples) / SAMPLE_RATE_HZ)
