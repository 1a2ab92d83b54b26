"""Decoding with something added to the logits, against a rule written out, and at its edges."""

from __future__ import annotations

import logging
import threading
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tdt
from tdt.decoding.guided import GuidedEngine
from tdt.decoding.native import NativeEngine
from tdt.errors import OptionError
from tdt.fusion.plan import fusion_plan
from tdt.kernels.fusion.automaton import automaton
from tdt.stages import Fusion
from tdt.surgery.lifting import lift

from .. import naive
from ..strategies import answers, encoded_clips, language_model, phrases_of, said, together

if TYPE_CHECKING:
    from collections.abc import Iterator

ANNA = Path(__file__).parents[1] / "data" / "eval" / "p10_flite-slt.flac"
EVAL = Path(__file__).parents[1] / "data" / "eval"
CLIPS = ["p06_piper-joe", "p10_flite-slt", "p21_fest-kal", "p24_fest-kdl", "07_jfk"]


@pytest.fixture(scope="module")
def asr() -> Iterator[tdt.Recognizer]:
    with tdt.load() as recognizer:
        yield recognizer


@pytest.fixture(scope="module")
def weights(asr: tdt.Recognizer) -> Any:
    return lift(asr.files, asr.spec)


@pytest.fixture(scope="module")
def clips(asr: tdt.Recognizer) -> dict[str, tdt.Encoded]:
    return encoded_clips(asr, CLIPS)


@pytest.fixture(scope="module")
def batch(clips: dict[str, tdt.Encoded]) -> tdt.Encoded:
    return together(list(clips.values()))


def same(left: list[tdt.Hypothesis], right: list[tdt.Hypothesis]) -> bool:
    """Whether all that decoding says is equal to the last bit."""
    return all(
        said(a) == said(b)
        and np.array_equal(a.logprobs, b.logprobs)
        and np.array_equal(a.entropy_confidences, b.entropy_confidences)  # type: ignore[arg-type]
        for a, b in zip(left, right, strict=True)
    )


# --- nothing is nothing -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "nothing",
    [
        {"phrases": None}, {"phrases": []}, {"phrases": tdt.Phrases([])}, {"phrases": [None] * len(CLIPS)},
        {"phrases": tdt.Phrases(["Susan"], weight=0)}, {"allowed": range(256)}, {"script": None},
    ],
    ids=str,
)  # fmt: skip
def test_nothing_added_is_plain_decoding_bit_for_bit(
    nothing: dict[str, Any], asr: tdt.Recognizer, batch: tdt.Encoded
) -> None:
    found = asr.decode(batch, **nothing)
    assert same(found, asr.decode(batch))
    assert all(one.boosted is None and one.top_logprobs is None for one in found)


def test_an_utterance_without_phrases_is_as_alone(asr: tdt.Recognizer, batch: tdt.Encoded) -> None:
    plain = asr.decode(batch)
    found = asr.decode(batch, phrases=[None, ["Susan", "cat"], None, ["Frank"], None])
    assert [said(found[place]) for place in (0, 2, 4)] == [said(plain[place]) for place in (0, 2, 4)]
    assert np.array_equal(found[0].logprobs, plain[0].logprobs)


# --- the rule, written out --------------------------------------------------------------------------------------------


@st.composite
def automata(draw: st.DrawFn, tokens: int = 256) -> Any:
    """Random automata of few states, arcs to anywhere, weights of all sizes."""
    states = draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    starts, labels = [0, 0], []
    for _ in range(states - 1):
        mine = np.sort(rng.choice(tokens, rng.integers(0, 9), replace=False))
        labels += mine.tolist()
        starts.append(len(labels))
    backoffs = [0, *(int(rng.integers(0, place)) for place in range(1, states))]
    size = draw(st.sampled_from([0.5, 3.0, 30.0]))
    return automaton(
        starts, labels, rng.integers(0, states, len(labels)), rng.normal(0, size, len(labels)), backoffs,
        rng.normal(0, size, states), rng.normal(0, size, tokens) * draw(st.booleans()),
        rng.integers(0, states, tokens), int(rng.integers(0, states)),
    )  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(
    models=st.lists(st.tuples(automata(), st.sampled_from([0.3, 1.0, -2.0])), min_size=1, max_size=3),
    clip=st.sampled_from(CLIPS),
    masked=st.booleans(),
)
def test_bonuses_are_those_of_the_naive_walk(
    models: list[Any], clip: str, masked: bool, asr: tdt.Recognizer, weights: Any, clips: dict[str, tdt.Encoded]
) -> None:
    allowed = np.arange(asr.spec.blank_id) % 3 != 0 if masked else None
    fusion = Fusion(tuple(models), allowed)
    engine = asr._stages.engine
    (whole,), (state,) = engine.decode(clips[clip], None, fusions=[fusion])  # type: ignore[call-arg]
    network = naive.Network(weights, clips[clip].frames[0], asr.spec.blank_id)
    expected, states = naive.fused_tdt(network, int(clips[clip].lengths[0]), asr.spec.durations, fusion)
    assert said(whole) == expected
    assert list(state.model_states) == states


