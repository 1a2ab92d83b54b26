"""Everything that can go wrong, by type.

Each error is a :class:`TdtError` and also its standard kin, so `except FileNotFoundError` works as expected. A message
says what was given, what was expected, and what to do; the sentence lives here, the raise site passes the facts.
Errors cross process boundaries: whatever their constructors ask for, a copy has the same message and attributes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdt.corpus_errors import ClusterError as ClusterError
from tdt.corpus_errors import ManifestError as ManifestError
from tdt.corpus_errors import OutsideRootError as OutsideRootError
from tdt.corpus_errors import RunFolderError as RunFolderError
from tdt.corpus_errors import ShardError as ShardError
from tdt.corpus_errors import StorageGoneError as StorageGoneError
from tdt.corpus_errors import WorkerDiedError as WorkerDiedError
from tdt.error_root import TdtError as TdtError
from tdt.model_errors import CheckpointError as CheckpointError
from tdt.model_errors import DownloadError as DownloadError
from tdt.model_errors import ExternalDataError as ExternalDataError
from tdt.model_errors import ModelError as ModelError
from tdt.model_errors import ModelFileCorruptError as ModelFileCorruptError
from tdt.model_errors import ModelFileNotFoundError as ModelFileNotFoundError
from tdt.model_errors import ModelMismatchError as ModelMismatchError
from tdt.model_errors import ModelNotFoundError as ModelNotFoundError
from tdt.model_errors import OtherModelError as OtherModelError
from tdt.model_errors import UnrecognizedGraphError as UnrecognizedGraphError
from tdt.model_errors import UnsafeCheckpointError as UnsafeCheckpointError
from tdt.model_errors import UnsupportedLayoutError as UnsupportedLayoutError
from tdt.request_errors import FieldError as FieldError
from tdt.request_errors import FormError as FormError
from tdt.request_errors import NoSuchModelError as NoSuchModelError
from tdt.request_errors import NotOfferedError as NotOfferedError
from tdt.request_errors import QueueFullError as QueueFullError
from tdt.request_errors import RecordingTooLongError as RecordingTooLongError
from tdt.request_errors import RequestError as RequestError
from tdt.request_errors import RequestTimeoutError as RequestTimeoutError
from tdt.request_errors import SelfCheckError as SelfCheckError
from tdt.request_errors import ServerClosedError as ServerClosedError
from tdt.request_errors import UnauthorizedError as UnauthorizedError
from tdt.request_errors import UploadTimeoutError as UploadTimeoutError
from tdt.request_errors import UploadTooLargeError as UploadTooLargeError
from tdt.run_errors import DecodingError as DecodingError
from tdt.run_errors import DeviceMemoryError as DeviceMemoryError
from tdt.run_errors import LiveStreamError as LiveStreamError
from tdt.run_errors import ProviderError as ProviderError
from tdt.run_errors import RunError as RunError
from tdt.run_errors import StreamBusyError as StreamBusyError
from tdt.run_errors import StreamFinishedError as StreamFinishedError
from tdt.run_errors import TranscriptionError as TranscriptionError
from tdt.run_errors import UnexpectedError as UnexpectedError
from tdt.showing import shown

if TYPE_CHECKING:
    from pathlib import Path


class OptionError(TdtError, ValueError):
    """An option or argument has a value that cannot be used."""

    def __init__(self, name: str, given: object, expected: str) -> None:
        super().__init__(f"{name}={shown(given)} cannot be used: expected {expected}.")


class ClosedError(TdtError, RuntimeError):
    """A closed recogniser was used."""

    def __init__(self) -> None:
        super().__init__("This recogniser has been closed. Load another one with tdt.load().")


class ForkError(TdtError, RuntimeError):
    """A model was loaded in one process and is used in another that was forked from it."""

    def __init__(self, loaded: int, used: int, *, loading: bool = False) -> None:
        problem = (
            f"Process {used} was forked from process {loaded} while another thread there was loading a model, so that "
            "none can be loaded here. Fork before that, or when it is done, and load"
            if loading
            else f"This model was loaded in process {loaded} and is used in process {used}, which was forked from it; "
            "its threads and sessions stayed behind. Load it"
        )
        super().__init__(
            f"{problem} in each worker, after the fork: in Pool(initializer=…), in gunicorn's post_fork or without "
            "--preload; or start workers with spawn."
        )


class NotPicklableError(TdtError, TypeError):
    """Something was pickled or copied that is bound to its process."""

    def __init__(self, kind: str) -> None:
        super().__init__(
            f"A {kind} cannot be pickled or copied: it holds threads, sessions and their memory. Pass files or arrays "
            "to the worker and load the model there, once, as Pool(initializer=…) does; transcripts can be passed back."
        )


class MissingDependencyError(TdtError, ImportError):
    """An optional package is needed and absent."""

    def __init__(self, package: str, purpose: str, install: str) -> None:
        super().__init__(f"{purpose} needs the package {package!r}, which is not installed. Install it with: {install}")


class OutputError(TdtError, OSError):
    """A result cannot be written: its stream is closed, or the disk is full."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name} cannot be written: {problem}. Give the output another place, or make room for it.")


