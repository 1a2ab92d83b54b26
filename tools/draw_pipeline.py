#!/usr/bin/env python3
"""Draw the pipeline with its shapes: tools/readme/pipeline.svg, readable on light and dark pages.

    tools/draw_pipeline.py [FILE]

The example on the right is a bundled recording; tests/test_readme.py runs it and holds the numbers to what comes out.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from xml.sax.saxutils import escape

PICTURE = Path(__file__).parent / "readme" / "pipeline.svg"
WIDTH, LEFT, BOX_WIDTH = 880, 48, 784
BOX, DECODING, GAP = 56, 180, 54  # heights: of a stage, of the one that is a loop, between two
SPINE, EXAMPLE = 150, 612  # x of the arrows between the stages, and of the example
HYPOTHESIS = "Hypothesis: token_ids, frames, durations [N] int32"
EXAMPLE_NAME = "06_digits_theo.flac, bundled model"
BATCH = "a batch of clips, or of windows: what is longer than a minute is cut at pauses (tdt/longform/)"

STYLE = """
    text { font-family: -apple-system, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif; font-size: 14px }
    .page { fill: #ffffff } .box { fill: #f3f5f8; stroke: #8c959f } .part { fill: #ffffff; stroke: #8c959f }
    .group { fill: none; stroke: #8c959f; stroke-dasharray: 5 4 }
    .line { fill: none; stroke: #59636e; stroke-width: 1.5 }
    .head { fill: #59636e } .ink { fill: #1f2328 } .name { fill: #1f2328; font-weight: 600; font-size: 15px }
    .soft { fill: #59636e; font-size: 13px } .shape, .example, .path { font-size: 13px }
    .shape, .example, .path { font-family: ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace }
    .shape { fill: #1f2328 } .example { fill: #0550ae } .path { fill: #59636e }
    @media (prefers-color-scheme: dark) {
      .page { fill: #0d1117 } .box { fill: #1a2029; stroke: #656c76 } .part { fill: #0d1117; stroke: #656c76 }
      .group { stroke: #656c76 } .line { stroke: #9198a1 } .head, .soft, .path { fill: #9198a1 }
      .ink, .name, .shape { fill: #e6edf3 } .example { fill: #79c0ff }
    }"""


def text(x: float, y: float, words: str, kind: str, anchor: str = "start") -> str:
    place = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text class="{kind}" x="{x:g}" y="{y:g}"{place}>{escape(words)}</text>'


def rectangle(x: float, y: float, width: float, height: float, kind: str) -> str:
    return f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6"/>'


def arrow(path: str) -> str:
    """Return a line that ends in a head, along an SVG path."""
    return f'<path class="line" marker-end="url(#head)" d="{path}"/>'


def stage(y: float, name: str, does: str, path: str, height: float = BOX) -> list[str]:
    """Return a stage's box: its name, what it does, and where its code is."""
    return [
        rectangle(LEFT, y, BOX_WIDTH, height, "box"),
        text(LEFT + 16, y + 33, name, "name"),
        text(SPINE + 32, y + 33, does, "ink"),
        text(LEFT + BOX_WIDTH - 16, y + 33, path, "path", "end"),
    ]


def between(y: float, shape: str, means: str, example: str, height: float = GAP) -> list[str]:
    """Return what passes to the next stage: an arrow, the value with its shape, its meaning, and the example."""
    return [
        arrow(f"M{SPINE} {y} v{height - 7}"),
        text(SPINE + 32, y + 22, shape, "shape"),
        text(SPINE + 32, y + 40, means, "soft"),
        text(EXAMPLE, y + 22, example, "example"),
    ]


def loop(top: float) -> list[str]:
    """Return what decoding does: joint, rule and prediction network, and how each leads to the next."""
    joint, rule, predictor, part = LEFT + 24, LEFT + 290, LEFT + 566, 54
    middle, bottom = top + part / 2, top + part
    parts = []
    for x, width, name, does in (
        (joint, 176, "joint", "one frame, one label"),
        (rule, 186, "rule", "best token, best duration"),
        (predictor, 194, "prediction network", "LSTM, after each token"),
    ):
        parts += [
            rectangle(x, top, width, part, "part"),
            text(x + width / 2, top + 23, name, "name", "middle"),
            text(x + width / 2, top + 42, does, "soft", "middle"),
        ]
    return [
        *parts,
        arrow(f"M{joint + 176} {middle} H{rule - 8}"),
        text((joint + 176 + rule) / 2 - 3, middle - 8, "logits", "soft", "middle"),
        text((joint + 176 + rule) / 2 - 3, middle + 18, "[262]", "example", "middle"),
        arrow(f"M{rule + 186} {middle} H{predictor - 8}"),
        text((rule + 186 + predictor) / 2 - 3, middle - 8, "token", "soft", "middle"),
        arrow(f"M{predictor + 97} {top} v-22 H{joint + 88} v14"),
        text(rule + 93, top - 28, "prediction", "soft", "middle"),
        text(rule + 130, top - 28, "[160]", "example"),
        arrow(f"M{rule + 93} {bottom} v22 H{joint + 88} v-14"),
        text(rule + 105, bottom + 27, "go on by the duration; a blank emits nothing", "soft"),
    ]


def picture() -> str:
    """Return the whole drawing."""
    audio = 66
    features = audio + BOX + GAP + 20
    encoder = features + BOX + GAP
    decoding = encoder + BOX + GAP
    written = decoding + DECODING + GAP + 44
    end = written + BOX + GAP
    parts = [
        text(SPINE + 32, 30, "a file, bytes, a stream or an array, of any format, rate and channel count", "ink"),
        text(EXAMPLE, audio + BOX + 40, EXAMPLE_NAME, "soft"),
        arrow(f"M{SPINE} 20 V{audio - 7}"),
        *stage(audio, "audio", "decode, mix to one channel, resample", "tdt/audio/"),
        *between(audio + BOX, "samples [n] float32", "16 kHz, −1 to 1", "[67953]", GAP + 20),
        rectangle(LEFT - 20, features - 22, BOX_WIDTH + 40, written - features, "group"),
        *stage(features, "features", "pre-emphasis, STFT, mel bands, log, normalise", "kernels/logmel/"),
        *between(features + BOX, "Features.frames [B, n_mels, T] float32", "a frame each 10 ms", "[1, 128, 425]"),
        *stage(encoder, "encoder", "FastConformer on ONNX Runtime", "tdt/encoding/"),
        *between(encoder + BOX, "Encoded.frames [B, T', D] float32", "a frame each 80 ms", "[1, 53, 144]"),
        *stage(decoding, "decoding", "greedy, all utterances of a batch in lockstep", "kernels/decoder/", DECODING),
        *loop(decoding + 82),
        *between(decoding + DECODING, HYPOTHESIS, "logprobs [N] float32", "[18]", GAP + 44),
        text(LEFT + BOX_WIDTH, written - 36, BATCH, "soft", "end"),
        *stage(written, "text", "words, segments, seconds, confidences", "tdt/text/"),
        *between(
            written + BOX, "Transcript: text, tokens, words, segments", "txt, json, srt, vtt", "Seven, four, eight, …"
        ),
    ]
    height = end + 8
    body = "\n  ".join(parts)
    size = f'viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" height="{height:g}"'
    head = 'id="head" viewBox="0 0 8 8" refX="1" refY="4" markerWidth="8" markerHeight="8" markerUnits="userSpaceOnUse"'
    return f"""<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">
  <title>From audio to text: samples, features, encoder frames, hypotheses, transcripts</title>
  <style>{STYLE}
  </style>
  <defs><marker {head} orient="auto"><path class="head" d="M0 0 L8 4 L0 8 z"/></marker></defs>
  <rect class="page" width="{WIDTH}" height="{height:g}" rx="8"/>
  {body}
</svg>
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, default=PICTURE)
    parser.parse_args().file.write_text(picture(), encoding="utf-8")


if __name__ == "__main__":
    main()
