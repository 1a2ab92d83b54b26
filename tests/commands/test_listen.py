"""`tdt listen`: what is shown, where the sound comes from, how it ends."""

from __future__ import annotations

import io
import json
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile
from rich.console import Console

import tdt
from tdt.commands import command_parser, main
from tdt.commands.captions import Objects, Screen
from tdt.commands.hearing import BLOCK_SECONDS, in_pieces, microphone, paced
from tdt.commands.keeping_up import Pace, advice
from tdt.commands.listen import Hearing
from tdt.commands.messages import Messages
from tdt.errors import AudioReadError, BrokenDependencyError, MissingDependencyError, OptionError
from tdt.live.contexts import PRESETS, Contexts, contexts_of
from tdt.live.updates import LiveWord, Update

if TYPE_CHECKING:
    from collections.abc import Iterator

SAID = ["Hello world.", "Testing one, two, three."]


@pytest.fixture(scope="module")
def hello(golden_folder: Path) -> str:
    return str(golden_folder / "15_hello_world.flac")


def listen(capsys: pytest.CaptureFixture[str], *words: str) -> SimpleNamespace:
    status = main(["listen", *words])
    captured = capsys.readouterr()
    return SimpleNamespace(status=status, out=captured.out, err=captured.err)


def finals(text: str) -> list[str]:
    return [update["final"] for update in map(json.loads, text.splitlines()) if update["kind"] == "final"]


# --- what is shown ----------------------------------------------------------------------------------------------------


def test_objects_tell_words_as_they_settle(capsys: pytest.CaptureFixture[str], hello: str) -> None:
    ran = listen(capsys, hello)
    updates = [json.loads(line) for line in ran.out.splitlines()]
    assert ran.status == 0
    assert finals(ran.out) == SAID
    assert {"kind", "final", "draft", "words", "start", "end", "audio_seconds"} == set(updates[0])
    assert set(updates[1]["words"][0]) == {"text", "start", "end", "confidence", "settled"}
    assert "latency by design 4.00 s (chunk + right); a chunk of 2.00 s computes" in ran.err
    assert "x real time" in ran.err


@pytest.mark.parametrize("latency", ["4", "2", "1"])
def test_text_has_a_line_for_each_utterance(capsys: pytest.CaptureFixture[str], hello: str, latency: str) -> None:
    assert listen(capsys, hello, "--format", "text", "--latency", latency, "-q").out.splitlines() == SAID


def test_subtitles_come_as_utterances_close(capsys: pytest.CaptureFixture[str], hello: str) -> None:
    ran = listen(capsys, hello, "--format", "vtt", "-q")
    assert ran.out == (
        "WEBVTT\n\n00:00:00.480 --> 00:00:01.040\nHello world.\n"
        "\n00:00:02.000 --> 00:00:03.200\nTesting one, two, three.\n"
    )
    assert ran.err == ""
    assert listen(capsys, hello, "--format", "srt", "-q").out.startswith("1\n00:00:00,480 --> 00:00:01,040\nHello")


def test_contexts_are_the_users(capsys: pytest.CaptureFixture[str], hello: str) -> None:
    ran = listen(capsys, hello, "--left", "4", "--chunk", "0.8", "--right", "0.4", "--end-of-speech", "off",
                 "--restart", "off")  # fmt: skip
    assert "latency by design 1.20 s (chunk + right); a chunk of 0.80 s" in ran.err
    assert finals(ran.out) == [" ".join(SAID)]


def test_phrases_models_and_scripts_are_listened_for(capsys: pytest.CaptureFixture[str], hello: str) -> None:
    lm = str(Path(__file__).parents[1] / "data/strategies/lm/tiny3.arpa")
    words = ["--phrase", "Hell owned", "--phrase-weight", "6", "--lm", lm, "--lm-weight", "0.01", "--script", "latin"]
    ran = listen(capsys, hello, *words)
    assert ran.status == 0
    assert finals(ran.out)[0].startswith("Hell owned")
    assert "--beam" not in command_parser("listen").format_help(), "a search decides when it is over"


