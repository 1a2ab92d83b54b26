"""NeMo's chunked streaming, token for token, with the bundled model; and `transcribe`, bit for bit, in one window."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

import tdt
from tdt.audio.loading import load_audio
from tdt.timeline import NULL

from ..strategies import language_model, phrases_of
from .feeding import Watcher

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA = Path(__file__).parents[1] / "data"
NEMO = json.loads((DATA / "streaming.json").read_text(encoding="utf-8"))
SETTINGS = NEMO["contexts"]
FUSED = NEMO["fused"]
# Its chunks are two frames and its windows 14 s: 765 runs, which the recordings share in lockstep below.
COSTLY = "10-0.16-3.84"
CLIPS = sorted(path.name for path in (DATA / "goldens").iterdir() if path.suffix in {".flac", ".wav"})


@pytest.fixture(scope="module")
def asr() -> Iterator[tdt.Recognizer]:
    with tdt.load() as recognizer:
        yield recognizer


@pytest.fixture(scope="module")
def recordings() -> list[np.ndarray]:
    """The evaluation clips as NeMo heard them: joined, each followed by a gap."""
    gap = np.zeros(NEMO["gap_samples"], np.float32)
    made = []
    for entry in NEMO["recordings"]:
        parts = [soundfile.read(DATA / "eval" / name, dtype="float32")[0] for name in entry["files"]]
        joined = np.concatenate([part for clip in parts for part in (clip, gap)])[: entry["samples"]]
        assert len(joined) == entry["samples"]
        made.append(joined)
    return made


def said(hypothesis: tdt.Hypothesis, first: int = 0) -> list[list[int]]:
    return [values[first:].tolist() for values in (hypothesis.token_ids, hypothesis.frames, hypothesis.durations)]


def expected_of(golden: dict[str, Any]) -> list[list[int]]:
    return [golden[name] for name in ("tokens", "frames", "durations")]


@pytest.mark.parametrize(
    ("name", "restart"), [*((name, 2.0) for name in SETTINGS if name != COSTLY), ("5-1-0.5", None)]
)
def test_every_chunk_is_nemos(name: str, restart: float | None, asr: tdt.Recognizer, recordings: Any) -> None:
    """A new start after two seconds changes nothing here: nobody pauses so long within a recording."""
    left, chunk, right = SETTINGS[name]["seconds"]
    for samples, golden in zip(recordings, SETTINGS[name]["recordings"], strict=True):
        live, watcher = asr.live(left=left, chunk=chunk, right=right, restart=restart), Watcher()
        heard = count = 0
        for end, *_, tokens, jump in golden["chunks"]:
            watcher.see(live.push(samples[heard:end]))
            heard = end
            if end == len(samples):
                watcher.see(live.finish())
            assert said(live.hypothesis, count) == [part[count : count + tokens] for part in expected_of(golden)]
            count += tokens
            assert live.stand.state is not None
            assert live.stand.state.skip == jump
        assert said(live.hypothesis) == expected_of(golden)
        assert live.transcript.text == golden["text"]
        assert " ".join(watcher.finals) == golden["text"]


@pytest.mark.parametrize("name", FUSED)
def test_every_chunk_with_phrases_and_a_language_model_is_nemos(
    name: str, asr: tdt.Recognizer, recordings: Any
) -> None:
    """The automata's states travel with the decoder's, and stand where NeMo's stand after each chunk."""
    setting = FUSED[name]
    left, chunk, right = setting["seconds"]
    known: dict[str, Any] = {"phrases": phrases_of(setting["phrases"], setting["phrase_weight"])}
    if "lm_weight" in setting:
        known |= {"lm": language_model(), "lm_weight": setting["lm_weight"]}
    changed = 0
    for place, (samples, golden) in enumerate(zip(recordings, setting["recordings"], strict=True)):
        live, watcher = asr.live(left=left, chunk=chunk, right=right, restart=None, **known), Watcher()
        heard = count = 0
        for end, *_, tokens, jump, label, places in _rows(golden["chunks"]):
            watcher.see(live.push(samples[heard:end]))
            heard = end
            if end == len(samples):
                watcher.see(live.finish())
            assert said(live.hypothesis, count) == [part[count : count + tokens] for part in expected_of(golden)]
            count += tokens
            state = live.stand.state
            assert state is not None
            assert (state.skip, state.label) == (jump, label)
            assert list(state.model_states) == places
        assert live.transcript.text == golden["text"]
        assert " ".join(watcher.finals) == golden["text"]
        changed += live.transcript.text != SETTINGS[name.partition("/")[0]]["recordings"][place]["text"]
    assert changed, "what is known changes what is heard"


