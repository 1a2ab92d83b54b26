"""Which length a batch runs at on a device.

Every length is a whole number of encoder frames: what is added up to the next one makes no frame more.

ONNX Runtime's CUDA provider (1.31) keeps cuDNN's plan of a convolution for one shape, the last; each change makes five
plans anew, which takes some milliseconds. So lengths are rounded up to few that recur, the fewer the less padding
costs: what is padded is computed like speech. Reckoned over 4 000 clips of log-normal length (1 to 40 s), with plans of
1.5 to 5 ms and encoders of 0.4 to 1.8 ms a second of speech (estimates for cards from an A100 on):

* one clip a run: with four lengths an octave, half of sorted runs find their plans made, and the sum is least;
* batches of eight: each rounding costs more than it saves, 2 % with 16 lengths an octave, which still keeps the
  buffers and the arena's regions few;
* rows added to 1, 2, 4, 8, … would cost 5 to 39 % and save none of the changes: batches are not padded.

TensorRT runs any shape inside its profile: lengths are not rounded for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tdt.spec import ModelSpec

# Most rows of a batch → lengths an octave.
_LENGTHS_AN_OCTAVE = ((1, 4), (3, 8))
_LENGTHS_OF_LARGE_BATCHES = 16
_SMALLEST_FRAMES = 8


def bucket(frames: int, rows: int = 1) -> int:
    """Return the encoder frames that a batch of `rows` is run at: at most a quarter, an eighth or a 16th more.

    Parameters
    ----------
    frames : int
        Encoder frames of the longest utterance.
    rows : int
        Utterances in the batch.
    """
    if frames <= _SMALLEST_FRAMES:
        return _SMALLEST_FRAMES
    fineness = next((few for most, few in _LENGTHS_AN_OCTAVE if rows <= most), _LENGTHS_OF_LARGE_BATCHES)
    octave = 1 << ((frames - 1).bit_length() - 1)
    step = max(1, octave // fineness)
    return -(-frames // step) * step


def run_length(spec: ModelSpec, mel_frames: int, rows: int, *, plans: bool) -> int:
    """Return the mel frames that a batch runs at.

    Parameters
    ----------
    spec : ModelSpec
    mel_frames : int
        Of the longest utterance.
    rows : int
        Utterances in the batch.
    plans : bool
        Whether the provider plans for each shape anew.
    """
    frames = spec.encoder_length(mel_frames)
    if plans:
        frames = bucket(frames, rows)
    if spec.max_encoder_frames is not None:
        frames = min(frames, spec.max_encoder_frames)
    return max(mel_frames, frames * spec.subsampling)
