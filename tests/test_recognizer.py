"""The recogniser's contract: what it takes, order, errors, threads, closing."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

import tdt
from tdt.lifetime import Lifetime
from tdt.pipeline import Stages
from tdt.reading import Reading
from tdt.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tdt.stages import DecoderState, Encoded, Hypothesis

HELLO = "Hello world. Testing one, two, three."
DIGITS = "Seven, four, eight, seven, four, eight, three."


@pytest.fixture(scope="module")
def asr() -> Iterator[tdt.Recognizer]:
    with tdt.load() as recognizer:
        yield recognizer


@pytest.fixture(scope="module")
def hello(golden_folder: Path) -> Path:
    return golden_folder / "15_hello_world.flac"


@pytest.fixture(scope="module")
def digits(golden_folder: Path) -> Path:
    return golden_folder / "06_digits_theo.flac"


def samples_of(path: Path) -> Any:
    return soundfile.read(path, dtype="int16")[0]


# --- what it takes ----------------------------------------------------------------------------------------------------


def test_one_clip_gives_one_transcript_and_lists_give_lists(asr: tdt.Recognizer, hello: Path) -> None:
    assert asr.transcribe(hello).text == HELLO
    assert asr.transcribe(str(hello)).text == HELLO
    for several in ([hello], (hello,), iter([hello]), (path for path in [hello])):
        assert [transcript.text for transcript in asr.transcribe(several)] == [HELLO]
    assert asr.transcribe([]) == []


def test_bytes_files_and_arrays(asr: tdt.Recognizer, hello: Path) -> None:
    int16 = samples_of(hello)
    sources: list[Any] = [hello.read_bytes(), io.BytesIO(hello.read_bytes()), int16, int16 / 32768]
    sources += [(int16 / 32768).astype(np.float32), np.stack([int16, int16], axis=1)]
    for source in sources:
        assert asr.transcribe(source).text == HELLO
    with hello.open("rb") as file:
        assert asr.transcribe(file).text == HELLO


def test_channels_and_rates(asr: tdt.Recognizer, hello: Path, digits: Path) -> None:
    left, right = (samples_of(path) / 32768 for path in (hello, digits))
    stereo = np.zeros((max(len(left), len(right)), 2), np.float32)
    stereo[: len(left), 0], stereo[: len(right), 1] = left, right
    assert asr.transcribe(stereo, channel=0).text == HELLO
    assert asr.transcribe(stereo, channel=1).text == DIGITS
    doubled = np.repeat(left, 2)
    assert asr.transcribe(doubled, sample_rate=32000).audio_seconds == pytest.approx(len(left) / 16000)
    with pytest.raises(tdt.OptionError, match="channel"):
        asr.transcribe(hello, channel=3)


@pytest.mark.parametrize(
    ("file_format", "subtype"),
    [
        ("WAV", "PCM_U8"), ("WAV", "PCM_24"), ("WAV", "PCM_32"), ("WAV", "FLOAT"), ("WAV", "DOUBLE"), ("WAV", "ULAW"),
        ("WAV", "ALAW"), ("WAV", "IMA_ADPCM"), ("AIFF", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"),
        ("MP3", "MPEG_LAYER_III"), ("FLAC", "PCM_24"), ("CAF", "PCM_16"), ("W64", "PCM_16"), ("AU", "ULAW"),
    ],
)  # fmt: skip
def test_sound_formats(asr: tdt.Recognizer, hello: Path, tmp_path: Path, file_format: str, subtype: str) -> None:
    path = tmp_path / f"hello.{file_format.lower()}"
    soundfile.write(path, samples_of(hello) / 32768, 16000, format=file_format, subtype=subtype)
    assert asr.transcribe(path).text == HELLO


@pytest.mark.parametrize("count", [160, 161, 319, 320, 4800, 15984, 15999, 16000, 16001])
def test_short_clips_keep_their_times_within_them(asr: tdt.Recognizer, hello: Path, count: int) -> None:
    clip = samples_of(hello)[9000 : 9000 + count]
    transcript = asr.transcribe(clip)
    assert transcript.audio_seconds == count / 16000
    for token in transcript.tokens:
        assert token.frame >= 0
        if count < 16000:
            assert 0 <= token.start <= token.end <= transcript.audio_seconds


def test_clips_of_less_than_ten_milliseconds_are_refused(asr: tdt.Recognizer) -> None:
    with pytest.raises(tdt.AudioTooShortError, match="159 samples"):
        asr.transcribe(np.zeros(159, np.float32))
    with pytest.raises(tdt.AudioTooShortError):
        asr.features(np.zeros(159, np.float32))


def test_silence_and_faint_noise_are_empty(asr: tdt.Recognizer, rng: np.random.Generator) -> None:
    assert asr.transcribe(np.zeros(48000, np.float32)) == tdt.Transcript("", (), (), (), 3.0)
    assert asr.transcribe(rng.normal(0, 1e-3, 48000).astype(np.float32)).text == ""


# --- lists, order, errors ---------------------------------------------------------------------------------------------


def test_bad_inputs_cost_no_other_its_result(asr: tdt.Recognizer, hello: Path, digits: Path, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no sound")
    (tmp_path / "empty.wav").touch()
    nan = np.full(16000, np.nan, np.float32)
    sources = [tmp_path / "absent.wav", digits, tmp_path / "text.wav", nan, hello, tmp_path / "empty.wav", 7]
    kinds = [
        tdt.AudioNotFoundError, tdt.Transcript, tdt.AudioReadError, tdt.AudioValueError, tdt.Transcript,
        tdt.AudioReadError, tdt.AudioValueError,
    ]  # fmt: skip
    returned = asr.transcribe(sources, errors="return")
    assert [type(result) for result in returned] == kinds
    assert [result.text for result in returned if isinstance(result, tdt.Transcript)] == [DIGITS, HELLO]
    with pytest.raises(tdt.TranscriptionError, match="5 of 7") as caught:
        asr.transcribe(sources)
    assert [type(result) for result in caught.value.results] == kinds


def test_a_single_clip_raises_its_own_error(asr: tdt.Recognizer, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="absent") as caught:
        asr.transcribe(tmp_path / "absent.wav")
    assert isinstance(caught.value, tdt.AudioNotFoundError)
    assert isinstance(asr.transcribe(tmp_path / "absent.wav", errors="return"), tdt.AudioNotFoundError)


@pytest.mark.parametrize(
    ("option", "value"), [("errors", "ignore"), ("batch_size", 0), ("batch_size", 2.0), ("batch_size", True)]
)
def test_bad_options_are_named(asr: tdt.Recognizer, hello: Path, option: str, value: Any) -> None:
    with pytest.raises(tdt.OptionError, match=option):
        asr.transcribe(hello, **{option: value})


def test_progress_counts_every_clip(asr: tdt.Recognizer, hello: Path, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    asr.transcribe([hello, tmp_path / "absent", hello], errors="return", progress=lambda *call: calls.append(call))
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_results_come_one_by_one_in_order(asr: tdt.Recognizer, hello: Path, digits: Path) -> None:
    taken: list[int] = []

    def sources() -> Iterator[Path]:
        for index in range(20):
            taken.append(index)
            yield digits if index % 2 else hello

    results = asr.transcribe_each(sources(), batch_size=1)
    first = next(results)
    assert isinstance(first, tdt.Transcript)
    assert first.text == HELLO
    assert len(taken) < 20, "the iterable is not read to its end first"
    assert [getattr(result, "text", None) for result in results] == [DIGITS, HELLO] * 9 + [DIGITS]


def test_a_clip_beyond_the_position_table_is_refused_alone(asr: tdt.Recognizer, hello: Path) -> None:
    limit = asr.spec.max_encoder_frames
    assert limit == 2500
    long = np.zeros(limit * 1280 + 1280, np.float32)
    with pytest.raises(tdt.AudioTooLongError, match="2501 encoder frames"):
        asr.encode(asr.features(long))


class FailingEngine:
    """Decodes nothing, and fails on every batch that holds an utterance of `bad_length` encoder frames."""

    def __init__(self, bad_length: int) -> None:
        self.bad_length = bad_length
        self.batches: list[int] = []

    def decode(
        self, encoded: Encoded, states: Any = None, timeline: Any = None
    ) -> tuple[list[Hypothesis], list[DecoderState]]:
        self.batches.append(len(encoded.lengths))
        if self.bad_length in encoded.lengths:
            raise tdt.DecodingError("NaN")
        empty = np.zeros(0, np.int32)
        scores = np.zeros(0, np.float32)
        return [tdt.Hypothesis(empty, empty, empty, scores, scores) for _ in encoded.lengths], []

    def close(self) -> None: ...


def test_a_failure_in_a_batch_is_narrowed_down(asr: tdt.Recognizer) -> None:
    whole = asr._stages
    engine = FailingEngine(bad_length=27)
    stages = Stages(whole.spec, whole.extractor, whole.encoder, engine)
    clips = [np.zeros(length, np.float32) for length in (32000, 34000, 33000)]  # 25, 27, 26 encoder frames
    results = dict(stages.results(clips, Reading(), stages.long_form(Reading())))
    assert [type(results[index]) for index in range(3)] == [tdt.Transcript, tdt.DecodingError, tdt.Transcript]
    assert engine.batches == [3, 1, 1, 1]


# --- threads, closing -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decoder", ["native", "onnx"])
def test_threads_get_equal_results(decoder: Any, golden_folder: Path, hello: Path, digits: Path) -> None:
    clips = [hello, digits, golden_folder / "03_flite-rms.flac", golden_folder / "08_short_0p3s.flac"]
    with tdt.load(decoder=decoder) as recognizer:
        alone = [recognizer.transcribe(clip) for clip in clips]
        with ThreadPoolExecutor(6) as pool:
            together = list(pool.map(recognizer.transcribe, clips * 5))
        assert together == alone * 5


def test_a_closed_recogniser_says_so(hello: Path) -> None:
    recognizer = tdt.load()
    recognizer.warmup()
    recognizer.close()
    recognizer.close()
    for use in (
        lambda: recognizer.transcribe(hello),
        lambda: recognizer.features(hello),
        recognizer.warmup,
        lambda: list(recognizer.transcribe_each([hello])),
    ):
        with pytest.raises(tdt.ClosedError, match=r"tdt\.load"):
            use()


def test_closing_waits_for_running_calls() -> None:
    released = threading.Event()
    lifetime = Lifetime(released.set)
    with lifetime.use():
        lifetime.close()
        assert not released.is_set()
        with pytest.raises(tdt.ClosedError), lifetime.use():
            pass
    assert released.is_set()


# --- loading, logging, timelines --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("decoder", "beam"), ("weights", "int4"), ("confidence", "mean"), ("features", "1.0"), ("threads", 0),
        ("precision", "fp64"), ("provider", "tpu"), ("max_symbols", 0),
        ("features_on", "cuda"), ("features_on", "device"),
    ],
)  # fmt: skip
def test_bad_load_options_are_named(option: str, value: Any) -> None:
    with pytest.raises(tdt.OptionError, match=f"{option}="):
        tdt.load(**{option: value})


def test_weights_belong_to_the_native_engine() -> None:
    with pytest.raises(tdt.OptionError, match="weights"):
        tdt.load(decoder="onnx", weights="int8")


def test_older_features_are_an_option(hello: Path) -> None:
    with tdt.load(features="2.4") as older:
        features = older.features(hello)
        assert features.lengths.tolist() == [64400 // 160 + 1]
        assert older.transcribe(hello).text == HELLO


def test_confidence_measures_differ(asr: tdt.Recognizer, hello: Path) -> None:
    with tdt.load(confidence="max_prob") as other:
        entropy, prob = asr.transcribe(hello), other.transcribe(hello)
    assert entropy.text == prob.text
    assert [word.confidence for word in entropy.words] != [word.confidence for word in prob.words]
    assert all(0 <= word.confidence <= 1 for word in (*entropy.words, *prob.words))


def test_the_library_logs_and_never_prints(
    hello: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO, logger="tdt"), tdt.load() as recognizer:
        recognizer.transcribe([hello])
    assert any("loaded parakeet-tdt-tiny" in record.getMessage() for record in caplog.records)
    assert capfd.readouterr() == ("", "")


def test_a_timeline_says_where_the_time_went(asr: tdt.Recognizer, hello: Path) -> None:
    transcript = asr.transcribe(hello, timeline=True)
    assert isinstance(transcript.timeline, Timeline)
    names = {span.name for span in transcript.timeline.spans}
    assert {"call", "read", "features", "encoder", "text"} <= names
    own = Timeline()
    listed = asr.transcribe([hello, hello], timeline=own)
    assert all(item.timeline is own for item in listed)
    assert asr.transcribe(hello).timeline is None


def test_importing_costs_nothing_and_public_names_are_there() -> None:
    code = (
        "import sys, tdt; heavy = {'numpy', 'numba', 'onnxruntime', 'librosa', 'soundfile', 'onnx', 'rich'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules);"
        "[getattr(tdt, name) for name in (*tdt.__all__, 'TdtError', 'AudioError')];"
        "assert 'load' in dir(tdt) and not hasattr(tdt, 'NoSuchError')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent)