# --- in pieces, in batches, in threads --------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, 137), max_size=6))
def test_pieces_are_the_whole(cuts: list[int], asr: tdt.Recognizer, clips: dict[str, tdt.Encoded]) -> None:
    encoded = clips["07_jfk"]
    known: Any = {"phrases": ["And so, my fellow Americans", "your country can do"], "lm": language_model()}
    (whole,) = asr.decode(encoded, **known)
    length = int(encoded.lengths[0])
    edges = [0, *sorted(min(cut, length) for cut in cuts), length]
    states, parts = None, []
    for first, last in pairwise(edges):
        piece = tdt.Encoded(encoded.frames[:, first:last], np.array([last - first]))
        (part,), states = asr.decode_piece(piece, states, **known)
        parts.append(part)
    assert said(tdt.Hypothesis.concatenate(parts)) == said(whole)


def test_a_batch_is_its_clips(asr: tdt.Recognizer, clips: dict[str, tdt.Encoded], batch: tdt.Encoded) -> None:
    phrases = [["cat"], None, tdt.Phrases(["seven", "eight"], weight=2), ["her lover"], ["ask not what"]]
    alone = [asr.decode(clips[name], phrases=[own])[0] for name, own in zip(CLIPS, phrases, strict=True)]
    assert same(asr.decode(batch, phrases=phrases), alone)


def test_threads_share_phrases_that_nobody_has_built(asr: tdt.Recognizer, batch: tdt.Encoded) -> None:
    phrases = phrases_of("fifty", 1.0)
    found: list[Any] = [None] * 4

    def work(place: int) -> None:
        found[place] = asr.decode(batch, phrases=phrases)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(same(one, found[0]) for one in found[1:])


@pytest.mark.parametrize("way", ["screened", "whole", "int8"])
def test_screened_or_whole_chooses_the_same(way: str, asr: tdt.Recognizer, batch: tdt.Encoded) -> None:
    """Bounds that carry the bonuses find the float32 choice; 8-bit weights are a model of their own."""
    options: Any = {"weights": "int8"} if way == "int8" else {"screening": way == "screened"}
    pieces, lm = asr.spec.pieces, language_model()
    allowed = np.arange(256) % 5 != 2
    fusions = [
        Fusion(((lm.automaton(256), 0.5), (phrases_of("fifty", 2.0).automaton(pieces), 2.0))),
        Fusion(((phrases_of("short", 5.0).automaton(pieces), 5.0),), allowed),
        Fusion((), allowed),
        Fusion(((lm.automaton(256), 0.3),), allowed, after_blank=True),
        Fusion(),
    ]
    plain = asr._stages.engine.decode(batch, None, fusions=fusions)[0]  # type: ignore[call-arg]
    with closing(NativeEngine(asr.files, asr.spec, **options)) as engine:
        found = engine.decode(batch, None, fusions=fusions)[0]
        if way == "int8":
            assert all(allowed[one.token_ids].all() for one in found[1:4])
            assert sum(said(a) == said(b) for a, b in zip(found, plain, strict=True)) >= 2
            return
    assert [said(one) for one in found] == [said(one) for one in plain]
    for one, other in zip(found, plain, strict=True):
        np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-3)  # what screening allows a confidence
        np.testing.assert_allclose(one.entropy_confidences, other.entropy_confidences, atol=1e-3)