def _rows(chunks: list[list[int]]) -> Iterator[tuple[Any, ...]]:
    """Yield the numbers of each chunk, the states of the automata together."""
    return ((*row[:7], row[7:]) for row in chunks)


def test_recordings_are_nemos_in_lockstep(asr: tdt.Recognizer, recordings: list[np.ndarray]) -> None:
    """The first and the last to their ends, of the others the beginnings: each chunk of 0.16 s takes a run of 14 s."""
    left, chunk, right = SETTINGS[COSTLY]["seconds"]
    batch = asr.live_batch(len(recordings), left=left, chunk=chunk, right=right)
    whole = {0, len(recordings) - 1}
    for start in range(0, max(map(len, recordings)), 40_000):
        blocks = [
            samples[start : start + 40_000] if place in whole or start < 160_000 else None
            for place, samples in enumerate(recordings)
        ]
        assert all(isinstance(answer, list) for answer in batch.push(blocks))
    assert all(isinstance(answer, list) for answer in batch.finish(sorted(whole)))
    for place, (stream, golden) in enumerate(zip(batch.streams, SETTINGS[COSTLY]["recordings"], strict=True)):
        count = len(golden["tokens"]) if place in whole else len(stream.hypothesis)
        assert count > 20
        assert said(stream.hypothesis) == [part[:count] for part in expected_of(golden)]


def test_lockstep_says_what_single_streams_say(asr: tdt.Recognizer, recordings: list[np.ndarray]) -> None:
    """Of unlike lengths, one of them shorter than a window; scores to what shared runs of float32 differ by."""
    heard = [recordings[0][:150_000], recordings[1][:91_234], recordings[2][:20_000], recordings[3][:8000]]
    batch = asr.live_batch(len(heard), latency=2)
    batch.push(heard)
    batch.finish()
    for stream, samples in zip(batch.streams, heard, strict=True):
        alone = asr.live(latency=2)
        alone.push(samples)
        alone.finish()
        assert said(stream.hypothesis) == said(alone.hypothesis)
        np.testing.assert_allclose(stream.hypothesis.logprobs, alone.hypothesis.logprobs, atol=1e-3)


@pytest.mark.parametrize("name", CLIPS)
def test_a_clip_in_one_window_is_transcribe_to_the_bit(name: str, asr: tdt.Recognizer, rng: Any) -> None:
    samples, rate = soundfile.read(DATA / "goldens" / name, dtype="float32")
    live = asr.live(left=60, chunk=60, right=2, sample_rate=rate)
    for piece in np.split(samples, np.sort(rng.integers(0, len(samples), 9))):
        live.push(piece)
    live.finish()
    expected = asr.transcribe(samples, sample_rate=rate)
    assert live.transcript == expected
    if name.startswith("08_short"):
        assert live.transcript.tokens[0].frame > 0, "padded, and times taken back"


