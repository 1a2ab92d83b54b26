"""NVIDIA Parakeet-TDT speech recognition on ONNX Runtime.

Examples
--------
>>> import numpy as np, tdt
>>> asr = tdt.load()  # the bundled tiny model; or a folder; or a hub name
>>> asr.transcribe(np.zeros(16000, np.float32)).text  # or a path, bytes, a file object; or a list of them
''
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from tdt.version import __version__ as __version__

if TYPE_CHECKING:
    from tdt.errors import AudioError as AudioError
    from tdt.errors import AudioNotFoundError as AudioNotFoundError
    from tdt.errors import AudioReadError as AudioReadError
    from tdt.errors import AudioTailError as AudioTailError
    from tdt.errors import AudioTooLongError as AudioTooLongError
    from tdt.errors import AudioTooShortError as AudioTooShortError
    from tdt.errors import AudioValueError as AudioValueError
    from tdt.errors import BrokenDependencyError as BrokenDependencyError
    from tdt.errors import ClosedError as ClosedError
    from tdt.errors import DecodingError as DecodingError
    from tdt.errors import DeviceMemoryError as DeviceMemoryError
    from tdt.errors import DownloadError as DownloadError
    from tdt.errors import ExternalDataError as ExternalDataError
    from tdt.errors import ForkError as ForkError
    from tdt.errors import LiveStreamError as LiveStreamError
    from tdt.errors import MissingDependencyError as MissingDependencyError
    from tdt.errors import ModelError as ModelError
    from tdt.errors import ModelFileCorruptError as ModelFileCorruptError
    from tdt.errors import ModelFileNotFoundError as ModelFileNotFoundError
    from tdt.errors import ModelMismatchError as ModelMismatchError
    from tdt.errors import ModelNotFoundError as ModelNotFoundError
    from tdt.errors import NotPicklableError as NotPicklableError
    from tdt.errors import OptionError as OptionError
    from tdt.errors import ProviderError as ProviderError
    from tdt.errors import RunError as RunError
    from tdt.errors import StreamBusyError as StreamBusyError
    from tdt.errors import StreamFinishedError as StreamFinishedError
    from tdt.errors import TdtError as TdtError
    from tdt.errors import TranscriptionError as TranscriptionError
    from tdt.errors import UnrecognizedGraphError as UnrecognizedGraphError
    from tdt.errors import UnsupportedLayoutError as UnsupportedLayoutError
    from tdt.fusion import Beam as Beam
    from tdt.fusion import NgramLM as NgramLM
    from tdt.fusion import Phrases as Phrases
    from tdt.live import LiveBatch as LiveBatch
    from tdt.live import LiveStream as LiveStream
    from tdt.live import LiveWord as LiveWord
    from tdt.live import Update as Update
    from tdt.loading import load as load
    from tdt.recognizer import Recognizer as Recognizer
    from tdt.stages import DecoderState as DecoderState
    from tdt.stages import Encoded as Encoded
    from tdt.stages import Features as Features
    from tdt.stages import Hypothesis as Hypothesis
    from tdt.text import Confidence as Confidence
    from tdt.text import Gap as Gap
    from tdt.text import Segment as Segment
    from tdt.text import Token as Token
    from tdt.text import Transcript as Transcript
    from tdt.text import Word as Word
    from tdt.timeline import Timeline as Timeline

# Where each public name lives; imported when first asked for, so that `import tdt` costs next to nothing.
_HOMES = {
    "load": "tdt.loading",
    "Recognizer": "tdt.recognizer",
    **dict.fromkeys(("Features", "Encoded", "Hypothesis", "DecoderState"), "tdt.stages"),
    **dict.fromkeys(("Transcript", "Token", "Word", "Segment", "Gap"), "tdt.text.transcript"),
    "Confidence": "tdt.text.confidence",
    **dict.fromkeys(("LiveBatch", "LiveStream", "LiveWord", "Update"), "tdt.live"),
    **dict.fromkeys(("Beam", "NgramLM", "Phrases"), "tdt.fusion"),
    "Timeline": "tdt.timeline",
}

__all__ = ["__version__", *_HOMES]  # noqa: PLE0604


def __getattr__(name: str) -> object:
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    elif name.endswith("Error"):
        value = getattr(import_module("tdt.errors"), name, None)
    else:
        value = None
    if value is None:
        raise AttributeError(f"module 'tdt' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    errors = import_module("tdt.errors")
    return sorted({*globals(), *_HOMES, *(name for name in vars(errors) if name.endswith("Error"))})
