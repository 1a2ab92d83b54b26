"""One input costs no other its result: what it raises is its own typed error; each is read once, in its turn."""

from __future__ import annotations

import errno
import gc
import io
import logging
import pickle
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

import tdt
from tdt.audio import mixing, sources
from tdt.audio.reader import BlockReader
from tdt.commands import main, running
from tdt.errors import UnexpectedError
from tdt.failures import as_typed, outcome, typed
from tdt.pipeline import Stages
from tdt.reading import Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RECORDINGS = Path(tdt.__file__).parent / "models/recordings"
HELLO, DIGITS = RECORDINGS / "15_hello_world.flac", RECORDINGS / "06_digits_theo.flac"
SAID = {HELLO: "Hello world. Testing one, two, three.", DIGITS: "Seven, four, eight, seven, four, eight, three."}


@pytest.fixture(scope="module")
def asr() -> Iterator[tdt.Recognizer]:
    with tdt.load() as recognizer:
        yield recognizer


# --- inputs that fail in every way ------------------------------------------------------------------------------------


class FailingFile(io.BytesIO):
    """Fails when it is read, at once or after some reads."""

    def __init__(self, error: BaseException, after: int = 0, *, pipe: bool = False) -> None:
        super().__init__(HELLO.read_bytes())
        self._error, self._left, self._pipe = error, after, pipe

    def seekable(self) -> bool:
        return not self._pipe

    def read(self, size: int | None = -1) -> bytes:
        if self._left == 0:
            raise self._error
        self._left -= 1
        return super().read(size)

    def read1(self, size: int | None = -1) -> bytes:
        return self.read(size)


class Raising:
    """An object of which some attribute raises."""

    def __init__(self, attribute: str, error: Exception) -> None:
        self._attribute, self._error = attribute, error

    def __getattr__(self, name: str) -> Any:
        if name == self._attribute:
            raise self._error
        raise AttributeError(name)


class BrokenArray:
    dtype = np.dtype(np.float32)

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("no array after all")


class BrokenDlpack:
    def __dlpack_device__(self) -> tuple[int, int]:
        raise KeyError("device")

    def __dlpack__(self, **_: Any) -> Any:
        raise KeyError("dlpack")


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise ValueError("no text either")


def closed_file() -> Any:
    file = HELLO.open("rb")
    file.close()
    return file


def broken_iterator() -> Iterator[np.ndarray]:
    yield np.zeros(8000, np.float32)
    raise KeyError("the microphone")


BAD: dict[str, Callable[[], Any]] = {
    "read raises RuntimeError": lambda: FailingFile(RuntimeError("cable")),
    "read raises KeyError": lambda: FailingFile(KeyError("chunk")),
    "read raises StopIteration": lambda: FailingFile(StopIteration()),
    "read raises MemoryError": lambda: FailingFile(MemoryError()),
    "read raises RecursionError": lambda: FailingFile(RecursionError()),
    "read raises what has no text": lambda: FailingFile(UnprintableError()),
    "a pipe raises at once": lambda: FailingFile(RuntimeError("cable"), pipe=True),
    "a pipe raises later": lambda: FailingFile(RuntimeError("cable"), after=1, pipe=True),
    "seekable raises": lambda: Raising("seekable", RuntimeError("who knows")),
    "read is no method": lambda: Raising("read", RuntimeError("who knows")),
    "even its name raises": lambda: Raising("name", RuntimeError("who knows")),
    "a closed file": closed_file,
    "a closed buffer": lambda: (buffer := io.BytesIO(b"RIFF"), buffer.close())[0],
    "a file in text mode": lambda: HELLO.open("r", encoding="latin-1"),
    "text": lambda: io.StringIO("RIFF"),
    "a name of 300 characters": lambda: "n" * 300 + ".wav",
    "a path of 300 characters": lambda: Path("n" * 300 + ".wav"),
    "a name with a NUL": lambda: "a\0b.wav",
    "a name that is no UTF-8": lambda: "\udcff.wav",
    "a name that nothing encodes": lambda: "\ud800.wav",
    "an array that is none": BrokenArray,
    "a list of arrays that are none": lambda: [BrokenArray()],
    "a device array that is none": BrokenDlpack,
    "objects": lambda: np.array([None, "a"], object),
    "lists of unlike lengths": lambda: [[0.0, 1.0], [2.0, [3.0]]],
    "lists in lists": lambda: [[0.0] * 16000] * 2,
    "an iterator that raises": broken_iterator,
    "nothing": lambda: None,
    "a number": lambda: 3.5,
    "a class": lambda: np.ndarray,
}


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("kind", BAD)
def test_an_input_fails_alone(kind: str, asr: tdt.Recognizer) -> None:
    given = [DIGITS, BAD[kind](), HELLO]
    results = asr.transcribe(given, errors="return")
    assert isinstance(results[1], tdt.TdtError)
    assert [results[0].text, results[2].text] == [SAID[DIGITS], SAID[HELLO]]
    assert pickle.loads(pickle.dumps(results[1])).args == results[1].args
    each = list(asr.transcribe_each([BAD[kind](), HELLO]))
    assert isinstance(each[0], tdt.TdtError)
    assert each[1].text == SAID[HELLO]
    with pytest.raises(tdt.TranscriptionError) as caught:
        asr.transcribe([DIGITS, BAD[kind](), HELLO])
    assert [type(result) for result in caught.value.results] == [type(result) for result in results]
    alone = (asr.transcribe, asr.features, lambda source: list(asr.stream(source)))
    several = "list" in kind or kind == "an iterator that raises"  # these are several inputs even alone
    for call in () if several else alone:
        with pytest.raises(tdt.TdtError):
            call(BAD[kind]())  # type: ignore[operator]
    del results, each, caught
    gc.collect()  # open files in the frames of errors: here their warnings do not count


