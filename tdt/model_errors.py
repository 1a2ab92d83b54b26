"""What can go wrong with a model: not there, damaged, of another kind, or parts that do not belong together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdt.error_root import TdtError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class ModelError(TdtError, ValueError):
    """A model cannot be used as it is; the base of all loading errors."""


class ModelNotFoundError(ModelError, FileNotFoundError):
    """No such model: neither a folder nor a known name."""


class ModelFileNotFoundError(ModelError, FileNotFoundError):
    """The folder lacks a file that its layout needs."""

    def __init__(self, folder: Path, expected: str, found: Sequence[str]) -> None:
        listed = ", ".join(sorted(found)[:12]) or "nothing"
        super().__init__(
            f"{folder} holds no {expected}. Found there: {listed}. Download the model again, or pass the right folder."
        )


class ModelFileCorruptError(ModelError):
    """A model file is empty, cut short, or is not what its name says."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path} cannot be read: {problem}. Download the file again.")


class UnsupportedLayoutError(ModelError):
    """The folder holds a model of a kind or layout that this package does not run."""


class ModelMismatchError(ModelError):
    """Two parts of a model do not belong together."""


class UnrecognizedGraphError(ModelError):
    """A decoder graph has another structure than the native engine can take its weights from."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(
            f"{path}: the native decoder does not recognise this graph: {problem}. It expects embedding, LSTM layers, "
            'and a joint of two projections, ReLU and an output layer. Use decoder="onnx".'
        )


class ExternalDataError(ModelError, OSError):
    """External weight data is missing, too short, or lies outside the model folder."""


class DownloadError(ModelError, OSError):
    """A model could not be fetched from the hub."""


class CheckpointError(ModelError):
    """A checkpoint to convert is damaged, or does not fit the graphs that it shall go into."""

    def __init__(self, path: Path, problem: str, remedy: str = "Copy or download the file again") -> None:
        super().__init__(f"{path} cannot be converted: {problem}. {remedy}.")


class UnsafeCheckpointError(CheckpointError):
    """A checkpoint asks for more than tensors: a class or function by name, a link, a path out of the archive.

    Nothing of it was run or written.
    """

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(path, problem, "A checkpoint needs nothing of the kind: do not load this file anywhere else")


class OtherModelError(CheckpointError, UnsupportedLayoutError):
    """The checkpoint is that of another kind of model."""

    def __init__(self, path: Path, problem: str) -> None:
        expected = "Expected a Parakeet-TDT model: a FastConformer encoder and a transducer with duration outputs"
        super().__init__(path, problem, expected)
