"""The acoustic encoder: log-mel features in, time-major frames out; lengths are computed on the host."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Literal

import numpy as np

from tdt.checks import array, instance, on_host
from tdt.encoding.cpu_encoder import open_on_cpu
from tdt.errors import AudioTooLongError, ModelMismatchError, OptionError
from tdt.lifetime import Bound
from tdt.stages import Encoded, Features
from tdt.timeline import NULL, Recorder

if TYPE_CHECKING:
    from collections.abc import Callable

    from tdt.protocols import Node
    from tdt.runtime import Backend, Numbers
    from tdt.spec import ModelFiles, ModelSpec
    from tdt.stages import Float32, Int64

Batching = Literal["together", "same length", "alone"]

_log = logging.getLogger("tdt")

# Stride-2 convolutions of width 3 reach beyond the end where an even length halves to an odd one.
_PROBE_FRAMES = (72, 50, 44)
# Reordered float32 sums differ by about 1e-6 of the largest value; a leaking frame by far more than 1e-3. Where
# products round their inputs, to 10 bits in TF32 and float16, such a difference moves some of them to a neighbour.
_PROBE_TOLERANCES = {"fp32": 1e-4}
_PROBE_TOLERANCE_ROUNDED = 3e-2


class Encoder(Bound):
    """The encoder graph of a model on the CPU.

    Parameters
    ----------
    files : ModelFiles
    spec : ModelSpec
    backend : Backend
    threads : int, optional
    """

    def __init__(self, files: ModelFiles, spec: ModelSpec, backend: Backend, threads: int | None = None) -> None:
        self.spec = spec
        limit = spec.max_encoder_frames
        self.session, self._positions = open_on_cpu(files.encoder, backend, threads=threads, limit=limit)
        if self._positions is None:
            self.session.require_inputs(2)
        self._batching: Batching | None = None
        self._computed_in: Numbers = "fp16" if files.encoder_precision == "float16" else "fp32"
        self._probe_lock = threading.Lock()

    def encode(self, features: Features, timeline: Recorder = NULL) -> Encoded:
        """Encode a batch; each utterance comes out as it would alone.

        Parameters
        ----------
        features : Features
            Normalised log-mel, [B, n_mels, T].
        timeline : Recorder, optional

        Returns
        -------
        Encoded

        Raises
        ------
        OptionError
            Where the shapes do not fit the model.
        AudioTooLongError
            Where an utterance exceeds the position table of the export.
        RunError
            Where the runtime fails.
        """
        with timeline.span("encoder"):
            lengths = check_features(features, self.spec)
            frames = np.ascontiguousarray(on_host("features.frames", features.frames), np.float32)
            encoded_lengths = np.array([self.spec.encoder_length(int(length)) for length in lengths], np.int64)
            longest = int(encoded_lengths.max(initial=0))
            out = np.zeros((len(lengths), longest, self.spec.encoder_dim), np.float32)
            crowd = np.count_nonzero(lengths) > 1
            for rows in group_rows(lengths, self.batching() if crowd else "together"):
                part = self._run(frames[rows, :, : int(lengths[rows].max())], lengths[rows])
                out[rows, : part.shape[1]] = part
            return Encoded(out, encoded_lengths)

    def encode_for_decoding(
        self,
        features: Features,
        timeline: Recorder = NULL,
        *,
        on_host: bool = False,  # noqa: ARG002  it always is
    ) -> Encoded:
        """Encode a batch; on the host that is :meth:`encode`."""
        return self.encode(features, timeline)

    def batching(self) -> Batching:
        """Return how utterances may share a run of this export without changing each other; probed once.

        Exports older than NeMo 2.5 lack the masks of the subsampling convolutions, so padding leaks into the last
        frames; dynamically quantised ones share their scales over the whole batch.
        """
        with self._probe_lock:
            if self._batching is None:
                self._batching = probe_batching(self._run, self.spec.n_mels, self._computed_in)
                tell_batching(self._batching, self.session.name, logging.INFO)
            return self._batching

    def placement(self) -> list[Node]:
        """Return which provider runs which node."""
        return self.session.placement()

    def close(self) -> None:
        """Release the session."""
        self.session.close()

    def _run(self, frames: Float32, lengths: Int64) -> Float32:
        """Run the graph; returns [B, T', D] with at least the frames that the lengths call for."""
        names = [port.name for port in self.session.inputs]
        feeds: dict[str, Float32 | Int64] = {names[0]: np.ascontiguousarray(frames), names[1]: lengths}
        if self._positions is not None:
            feeds |= self._positions.rows(self.spec.encoder_length(frames.shape[2]))
        (out,) = self.session.run(feeds, [self.session.outputs[0].name])
        needed = self.spec.encoder_length(int(lengths.max()))
        expected = (len(frames), self.spec.encoder_dim)
        if out.ndim != 3 or out.shape[:2] != expected or out.shape[2] < needed:
            raise ModelMismatchError(
                f"{self.session.name} gave shape {out.shape} for {int(lengths.max())} mel frames; expected "
                f"[{len(lengths)}, {self.spec.encoder_dim}, {needed}]. Is the subsampling factor "
                f"{self.spec.subsampling} right?"
            )
        return np.ascontiguousarray(out[:, :, :needed].transpose(0, 2, 1))


def check_features(features: Features, spec: ModelSpec) -> Int64:
    """Refuse features that do not fit the model.

    Parameters
    ----------
    features : Features
    spec : ModelSpec

    Returns
    -------
    ndarray [shape=(B,)], int64
        The lengths.

    Raises
    ------
    OptionError
        Naming the field, what it has, and what was expected.
    AudioTooLongError
        Where an utterance exceeds the position table of the export.
    """
    instance("features", features, Features)
    shape = array("features.frames", features.frames, "f", f"B, {spec.n_mels}, T", device=True).shape
    lengths: Int64 = array("features.lengths", features.lengths, "iu", "B")
    if shape[1] != spec.n_mels:
        raise OptionError("features.frames", f"shape {tuple(shape)}", f"[B, {spec.n_mels}, T], float32")
    if len(lengths) != shape[0]:
        raise OptionError("features.lengths", f"{len(lengths)} entries", f"{shape[0]} integers, one an utterance")
    if len(lengths) and not 0 <= int(lengths.min()) <= int(lengths.max()) <= shape[2]:
        raise OptionError("features.lengths", lengths.tolist(), f"numbers from 0 to {shape[2]}")
    limit = spec.max_encoder_frames
    for index, length in enumerate(lengths):
        wanted = spec.encoder_length(int(length))
        if limit is not None and wanted > limit:
            seconds = spec.frame_seconds
            raise AudioTooLongError(
                f"Utterance {index} of the batch has {wanted} encoder frames ({wanted * seconds:.1f} s); this "
                f"export's position table ends at {limit} frames ({limit * seconds:.1f} s). Cut the recording into "
                "shorter pieces."
            )
    return np.ascontiguousarray(lengths, np.int64)


def group_rows(lengths: Int64, batching: Batching) -> list[Int64]:
    """Return rows that may run together; rows without frames need no run."""
    rows = np.flatnonzero(lengths > 0)
    if batching == "together":
        return [rows] if len(rows) else []
    if batching == "alone":
        return [rows[index : index + 1] for index in range(len(rows))]
    return [rows[lengths[rows] == length] for length in np.unique(lengths[rows])]


def probe_batching(
    run: Callable[[Float32, Int64], Float32],
    n_mels: int,
    computed_in: Numbers = "fp32",
    *,
    pairs: bool = True,
) -> Batching:
    """Find out whether padding, or another utterance, changes what an utterance gives, by running some noise.

    Parameters
    ----------
    run : callable
        Features [B, n_mels, T] and lengths to frames [B, T', D].
    n_mels : int
    computed_in : {"fp32", "tf32", "fp16", "bf16", "int8"}, optional
        What the products are computed in: it says which difference, relative to the largest value, counts as the same.
    pairs : bool, optional
        Whether to run two utterances at once; without, they are taken not to change each other.
    """

    def differs(found: Float32, expected: Float32) -> bool:
        difference = np.abs(found[0, : len(expected[0])] - expected[0]).max()
        return bool(difference > tolerance * max(1.0, np.abs(expected).max()))

    tolerance = _PROBE_TOLERANCES.get(computed_in, _PROBE_TOLERANCE_ROUNDED)
    longest, *shorter = _PROBE_FRAMES
    noise = np.random.default_rng(0).standard_normal((1, n_mels, longest), np.float32)
    if pairs:
        pair = np.concatenate([noise, noise[:, :, ::-1] * np.float32(3)])
        if differs(run(pair, np.array([longest, longest])), run(noise, np.array([longest]))):
            return "alone"
    for length in shorter:
        padded = noise.copy()
        padded[:, :, length:] = 0
        if differs(run(padded, np.array([length])), run(noise[:, :, :length], np.array([length]))):
            return "same length"
    return "together"


def tell_batching(batching: Batching, what: str, level: int = logging.WARNING) -> None:
    """Log why clips cannot share runs, where they cannot.

    Parameters
    ----------
    batching : {"together", "same length", "alone"}
    what : str
        What was found to be so: a graph, where it runs, in which numbers.
    level : int, optional
        Of the message.
    """
    if batching == "same length":
        _log.log(level, "%s: padding changes what a clip gives; only clips of one length share a run", what)
    if batching == "alone":
        _log.log(level, "%s: another clip of a batch changes what a clip gives; each runs alone", what)
