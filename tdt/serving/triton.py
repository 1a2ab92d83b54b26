"""A model of Triton Inference Server's Python backend over the engine room, and the repository that holds it.

Triton hands over the requests of a moment together (dynamic batching); the engine makes its batches of them.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from tdt.errors import OptionError, TdtError
from tdt.loading import load
from tdt.serving.answering import timed
from tdt.serving.engine import Engine
from tdt.serving.settings import Settings
from tdt.whole_files import written_whole

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tdt.text import Transcript

MODEL = '''"""Parakeet-TDT for Triton's Python backend; its environment needs the package parakeet-tdt."""

from tdt.serving.triton import TritonPythonModel as TritonPythonModel
'''
_CONFIG = """\
name: {name}
backend: "python"
max_batch_size: {max_batch}
dynamic_batching {{ max_queue_delay_microseconds: {delay} }}

# AUDIO: a sound file of any format. PHRASES: what is likely to be said, a phrase a line; may be left out.
input [
  {{ name: "AUDIO" data_type: TYPE_STRING dims: [ 1 ] }},
  {{ name: "PHRASES" data_type: TYPE_STRING dims: [ 1 ] optional: true }}
]
# TEXT: what was said. WORDS: JSON, a list of {{"word", "start", "end", "confidence"}}.
output [
  {{ name: "TEXT" data_type: TYPE_STRING dims: [ 1 ] }},
  {{ name: "WORDS" data_type: TYPE_STRING dims: [ 1 ] }}
]

instance_group [ {{ count: 1 kind: {kind} }} ]
{parameters}"""
_DELAY_MICROSECONDS = 5000
_VERSION = "1"


def write_repository(folder: Path, name: str, max_batch: int, parameters: dict[str, str]) -> list[Path]:
    """Write a model repository: `name`/config.pbtxt and `name`/1/model.py; return the files.

    Parameters
    ----------
    folder : Path
        The repository; made where it is not there. Other models in it stay.
    name : str
        What Triton calls the model.
    max_batch : int
        Requests that Triton hands over together, and clips to a run.
    parameters : dict of str to str
        Of :func:`tdt.load`: model, provider and so on; an empty one is left to its default.

    Raises
    ------
    OptionError
        The name cannot be that of a folder.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise OptionError("name", name, "letters, digits, dots, dashes and underscores")
    given = {key: value for key, value in parameters.items() if value}
    device = re.match(r"[a-z-]+:(\d+)", given.get("provider", "cpu"))
    kind = f"KIND_GPU gpus: [ {device[1]} ]" if device else "KIND_CPU"
    lines = [f"parameters {{ key: {_quoted(key)} value: {{ string_value: {_quoted(given[key])} }} }}" for key in given]
    config = _CONFIG.format(
        name=_quoted(name),
        max_batch=max_batch,
        delay=_DELAY_MICROSECONDS,
        kind=kind,
        parameters="".join(line + "\n" for line in lines),
    )
    files = {folder / name / "config.pbtxt": config, folder / name / _VERSION / "model.py": MODEL}
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as (file, _):
            file.write(text.encode())
    return list(files)


def _quoted(text: str) -> str:
    """Return a string of Protocol Buffers' text format; JSON's escapes of what is not ASCII are not among its own."""
    plain = [chr(octet) if 32 <= octet < 127 and octet not in b'"\\' else f"\\{octet:03o}" for octet in text.encode()]
    return f'"{"".join(plain)}"'


class TritonPythonModel:
    """What Triton's Python backend makes one of for each instance, and calls."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model and start the engine; Triton takes what is raised for the reason that it cannot.

        Parameters
        ----------
        args : dict of str to str
            Of Triton: `model_config` is the configuration as JSON.
        """
        self._utils: Any = import_module("triton_python_backend_utils")
        config = json.loads(args["model_config"])
        given: dict[str, Any] = {name: value["string_value"] for name, value in config.get("parameters", {}).items()}
        if "threads" in given:
            given["threads"] = int(given["threads"])
        max_batch = config.get("max_batch_size") or 1
        self._recognizer = load(given.pop("model", None), **given)
        self._engine = Engine(self._recognizer, Settings(max_batch=max_batch, queue=100_000))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tdt-triton", daemon=True)
        self._thread.start()
        try:
            self._wait(self._engine.start())
        except BaseException:
            self._end()
            raise

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Return one response a request, each with a text for each recording; a request that fails says why."""
        return list(self._wait(self._all(requests)))

    def finalize(self) -> None:
        """Release everything."""
        self._wait(self._engine.close())
        self._end()

    async def _all(self, requests: Sequence[Any]) -> list[Any]:
        return await asyncio.gather(*[self._one(request) for request in requests])

    async def _one(self, request: Any) -> Any:
        try:
            sounds = self._texts(request, "AUDIO")
            phrases = self._texts(request, "PHRASES") or [b""] * len(sounds)
            if len(phrases) != len(sounds):
                raise OptionError("PHRASES", f"{len(phrases)} texts", f"one for each of the {len(sounds)} recordings")
            calls = [self._transcribed(sound, lines) for sound, lines in zip(sounds, phrases, strict=True)]
            found = await asyncio.gather(*calls)
        except TdtError as error:
            return self._utils.InferenceResponse(error=self._utils.TritonError(str(error)))
        columns = {"TEXT": [transcript.text for transcript in found], "WORDS": [_words(one) for one in found]}
        tensors = [
            self._utils.Tensor(name, np.array([[text.encode()] for text in texts], np.object_))
            for name, texts in columns.items()
        ]
        return self._utils.InferenceResponse(output_tensors=tensors)

    async def _transcribed(self, sound: bytes, lines: bytes) -> Transcript:
        phrases = [line for line in lines.decode(errors="replace").splitlines() if line.strip()]
        return await self._engine.transcribe(sound, phrases=phrases or None, name="AUDIO")

    def _texts(self, request: Any, name: str) -> list[bytes]:
        """Return the values of an input of strings."""
        tensor = self._utils.get_input_tensor_by_name(request, name)
        return [] if tensor is None else list(tensor.as_numpy().reshape(-1))

    def _wait(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._recognizer.close()


def _words(transcript: Transcript) -> str:
    return json.dumps([timed(word) for word in transcript.words], ensure_ascii=False)
