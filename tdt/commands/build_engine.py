"""`tdt build-engine`: TensorRT-RTX engines ahead of time."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from tdt.errors import OptionError, TdtError

if TYPE_CHECKING:
    from tdt.quantization import BuiltEngine, LayerCount

EXAMPLES = """\
examples:
  tdt build-engine v3-int8 -o v3-rtx                      (for RTX 40 and RTX 50 cards: sm_89, sm_120)
  tdt build-engine v3-int8 -o v3-trt --provider tensorrt:0,int8                    (on the card, classic TensorRT)
  tdt build-engine v3-int8 -o v3-rtx --target sm_86 --max-batch 16 --max-seconds 60
  python -c "import tdt; tdt.load('v3-rtx', encoder_provider='tensorrt-rtx')"      (on the card)

Needs no GPU, only: pip install tensorrt-rtx-cu13-libs tensorrt-rtx-cu13-bindings
Exit status: 0 done, 1 the model cannot be built or has fewer int8 layers than asked, 2 wrong usage.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    parser.add_argument("model", metavar="MODEL", help="folder or name of a model, quantised or not")
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="folder for the engine and the model")
    parser.add_argument("--target", default="sm_89,sm_120", metavar="SM,...", help="cards (default: sm_89,sm_120)")
    parser.add_argument(
        "--provider",
        help="build with the classic TensorRT provider on this machine's card: tensorrt:0,int8,max_batch=16",
    )
    parser.add_argument("--precision", choices=["float32", "int8"], help="which encoder file, where there are two")
    parser.add_argument("--min-int8", type=int, metavar="N", help="fail with fewer int8 linear layers than this")
    parser.add_argument("--max-batch", type=int, default=8, help="largest batch (default: 8)")
    parser.add_argument("--opt-seconds", type=float, default=10.0, help="usual clip, tuned for (default: 10)")
    parser.add_argument("--max-seconds", type=float, default=40.0, help="longest clip (default: 40)")
    parser.add_argument("--overwrite", action="store_true", help="write into OUT though it holds something")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    """Build and return the exit status."""
    from tdt.quantization import Shapes, build_engine, parse_targets

    def announce(layers: LayerCount) -> None:
        sys.stderr.write(f"tdt build-engine: parsed; linear layers: {_counts(layers.linear)}. Building …\n")

    try:
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
    except TdtError as error:
        sys.stderr.write(f"tdt build-engine: {error}\n")
        return 2 if isinstance(error, OptionError) else 1
    sys.stdout.write(json.dumps(built.report) + "\n" if args.json else _summary(built))
    return 0


def _on_card(args: argparse.Namespace) -> int:
    from tdt.quantization import build_on_card

    built = build_on_card(args.model, args.output, args.provider, precision=args.precision, overwrite=args.overwrite)
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