# --- through audio ----------------------------------------------------------------------------------------------------


def test_boosted_words_are_told(asr: tdt.Recognizer) -> None:
    plain, found = asr.transcribe(ANNA), asr.transcribe(ANNA, phrases=tdt.Phrases(["Frank and Anna"], weight=2))
    assert "Anna" not in plain.text
    assert found.text == "Frank and Anna walked around Moscow on Sunday."
    # What follows it the model says by itself, having said it.
    assert [word.text for word in found.words if word.boosted] == ["and"]
    assert not any(word.boosted for word in plain.words)


def test_each_clip_of_a_list_has_its_own(asr: tdt.Recognizer) -> None:
    found = asr.transcribe([ANNA] * 3, phrases=[None, tdt.Phrases(["Frank and Anna"], weight=2), ["cat"]])
    assert ["Anna" in each.text for each in found] == [False, True, False]


def test_a_list_for_other_clips_is_refused(asr: tdt.Recognizer) -> None:
    with pytest.raises(OptionError, match="2 clips"):
        asr.transcribe([EVAL / "p24_fest-kdl.flac"] * 3, phrases=[None, ["Susan"]])


def test_long_audio_hears_phrases_in_all_its_windows(asr: tdt.Recognizer) -> None:
    samples = np.concatenate([samples_of(path) for path in [ANNA, *sorted(EVAL.glob("p2*.flac"))[:4]] * 3])
    phrases = tdt.Phrases(["Frank and Anna"], weight=2)
    told: Any = {"chunk_seconds": 12}
    count = [text.count("Frank and Anna") for text in (
        asr.transcribe(samples, phrases=phrases, **told).text,
        asr.transcribe([samples, ANNA], phrases=[phrases, None], **told)[0].text,
        " ".join(segment.text for segment in asr.stream(samples, phrases=phrases, **told)),
        asr.transcribe(samples, **told).text,
    )]  # fmt: skip
    assert count[:3] == [3, 3, 3]
    assert count[3] < 3


def samples_of(path: Path) -> Any:
    from tdt.audio.loading import load_audio

    return load_audio(path).samples


@pytest.mark.parametrize(("times", "told"), [(8, 0), (9, 1)])
def test_a_phrase_that_repeats_is_logged(
    times: int, told: int, asr: tdt.Recognizer, caplog: pytest.LogCaptureFixture
) -> None:
    phrases = tdt.Phrases(["Anna"])
    (tokens,) = phrases.sequences(asr.spec)
    ids = np.array(tokens * times, np.int32)

    class Stuck:
        """An engine that says one thing."""

        takes_fusions = True

        def decode(self, *_: object) -> Any:
            return [tdt.Hypothesis(ids, ids, ids, ids.astype(np.float32))], [None]

    plan = fusion_plan({"phrases": phrases}, asr.spec)
    assert plan is not None
    engine: Any = Stuck()
    with caplog.at_level(logging.WARNING, "tdt"):
        GuidedEngine(engine, plan, asr.spec).decode(tdt.Encoded(np.zeros((1, 1, 1), np.float32), np.array([1])))
    assert [record.getMessage() for record in caplog.records] == [
        "the phrase 'Anna' stands 9 times in a row: its weight may be too high"
    ] * told


def test_engines_without_fusion_refuse_it(asr: tdt.Recognizer) -> None:
    with tdt.load(decoder="onnx") as other, pytest.raises(OptionError, match='decoder="native"'):
        other.transcribe(np.zeros(16000, np.float32), phrases=["Susan"])


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"phrases": "Susan"}, "phrases"), ({"phrases": [1]}, "phrases"), ({"phrases": {"a": 1}}, "phrases"),
        ({"phrases": ["naïve"]}, "ï"), ({"phrases": [("Susan", float("nan"))]}, "phrases"),
        ({"lm": "tiny.arpa"}, "lm"), ({"lm_weight": 1.0}, "lm_weight"), ({"beam": 0}, "beam"), ({"beam": True}, "beam"),
        ({"script": "klingon"}, "script"), ({"allowed": "abc"}, "allowed"), ({"allowed": [256]}, "allowed"),
        ({"allowed": [1.5]}, "allowed"), ({"allowed": 3}, "allowed"),
    ],
    ids=str,
)  # fmt: skip
def test_absurd_values_are_refused(options: dict[str, Any], named: str, asr: tdt.Recognizer) -> None:
    for call in (lambda: asr.transcribe(np.zeros(16000, np.float32), **options), lambda: asr.live(**options)):
        with pytest.raises(OptionError, match=named):
            call()