def test_a_terminal_shows_the_draft_apart_and_keeps_what_is_final() -> None:
    file = io.StringIO()
    screen = Screen(Console(file=file, force_terminal=True, width=40, color_system="standard"))
    words = (LiveWord("one", 0.0, 0.4, 0.9, settled=True), LiveWord("two", 0.4, 0.8, 0.9, settled=False))
    screen.begin()
    screen.show(Update("speech", "", "", (), 0.0, 0.0, 0.1))
    screen.show(Update("partial", "one", " [b]two", words, 0.0, 0.8, 1.0))
    assert "\x1b[2;3m [b]two" in file.getvalue()  # dim italic, and no markup of its own
    screen.show(Update("final", "one too.", "", words, 0.0, 0.8, 2.0))
    screen.end(2.0)
    assert "one too." in file.getvalue().rsplit("two", 1)[1]


def test_objects_are_whole_lines_of_utf8() -> None:
    written: list[str] = []
    Objects(written.append).show(
        Update("final", "čas", "", (LiveWord("čas", 0.1234, 0.5, 1.0, settled=True),), 0, 1, 1)
    )
    assert written[0].count("\n") == 1
    assert "čas" in written[0]
    assert json.loads(written[0])["words"] == [
        {"text": "čas", "start": 0.123, "end": 0.5, "confidence": 1.0, "settled": True}
    ]


# --- where the sound comes from ---------------------------------------------------------------------------------------


def test_a_pipe_is_heard(capsys: pytest.CaptureFixture[str], hello: str, monkeypatch: pytest.MonkeyPatch) -> None:
    samples, rate_hz = soundfile.read(hello, dtype="int16")
    encoded = io.BytesIO()
    soundfile.write(encoded, samples, rate_hz, format="WAV")

    class Unseekable(io.RawIOBase):
        def __init__(self) -> None:
            self.inner = io.BytesIO(encoded.getvalue())

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            return self.inner.readinto(buffer)

    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BufferedReader(Unseekable())))
    assert finals(listen(capsys, "-").out) == SAID


def test_a_file_that_breaks_off_is_told_after_its_words(
    capsys: pytest.CaptureFixture[str], hello: str, tmp_path: Path
) -> None:
    samples, rate_hz = soundfile.read(hello, dtype="int16")
    whole = tmp_path / "whole.wav"
    soundfile.write(whole, samples, rate_hz)
    cut = tmp_path / "cut.wav"
    cut.write_bytes(whole.read_bytes()[: 44 + 2 * 30_000])
    ran = listen(capsys, str(cut))
    assert ran.status == 1
    assert finals(ran.out)[0] == SAID[0]
    assert "cut.wav" in ran.err


@pytest.mark.parametrize("words", [("nowhere.wav",), ("nowhere.wav", "--pace")])
def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    ran = listen(capsys, *words)
    assert (ran.status, ran.out) == (1, "")
    assert "nowhere.wav does not exist" in ran.err


@pytest.mark.parametrize("source", ["-", "mic", "mic:3"])
def test_only_files_have_no_pace_of_their_own(capsys: pytest.CaptureFixture[str], source: str) -> None:
    ran = listen(capsys, source, "--pace")
    assert (ran.status, ran.out) == (2, "")
    assert "--pace" in ran.err


def test_pieces_are_short_and_whole() -> None:
    samples = np.arange(40_000, dtype=np.float32)
    pieces = list(in_pieces([samples[:7], samples[7:]]))
    assert max(len(piece) for piece in pieces) == BLOCK_SECONDS * 16000
    np.testing.assert_array_equal(np.concatenate(pieces), samples)


