"""Every public function and option is fed the same absurd values: typed errors, before any work, and no crash."""

from __future__ import annotations

import decimal
import inspect
import itertools
import logging
from dataclasses import fields, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tdt
from tdt import checks
from tdt.audio.loading import load_audio
from tdt.audio.reader import BlockReader
from tdt.commands.options import OPTIONS
from tdt.commands.values import Number, Size, Whole
from tdt.errors import OptionError
from tdt.listening import MOST_STREAMS, PAUSE_BOUNDS, Listening
from tdt.live.contexts import PRESETS
from tdt.loading import DECODERS, FEATURE_PLACES, FEATURE_VERSIONS, WEIGHTS
from tdt.options import FusionOptions, LiveOptions, ReadOptions, StreamOptions, TranscribeOptions
from tdt.runtime import Backend
from tdt.stagewise import StageByStage
from tdt.text.confidence import CONFIDENCES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Strange:
    """Raises whatever is asked of it, its own name included."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no comparison")

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        raise RuntimeError("neither true nor false")


ABSURD: list[Any] = [
    float("nan"), float("inf"), float("-inf"), -1, -1.0, 0, 0.0, -0.0, 1e308, 5e-324, 10**30, -(10**30), 10**5000,
    2**63, 2**64, 1 << 31, True, False, np.True_, np.False_, None, "", " ", "0", "1", "16000", "nan", "inf",
    "a" * 10_000,
    "\0", "\udcff", "\ud800", b"", b"16000", bytearray(b"1"), memoryview(b"1"), [], [1], [[1, 2], [3]], (), (16000,),
    {}, {"a": 1}, set(), frozenset({1}), 1j, complex("nan"), 3.7, 16000.5, Fraction(1, 3), decimal.Decimal("nan"),
    decimal.Decimal(16000), np.float64("nan"), np.float32("inf"), np.float16(3.7), np.int8(-1), np.uint64(2**64 - 1),
    np.array(5), np.array([5]), np.array([]), np.array("5"), np.array(None, object), np.array([[1.0, 2.0]]),
    np.ma.masked, np.datetime64("NaT", "s"), np.timedelta64(1, "s"), np.ones(3, "c16"), Path("x" * 300), object(),
    object(), int, len, lambda: 16000, Ellipsis, NotImplemented, Strange(), range(3), Exception("e"),
]  # fmt: skip
IDS = [f"{number}-{type(value).__name__}" for number, value in enumerate(ABSURD)]


@pytest.fixture(scope="module")
def asr() -> Iterator[tdt.Recognizer]:
    with tdt.load() as recognizer:
        yield recognizer


class Untouched:
    """Audio that nobody may look at yet."""

    def __iter__(self) -> Iterator[np.ndarray]:
        pytest.fail("the audio was read before the options were checked")

    def read(self, size: int = -1) -> bytes:
        pytest.fail("the audio was read before the options were checked")


def is_whole(value: object, bounds: checks.Bounds) -> bool:
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, (bool, np.timedelta64))
    return whole and bounds.least <= int(value) <= bounds.most  # type: ignore[call-overload]


def is_number(value: object, bounds: checks.Bounds) -> bool:
    if isinstance(value, (bool, np.timedelta64)) or not isinstance(value, (int, float, np.number, Fraction)):
        return False
    try:
        return not np.iscomplex(value) and bounds.least <= float(value) <= bounds.most
    except (OverflowError, TypeError):
        return False


# What a window of the bundled model has room for: 200 s, less the 4 s that the others take by default.
ROOM = checks.Bounds(0, 190)
LIVE = {"left": ROOM, "chunk": checks.Bounds(0.08, 180), "right": ROOM, "n": checks.Bounds(1, MOST_STREAMS)}
LIVE |= dict.fromkeys(("end_of_speech", "restart"), PAUSE_BOUNDS)


# --- options of calls -------------------------------------------------------------------------------------------------


def good(option: str, value: object) -> bool:
    """Say whether an option may have this value, as far as its bounds tell."""
    if value is None:
        return option not in {"errors", "timeline", "jobs", "n", "gate", "second_look"}
    if option in {"phrases", "allowed"} and is_empty(value):
        return True
    if option == "allowed":
        listed = value.tolist() if isinstance(value, np.ndarray) and value.dtype.kind in "iu" else value
        return isinstance(listed, (list, frozenset, range)) and list(listed) in ([1], [5], [0, 1, 2])
    if option in LIVE:
        return is_number(value, LIVE[option])
    if option == "latency":
        return isinstance(value, int) and not isinstance(value, bool) and value in PRESETS
    if option in checks.WHOLE:
        return is_whole(value, checks.WHOLE[option])
    if option in checks.SECONDS:
        return is_number(value, checks.SECONDS[option])
    if option == "progress":
        return callable(value)
    return option in {"timeline", "gate", "second_look"} and isinstance(value, bool)


CALLS: dict[str, Callable[[tdt.Recognizer, dict[str, Any]], object]] = {
    "transcribe": lambda asr, options: asr.transcribe(Untouched(), **options),  # type: ignore[call-overload]
    "transcribe_each": lambda asr, options: asr.transcribe_each(iter(Untouched, 0), **options),  # type: ignore[arg-type]
    "stream": lambda asr, options: asr.stream(Untouched(), **options),
    "features": lambda asr, options: asr.features(Untouched(), **options),  # type: ignore[arg-type]
    "long_form": lambda asr, options: asr.long_form(**options),
    "live": lambda asr, options: asr.live(**options),
    "live_batch": lambda asr, options: asr.live_batch(**({"n": 2} | options)),
    "scheduled": lambda asr, options: asr.scheduled(**({"batch_size": 2} | options)),
}
OPTIONS_OF = {
    "transcribe": set(ReadOptions.__annotations__) | set(TranscribeOptions.__annotations__),
    "transcribe_each": set(StreamOptions.__annotations__),
    "stream": set(StreamOptions.__annotations__),
    "features": {"sample_rate", "channel", "track", "timeline"},
    "long_form": set(StreamOptions.__annotations__) | {"jobs"},
    "live": set(LiveOptions.__annotations__),
    "live_batch": set(LiveOptions.__annotations__) | {"n"},
    "scheduled": {"batch_size"},
}
PAIRS = [(call, option) for call, options in OPTIONS_OF.items() for option in sorted(options)]


def parameters(function: Callable[..., object]) -> set[str]:
    """The names that a call takes, those of its `**fusion` among them."""
    names = set(inspect.signature(function).parameters)
    return names - {"fusion"} | set(FusionOptions.__annotations__) if "fusion" in names else names


def is_empty(value: object) -> bool:
    """Nothing, in something that could hold phrases or pieces."""
    if isinstance(value, np.ndarray):
        return value.shape == (0,)
    return isinstance(value, (list, tuple, set, frozenset)) and not value


def test_every_option_is_walked() -> None:
    signature = parameters(tdt.Recognizer.transcribe) - {"self", "audio"}
    assert OPTIONS_OF["transcribe"] == signature
    assert OPTIONS_OF["features"] == set(inspect.signature(tdt.Recognizer.features).parameters) - {"self", "audio"}
    assert OPTIONS_OF["live"] == parameters(tdt.Recognizer.live) - {"self"}
    members = vars(tdt.Recognizer) | vars(Listening) | vars(StageByStage)
    public = {name for name, member in members.items() if callable(member) and not name.startswith("_")}
    stages = {"encode", "decode", "decode_piece", "transcript"}
    assert public == set(CALLS) | stages | {"close", "warmup", "placement"}


@pytest.mark.parametrize(("call", "option"), PAIRS, ids=[" ".join(pair) for pair in PAIRS])
def test_absurd_options_are_refused_before_any_audio_is_read(call: str, option: str, asr: tdt.Recognizer) -> None:
    for value in ABSURD:
        if good(option, value) or (call != "transcribe" and option == "timeline" and value is False):
            continue
        if value is None and call.startswith("live") and option == "timeline":
            continue
        with pytest.raises(OptionError, match=rf"^{option}=") as caught:
            CALLS[call](asr, {option: value})
        assert len(str(caught.value)) < 500
        assert "expected" in str(caught.value)


def test_unknown_options_are_type_errors(asr: tdt.Recognizer) -> None:
    for call in CALLS.values():
        with pytest.raises(TypeError, match="beams"):
            call(asr, {"beams": 4})


@pytest.mark.parametrize("option", sorted(set(checks.WHOLE) | set(checks.SECONDS)))
def test_numpys_numbers_are_numbers(option: str) -> None:
    check = checks.whole_option if option in checks.WHOLE else checks.seconds_option
    least = (checks.WHOLE | checks.SECONDS)[option].least
    for kind in (np.int64, np.uint32, int, np.int32):
        made = check(option, kind(least))
        assert (made, type(made)) == (least, int if option in checks.WHOLE else float)
    assert check(option, None) is None


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(st.integers(), st.floats(), st.text(), st.binary(), st.booleans(), st.complex_numbers(), st.decimals()),
    st.sampled_from(sorted(set(checks.WHOLE) | set(checks.SECONDS))),
)
def test_an_option_is_within_its_bounds_or_refused(value: Any, option: str) -> None:
    check = checks.whole_option if option in checks.WHOLE else checks.seconds_option
    if good(option, value):
        assert check(option, value) == value
    else:
        with pytest.raises(OptionError, match=option):
            check(option, value)


def test_bounds_are_those_of_the_command_line() -> None:
    both = {"channel", "track", "batch_size", "jobs", "threads", "chunk_seconds", "context_seconds"}
    for name in both:
        reader = OPTIONS[name].settings["type"]
        assert isinstance(reader, (Whole, Number))
        assert (reader.least, reader.most) == (checks.WHOLE | checks.SECONDS)[name][:2], name
    size = OPTIONS["max_memory"].settings["type"]
    assert isinstance(size, Size)
    assert (size.least, size.most) == checks.WHOLE["max_memory_bytes"][:2]


# --- audio ------------------------------------------------------------------------------------------------------------

# Sources that are some, and so may be read: text and paths name files, bytes are files.
NO_FILES = (str, bytes, bytearray, memoryview, Path)


@pytest.mark.parametrize("value", ABSURD, ids=IDS)
def test_absurd_audio_is_refused(value: Any, asr: tdt.Recognizer) -> None:
    calls: list[Callable[[Any], Any]] = [
        asr.transcribe, asr.features, lambda source: list(asr.stream(source)), load_audio,
        lambda source: list(BlockReader(source)),
    ]  # fmt: skip
    if isinstance(value, (dict, list, tuple, set, frozenset)) and not value:
        calls = [load_audio]  # no inputs, no results
    if isinstance(value, np.ndarray) and not value.size:
        calls.pop()  # no blocks, no blocks
    for call in calls:
        with pytest.raises(tdt.TdtError):
            call(value)
    results = asr.transcribe([value, np.zeros(16000, np.float32)], errors="return")
    assert isinstance(results[0], tdt.TdtError)
    assert results[1].text == ""


@pytest.mark.parametrize("value", ABSURD, ids=IDS)
def test_audio_for_several_is_several(value: Any, asr: tdt.Recognizer) -> None:
    if isinstance(value, (list, tuple, dict, set, frozenset, range)):
        assert all(isinstance(result, tdt.TdtError) for result in asr.transcribe_each(value))
        return
    with pytest.raises(OptionError, match="audio="):
        asr.transcribe_each(value)


@pytest.mark.parametrize("option", ["sample_rate", "channel", "track"])
def test_readers_check_for_themselves(option: str) -> None:
    for value in ABSURD:
        if good(option, value):
            continue
        for call in (load_audio, BlockReader):
            with pytest.raises(OptionError, match=option):
                call(np.zeros(16000, np.float32), **{option: value})  # type: ignore[operator]


@pytest.mark.parametrize("seconds", [1, 70])
@pytest.mark.parametrize("rate", [1, 3, 999, -1, 0, True, 1_000_001, 16000.0, "16000", float("nan")])
def test_short_and_long_are_checked_alike(seconds: int, rate: Any, asr: tdt.Recognizer) -> None:
    with pytest.raises(OptionError, match="sample_rate"):
        asr.transcribe(np.zeros(seconds * 16000, np.float32), sample_rate=rate)


# --- loading ----------------------------------------------------------------------------------------------------------

WORDS = {"decoder": DECODERS, "weights": WEIGHTS, "confidence": CONFIDENCES, "features": FEATURE_VERSIONS,
         "features_on": FEATURE_PLACES, "precision": ("float32", "int8")}  # fmt: skip
OPTIONAL = {
    "precision",
    "threads",
    "encoder_provider",
    "decoder_provider",
    "durations",
    "max_symbols",
    "stream",
    "model",
}
LOADING = sorted(set(inspect.signature(tdt.load).parameters))


@pytest.mark.parametrize("option", LOADING)
def test_absurd_options_of_load_are_refused_before_a_session_opens(
    option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tdt import loading

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a session was opened")

    monkeypatch.setattr(loading, "make_encoder", refuse)
    monkeypatch.setattr(loading, "make_engine", refuse)
    for value in ABSURD:
        if value is None and option in OPTIONAL:
            continue
        if option in checks.WHOLE and is_whole(value, checks.WHOLE[option]):
            continue
        with pytest.raises(tdt.TdtError) as caught:
            tdt.load(**{option: value})
        assert len(str(caught.value)) < 11_000
        if option in WORDS or option in checks.WHOLE or option in {"timeline", "stream", "durations"}:
            assert str(caught.value).startswith(f"{option}=") or option == "durations"


def test_absurd_providers_are_refused() -> None:
    for value in ABSURD:
        with pytest.raises(OptionError, match="provider"):
            Backend.parse(value)
    for text in ("cuda:-1", "cuda:99999999999999", "cuda:" + "9" * 5000, "cuda:٣", "cuda:1.5", "cpu:0", "cpu,tf32",
                 "tensorrt:0,max_batch=0", "tensorrt:0,max_seconds=nan", "tensorrt,max_batch=1e9", "cuda,memory=inf",
                 "tensorrt,level=6", "tensorrt,cache=", ",", ":", "cpu,,", "cuda;0"):  # fmt: skip
        with pytest.raises(OptionError, match="provider"):
            Backend.parse(text)


def test_an_endless_table_of_durations_is_refused() -> None:
    with pytest.raises(OptionError, match="durations"):
        tdt.load(durations=itertools.repeat(1))  # type: ignore[arg-type]


# --- stages -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stages(asr: tdt.Recognizer) -> tuple[tdt.Features, tdt.Encoded, tdt.Hypothesis, tdt.DecoderState]:
    features = asr.features(np.zeros(32000, np.float32))
    encoded = asr.encode(features)
    hypotheses, states = asr.decode_piece(encoded)
    return features, encoded, hypotheses[0], states[0]


ARRAYS: list[Any] = [
    *ABSURD, np.zeros((0, 0, 0), np.float32), np.zeros((1, 2), np.float32), np.zeros((1, 5, 7), np.float32),
    np.zeros((1, 200, 128), np.float32), np.zeros((1, 128, 200), np.int32), np.zeros((1, 128, 200), "c8"),
    np.zeros((1, 128, 200), object), np.zeros((1, 128, 200), bool), np.zeros((1, 128, 200), "U1"),
    np.array([-1]), np.array([10**9]), np.array([1.5]), np.array([True]), np.array([1, 1]), np.array([[1]]),
    np.array(["1"]), np.array([2**63], np.uint64), np.zeros((1, 144, 25), np.float32),
    np.zeros((1, 25, 143), np.float32), np.zeros((2, 160), np.int64), np.zeros((2, 161), np.float32),
    np.zeros(3, [("a", "f4")]),
]  # fmt: skip


def fits(made: object, name: str, value: Any) -> bool:
    """Say whether a value is one that the field may have: of one clip of silence, without a token."""
    if isinstance(value, tuple):
        return value == () and name in {"model_states", "alternatives"}
    if not isinstance(value, np.ndarray):
        return False
    if name == "boosted":
        return value.shape == (0,) and value.dtype.kind == "b"
    if name == "lengths":
        most = 25 if isinstance(made, tdt.Encoded) else 201
        return bool(value.shape == (1,) and value.dtype.kind in "iu" and 0 <= value[0] <= most)
    floats = {"logprobs", "entropy_confidences", "top_logprobs"}
    return name in floats and value.shape == (0,) and value.dtype.kind == "f"


@pytest.mark.parametrize("decoder", ["native", "onnx"])
def test_absurd_stages_are_refused(decoder: Any, stages: Any) -> None:
    features, encoded, hypothesis, state = stages
    optional = {("Encoded", "projected"), ("DecoderState", "projected")}
    optional |= {("Hypothesis", name) for name in ("entropy_confidences", "top_logprobs", "boosted", "steps")}
    with tdt.load(decoder=decoder) as asr:
        calls: list[tuple[Any, Callable[[Any], Any]]] = [
            (features, asr.encode),
            (encoded, asr.decode),
            (encoded, asr.decode_piece),
            (state, lambda carried: asr.decode_piece(encoded, [carried])),
            (hypothesis, lambda made: asr.transcript(made, 2.0)),
        ]
        for value in ABSURD:
            for made, call in calls:
                if value is None and made is state:
                    continue
                with pytest.raises(OptionError):
                    call(value)
            for states in (value, [value]):
                if value is not None:
                    with pytest.raises(OptionError, match="states"):
                        asr.decode_piece(encoded, states)
            if not is_number(value, checks.Bounds(0, 1e9)):
                with pytest.raises(OptionError, match="audio_seconds"):
                    asr.transcript(hypothesis, value)
            for call in (asr.encode, asr.decode, asr.decode_piece):
                with pytest.raises(OptionError, match="timeline"):
                    call(features if call == asr.encode else encoded, timeline=value)  # type: ignore[operator]
        for made, call in calls:
            for name in (field.name for field in fields(made)):
                for value in ARRAYS:
                    if value is None and (type(made).__name__, name) in optional:
                        continue
                    if made is state and is_whole(value, checks.Bounds(0, 256 if name == "label" else 2**31 - 1)):
                        continue
                    if fits(made, name, value):
                        continue
                    with pytest.raises(OptionError) as caught:
                        call(replace(made, **{name: value}))
                    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("decoder", ["native", "onnx"])
def test_any_order_in_memory_and_float_is_taken(decoder: Any, stages: Any) -> None:
    features, encoded, _, state = stages
    with tdt.load(decoder=decoder) as asr:
        expected = asr.decode(asr.encode(features))[0]
        wide = np.zeros((1, 128, 2 * features.frames.shape[2]), np.float32)
        wide[:, :, ::2] = features.frames
        for frames in (np.asfortranarray(features.frames), wide[:, :, ::2], features.frames.astype(np.float64)):
            for lengths in (features.lengths, features.lengths.astype(np.int32), features.lengths.astype(np.uint8)):
                got = asr.encode(tdt.Features(frames, lengths))
                np.testing.assert_array_equal(got.frames, encoded.frames)
                for form in (np.asfortranarray(got.frames), got.frames[:, ::1], got.frames.astype(np.float64)):
                    again = asr.decode(tdt.Encoded(form, got.lengths.astype(np.int32)))[0]
                    np.testing.assert_array_equal(again.token_ids, expected.token_ids)
        carried = replace(state, hidden=np.asfortranarray(state.hidden, np.float64), label=np.int64(state.label))
        asr.decode_piece(encoded, (carried,))
        empty = tdt.Encoded(np.zeros((0, 0, asr.spec.encoder_dim), np.float32), np.zeros(0, np.int64))
        assert asr.decode(empty) == []
        assert asr.encode(tdt.Features(np.zeros((0, 128, 0), np.float32), np.zeros(0, np.int64))).frames.shape[0] == 0
        assert asr.transcript(tdt.Hypothesis.empty(), np.float32(1)).text == ""


# --- timelines --------------------------------------------------------------------------------------------------------


def test_absurd_times_are_refused() -> None:
    timeline = tdt.Timeline()
    for value in ABSURD:
        if not callable(value):
            with pytest.raises(OptionError, match="now_ns"):
                tdt.Timeline(value)
        if not isinstance(value, str):
            with pytest.raises(OptionError, match="name"):
                timeline.span(value)
            with pytest.raises(OptionError, match="name"):
                timeline.tally(value, 1)
        if not is_whole(value, checks.Bounds(0, 2**62)):
            with pytest.raises(OptionError, match="total_ns"):
                timeline.tally("a", value)
            with pytest.raises(OptionError, match="count"):
                timeline.tally("a", 1, value)
        if not is_number(value, checks.Bounds(0, 1e12)):
            with pytest.raises(OptionError, match="seconds"):
                timeline.add_audio(value)
        for call in (timeline.span, lambda name, clock: timeline.tally(name, 1, clock=clock)):
            with pytest.raises(OptionError, match="clock"):
                call("a", clock=value)  # type: ignore[operator]
    assert (timeline.spans, timeline.tallies, timeline.audio_seconds) == ([], [], 0.0)


def test_an_error_shows_anything_in_a_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="tdt"):
        for value in (*ABSURD, ["x"] * 10**6, "y" * 10**6, np.zeros(10**6)):
            assert len(str(OptionError("a", value, "something else"))) < 300