@pytest.mark.parametrize(("left", "chunk"), [(0.0, 2.0), (4.0, 0.4), (2.4, 0.48)])
def test_without_a_right_context_the_windows_are_what_they_should_be(
    left: float, chunk: float, asr: tdt.Recognizer, recordings: list[np.ndarray]
) -> None:
    """NeMo's own count goes wrong there; here each window is run by hand, over the stages."""
    samples = recordings[4][:100_000]
    live = asr.live(left=left, chunk=chunk, right=0, restart=None)
    for start in range(0, len(samples), 777):
        live.push(samples[start : start + 777])
    live.finish()
    step, most, states, parts = round(chunk * 16000), round(left * 16000), None, []
    for start in range(0, len(samples), step):
        last = start + step >= len(samples)
        new = min(step, len(samples) - start)
        before = min(start, most + step - new) if last else min(start, most)
        encoded = asr.encode(asr.features(samples[start - before : start + new]))
        first = before // 1280
        frames = encoded.frames[:, first : None if last else first + step // 1280]
        (part,), states = asr.decode_piece(tdt.Encoded(frames, np.array([frames.shape[1]])), states)
        parts.append(part)
    whole = tdt.Hypothesis.concatenate(parts)
    assert said(live.hypothesis) == said(whole)
    np.testing.assert_array_equal(live.hypothesis.logprobs, whole.logprobs)
    assert len(whole) > 10


def test_resampled_pushes_give_the_bits_of_the_whole(asr: tdt.Recognizer) -> None:
    samples, rate = soundfile.read(DATA / "goldens/13_hibari_44k_stereo.wav", dtype="int16")
    whole = asr.live(latency=2, sample_rate=rate)
    expected = whole.push(samples) + whole.finish()
    cut = asr.live(latency=2, sample_rate=rate)
    told = [update for start in range(0, len(samples), 441) for update in cut.push(samples[start : start + 441])]
    assert told + cut.finish() == expected
    at_once = asr.live(latency=2)
    at_once.push(load_audio(samples, sample_rate=rate).samples)
    at_once.finish()
    assert at_once.hypothesis.logprobs.tolist() == cut.hypothesis.logprobs.tolist()


@pytest.mark.parametrize("block", [160, 1600, 960_000])
def test_blocks_of_any_length_tell_the_same(block: int, asr: tdt.Recognizer, recordings: list[np.ndarray]) -> None:
    samples = recordings[4][: 6 * 16000]
    whole = asr.live(latency=1)
    expected = whole.push(samples) + whole.finish()
    live, watcher = asr.live(latency=1), Watcher()
    for start in range(0, len(samples), block):
        watcher.see(live.push(samples[start : start + block]))
    watcher.see(live.finish())
    assert watcher.updates == expected
    assert live.transcript == whole.transcript
    assert len(watcher.finals) >= 1


def test_a_closed_recogniser_opens_no_stream() -> None:
    recognizer = tdt.load()
    with recognizer.live() as live:
        recognizer.close()
        for call in (recognizer.live, live.finish, lambda: live.push(np.zeros(99, np.float32))):
            with pytest.raises(tdt.ClosedError):
                call()
        assert live.transcript.text == ""


def test_decoding_afresh_after_a_pause_is_decoding_the_rest_alone(asr: tdt.Recognizer) -> None:
    """The frames behind the pause, decoded from no state, give the tokens that the stream gives."""
    hello = soundfile.read(DATA / "goldens/15_hello_world.flac", dtype="float32")[0]
    samples = np.concatenate([hello, np.zeros(3 * 16000, np.float32), hello])
    live = asr.live(left=60, chunk=60, right=0, restart=2.0)
    live.push(samples)
    live.finish()
    encoded = asr.encode(asr.features(samples))
    first = asr.decode(encoded)[0]
    gaps = np.flatnonzero(np.diff(first.frames) > 25)
    assert len(gaps) == 1
    end = int(first.frames[gaps[0]] + first.durations[gaps[0]]) + 25
    zeros = np.zeros((asr.spec.predictor_layers, asr.spec.predictor_hidden), np.float32)
    fresh = tdt.DecoderState(asr.spec.blank_id, zeros, zeros, 0, end)
    rest = asr.decode_piece(tdt.Encoded(encoded.frames[:, end:], encoded.lengths - end), [fresh])[0][0]
    before = first.part(0, int(gaps[0]) + 1)
    assert said(live.hypothesis) == said(tdt.Hypothesis.concatenate([before, rest]))
    kept = asr.live(left=60, chunk=60, right=0, restart=None)
    kept.push(samples)
    kept.finish()
    assert said(kept.hypothesis) == said(first)


def test_a_failed_stream_of_a_real_batch_costs_no_other_anything(
    asr: tdt.Recognizer, recordings: list[np.ndarray]
) -> None:
    setup = asr.live_batch(1, latency=2)._setup
    inner = setup.stepper.encoder

    class Broken:
        def encode_for_decoding(self, features: Any, timeline: Any = NULL, *, on_host: bool = False) -> Any:
            encoded = inner.encode_for_decoding(features, timeline, on_host=on_host)
            frames = encoded.frames.copy()
            frames[features.frames.max(axis=(1, 2)) > 1e30] = np.nan
            return replace(encoded, frames=frames)

    def features(batch: Any, timeline: Any = NULL) -> Any:
        made = setup.stepper.extractor(batch, timeline)
        for row, samples in enumerate(batch):
            made.frames[row] *= 1e35 if np.abs(samples).max() > 9 else 1
        return made

    broken: Any = Broken()
    stepper = replace(setup.stepper, encoder=broken, extractor=features)
    batch = tdt.LiveBatch(replace(setup, stepper=stepper), 2)
    samples = recordings[0][:64_000]
    answers = batch.push([samples, np.concatenate([samples[:32_000], samples[32_000:] * 1e3])])
    assert answers[1] != [], "what was said before"
    assert isinstance(batch.push([None, samples])[1], tdt.DecodingError)
    alone = asr.live(latency=2)
    told = alone.push(samples)
    assert [(u.kind, u.final, u.draft) for u in answers[0]] == [(u.kind, u.final, u.draft) for u in told]  # type: ignore[union-attr]
    assert batch.streams[0].stand.state is not None