def test_states_of_other_models_are_refused(asr: tdt.Recognizer, clips: dict[str, tdt.Encoded]) -> None:
    encoded = clips[CLIPS[0]]
    _, states = asr.decode_piece(encoded, phrases=["Susan"])
    with pytest.raises(OptionError, match="automata"):
        asr.decode_piece(encoded, states, phrases=["Susan"], lm=language_model())


def test_no_frames_no_tokens(asr: tdt.Recognizer, clips: dict[str, tdt.Encoded]) -> None:
    encoded = tdt.Encoded(clips[CLIPS[0]].frames, np.array([0]))
    (found,), (state,) = asr.decode_piece(encoded, phrases=["Susan"], lm=language_model())
    assert len(found) == 0
    assert len(state.model_states) == 2
    assert answers("masked")["configs"]["nothing/before_blank"]["clips"]
    assert len(asr.decode(clips[CLIPS[0]], allowed=[])[0]) == 0


def test_a_tokenizer_beside_the_model_splits_phrases(tmp_path: Path) -> None:
    """It is opened for phrases only: a damaged one fails those, and nothing else."""
    bundled = tdt.load().files.folder
    for file in bundled.iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "tokenizer.model").write_bytes(b"no tokenizer")
    pytest.importorskip("sentencepiece")
    with tdt.load(tmp_path) as other:
        assert other.spec.tokenizer == tmp_path / "tokenizer.model"
        assert other.transcribe(ANNA).text
        with pytest.raises(tdt.ModelFileCorruptError, match="SentencePiece"):
            other.transcribe(ANNA, phrases=["Anna"])


# --- beams through the recogniser -------------------------------------------------------------------------------------


def test_a_beam_answers_with_all_its_hypotheses(asr: tdt.Recognizer, clips: dict[str, tdt.Encoded]) -> None:
    answer = answers("beam_malsd")["configs"]["malsd_batch/b4"]["clips"]
    for name in CLIPS[:3]:
        (found,) = asr.decode(clips[name], beam=4)
        assert said(found) == said(found.alternatives[0].hypothesis)
        assert [said(one.hypothesis) for one in found.alternatives] == [
            [one["tokens"], one["frames"], one["durations"]] for one in answer[name]
        ]
        scores = [one.score for one in found.alternatives]
        np.testing.assert_allclose(scores, [one["score"] for one in answer[name]], atol=1e-3)  # of logits within 1e-4


def test_beams_go_on_over_pieces_with_all_hypotheses(asr: tdt.Recognizer, clips: dict[str, tdt.Encoded]) -> None:
    encoded = clips["07_jfk"]
    length = int(encoded.lengths[0])
    states: Any = None
    for first in range(0, length, 40):
        piece = tdt.Encoded(encoded.frames[:, first : first + 40], np.array([min(40, length - first)]))
        (found,), states = asr.decode_piece(piece, states, beam=4)
    assert states[0].frames_decoded == length
    (whole,) = asr.decode(encoded, beam=4)
    assert said(found)[0][:20] == said(whole)[0][:20]
    with pytest.raises(OptionError, match="DecoderState"):
        asr.decode_piece(encoded, states)


def test_long_audio_and_streams_take_beams(asr: tdt.Recognizer) -> None:
    samples = np.concatenate([samples_of(path) for path in [ANNA, *sorted(EVAL.glob("p2*.flac"))[:3]]])
    known: Any = {"beam": 2, "phrases": tdt.Phrases(["Frank and Anna"], weight=2)}
    whole = asr.transcribe(samples, **known)
    assert 1 <= len(whole.candidates) <= 2
    cut = asr.transcribe(samples, chunk_seconds=10, **known)
    assert cut.candidates == ()
    with asr.live(latency=4, **known) as live:
        live.push(samples)
        live.finish()
        heard = live.transcript.text
    assert all("Frank and Anna" in text for text in (whole.text, cut.text, heard))
