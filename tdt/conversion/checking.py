"""Run a converted model once: it must load as any other, take noise, and give finite numbers of the right shapes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from tdt.errors import CheckpointError
from tdt.model import inspect_model
from tdt.runtime import Backend, Session
from tdt.surgery import lift

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from tdt.conversion.checkpoint import Checkpoint
    from tdt.model import FoundModel
    from tdt.spec import Precision

    Array = npt.NDArray[Any]

FRAMES = 4  # of the encoder
SEED = 20


def check_model(folder: Path, checkpoint: Checkpoint | None, precision: Precision) -> FoundModel:
    """Load the model in `folder`, compare its numbers with the checkpoint's, and run its graphs on noise.

    Raises
    ------
    CheckpointError
        Where numbers differ, or a result is not finite or of another shape.
    ModelError
        Where the model cannot be loaded.
    """
    found = inspect_model(folder, precision=precision)
    spec, path = found.spec, folder if checkpoint is None else checkpoint.path
    if checkpoint is not None:
        stated = checkpoint.architecture
        for what, here, there in (
            ("mel bins", spec.n_mels, stated.mels),
            ("pieces", spec.blank_id, stated.vocabulary),
            ("durations", spec.durations, stated.durations),
            ("subsampling", spec.subsampling, stated.subsampling),
        ):
            if here != there:
                raise CheckpointError(
                    path, f"its {what} are {there}, those of the graph {here}", "Take another --graph"
                )
    random = np.random.default_rng(SEED)
    mels = random.standard_normal((1, spec.n_mels, FRAMES * spec.subsampling)).astype(np.float32)
    with ThreadPoolExecutor(1, "tdt-convert") as pool:
        native = checkpoint is not None and found.files.decoder_precision == "float32"
        lifted = pool.submit(lift, found.files, spec) if native else None
        frames = _encoded(found, mels, path)
        if lifted is not None:
            lifted.result()
    _check(frames, (1, spec.encoder_dim, FRAMES), "encoder", path)
    logits = _decoded(found, frames)
    _check(logits, (1, FRAMES, 1, len(spec.pieces) + len(spec.durations)), "joint", path)
    return found


def _encoded(found: FoundModel, mels: Array, path: Path) -> Array:
    session = _open(found.files.encoder)
    try:
        feeds = dict(
            zip((port.name for port in session.inputs), (mels, np.array([mels.shape[2]], np.int64)), strict=True)
        )
        frames, lengths = session.run(feeds)
    finally:
        session.close()
    if int(lengths[0]) != FRAMES:
        raise CheckpointError(path, f"the encoder makes {int(lengths[0])} frames of {mels.shape[2]}, not {FRAMES}")
    return frames


def _decoded(found: FoundModel, frames: Array) -> Array:
    """Return the joint's outputs for frames and the start symbol."""
    files, spec = found.files, found.spec
    states = [np.zeros((spec.predictor_layers, 1, spec.predictor_hidden), np.float32) for _ in range(2)]
    label: list[Array] = [np.array([[spec.blank_id]]), np.array([1])]
    if files.decoder_joint is not None:
        return _run(files.decoder_joint, [frames, *label, *states])
    assert files.decoder is not None
    assert files.joiner is not None
    return _run(files.joiner, [frames, _run(files.decoder, [*label, *states])])


def _run(path: Path, values: list[Array]) -> Array:
    session = _open(path)
    try:
        kinds = {"tensor(int32)": np.int32, "tensor(int64)": np.int64, "tensor(float16)": np.float16}
        feeds = {
            port.name: value.astype(kinds.get(port.dtype, np.float32))
            for port, value in zip(session.inputs, values, strict=True)
        }
        return session.run(feeds)[0]
    finally:
        session.close()


def _open(path: Path) -> Session:
    return Session(path, Backend.parse("cpu"), once=True)


def _check(values: Array, shape: tuple[int, ...], what: str, path: Path) -> None:
    if values.shape != shape:
        raise CheckpointError(path, f"the converted {what} gives {values.shape}, not {shape}", "Take another --graph")
    if not np.isfinite(values).all():
        raise CheckpointError(
            path, f"the converted {what} gives numbers that are not finite on noise", "The checkpoint is damaged"
        )
