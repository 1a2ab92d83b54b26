"""Prediction network and joint as bound sessions: buffers made once per batch size, nothing allocated in a step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tdt.runtime import Session
from tdt.surgery import cut_decoder

if TYPE_CHECKING:
    from tdt.runtime import Backend, Binding
    from tdt.spec import ModelFiles, ModelSpec
    from tdt.stages import Float32, Int64


@dataclass(frozen=True, slots=True)
class JointStep:
    """One evaluation of the joint for A utterances and W frames each: fill the inputs, run, read the outputs.

    Parameters
    ----------
    window : ndarray [shape=(A, W, J)], float32
    prediction : ndarray [shape=(A, J)], float32
    choices : ndarray [shape=(A, W, 2)], int64
    scores : ndarray [shape=(A, W, 3)], float32
    binding : Binding
    """

    window: Float32
    prediction: Float32
    choices: Int64
    scores: Float32
    binding: Binding


@dataclass(frozen=True, slots=True)
class PredictorStep:
    """One evaluation of the prediction network for A utterances.

    Parameters
    ----------
    label : ndarray [shape=(A, 1)], int32 or int64
    hidden, cell, next_hidden, next_cell : ndarray [shape=(L, A, H)], float32
    prediction : ndarray [shape=(A, J)], float32
    binding : Binding
    """

    label: Int64
    hidden: Float32
    cell: Float32
    prediction: Float32
    next_hidden: Float32
    next_cell: Float32
    binding: Binding


class Transducer:
    """The three networks of a decoder; sessions are shared by threads, steps are not.

    Parameters
    ----------
    files : ModelFiles
    spec : ModelSpec
    backend : Backend
    threads : int, optional
    """

    def __init__(self, files: ModelFiles, spec: ModelSpec, backend: Backend, threads: int | None = None) -> None:
        networks = cut_decoder(files, spec)
        named = (files.decoder_joint or files.joiner or files.folder).name
        self.spec = spec
        self.coupled = networks.coupled
        self._projector = Session(networks.projector, backend, threads=threads, name=f"{named} (encoder projection)")
        self._predictor = Session(networks.predictor, backend, threads=threads, name=f"{named} (prediction network)")
        self._joint = Session(networks.joint, backend, threads=threads, name=f"{named} (joint)")
        self._label_type = np.int64 if self._predictor.inputs[0].dtype == "tensor(int64)" else np.int32
        probe = np.zeros((1, 1, spec.encoder_dim), np.float32)
        self.width = int(self.project(probe).shape[2])

    def project(self, frames: Float32) -> Float32:
        """Run the joint's encoder projection.

        Parameters
        ----------
        frames : ndarray [shape=(B, T, D)], float32

        Returns
        -------
        ndarray [shape=(B, T, J)], float32
        """
        if not frames.size:
            return np.zeros((*frames.shape[:2], self.width), np.float32)
        if self.coupled:  # one scale a tensor: each frame alone, as the loop over the uncut graph would have it
            flat = frames.reshape(-1, 1, 1, frames.shape[2])
            rows = [self._projector.run({"frames": frame})[0] for frame in flat]
            return np.concatenate(rows).reshape(*frames.shape[:2], -1)
        return self._projector.run({"frames": np.ascontiguousarray(frames, np.float32)})[0]

    def joint_step(self, utterances: int, window: int, prediction: Float32 | None = None) -> JointStep:
        """Make the buffers of a joint evaluation and bind them; `prediction` may be one that exists."""
        frames = np.zeros((utterances, window, self.width), np.float32)
        if prediction is None:
            prediction = np.zeros((utterances, self.width), np.float32)
        choices = np.zeros((utterances, window, 2), np.int64)
        scores = np.zeros((utterances, window, 3), np.float32)
        binding = self._joint.bind({"window": frames, "prediction": prediction}, {"choices": choices, "scores": scores})
        return JointStep(frames, prediction, choices, scores, binding)

    def predictor_step(
        self,
        utterances: int,
        prediction: Float32 | None = None,
        states: tuple[Float32, Float32, Float32, Float32] | None = None,
    ) -> PredictorStep:
        """Make the buffers of a prediction-network evaluation and bind them.

        Parameters
        ----------
        utterances : int
        prediction : ndarray [shape=(A, J)], float32, optional
            Buffer to write the output to.
        states : tuple of ndarray, optional
            Buffers to use for hidden, cell, next_hidden and next_cell.
        """
        shape = (self.spec.predictor_layers, utterances, self.spec.predictor_hidden)
        hidden, cell, next_hidden, next_cell = states or tuple(np.zeros(shape, np.float32) for _ in range(4))
        label = np.zeros((utterances, 1), self._label_type)
        if prediction is None:
            prediction = np.zeros((utterances, self.width), np.float32)
        binding = self._predictor.bind(
            {"label": label, "hidden": hidden, "cell": cell},
            {"prediction": prediction, "next_hidden": next_hidden, "next_cell": next_cell},
        )
        return PredictorStep(label, hidden, cell, prediction, next_hidden, next_cell, binding)

    def close(self) -> None:
        """Release the sessions."""
        for session in (self._projector, self._predictor, self._joint):
            session.close()