def test_the_cause_is_kept_and_logged_with_its_trace(asr: tdt.Recognizer, caplog: pytest.LogCaptureFixture) -> None:
    error = RuntimeError("the cable is loose")
    with caplog.at_level(logging.DEBUG, logger="tdt"):
        (result,) = asr.transcribe([FailingFile(error)], errors="return")
    assert isinstance(result, tdt.AudioReadError)
    assert "the cable is loose" in str(result)
    assert error in causes(result)
    with caplog.at_level(logging.DEBUG, logger="tdt"):
        (result,) = asr.transcribe([BrokenDlpack()], errors="return")
    assert any(record.exc_info and isinstance(record.exc_info[1], KeyError) for record in caplog.records)
    assert any(isinstance(cause, KeyError) for cause in causes(result))


def causes(error: BaseException) -> list[BaseException]:
    found = []
    cause = error.__cause__ or error.__context__
    while cause is not None:
        found.append(cause)
        cause = cause.__cause__ or cause.__context__
    return found


def test_a_full_temporary_folder(asr: tdt.Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(tempfile.SpooledTemporaryFile):
        def write(self, data: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "SpooledTemporaryFile", Full)
    pipe = FailingFile(RuntimeError(), after=10**6, pipe=True)
    results = asr.transcribe([pipe, HELLO], errors="return")
    assert isinstance(results[0], tdt.AudioReadError)
    assert "temporary folder" in str(results[0])
    assert results[1].text == SAID[HELLO]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_ends_the_program_passes(kind: type[BaseException], asr: tdt.Recognizer) -> None:
    with pytest.raises(kind):
        asr.transcribe([HELLO, FailingFile(kind())], errors="return")


def test_typed_errors_say_what_it_was() -> None:
    made = outcome(lambda: {}["a"], "talk.wav")
    assert isinstance(made, UnexpectedError)
    assert isinstance(made.__cause__, KeyError)
    assert "talk.wav" in str(made)
    assert "KeyError" in str(made)
    assert "out of memory" in str(as_typed(MemoryError(), "talk.wav", "reading"))
    own = tdt.AudioReadError("mine")
    assert outcome(lambda: own, "a") is own
    with pytest.raises(tdt.AudioReadError, match="mine"), typed("a"):
        raise own
    assert len(str(as_typed(RuntimeError("x" * 10_000), "a"))) < 1000


# --- stages that fail -------------------------------------------------------------------------------------------------


class FailingStage:
    """An encoder or engine that fails, with no error of ours, on every batch with an utterance of a certain length."""

    def __init__(self, stage: Any, length: int) -> None:
        self._stage, self.failing = stage, length
        self.batches: list[int] = []
        self.lengths: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stage, name)

    def _check(self, lengths: np.ndarray) -> None:
        self.batches.append(len(lengths))
        self.lengths += lengths.tolist()
        if self.failing in lengths:
            raise IndexError("out of bounds")

    def encode_for_decoding(self, features: Any, timeline: Any, *, on_host: bool = False) -> Any:
        self._check(features.lengths)
        return self._stage.encode_for_decoding(features, timeline, on_host=on_host)

    def decode(self, encoded: Any, states: Any, timeline: Any) -> Any:
        self._check(encoded.lengths)
        return self._stage.decode(encoded, states, timeline)


