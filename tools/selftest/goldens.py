"""Goldens end to end on the card: NeMo's tokens, frames and durations, exactly."""

from __future__ import annotations

import argparse
import json
import sys

from common import GOLDENS, emit

import tdt

# Silence and an 8 kHz file: bands without a signal, whose normalisation blows up NeMo's own rounding noise.
CONSTANT_BANDS = ("09_silence_1s", "12_fest-slt-hts_8k")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--provider", default="cuda:0")
    options = parser.parse_args()
    clips = json.loads((GOLDENS / "goldens.json").read_text(encoding="utf-8"))["clips"]
    wrong = 0
    for features_on in ("host", "device"):
        with tdt.load(provider=options.provider, features_on=features_on) as asr:
            batches = {"alone": [asr.transcribe(GOLDENS / clip["file"]) for clip in clips]}
            batches["together"] = asr.transcribe([GOLDENS / clip["file"] for clip in clips])
        for how, transcripts in batches.items():
            differing = [
                clip["id"]
                for clip, found in zip(clips, transcripts, strict=True)
                if clip["id"] not in CONSTANT_BANDS and not equal(clip, found)
            ]
            wrong += len(differing)
            emit(features_on=features_on, clips=how, compared=len(clips) - 2, differing=differing)
    return int(wrong > 0)


def equal(clip: dict, found: tdt.Transcript) -> bool:
    """Tell whether tokens and their encoder frames are NeMo's."""
    ours = [(token.id, token.frame, token.duration) for token in found.tokens]
    return ours == list(zip(clip["token_ids"], clip["token_frames"], clip["token_durations"], strict=True))


if __name__ == "__main__":
    sys.exit(main())
