"""Where there is speech: an energy gate first, then the Silero detector where there is energy at all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from tdt.lifetime import PerProcess
from tdt.longform.hum import HumRemover
from tdt.longform.levels import FRAME_SAMPLES, levels, loudest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    import numpy.typing as npt

    Float32 = npt.NDArray[np.float32]

MODEL_PATH = Path(__file__).resolve().parents[1] / "models" / "silero-vad" / "silero_vad_16k.onnx"
CONTEXT_SAMPLES = 64  # the detector sees the end of the frame before
STATE_SHAPE = (1, 1, 128)
# One call takes 8 s: long enough that the call's own cost vanishes, short enough for the caches.
BLOCK_FRAMES = 250
# Frames below this level are silence without asking: three steps of 16-bit audio. Soft speech lies 30 dB above.
GATE_DB = -80.0
# So far below the loudest of the last minutes nobody speaks: it is the room, or the recorder.
RANGE_DB = 55.0
SETTLE_FRAMES = 8
# Speech moves by tens of decibels within a block; what stays within this range is hum or a tone. Measured on the
# differences of neighbouring samples, where a hum of 50 Hz is 34 dB down and hides nothing.
STEADY_DB = 1.0
STEADY_FRAMES = 5  # several periods of a mains hum, so that their level does not depend on the phase
# A quiet recording is raised towards this level first, as the detector was trained on usual ones; one that is louder
# than full scale, which floats can be (samples in the range of int16), is lowered to it.
TARGET_DB = -20.0
MAX_GAIN_DB = 40.0
FULL_SCALE_DB = 0.0
# The louder of now and the past, forgotten by this much a block (8 s), sets the gain.
LEVEL_DECAY_DB = 1.0


@dataclass(frozen=True, slots=True)
class Activity:
    """What is heard in frames of 32 ms.

    Parameters
    ----------
    speech : ndarray [shape=(n,)], float32
        Probability of speech.
    level_db : ndarray [shape=(n,)], float32
        Root mean square over full scale, of what the detector hears: without hum that drowns the rest.
    """

    speech: Float32
    level_db: Float32


class Runner(Protocol):
    """What is needed of a session."""

    def run(self, feeds: Mapping[str, Any]) -> list[Any]:
        """Run the graph once."""
        ...


def _open() -> Runner:
    from tdt.runtime import Backend, Session

    return Session(MODEL_PATH, Backend.parse("cpu"), threads=1)


# The bundled detector's session, opened on the CPU with one thread at the first call.
shared_session = PerProcess(_open)


class Silero:
    """The detector on the frames of one stream, one after the other, its state carried.

    Parameters
    ----------
    session : Runner, optional
        The detector's graph; the bundled one where not given.
    """

    def __init__(self, session: Runner | None = None) -> None:
        self._session = session
        self.forget()

    def forget(self) -> None:
        """Begin afresh."""
        self._hidden = self._cell = np.zeros(STATE_SHAPE, np.float32)
        self._context = np.zeros(CONTEXT_SAMPLES, np.float32)

    def hear(self, frames: Float32, gain: np.float32 | None = None) -> Float32:
        """Return the probability of speech in each of the next frames [shape=(n, 512)], raised by a gain if given."""
        windows = np.empty((len(frames), CONTEXT_SAMPLES + FRAME_SAMPLES), np.float32)
        windows[:, CONTEXT_SAMPLES:] = frames
        windows[0, :CONTEXT_SAMPLES] = self._context
        windows[1:, :CONTEXT_SAMPLES] = frames[:-1, -CONTEXT_SAMPLES:]
        self.pass_over(frames)
        if gain is not None:
            windows *= gain
        session = self._session or shared_session()
        speech, self._hidden, self._cell = session.run({"input": windows, "h": self._hidden, "c": self._cell})
        return np.asarray(speech, np.float32).reshape(-1)

    def pass_over(self, frames: Float32) -> None:
        """Take frames for silence without asking."""
        self._context = frames[-1, -CONTEXT_SAMPLES:].copy()


class SpeechDetector:
    """Speech probabilities of a stream, the same however it is cut into blocks.

    Parameters
    ----------
    session : Runner, optional
        The detector's graph; the bundled one where not given.
    """

    def __init__(self, session: Runner | None = None) -> None:
        self._silero = Silero(session)
        self._held: list[Float32] = []
        self._held_samples = 0
        self._remove_hum = HumRemover()
        self._level_db = -np.inf

    def feed(self, samples: Float32) -> Iterator[Activity]:
        """Take the next samples [shape=(n,)], 16 kHz; yield what has become known, in blocks of 250 frames."""
        self._held.append(samples)
        self._held_samples += len(samples)
        size = BLOCK_FRAMES * FRAME_SAMPLES
        if self._held_samples < size:
            return
        joined = np.concatenate(self._held)
        whole = len(joined) // size * size
        self._held, self._held_samples = [joined[whole:]], len(joined) - whole
        for start in range(0, whole, size):
            yield self._block(joined[start : start + size])

    def flush(self) -> Activity:
        """Return the activity of what is left; the last frame is filled up with zeros."""
        joined = np.concatenate([*self._held, np.zeros(0, np.float32)])
        self._held, self._held_samples = [], 0
        return self._block(joined) if len(joined) else Activity(joined, joined)

    def _block(self, samples: Float32) -> Activity:
        whole = len(samples) == BLOCK_FRAMES * FRAME_SAMPLES
        clear = self._remove_hum(samples, whole=whole)
        frames = np.pad(clear, (0, -len(clear) % FRAME_SAMPLES)).reshape(-1, FRAME_SAMPLES)
        level_db = levels(frames)
        gain = self._gain(level_db)
        loud = level_db >= max(GATE_DB, self._level_db - RANGE_DB)
        speech = np.zeros(len(frames), np.float32)
        # At the edges of a cleared block, more of a hum is gone.
        if whole and is_steady(frames if clear is samples else frames[STEADY_FRAMES:-STEADY_FRAMES]):
            loud[:] = False
        known = 0  # the detector has heard all frames before this one, or has forgotten them
        for first, last in stretches(loud):
            if first > known:
                self._silero.forget()
            speech[first:last] = self._silero.hear(frames[first:last] * gain)
            known = last
        if known < len(frames):
            self._silero.forget()
        return Activity(speech, level_db)

    def _gain(self, level_db: Float32) -> np.float32:
        self._level_db = max(self._level_db - LEVEL_DECAY_DB, loudest(level_db))
        least_db = 0.0 if self._level_db <= FULL_SCALE_DB else -np.inf
        return np.float32(10 ** (np.clip(TARGET_DB - self._level_db, least_db, MAX_GAIN_DB) / 20))


def stretches(loud: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the frames to ask the detector about: the loud ones and a little around, for it to settle."""
    found: list[tuple[int, int]] = []
    for frame in np.flatnonzero(loud).tolist():
        first, last = max(0, frame - SETTLE_FRAMES), min(len(loud), frame + 1 + SETTLE_FRAMES)
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], last)
        else:
            found.append((first, last))
    return found


def is_steady(frames: Float32) -> bool:
    """Say whether frames [shape=(n, samples)], n a multiple of 5, are a hum: nothing changes but its phase."""
    change = levels(np.diff(frames, axis=1).reshape(len(frames) // STEADY_FRAMES, -1))
    return float(change.max() - change.min()) < STEADY_DB