def test_a_failing_batch_is_tried_clip_by_clip(asr: tdt.Recognizer) -> None:
    parts = asr._stages
    clips = [np.zeros(length, np.float32) for length in (32_000, 34_000, 33_000)]  # 25, 27, 26 encoder frames
    encoder, engine = FailingStage(parts.encoder, 212), FailingStage(parts.engine, 27)
    for stages in (
        Stages(parts.spec, parts.extractor, encoder, parts.engine),
        Stages(parts.spec, parts.extractor, parts.encoder, engine),
    ):
        results = dict(stages.results(clips, Reading(), stages.long_form(Reading())))
        assert [type(results[index]) for index in range(3)] == [tdt.Transcript, UnexpectedError, tdt.Transcript]
        assert isinstance(results[1].__cause__, IndexError)
    assert encoder.batches == engine.batches == [3, 1, 1, 1]


@pytest.fixture(scope="module")
def talk() -> np.ndarray:
    """31 s."""
    clips = [soundfile.read(path, dtype="float32")[0] for path in (HELLO, DIGITS)] * 3
    return np.concatenate([part for clip in clips for part in (clip, np.zeros(16_000, np.float32))])


def recordings_of(
    asr: tdt.Recognizer, given: list[Any], *, jobs: int = 2, stages: Stages | None = None
) -> list[tuple[str, tdt.TdtError | None]]:
    """Return the text of each long recording, and what ended it."""
    long_form = (stages or asr._stages).long_form(Reading(cutting=asr_cut()), jobs)
    recordings = [long_form.recording(BlockReader(source), number) for number, source in enumerate(given)]
    said: dict[int, list[str]] = {number: [] for number in range(len(given))}
    for part in long_form.run(recordings):
        if part.transcript is not None:
            said[part.recording.index].append(part.transcript.text)
    return [(" ".join(said[number]), recording.error) for number, recording in enumerate(recordings)]


def asr_cut() -> Any:
    from tdt.longform import CutOptions

    return CutOptions(chunk_seconds=6)


@pytest.mark.parametrize("error", [RuntimeError("cable"), KeyError("chunk"), MemoryError()], ids=repr)
def test_a_long_recording_that_breaks_keeps_what_it_had_and_touches_no_neighbour(
    error: Exception, asr: tdt.Recognizer, talk: np.ndarray
) -> None:
    def breaking() -> Iterator[np.ndarray]:
        yield talk[:320_000]
        raise error

    (whole, _), *_ = recordings_of(asr, [talk])
    broken, unbroken = recordings_of(asr, [breaking(), talk])
    assert unbroken == (whole, None)
    assert isinstance(broken[1], tdt.AudioTailError)
    assert error in causes(broken[1])
    assert broken[0].split()[:15] == whole.split()[:15]
    segments = []
    with pytest.raises(tdt.AudioTailError):
        segments.extend(asr.stream(breaking(), chunk_seconds=6))
    assert len(segments) >= 4
    results = asr.transcribe([breaking(), talk], chunk_seconds=6, errors="return")
    assert results[0].partial.text.split()[:15] == whole.split()[:15]
    assert results[1].text == whole


@pytest.mark.parametrize("broken", ["encoder", "engine"])
def test_a_window_that_fails_ends_its_own_recording_only(broken: str, asr: tdt.Recognizer, talk: np.ndarray) -> None:
    """A window of a length that only one of two recordings has."""
    parts = asr._stages
    (whole, _), *_ = recordings_of(asr, [talk])
    other = np.concatenate([soundfile.read(RECORDINGS / "03_flite-rms.flac", dtype="float32")[0], np.zeros(16_000)] * 3)
    stage = FailingStage(getattr(parts, broken), -1)
    pair = (stage, parts.engine) if broken == "encoder" else (parts.encoder, stage)
    stages = Stages(parts.spec, parts.extractor, *pair)
    recordings_of(asr, [other], stages=stages)
    lengths = set(stage.lengths)
    stage.lengths.clear()
    recordings_of(asr, [talk], stages=stages)
    stage.failing = next(iter(lengths - set(stage.lengths)))
    first, second = recordings_of(asr, [other, talk], stages=stages)
    assert isinstance(first[1], UnexpectedError)
    assert isinstance(first[1].__cause__, IndexError)
    assert second == (whole, None)


# --- in their turn, and once ------------------------------------------------------------------------------------------