def test_paced_pieces_come_when_they_have_been_said() -> None:
    now = [100.0]
    given: list[float] = []

    def sleep(seconds: float) -> None:
        now[0] += seconds

    for number, _ in enumerate(paced([np.zeros(1600, np.float32)] * 5, lambda: now[0], sleep)):
        given.append(round(now[0] - 100.0, 6))
        if number == 1:
            now[0] += 0.25  # a step takes long: what follows has been said meanwhile
    assert given == [0.1, 0.2, 0.45, 0.45, 0.5]


class Sounds:
    """A module in place of sounddevice: one microphone that says a file."""

    class PortAudioError(Exception):
        pass

    def __init__(self, file: str, *, breaks: type[BaseException] = KeyboardInterrupt) -> None:
        samples, _ = soundfile.read(file, dtype="float32", always_2d=True)
        self.samples, self.breaks = samples, breaks
        self.default = SimpleNamespace(device=(1, 0))
        self.opened: list[Any] = []

    def query_devices(self, device: Any = None, kind: str | None = None) -> Any:
        all_of_them = [
            {"name": "speaker", "max_input_channels": 0},
            {"name": "USB microphone", "max_input_channels": 1},
        ]
        if kind is None:
            return all_of_them
        if device not in {None, 1, "USB"}:
            raise ValueError(f"No input device matching {device!r}")
        return all_of_them[1]

    @contextmanager
    def InputStream(self, *how: Any) -> Iterator[Any]:
        self.opened.append(how)
        at = 0

        def read(count: int) -> tuple[Any, bool]:
            nonlocal at
            block, lost = self.samples[at : at + count], at == 0
            at += count
            if not len(block):
                raise self.breaks("unplugged")
            return block, lost

        yield SimpleNamespace(read=read)


@pytest.mark.parametrize(("source", "device"), [((), None), (("mic",), None), (("mic:1",), 1), (("mic:USB",), "USB")])
def test_a_microphone_is_heard_until_ctrl_c(
    capsys: pytest.CaptureFixture[str],
    hello: str,
    monkeypatch: pytest.MonkeyPatch,
    source: tuple[str, ...],
    device: Any,
) -> None:
    sounds = Sounds(hello)
    monkeypatch.setitem(sys.modules, "sounddevice", sounds)
    ran = listen(capsys, *source)
    assert (ran.status, finals(ran.out)) == (0, SAID)
    assert sounds.opened == [(16000, 1600, device, 1, "float32")]
    assert "sound was lost" in ran.err


