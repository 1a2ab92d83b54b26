#!/usr/bin/env python3
"""Word error rates with phrases, a language model and beams on the evaluation clips, beside NeMo's own.

    tools/wer_fusion.py                          a table for the bundled model
    tools/wer_fusion.py --picture weights.png    what a weight of phrases buys and costs: planted words heard, damage

NeMo's figures are those of NeMo 3.0.0 (tests/data/strategies/wer_all_eval.json), where the phrases are the same.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

import jiwer

import tdt

DATA = Path(__file__).resolve().parents[1] / "tests/data"
WEIGHTS = (0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0)
DISTRACTORS = "distractors"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", type=Path, help="draw recall and damage over the weight (needs the plot extra)")
    options = parser.parse_args()
    with tdt.load() as asr:
        clips = Clips(asr)
        if options.picture:
            curves = weights_table(clips)
            draw(curves, options.picture)
        else:
            strategies_table(clips)
    return 0


class Clips:
    """The evaluation clips, encoded once, and what is said in them."""

    def __init__(self, asr: tdt.Recognizer) -> None:
        lines = (DATA / "eval/transcripts.tsv").read_text(encoding="utf-8").splitlines()
        rows = [line.split("\t") for line in lines if ".flac\t" in line]
        self.asr = asr
        self.spoken = [words(row[1]) for row in rows]
        audio = [DATA / "eval" / row[0] for row in rows]
        self.encoded = [asr.encode(asr.features(path)) for path in audio]

    def heard(self, **known: Any) -> list[str]:
        """Return the words of each clip."""
        found = [self.asr.decode(encoded, **known)[0] for encoded in self.encoded]
        return [words(self.asr.transcript(one, 1e4).text) for one in found]

    def errors(self, heard: list[str]) -> int:
        """Return the word errors over all clips."""
        result = jiwer.process_words(self.spoken, heard)
        return result.substitutions + result.deletions + result.insertions

    def count(self) -> int:
        """Return the words that are spoken."""
        return sum(len(text.split()) for text in self.spoken)


def distractors() -> list[str]:
    """Return phrases that are never spoken."""
    return list(json.loads((DATA / "strategies/boosting.json").read_text(encoding="utf-8"))["lists"][DISTRACTORS])


def words(text: str) -> str:
    """Return small letters without marks and hyphens, as NeMo's figures count."""
    return " ".join(re.sub(r"[.,?!-]", " ", text.lower()).split())


def strategies_table(clips: Clips) -> None:
    """Print ours and NeMo's errors for each strategy of NeMo's file that the product has."""
    nemo = json.loads((DATA / "strategies/wer_all_eval.json").read_text(encoding="utf-8"))
    lm = tdt.NgramLM.read(DATA / "strategies/lm/tiny3.arpa")
    lists = {"missed": nemo["missed_words"], DISTRACTORS: distractors()}
    print("| strategy | errors | WER | NeMo's errors |\n|---|---|---|---|")
    for name, known in strategies(nemo["wer"], lists, lm):
        errors, total = clips.errors(clips.heard(**known)), clips.count()
        theirs = "other phrases" if DISTRACTORS in name else nemo["wer"][name]["errors"]
        print(f"| {name} | {errors} of {total} | {100 * errors / total:.1f} % | {theirs} |")


def strategies(names: Any, lists: dict[str, list[str]], lm: tdt.NgramLM) -> list[tuple[str, dict[str, Any]]]:
    """Read NeMo's names: strategy and beam, lm with its weight, a list of phrases with its weight, how blanks score."""
    found = []
    for name in names:
        known: dict[str, Any] = {}
        parts = name.split("/")
        if beam := re.fullmatch(r"malsd(\d+)", parts[0]):
            score = "no_score" if "no_score" in parts else "lm_weighted_full"
            known["beam"] = tdt.Beam(int(beam[1]), blank_score=score)
        elif parts[0] != "greedy":
            continue
        for part, following in zip(parts, [*parts[1:], ""], strict=True):
            if set(part.split("+")) <= lists.keys():
                phrases = [phrase for listed in part.split("+") for phrase in lists[listed]]
                known["phrases"] = tdt.Phrases(phrases, weight=float(following.removeprefix("a")), as_nemo=True)
            if weight := re.fullmatch(r"lm([\d.]+)", part):
                known["lm"], known["lm_weight"] = lm, float(weight[1])
        found.append((name, known))
    return found


def weights_table(clips: Clips) -> list[dict[str, float]]:
    """Print and return, by weight: the planted words that are heard, and the errors in all others."""
    nemo = json.loads((DATA / "strategies/wer_all_eval.json").read_text(encoding="utf-8"))
    planted = {word for phrase in nemo["missed_words"] for word in words(phrase).split()}
    rows = []
    print("| weight | planted words heard | errors elsewhere | WER |\n|---|---|---|---|")
    for weight in (0.0, *WEIGHTS):
        phrases = tdt.Phrases([*nemo["missed_words"], *distractors()], weight=weight)
        heard = clips.heard(phrases=phrases)
        there, found, elsewhere = planted_and_others(clips.spoken, heard, planted)
        row = {
            "weight": weight,
            "recall": found / there,
            "elsewhere": float(elsewhere),
            "wer": clips.errors(heard) / clips.count(),
        }
        rows.append(row)
        print(f"| {weight:g} | {found} of {there} | {elsewhere} | {100 * row['wer']:.1f} % |")
    return rows


def planted_and_others(spoken: list[str], heard: list[str], planted: set[str]) -> tuple[int, int, int]:
    """Return how often planted words are spoken, how often they are heard there, and the errors in other words."""
    there = found = elsewhere = 0
    result = jiwer.process_words(spoken, heard)
    for said, chunks in zip(result.references, result.alignments, strict=True):
        for chunk in chunks:
            for place in range(chunk.ref_start_idx, chunk.ref_end_idx):
                is_planted = said[place] in planted
                there += is_planted
                found += is_planted and chunk.type == "equal"
                elsewhere += not is_planted and chunk.type != "equal"
            elsewhere += chunk.hyp_end_idx - chunk.hyp_start_idx if chunk.type == "insert" else 0
    return there, found, elsewhere


def draw(rows: list[dict[str, float]], path: Path) -> None:
    """Draw both curves."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, left = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    weights = [row["weight"] for row in rows]
    left.plot(weights, [100 * row["recall"] for row in rows], "o-", color="tab:blue", label="planted words heard, %")
    left.plot(weights, [100 * row["wer"] for row in rows], "s--", color="tab:gray", label="word error rate, %")
    left.set(xlabel="weight of the phrases", ylabel="%", ylim=(0, None))
    right = left.twinx()
    right.plot(weights, [row["elsewhere"] for row in rows], "^-", color="tab:red", label="errors in other words")
    right.set(ylabel="errors", ylim=(0, None))
    figure.legend(loc="outside upper center", ncols=3, fontsize="small")
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    sys.exit(main())
