"""A batch of rows in, the same rows with texts out: for Ray Data, and whatever else maps over batches."""

from __future__ import annotations

from collections import deque
from contextlib import closing
from typing import TYPE_CHECKING, Any, Unpack

from tdt.checks import one_of
from tdt.corpus.columns import error_of, items_of_columns, without_audio
from tdt.corpus.items import DETAILS
from tdt.corpus.opening import Opener
from tdt.errors import AudioTailError, TdtError, UnexpectedError
from tdt.loading import load
from tdt.text import as_dict
from tdt.timeline import NULL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tdt.corpus.items import Item
    from tdt.corpus.opening import Ready
    from tdt.options import LoadOptions, ReadOptions
    from tdt.pipeline import Result
    from tdt.text import Transcript
    from tdt.timeline import Recorder

# What decides how clips share a run must not depend on what is free where a worker happens to run.
_CHUNK_SECONDS = 60.0
_CARD_BATCH, _CARD_BYTES = 32, 12 << 30


class Transcriber:
    """Transcribes batches: a class whose objects are called with a dict of columns and return one.

    A model is loaded once. Sound is decoded in threads while the recogniser works on what came before, clips of like
    length share a run, and what is longer than a minute goes through in windows, never whole in memory.

    Parameters
    ----------
    model : str or Path, optional
        As for :func:`tdt.load`.
    detail : {"text", "words", "tokens"}
        What a row gains: `pred_text`; also `words`; also `tokens`.
    audio : str, optional
        The column with the audio: paths, bytes, Hugging Face's `{bytes, path}`, or arrays of 16 kHz samples. By default
        the first of `audio`, `audio_filepath`, `file`, `path`, `bytes` and the endings of audio files that is there.
        Columns `offset` and `duration`, in seconds, cut where they are there and the audio is a path.
    keep_audio : bool
        Hand encoded sound and samples on; by default a column of them is left out.
    root : str, optional
        Paths outside of this folder are refused.
    channel, batch_size, chunk_seconds, context_seconds, max_memory_bytes, second_look : optional
        As for :meth:`tdt.Recognizer.transcribe`. Here the defaults depend on model and provider alone, not on what
        memory is free: windows of a minute; on a card up to 32 clips and 12 GiB.
    **loading
        `provider`, `precision`, `threads`, `decoder`, `weights` as for :func:`tdt.load`.

    Examples
    --------
    >>> import numpy as np, tdt.corpus
    >>> transcriber = tdt.corpus.Transcriber()
    >>> transcriber({"audio": [np.zeros(16000, np.float32)], "id": ["silence"]})
    {'id': ['silence'], 'pred_text': [''], 'gaps': [None], 'error': [None]}
    """

    def __init__(
        self,
        model: Any = None,
        *,
        detail: str = "text",
        audio: str | None = None,
        keep_audio: bool = False,
        root: str | None = None,
        channel: int | None = None,
        batch_size: int | None = None,
        chunk_seconds: float | None = None,
        context_seconds: float | None = None,
        max_memory_bytes: int | None = None,
        second_look: bool = True,
        **loading: Unpack[LoadOptions],
    ) -> None:
        one_of("detail", detail, DETAILS)
        self.detail = detail
        self._column, self._keep_audio = audio, keep_audio
        self.recognizer = load(model, **loading)
        on_card = not str(loading.get("provider", "cpu")).startswith("cpu")
        if on_card and batch_size is None and max_memory_bytes is None:
            batch_size, max_memory_bytes = _CARD_BATCH, _CARD_BYTES
        self.options: ReadOptions = {
            "batch_size": batch_size,
            "chunk_seconds": chunk_seconds or self._longest_window(loading),
            "context_seconds": context_seconds,
            "max_memory_bytes": max_memory_bytes,
            "second_look": second_look,
        }
        limit = self.recognizer.long_form(**self.options).longest_uncut
        self.opener = Opener(limit, channel, root)

    def _longest_window(self, loading: Mapping[str, Any]) -> float:
        from tdt.runtime import Backend

        spec, backend = self.recognizer.spec, Backend.parse(loading.get("provider", "cpu"))
        table = spec.max_encoder_frames * spec.frame_seconds if spec.max_encoder_frames else _CHUNK_SECONDS
        built = float(backend.max_seconds) if backend.provider.startswith("tensorrt") else _CHUNK_SECONDS
        return min(_CHUNK_SECONDS, table, built)

    def results(self, items: Iterable[Item], timeline: Recorder = NULL) -> Iterator[tuple[Item, Result]]:
        """Yield each item with its transcript or its error, in order; items are taken as the work goes on."""
        waiting: deque[Ready] = deque()

        def sounds() -> Iterator[Any]:
            with closing(self.opener.ahead(items)) as ahead:  # type: ignore[type-var]  # a generator
                for ready in ahead:
                    waiting.append(ready)
                    if not isinstance(ready.sound, TdtError):
                        yield ready.sound

        for result in self.recognizer.transcribe_each(sounds(), **self.options, timeline=timeline):
            while isinstance(failed := waiting[0].sound, TdtError):
                yield waiting.popleft().item, failed
            done = waiting.popleft()
            yield done.item, _broken(done.tail, result)
        while waiting:
            rest = waiting.popleft()
            assert isinstance(rest.sound, TdtError)
            yield rest.item, rest.sound

    def told(self, transcript: Transcript) -> dict[str, Any]:
        """Return what a transcript adds to a line."""
        told = as_dict(transcript)
        words = {"words": told["words"]} if self.detail != "text" else {}
        tokens = {"tokens": told["tokens"]} if self.detail == "tokens" else {}
        gaps = {"gaps": told["gaps"]} if told["gaps"] else {}
        return {"pred_text": told["text"], **words, **tokens, **gaps}

    def __call__(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """Transcribe a batch.

        Parameters
        ----------
        columns : mapping of str to sequence
            All of one length.

        Returns
        -------
        dict of str to list
            The columns, and `pred_text`, with more detail `words` and `tokens`; `gaps`, speech without words, None
            where there is none; and `error`: None, or type and message of what went wrong; then the others are None.

        Raises
        ------
        OptionError
            There is no audio column, or columns differ in length.
        """
        rows = items_of_columns(columns, self._column)
        names = ["pred_text", *DETAILS[1 : DETAILS.index(self.detail) + 1], "gaps", "error"]
        made: dict[str, list[Any]] = {name: [] for name in names}
        for number, (item, result) in enumerate(self.results(rows.items)):
            if item.line["row"] != number:
                raise UnexpectedError(f"row {item.line['row']}", "it came out of its turn")
            told = error_of(result) if isinstance(result, TdtError) else self.told(result)
            for name in names:
                made[name].append(told.get(name))
        if len(made["error"]) != rows.number:
            raise UnexpectedError("the batch", f"{len(made['error'])} of {rows.number} rows came back")
        return without_audio(columns, rows.column, keep=self._keep_audio) | made


def _broken(tail: AudioTailError | None, result: Result) -> Result:
    """Return the result of a clip; where that broke off, the error with what was heard before."""
    if tail is None or isinstance(result, TdtError):
        return result
    tail.partial = result
    return tail