def test_a_microphone_that_is_pulled_out_costs_no_words(
    capsys: pytest.CaptureFixture[str], hello: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", Sounds(hello, breaks=Sounds.PortAudioError))
    ran = listen(capsys, "mic")
    assert (ran.status, finals(ran.out)) == (1, SAID)
    assert "'USB microphone' cannot be heard: unplugged" in ran.err


def test_microphones_are_listed(
    capsys: pytest.CaptureFixture[str], hello: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", Sounds(hello))
    assert listen(capsys, "--devices").out == "*   1  USB microphone\n"
    with pytest.raises(OptionError, match="DEVICE='7'"):
        next(microphone("7", print))


def test_what_a_microphone_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(MissingDependencyError, match=r"parakeet-tdt\[mic\]"):
        next(microphone(None, print))

    class Loader:
        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            if name == "sounddevice":
                raise OSError("PortAudio library not found")

    monkeypatch.delitem(sys.modules, "sounddevice")
    monkeypatch.setattr(sys, "meta_path", [Loader(), *sys.meta_path])
    with pytest.raises(BrokenDependencyError, match="libportaudio2"):
        next(microphone(None, print))


# --- how it ends ------------------------------------------------------------------------------------------------------


SPEC: Any = SimpleNamespace(subsampling=8, frame_seconds=0.08, max_encoder_frames=None)
FOUR_SECONDS = Contexts(125, 25, 25, 1280)


class Scripted:
    """A stream of steps that take as long as a script says."""

    def __init__(self, clock: list[float], takes: list[float]) -> None:
        self.contexts, self.setup = FOUR_SECONDS, SimpleNamespace(spec=SPEC)
        self.decoded_seconds = self.audio_seconds = 0.0
        self.finished = False
        self._clock, self._takes = clock, takes

    def push(self, piece: Any) -> list[Update]:
        self.audio_seconds += 2.0
        self.decoded_seconds += 2.0
        self._clock[0] += self._takes.pop(0)
        return []

    def finish(self) -> list[Update]:
        self.finished = True
        return []


@pytest.mark.parametrize(("live", "told"), [(True, 1), (False, 0)])
def test_falling_behind_is_said_once_and_only_of_what_is_live(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, live: bool, told: int
) -> None:
    clock = [0.0]
    monkeypatch.setattr("tdt.commands.listen.time.perf_counter", lambda: clock[0])
    stream = Scripted(clock, [0.5] * 5 + [3.0] * 12)
    with Messages("tdt listen") as messages:
        hearing = Hearing(stream, Objects(print), messages, live=live)  # type: ignore[arg-type]
        assert hearing([np.zeros(1, np.float32)] * 17, endless=False) == 0
    said = capsys.readouterr().err
    assert said.count("slower than speech") == told
    assert "computes 3000 ms (p50), 3000 ms (p95); 0.9 x real time" in said
    assert stream.finished


def test_ctrl_c_ends_a_file_as_interrupted() -> None:
    def heard() -> Iterator[Any]:
        yield np.zeros(1, np.float32)
        raise KeyboardInterrupt

    stream = Scripted([0.0], [0.0])
    with Messages("tdt listen") as messages, pytest.raises(KeyboardInterrupt):
        Hearing(stream, Objects(print), messages, live=False)(heard(), endless=False)  # type: ignore[arg-type]
    assert not stream.finished


def test_words_before_a_break_are_decoded(capsys: pytest.CaptureFixture[str]) -> None:
    def heard() -> Iterator[Any]:
        yield np.zeros(1, np.float32)
        raise AudioReadError("gone")

    stream = Scripted([0.0], [0.0])
    with Messages("tdt listen") as messages:
        assert Hearing(stream, Objects(print), messages, live=False)(heard(), endless=False) == 1  # type: ignore[arg-type]
    assert stream.finished
    assert "gone" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        (1.2, "--latency 4 would hold (0.7 s a second)"),  # 12 times the audio at two seconds, 7 times at four
        (1.05, "--latency 4 would hold (0.6 s a second)"),
        (3.0, "no preset would hold"),
    ],
)
def test_advice_names_the_preset_that_holds(taken: float, expected: str) -> None:
    presets = {name: contexts_of(SPEC, latency=name) for name in PRESETS}
    assert expected in advice(presets[2], taken, presets)


def test_one_slow_step_is_no_verdict() -> None:
    pace = Pace(FOUR_SECONDS)
    for took in (0.1, 0.1, 0.1, 0.1, 8.0):
        assert pace.falls_behind() is None
        pace.add(took, 2.0)
    assert pace.falls_behind() is None
    pace.add(8.0, 2.0)
    assert pace.falls_behind() == pytest.approx(16.3 / 10)
    assert pace.falls_behind() is None


def test_the_summary_of_nothing_is_the_latency() -> None:
    assert Pace(FOUR_SECONDS).summary() == "latency by design 4.00 s (chunk + right)"


def test_a_stream_is_as_long_as_what_was_heard(hello: str) -> None:
    samples, _ = soundfile.read(hello, dtype="float32")
    with tdt.load() as asr, asr.live() as stream:
        assert stream.decoded_seconds == 0.0
        stream.push(samples)
        assert stream.decoded_seconds == 2.0
        stream.finish()
        assert stream.decoded_seconds == stream.audio_seconds == pytest.approx(len(samples) / 16000)
