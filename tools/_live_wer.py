"""Word errors of live recognition by context, with the longest run of deleted words: what small contexts lose."""

from __future__ import annotations

import csv
import re
from typing import TYPE_CHECKING

import jiwer
import numpy as np
import soundfile
from _long_audio import EVAL, joined, read_clips, say

import tdt

if TYPE_CHECKING:
    from collections.abc import Sequence

# NeMo 3.0.0's chunked example over RECORDINGS with this model, by left-chunk-right; it counts words a little otherwise.
NEMO = {
    (10, 10, 5): 48,
    (10, 2, 2): 39,
    (5.6, 1.04, 1.04): 47,
    (5, 1, 0.5): 51,
    (10, 0.16, 3.84): 47,
    (2.4, 0.48, 0.48): 45,
    (1.6, 0.16, 0.16): 104,
}
NEMO_OFFLINE = 51
OURS = [(10, 1, 1), (5.04, 0.48, 0.48), (10, 2, 0.08)]  # the presets, and what little right context does
# Numbers of the evaluation clips that were joined, with 0.4 s of zeros between them.
RECORDINGS = [range(8), range(8, 16), range(16, 26), range(26, 35), range(35, 42)]
GAP = np.zeros(6400, np.float32)
MINUTES = 6


def wer() -> None:
    same, minute = _same_as_nemo(), _of_a_minute()
    say("| left-chunk-right | NeMo, errors | ours on the same | longest deletion | WER of minutes | longest |")
    say("|---|--:|--:|--:|--:|--:|")
    with tdt.load() as asr:
        say(_row("whole", NEMO_OFFLINE, [(asr.transcribe(samples).text, text) for samples, text in same],
                 [(asr.transcribe(samples).text, text) for samples, text in minute]))  # fmt: skip
        for contexts in [*NEMO, *OURS]:
            found = [
                [(_heard(asr, samples, contexts, restart), text) for samples, text in recordings]
                for recordings, restart in ((same, None), (minute, 2.0))
            ]
            say(_row("-".join(f"{value:g}" for value in contexts), NEMO.get(contexts), *found))


def _heard(asr: tdt.Recognizer, samples: np.ndarray, contexts: tuple[float, ...], restart: float | None) -> str:
    left, chunk, right = contexts
    with asr.live(left=left, chunk=chunk, right=right, restart=restart) as stream:
        stream.push(samples)
        stream.finish()
        return stream.transcript.text


def _same_as_nemo() -> list[tuple[np.ndarray, str]]:
    with (EVAL / "transcripts.tsv").open(encoding="utf-8") as file:
        rows = [(row["file"], row["text"]) for row in csv.DictReader(file, delimiter="\t")]
    by_number = {int(name[1:3]): (name, text) for name, text in rows}
    made = []
    for numbers in RECORDINGS:
        parts: list[np.ndarray] = []
        for number in numbers:
            parts += [soundfile.read(EVAL / by_number[number][0], dtype="float32")[0], GAP]
        made.append((np.concatenate(parts[:-1]), " ".join(by_number[number][1] for number in numbers)))
    return made


def _of_a_minute() -> list[tuple[np.ndarray, str]]:
    clips, made = read_clips(), []
    for seed in range(MINUTES):
        blocks = list(joined(clips, 60, "pause", seed))
        made.append((np.concatenate([block for block, _ in blocks]), " ".join(text for _, text in blocks)))
    return made


def _row(name: str, nemo: int | None, same: Sequence[tuple[str, str]], minute: Sequence[tuple[str, str]]) -> str:
    errors, _, longest = _errors(same)
    of_minutes, words, longest_of_minutes = _errors(minute)
    return (
        f"| {name} | {'' if nemo is None else nemo} | {errors} | {longest} | {100 * of_minutes / words:.1f} % "
        f"| {longest_of_minutes} |"
    )


def _errors(pairs: Sequence[tuple[str, str]]) -> tuple[int, int, int]:
    """Return errors, words, and the longest run of words that are missing."""
    output = jiwer.process_words([_normal(text) for _, text in pairs], [_normal(heard) for heard, _ in pairs])
    runs = [
        chunk.ref_end_idx - chunk.ref_start_idx
        for alignment in output.alignments
        for chunk in alignment
        if chunk.type == "delete"
    ]
    errors = output.substitutions + output.deletions + output.insertions
    return errors, output.hits + output.substitutions + output.deletions, max(runs, default=0)


def _normal(text: str) -> str:
    return " ".join(re.sub(r"[^\w' -]", "", text.lower()).split())