def test_what_came_before_a_broken_iterable_is_done(asr: tdt.Recognizer) -> None:
    def several() -> Iterator[Path]:
        yield HELLO
        yield DIGITS
        raise LookupError("the list ends here")

    results = asr.transcribe_each(several())
    assert [next(results).text, next(results).text] == [SAID[HELLO], SAID[DIGITS]]  # type: ignore[union-attr]
    with pytest.raises(LookupError):
        next(results)


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What is opened, decoded (as samples) and given out, in order."""
    seen: dict[str, list[str]] = {"opened": [], "decoded": [], "order": []}
    open_path, mono = sources._open_path, mixing.Mixer.mono

    def opening(path: Path) -> Any:
        seen["opened"].append(path.name)
        seen["order"].append(f"open {path.name}")
        return open_path(path)

    def decoding(self: mixing.Mixer, frames: np.ndarray, rate_hz: int) -> Any:
        seen["decoded"] += [Path(self._name).name] * len(frames)
        return mono(self, frames, rate_hz)

    monkeypatch.setattr(sources, "_open_path", opening)
    monkeypatch.setattr(mixing.Mixer, "mono", decoding)
    return seen


def files_of(folder: Path, talk: np.ndarray) -> dict[str, int]:
    """Write short and long files in formats that say their length and in some that do not; return their samples."""
    hello = soundfile.read(HELLO, dtype="float32")[0]
    for name, samples in (("1.wav", hello), ("2.flac", hello), ("3.ogg", hello), ("4.flac", talk), ("5.mp3", hello)):
        soundfile.write(folder / name, samples, 16000)
    soundfile.write(folder / "6.au", talk, 16000)
    return {path.name: soundfile.info(path).frames for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("output", [False, True])
def test_each_file_is_opened_and_decoded_once(
    output: bool, work: dict[str, list[str]], talk: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    frames = files_of(tmp_path / "in", talk)
    words = [*sorted(map(str, (tmp_path / "in").iterdir())), "--chunk-seconds", "6"]
    assert main(["transcribe", *words, *(["-o", str(tmp_path / "out"), "--jobs", "2"] if output else [])]) == 0
    assert sorted(work["opened"]) == sorted(frames)
    assert {name: work["decoded"].count(name) for name in frames} == pytest.approx(frames, abs=3000)  # mp3's own delay


def test_each_source_of_a_call_is_opened_and_decoded_once(
    work: dict[str, list[str]], talk: np.ndarray, tmp_path: Path, asr: tdt.Recognizer
) -> None:
    frames = files_of(tmp_path, talk)
    paths = sorted(tmp_path.iterdir())
    assert all(isinstance(result, tdt.Transcript) for result in asr.transcribe(paths, chunk_seconds=6))
    assert sorted(work["opened"]) == sorted(frames)
    assert {name: work["decoded"].count(name) for name in frames} == pytest.approx(frames, abs=3000)
    for path in paths:
        work["opened"].clear()
        list(asr.stream(path, chunk_seconds=6))
        assert work["opened"] == [path.name]


def test_the_first_result_does_not_wait_for_the_last_file(
    work: dict[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With 60 files, and batches of 2: 8 are read ahead."""
    for number in range(60):
        (tmp_path / f"{number:02}.flac").symlink_to(HELLO)
    finish = running.Run._finish
    monkeypatch.setattr(
        running.Run, "_finish", lambda run, task, result: (work["order"].append("done"), finish(run, task, result))
    )
    words = ["transcribe", *sorted(map(str, tmp_path.iterdir())), "--batch-size", "2"]
    assert main(words) == 0
    assert work["order"].index("done") <= 10
    assert capsys.readouterr().out == (SAID[HELLO] + "\n") * 60


def test_a_broken_file_among_long_and_short_ones_costs_no_other(
    talk: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The decoder raises what nobody foresaw, for two of the files."""
    (tmp_path / "in").mkdir()
    files_of(tmp_path / "in", talk)
    mono = mixing.Mixer.mono

    def failing(self: mixing.Mixer, frames: np.ndarray, rate_hz: int) -> Any:
        if Path(self._name).name in {"2.flac", "4.flac"}:
            raise AssertionError("never seen before")
        return mono(self, frames, rate_hz)

    monkeypatch.setattr(mixing.Mixer, "mono", failing)
    words = [*sorted(map(str, (tmp_path / "in").iterdir())), "n" * 300, "--chunk-seconds", "6", "-o"]
    assert main(["transcribe", *words, str(tmp_path / "out"), "--jobs", "2"]) == 1
    said = capsys.readouterr().err
    assert "4 done, 3 failed" in said
    assert said.count("never seen before") == 2
    done = {path.stem for path in (tmp_path / "out").iterdir() if path.read_text(encoding="utf-8").strip()}
    assert {"1", "3", "5", "6"} <= done
