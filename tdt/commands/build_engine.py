"""`tdt build-engine`: TensorRT-RTX engines ahead of time."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from tdt.commands.options import add

if TYPE_CHECKING:
    import argparse

    from tdt.quantization import BuiltEngine, LayerCount

EPILOG = """\
examples:
  tdt build-engine v3-int8 -o v3-rtx                      (for RTX 40 and RTX 50 cards: sm_89, sm_120)
  tdt build-engine v3-int8 -o v3-trt --provider tensorrt:0,int8                    (on the card, classic TensorRT)
  tdt build-engine v3 -o v3-trt --provider tensorrt:0,fp16,engines=2,max_batch=32  (two: for one clip, and for batches)
  tdt build-engine v3-int8 -o v3-rtx --target sm_86 --max-batch 16 --max-seconds 60
  python -c "import tdt; tdt.load('v3-rtx', encoder_provider='tensorrt-rtx')"      (on the card)

Needs no GPU, only: pip install tensorrt-rtx-cu13-libs tensorrt-rtx-cu13-bindings
Exit status: 0 done, 1 the model cannot be built or has fewer int8 layers than asked, 2 wrong usage.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take the options from the table."""
    add(
        parser, "model_argument", "precision", "card", "target", "min_int8", "max_batch", "opt_seconds",
        "engine_seconds", "model_folder", "overwrite", "json",
        model_argument={"shown": ""},
        model_folder={"required": True},
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Build and return the exit status."""
    from tdt.quantization import Shapes, build_engine, parse_targets

    def announce(layers: LayerCount) -> None:
        sys.stderr.write(f"tdt build-engine: parsed; linear layers: {_counts(layers.linear)}. Building …\n")

    if args.provider:
        return _on_card(args)
    built = build_engine(
        args.model,
        args.output,
        targets=parse_targets(args.target),
        shapes=Shapes(args.max_batch, args.opt_seconds, args.max_seconds),
        precision=args.precision,
        min_int8=args.min_int8,
        overwrite=args.overwrite,
        check=announce,
    )
    sys.stdout.write(json.dumps(built.report) + "\n" if args.json else _summary(built))
    return 0


def _on_card(args: argparse.Namespace) -> int:
    from dataclasses import asdict, replace

    from tdt.quantization import Shapes, build_on_card
    from tdt.runtime import Backend

    # What is said by options of the command counts as if it were said in the provider string.
    said = {name: value for name, value in asdict(Shapes()).items() if getattr(args, name) != value}
    backend = replace(Backend.parse(args.provider), **{name: getattr(args, name) for name in said})
    built = build_on_card(args.model, args.output, backend, precision=args.precision, overwrite=args.overwrite)
    if args.json:
        sys.stdout.write(json.dumps(built.report) + "\n")
    else:
        sizes = ", ".join(f"{item['file']} ({item['bytes'] / 1e6:.1f} MB)" for item in built.report["engines"])
        sys.stdout.write(f"{built.folder}: {sizes or 'no engine'}\nuse it with --provider {built.provider}\n")
    return 0


def _counts(table: dict[str, Any]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(table.items())) or "none"


def _summary(built: BuiltEngine) -> str:
    report, layers = built.report, built.report["layers"]
    size, cards = f"{report['bytes'] / 1e6:.1f} MB", ", ".join(report["targets"])
    lines = [
        f"{built.folder / report['engine']}: {size} for {cards} (TensorRT-RTX {report['tensorrt_rtx']})",
        f"linear layers:       {_counts(layers['linear'])}",
        f"attention products:  {_counts(layers['attention'])}",
        f"convolutions:        {_counts(layers['convolution'])}",
        "These counts are of the parsed network; which kernels a card takes, only the card can tell.",
    ]
    return "\n".join(lines) + "\n"
