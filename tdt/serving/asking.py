"""What a request asks for: the fields of OpenAI's transcription form, each honoured, without effect here, or refused.

Decisions only: a form that has been read in, an :class:`Ask` or a refusal out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from tdt.errors import FieldError, NoSuchModelError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Effect = Literal["honoured", "without effect", "refused"]

FORMATS = ("json", "text", "srt", "vtt", "verbose_json")
GRANULARITIES = ("word", "segment")
_STREAMED = ("json", "text")
_ALIASES = re.compile(r"whisper-1|gpt-4o(-mini)?-transcribe(-\d{4}-\d\d-\d\d)?")
_MOST_HOTWORDS = 1000
_TRUTHS = {"true": True, "1": True, "false": False, "0": False}
_SHOWN_CHARACTERS = 60


class Field(NamedTuple):
    """A field of the form.

    Parameters
    ----------
    effect : {"honoured", "without effect", "refused"}
    says : str
        What it means here.
    many : bool
        Whether it may come several times, also under its name with ``[]``.
    choices : tuple of str
        What it may be, empty for any text.
    """

    effect: Effect
    says: str
    many: bool = False
    choices: tuple[str, ...] = ()


FIELDS: dict[str, Field] = {
    "file": Field("honoured", "the sound, in any format that `tdt transcribe` reads; never a path or an address"),
    "model": Field("honoured", "the loaded model's name, or an OpenAI alias such as whisper-1; may be left out"),
    "response_format": Field("honoured", "form of the answer", choices=FORMATS),
    "timestamp_granularities": Field(
        "honoured", "with verbose_json: words, segments or both; segments by default", many=True, choices=GRANULARITIES
    ),
    "stream": Field("honoured", "server-sent events: text as it becomes final (json and text only)"),
    "include": Field("honoured", "with json: logprobs, the log-probability of each token", True, ("logprobs",)),
    "hotwords": Field("honoured", "phrases to listen for, with commas or line ends between", many=True),
    "temperature": Field("honoured", "0 only: decoding does not sample"),
    "language": Field("without effect", "the model finds the language by itself and does not tell which it was"),
    "prompt": Field("without effect", "the model takes none; hotwords are what it can listen for"),
    "chunking_strategy": Field("without effect", "long recordings are cut at pauses in any case"),
    "user": Field("without effect", "nothing is kept about users"),
    "known_speaker_names": Field("refused", "speakers are not told apart", many=True),
    "known_speaker_references": Field("refused", "speakers are not told apart", many=True),
}
_OFFERED = [name for name, field in FIELDS.items() if field.effect != "refused"]


@dataclass(frozen=True, slots=True)
class Ask:
    """A request that can be done.

    Parameters
    ----------
    file : object
        The upload, as the form has it.
    response_format : {"json", "text", "srt", "vtt", "verbose_json"}
    granularities : frozenset of {"word", "segment"}
    stream, logprobs : bool
    hotwords : tuple of str
    alias : str
        The model's name as it was asked for, where that was another one.
    without_effect : tuple of str
        Fields that were given and mean nothing here.
    """

    file: Any
    response_format: str = "json"
    granularities: frozenset[str] = frozenset({"segment"})
    stream: bool = False
    logprobs: bool = False
    hotwords: tuple[str, ...] = ()
    alias: str = ""
    without_effect: tuple[str, ...] = ()


def ask_of(form: Iterable[tuple[str, Any]], loaded: str) -> Ask:
    """Return what a form asks for.

    Parameters
    ----------
    form : iterable of tuple
        Names and values in the order in which they came; a file is what is no text.
    loaded : str
        The loaded model's name.

    Raises
    ------
    FieldError
        A field is missing, unknown, given twice, or has no usable value.
    NoSuchModelError
        Another model is asked for.
    """
    given = _gathered(form)
    style = _choice(given, "response_format", "json")
    streams = _truth(given, "stream")
    granularities = _choices(given, "timestamp_granularities")
    include = _choices(given, "include")
    if streams and style not in _STREAMED:
        raise FieldError("stream", f"is true with response_format {style!r}", "json or text with it")
    if granularities and style != "verbose_json":
        raise FieldError("timestamp_granularities", f"is given with response_format {style!r}", "verbose_json with it")
    if include and style != "json":
        raise FieldError("include", f"is given with response_format {style!r}", "json with it")
    _check_temperature(given)
    return Ask(
        _file(given),
        style,
        frozenset(granularities) or frozenset({"segment"}),
        streams,
        bool(include),
        _hotwords(given.get("hotwords", ())),
        _alias(given, loaded),
        tuple(name for name in given if FIELDS[name].effect == "without effect"),
    )


def _gathered(form: Iterable[tuple[str, Any]]) -> dict[str, list[Any]]:
    """Return the values of each field; what cannot be honoured is refused here."""
    given: dict[str, list[Any]] = {}
    for spelled, value in form:
        name = spelled.removesuffix("[]")
        field = FIELDS.get(name)
        if field is None or (spelled != name and not field.many):
            raise FieldError(_short(spelled), "is not known", "some of " + ", ".join(_OFFERED))
        if field.effect == "refused":
            raise FieldError(name, "cannot be honoured", f"a request without it: {field.says}")
        if isinstance(value, str) == (name == "file"):
            expected = "a file, sent with a file name" if name == "file" else "a text"
            raise FieldError(name, "is a text" if name == "file" else "is a file", expected)
        if name in given and not field.many:
            raise FieldError(name, "is given twice", "it once")
        given.setdefault(name, []).append(value)
    return given


def _file(given: Mapping[str, Sequence[Any]]) -> Any:
    if "file" not in given:
        raise FieldError("file", "is missing", "the sound as a file, as `curl -F file=@talk.flac` sends it")
    return given["file"][0]


def _choice(given: Mapping[str, Sequence[Any]], name: str, usual: str) -> str:
    found = _choices(given, name)
    return found[0] if found else usual


def _choices(given: Mapping[str, Sequence[Any]], name: str) -> list[str]:
    choices = FIELDS[name].choices
    for value in given.get(name, ()):
        if value not in choices:
            raise FieldError(name, f"is {_short(value)!r}", "one of " + ", ".join(choices))
    return list(given.get(name, ()))


def _truth(given: Mapping[str, Sequence[Any]], name: str) -> bool:
    value = given.get(name, ["false"])[0]
    if value.lower() not in _TRUTHS:
        raise FieldError(name, f"is {_short(value)!r}", "true or false")
    return _TRUTHS[value.lower()]


def _check_temperature(given: Mapping[str, Sequence[Any]]) -> None:
    value = given.get("temperature", ["0"])[0]
    if not re.fullmatch(r"[+-]?0*\.?0*", value) or "0" not in value:
        raise FieldError("temperature", f"is {_short(value)!r}", "0: decoding does not sample")


def _hotwords(values: Iterable[str]) -> tuple[str, ...]:
    found = [word.strip() for value in values for word in re.split(r"[,\r\n]", value)]
    found = [word for word in found if word]
    if len(found) > _MOST_HOTWORDS:
        raise FieldError("hotwords", f"holds {len(found)} phrases", f"{_MOST_HOTWORDS} at most")
    return tuple(found)


def _alias(given: Mapping[str, Sequence[Any]], loaded: str) -> str:
    """Return the model's name as it was asked for, empty where that is its own."""
    name = given.get("model", [loaded])[0]
    if name == loaded or name.rpartition("/")[2] == loaded.rpartition("/")[2]:
        return ""
    if not _ALIASES.fullmatch(name):
        raise NoSuchModelError(_short(name), loaded)
    return str(name)


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"
