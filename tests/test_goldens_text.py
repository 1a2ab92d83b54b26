"""From file to transcript against NeMo: golden and evaluation clips, both layouts and engines, single and batched."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import tdt

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LEFT_PAD_SECONDS = {"08_short_0p3s": 0.35}  # (16000 - 4800) // 2 samples


@pytest.fixture(scope="module", params=["native", "onnx"])
def asr(request: pytest.FixtureRequest, model_folder: Path) -> Iterator[tdt.Recognizer]:
    with tdt.load(model_folder, decoder=request.param) as recognizer:
        yield recognizer


def assert_equals_nemo(transcript: tdt.Transcript, clip: dict[str, Any]) -> None:
    name = clip["id"]
    assert transcript.text == clip["text"], name
    assert [token.id for token in transcript.tokens] == clip["token_ids"], name
    assert [token.frame for token in transcript.tokens] == clip["token_frames"], name
    assert [token.duration for token in transcript.tokens] == clip["token_durations"], name
    assert [word.text for word in transcript.words] == [word["word"] for word in clip["words"]], name
    pad, seconds = LEFT_PAD_SECONDS.get(name, 0.0), transcript.audio_seconds
    assert seconds == pytest.approx(clip["source"]["samples"] / clip["source"]["sample_rate"])
    for ours, theirs in ((transcript.words, clip["words"]), (transcript.segments, clip["segments"])):
        bounds = np.array([[item["start"], item["end"]] for item in theirs]).reshape(-1, 2) - pad
        bounds = bounds.clip(0, seconds) if pad else bounds
        # frames times 0.08: only the order of the products may differ
        np.testing.assert_allclose(np.array([[o.start, o.end] for o in ours]).reshape(-1, 2), bounds, atol=1e-9)


def test_golden_clips_one_by_one(asr: tdt.Recognizer, goldens: dict[str, dict[str, Any]], golden_folder: Path) -> None:
    for clip in goldens.values():
        assert_equals_nemo(asr.transcribe(golden_folder / clip["file"]), clip)


@pytest.mark.parametrize("batch_size", [None, 4])
def test_golden_clips_in_batches(
    batch_size: int | None, asr: tdt.Recognizer, goldens: dict[str, dict[str, Any]], golden_folder: Path
) -> None:
    clips = list(goldens.values())
    transcripts = asr.transcribe([str(golden_folder / clip["file"]) for clip in clips], batch_size=batch_size)
    for transcript, clip in zip(transcripts, clips, strict=True):
        assert_equals_nemo(transcript, clip)
        assert transcript.text == clip["batched"]["text"]


def test_evaluation_clips_equal_nemos_hypotheses(asr: tdt.Recognizer, eval_folder: Path) -> None:
    answers = json.loads((eval_folder / "nemo_hyps.json").read_text())
    transcripts = asr.transcribe([eval_folder / name for name in answers])
    assert len(transcripts) == 42
    different = {
        name: (transcript.text, answer["nemo"])
        for transcript, (name, answer) in zip(transcripts, answers.items(), strict=True)
        if transcript.text != answer["nemo"]
    }
    assert not different


def test_int8_files_are_close(model_folder: Path, eval_folder: Path) -> None:
    """8-bit files are judged by word errors, not equal text: the two exports' own are about 10 %."""
    import jiwer

    answers = json.loads((eval_folder / "nemo_hyps.json").read_text())
    with tdt.load(model_folder, precision="int8") as asr:
        transcripts = asr.transcribe([eval_folder / name for name in answers])

    def plain(text: str) -> str:
        return "".join(c for c in text.lower() if c.isalnum() or c in " '-")

    references = [plain(answer["ref"]) for answer in answers.values()]
    # onnx-asr's on the same files is 9.8 %; two more words of 250 are allowed for
    assert jiwer.wer(references, [plain(transcript.text) for transcript in transcripts]) <= 0.12
