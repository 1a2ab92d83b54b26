"""Several channels become one, and what is odd about them is noticed on the way and told once."""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tdt.audio.arrays import check_samples
from tdt.checks import whole_option
from tdt.errors import OptionError

if TYPE_CHECKING:
    import numpy.typing as npt

    Float32 = npt.NDArray[np.float32]

_log = logging.getLogger("tdt")
# No float recording reaches so far beyond full scale, but integers written as floats do.
INTEGER_PEAK = 8.0
# For 10 ms: a click is no speech.
INTEGER_SECONDS = 0.01
_INTEGER_SCALES = (15, 23, 31)  # full scale as a power of two
# Mean power over full scale, squared: below it there is no sound (-80 dB). Three steps of 16-bit audio lie there.
SILENCE_POWER = 1e-8
# Of the energy that unlike channels keep in a mix; like ones keep more, those of opposite sign nothing.
CANCELLED_SHARE = 0.05
# So much sound that cancels out is told while a recording runs, wherever it lies in it. Not what may be a hum in a
# pause: unlike channels of its energy would mix to a mean power below -50 dB, or 30 dB below the loudest so far.
TELL_SECONDS = 5.0
SPEECH_POWER = 1e-5
FAINT_SHARE = 1e-3


def mixed(frames: Float32, channel: int | None, name: str) -> Float32:
    """Return one channel [shape=(n,)] of samples [shape=(n, channels)], or the mean of all.

    Raises
    ------
    OptionError
        There is no such channel.
    """
    channels = frames.shape[1]
    if channel is not None and channel >= channels:
        raise OptionError("channel", channel, f"0 to {channels - 1}: {name} has {channels} channel(s)")
    if channel is not None or channels == 1:
        column = frames[:, channel or 0]
        return column if column.flags.c_contiguous else column.copy()
    mean: Float32 = frames.mean(axis=1, dtype=np.float32)
    return mean


class Mixer:
    """Mixes the blocks of one source.

    Warnings are logged where channels cancel out, and where the samples are integers in floats (they are divided by
    their full scale); by :meth:`finish`, where all is silence and there are other tracks.

    Parameters
    ----------
    name : str
        What messages call the source.
    channel : int, optional
        The one to take; the mean of all where not given.
    other_tracks : int
        Tracks of the source that were not chosen, where none was asked for.
    """

    def __init__(self, name: str, channel: int | None, other_tracks: int = 0) -> None:
        self._name, self._channel = name, whole_option("channel", channel)
        self.other_tracks = other_tracks
        self._samples = 0
        self._peak = 0.0
        self._beyond = 0  # samples beyond any full scale of floats
        self._scale = np.float32(1)
        self._sum = self._lately = _Stretch()
        self._recent: deque[_Stretch] = deque()
        self._loudest = 0.0
        self._told = False

    def mono(self, frames: Float32, rate_hz: int) -> Float32:
        """Return a block [shape=(n, channels)] as one channel [shape=(n,)].

        Raises
        ------
        AudioValueError
            Samples that are not finite, or huge.
        OptionError
            There is no such channel.
        """
        mono = mixed(frames, self._channel, self._name)
        peak = check_samples(mono, self._name, self._samples)
        if peak > INTEGER_PEAK and self._scale == 1:
            self._look_for_integers(mono, peak, rate_hz)
        if self._channel is None and frames.shape[1] > 1:
            self._look_for_cancelling(frames, mono, rate_hz)
        self._samples += len(mono)
        self._peak = max(self._peak, peak)
        return mono if self._scale == 1 else mono * self._scale

    def finish(self) -> None:
        """Tell what only the end shows."""
        self._tell_cancelling(self._sum, 0.0)
        if self.other_tracks and self._samples and self._peak**2 <= SILENCE_POWER:
            _log.warning(
                "%s: its first track is silent, and it has %d more; choose one with track= (--track N), `tdt inspect` "
                "lists them",
                self._name,
                self.other_tracks,
            )

    def _look_for_integers(self, mono: Float32, peak: float, rate_hz: int) -> None:
        self._beyond += int(np.count_nonzero(np.abs(mono) > INTEGER_PEAK))
        if self._beyond < INTEGER_SECONDS * rate_hz:
            return
        bits = next((bits for bits in _INTEGER_SCALES if peak <= 1.1 * 2.0**bits), None)
        if bits is None:
            return
        self._scale = np.float32(2.0**-bits)
        _log.warning(
            "%s: float samples of up to %.0f, where -1 to 1 is expected; they are taken for integers of %d bits and "
            "divided by %d. Convert them before to be sure",
            self._name,
            peak,
            bits + 1,
            2**bits,
        )

    def _look_for_cancelling(self, frames: Float32, mono: Float32, rate_hz: int) -> None:
        step = max(1, min(rate_hz, len(mono)))
        whole = len(mono) // step * step
        for begin, count, seconds in ((0, step, whole // step), (whole, len(mono) - whole, 1)):
            if count == 0:
                continue
            stop = begin + count * seconds
            # The energy of each second, of all its channels and of the mix: one fetch each, where they are on a card.
            parts, mix = (_energies(part[begin:stop].reshape(seconds, -1)) for part in (frames, mono))
            for second, (part, kept) in enumerate(zip(parts, mix, strict=True)):
                if part > SILENCE_POWER * count * frames.shape[1]:
                    at = self._samples + begin + second * count
                    self._add(_Stretch(at, count, part / frames.shape[1] ** 2, kept), rate_hz)

    def _add(self, stretch: _Stretch, rate_hz: int) -> None:
        """Take the next sound; tell where it and what came just before have cancelled out for long enough."""
        self._sum = self._sum.with_(stretch)
        self._recent.append(stretch)
        self._lately = self._lately.with_(stretch)
        while self._lately.samples - self._recent[0].samples >= TELL_SECONDS * rate_hz:
            self._lately = self._lately.without(self._recent.popleft())
        power = self._lately.parts / self._lately.samples
        self._loudest = max(self._loudest, power)
        if self._lately.samples >= TELL_SECONDS * rate_hz and power >= max(SPEECH_POWER, FAINT_SHARE * self._loudest):
            self._tell_cancelling(self._lately, self._recent[0].at / rate_hz)

    def _tell_cancelling(self, heard: _Stretch, seconds: float) -> None:
        if self._told or heard.mix >= CANCELLED_SHARE * heard.parts:
            return
        self._told = True
        _log.warning(
            "%s: its channels cancel out where they are mixed%s, so that little or nothing is heard; take one of them: "
            "channel=0 (--channel 0)",
            self._name,
            f" (from {seconds:.0f} s on)" if seconds >= 1 else "",
        )


class _Stretch(NamedTuple):
    """Sound from sample `at` on: how many samples, the energy that unlike channels would keep, and what the mix has."""

    at: int = 0
    samples: int = 0
    parts: float = 0.0
    mix: float = 0.0

    def with_(self, other: _Stretch) -> _Stretch:
        return _Stretch(self.at, self.samples + other.samples, self.parts + other.parts, self.mix + other.mix)

    def without(self, other: _Stretch) -> _Stretch:
        return _Stretch(self.at, self.samples - other.samples, self.parts - other.parts, self.mix - other.mix)


def _energies(rows: Float32) -> list[float]:
    """Return the energy of each row [of shape=(n, values)]."""
    found: list[float] = np.einsum("ij,ij->i", rows, rows).tolist()
    return found