ASK_DOCTOR = "`tdt doctor` says what is wrong with this installation and what to do."


class BrokenDependencyError(TdtError, ImportError):
    """A package that is needed is there, but cannot be used."""

    def __init__(self, package: str, problem: str, remedy: str = "") -> None:
        super().__init__(f"The package {package!r} cannot be used: {problem}. {remedy or ASK_DOCTOR}")


# --- audio ------------------------------------------------------------------------------------------------------------


class AudioError(TdtError, ValueError):
    """Audio that cannot be transcribed; the base of all audio errors."""


class AudioNotFoundError(AudioError, FileNotFoundError):
    """The audio file does not exist or is a folder."""


class AudioReadError(AudioError, OSError):
    """The file is there, but is not readable as audio."""


class AudioTailError(AudioReadError):
    """A recording breaks off; what lies before was read.

    Attributes
    ----------
    seconds : float
        How much was read.
    partial : Transcript or None
        What was recognised up to there, where a transcript was being made.
    """

    def __init__(self, name: str, seconds: float, problem: str) -> None:
        self.seconds = seconds
        self.partial: object = None
        super().__init__(
            f"{name} breaks off after {seconds:.1f} s ({problem}). What lies before was read and is kept; "
            "to have the rest, repair the file or copy it again."
        )


class AudioTooShortError(AudioError):
    """Fewer samples than one hop."""

    def __init__(self, source: str, samples: int, rate_hz: int) -> None:
        super().__init__(
            f"{source} holds {samples} samples at {rate_hz} Hz; at least 160 samples at 16000 Hz (10 ms) are needed. "
            "Pass a longer recording."
        )


class AudioTooLongError(AudioError):
    """More encoder frames than the model's position table holds."""


class AudioValueError(AudioError):
    """The samples are not finite numbers, or have a shape or type that is not audio."""


# --- language models --------------------------------------------------------------------------------------------------


class LanguageModelError(TdtError, ValueError):
    """A language model cannot be used: another format, another vocabulary, or a damaged file.

    Attributes
    ----------
    line : int
        Line of the file, from 1; 0 where it is about none.
    """

    def __init__(self, path: Path, problem: str, remedy: str, line: int = 0) -> None:
        self.line = line
        super().__init__(f"{path}{f', line {line}' if line else ''}: {problem}. {remedy}.")


class LanguageModelNotFoundError(LanguageModelError, FileNotFoundError):
    """There is no such file of a language model."""


class CorpusError(TdtError, ValueError):
    """Text that no language model can be made of."""


# --- phrases ----------------------------------------------------------------------------------------------------------


class PhraseFileError(TdtError, ValueError, OSError):
    """A file of phrases cannot be read.

    Attributes
    ----------
    line : int or None
        Which line is to blame, counted from 1.
    """

    def __init__(self, path: Path, problem: str, line: int | None = None) -> None:
        self.line = line
        super().__init__(
            f"{path}{'' if line is None else f', line {line}'}: {problem}. Expected UTF-8 text, one phrase a line, "
            "with a tab and a number after it where it has a weight of its own; lines that begin with # are comments."
        )


# --- measuring --------------------------------------------------------------------------------------------------------


class ProfileFileError(TdtError, ValueError):
    """A file that should hold ONNX Runtime's profile does not."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path} is no ONNX Runtime profile: {problem}. Run `tdt profile --nodes` again.")


class MeasurementError(TdtError, RuntimeError):
    """A contender of a benchmark could not be loaded or run."""

    def __init__(self, contender: str, problem: str) -> None:
        super().__init__(f"{contender} could not be measured: {problem}. Leave it out, or make it run by itself first.")


# --- quantisation -----------------------------------------------------------------------------------------------------


class QuantizationError(TdtError, ValueError):
    """A model cannot be quantised, or a quantised model cannot be used as asked."""


class CalibrationAudioError(QuantizationError):
    """Too little speech to calibrate on."""

    def __init__(
        self, clips: int, seconds: float, sounding: float, minimum: float, skipped: int, *, bounded: bool = False
    ) -> None:
        more = "Raise the bound on the audio (--max-seconds), or pass" if bounded else "Pass more"
        super().__init__(
            f"The calibration audio holds {sounding:.1f} s of sound in {clips} recordings of {seconds:.1f} s "
            f"({skipped} files were skipped); at least {minimum:.0f} s are needed for ranges that hold on other audio. "
            f"{more} recordings of the kind the model shall transcribe."
        )


class CalibrationValueError(QuantizationError):
    """An activation is NaN or infinite during calibration."""

    def __init__(self, path: Path, tensor: str) -> None:
        super().__init__(
            f"The encoder gives values that are not finite in {tensor!r} on {path}; finite ones were expected. "
            "Check the model with `tdt inspect`, and the recording."
        )


class EngineBuildError(QuantizationError, RuntimeError):
    """TensorRT cannot build the engine, or built less of it in int8 than was asked for."""
