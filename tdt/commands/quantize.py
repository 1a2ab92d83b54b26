"""`tdt quantize`: calibrate on recordings and write a static int8 model, or a float16 one without."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tdt.commands.options import OPTIONS, add
from tdt.errors import OptionError
from tdt.profiling import check_writable

if TYPE_CHECKING:
    import argparse

    from tdt.quantization import Calibrated, HalfModel, Level, Linear, Options, Quantised, Ranked, Recipe, SourceModel

EPILOG = """\
examples:
  tdt quantize parakeet-tdt-0.6b-v3 --audio recordings/ -o v3-int8
  tdt quantize parakeet-tdt-0.6b-v3 --precision float16 -o v3-fp16      (for cards; needs no recordings)
  tdt quantize model/ --audio a.wav b.flac -o out --body float16        (typed graph for TensorRT 11 and RTX)
  tdt quantize model/ --audio recordings/ -o out --exclude 'layers.23.*' --method mse
  tdt quantize model/ --audio recordings/ --sensitivity                 (rank the layers, write no model)
  tdt quantize model/ --audio recordings/ -o out --budget 0.03          (keep the encoder's error under 3 %)

A model in float16 is taken, too: its encoder becomes float32 first, with the numbers that it has.
Interrupted with Ctrl-C, calibration goes on where it was when the same command is given again.
Exit status: 0 done, 1 the model or the audio cannot be used, 2 wrong usage, 130 interrupted.
"""


# Mean something only where numbers are quantised.
_INT8_ONLY = (
    "include", "exclude", "body", "method", "percentile", "smoothquant", "no_narrow", "no_centre", "sensitivity",
    "budget", "plot",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take the options from the table."""
    from tdt.quantization import BODIES, DECODER_WEIGHTS, LEVELS, METHODS

    add(
        parser, "model_argument", "provider", "threads", "audio", "calibration_seconds", "numbers", "include",
        "exclude", "body", "decoder_weights", "method", "percentile", "smoothquant", "no_narrow", "no_centre",
        "sensitivity", "sensitivity_seconds", "budget", "model_folder", "overwrite", "plot", "json", "quiet",
        model_argument={"shown": ""},
        audio={"required": False, "shown": "needed for int8; float16 keeps what comes near its end in float32"},
        numbers={"choices": ("int8", "float16")},
        body={"choices": BODIES},
        decoder_weights={"choices": DECODER_WEIGHTS},
        method={"choices": METHODS},
        sensitivity={"choices": LEVELS},
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Quantise, or rank, and return the exit status."""
    from tdt.commands.progress import Bars

    try:
        _check(args)
        with Bars(quiet=args.quiet) as bars:
            return _halve(args, bars) if args.precision == "float16" else _work(args, bars)
    except KeyboardInterrupt:
        goes_on = args.output and args.precision == "int8"
        where = "; the same command goes on from here" if goes_on else ""
        sys.stderr.write(f"tdt quantize: interrupted{where}.\n")
        return 130


def _check(args: argparse.Namespace) -> None:
    if args.precision == "float16":
        _check_half(args)
        return
    if not args.audio:
        raise OptionError("--audio", None, "recordings to calibrate on (or --precision float16, which needs none)")
    check_writable(args.plot)
    if args.plot:
        from tdt.profiling import require_plotting

        require_plotting()
    if not args.output and not args.sensitivity:
        raise OptionError("--output", None, "a folder for the model (or --sensitivity, to rank layers only)")
    if args.plot and not (args.sensitivity or args.budget):
        raise OptionError("--plot", args.plot, "--sensitivity or --budget beside it: there is nothing else to draw")


def _check_half(args: argparse.Namespace) -> None:
    if not args.output:
        raise OptionError("--output", None, "a folder for the model")
    for name in _INT8_ONLY:
        option = OPTIONS[name]
        value = getattr(args, name)
        if value and value != option.default:
            raise OptionError(
                option.flags[-1], value, "--precision int8: float16 has nothing to calibrate or to choose"
            )


def _recipe(args: argparse.Namespace) -> Recipe:
    from tdt.quantization import Recipe

    return Recipe(
        include=tuple(args.include),
        exclude=tuple(args.exclude),
        method=args.method,
        percentile=args.percentile,
        smoothquant=args.smoothquant,
        body=args.body,
        decoder_weights=args.decoder_weights,
        narrow=not args.no_narrow,
        centre=not args.no_centre,
    )


def _work(args: argparse.Namespace, bars: object) -> int:
    from tdt.quantization import Options, open_source

    recipe = _recipe(args)
    options = Options(args.max_seconds, args.provider, args.threads, args.overwrite, bars)  # type: ignore[arg-type]
    with open_source(args.model) as source:
        return _calibrate(args, source, recipe, options)


def _calibrate(args: argparse.Namespace, source: SourceModel, recipe: Recipe, options: Options) -> int:
    import tempfile

    from tdt.quantization import calibrate_source, check_output, load_clips, write_model

    folder = Path(args.output) if args.output else None
    if folder is not None:
        check_output(folder, source, overwrite=args.overwrite)
    audio = load_clips(args.audio, options)
    with tempfile.TemporaryDirectory() as temporary:
        state = (folder or Path(temporary)) / ".calibration"
        calibrated = calibrate_source(source, audio, recipe, options, state)
    linears, notes = calibrated.linears, dict[str, object]()
    ranked: list[Ranked] = []
    if args.sensitivity or args.budget:
        linears, notes, ranked = _study(args, calibrated, recipe, options)
    if folder is None:
        sys.stdout.write(json.dumps(notes) + "\n" if args.json else _ranking(ranked))
        return 0
    result = write_model(calibrated, linears, folder, recipe, notes)
    sys.stdout.write(json.dumps(result.sidecar) + "\n" if args.json else _ranking(ranked) + _summary(result))
    return 0


def _halve(args: argparse.Namespace, bars: object) -> int:
    from tdt.quantization import Options, to_half

    options = Options(args.max_seconds, args.provider, args.threads, args.overwrite, bars)  # type: ignore[arg-type]
    half = to_half(
        args.model, args.output, audio=args.audio or (), decoder_weights=args.decoder_weights, options=options
    )
    sys.stdout.write(json.dumps(half.sidecar) + "\n" if args.json else _half_summary(half))
    return 0


def _half_summary(half: HalfModel) -> str:
    nodes, weights = half.sidecar["nodes"], half.sidecar["weights"]
    left = nodes["kept_in_float32"]
    size = f"{half.encoder_bytes / 1e6:.1f} MB of {half.source_bytes / 1e6:.1f} MB"
    lost = f"{weights['subnormal']} lose digits, {weights['vanished']} become zero"
    lines = [
        f"{half.folder}: {nodes['float16']} nodes in float16, {len(left)} left in float32 for float16's range",
        f"encoder {size} ({half.encoder_bytes / half.source_bytes:.3f}x)",
        f"{weights['values']} weights, the largest {weights['largest']:g}; {lost}",
    ]
    if "measured" in half.sidecar:
        largest = half.sidecar["measured"]["largest"]
        heard = half.sidecar["measured"]["seconds"]
        lines.append(f"largest value in {heard:.1f} s of audio: {largest['magnitude']:.1f} in {largest['value']}")
    lines.append(f"compare it with: tdt compare MODEL {half.folder} --audio PATH")
    return "\n".join(lines) + "\n"


def _study(
    args: argparse.Namespace, calibrated: Calibrated, recipe: Recipe, options: Options
) -> tuple[tuple[Linear, ...], dict[str, object], list[Ranked]]:
    from dataclasses import asdict

    from tdt.quantization import Bench, choose, draw_sensitivity, rank

    level: Level = args.sensitivity or "layer-part"
    bench = Bench(calibrated, recipe, level, args.sensitivity_seconds, args.provider, args.threads)
    try:
        ranked = rank(bench, options.progress)
        together = bench.damage(list(bench.groups))
        notes: dict[str, object] = {
            "sensitivity": [item.as_json() for item in ranked],
            "all_in_int8": asdict(together),
        }
        linears = calibrated.linears
        if args.budget is not None:
            choice = choose(ranked, bench.damage, args.budget, options.progress)
            notes["budget"] = {"bound": args.budget, **asdict(choice)}
            linears = tuple(layer.linear for name in choice.quantised for layer in bench.groups[name])
    finally:
        bench.close()
    if args.plot:
        draw_sensitivity(ranked, Path(args.plot))
    return linears, notes, ranked


def _ranking(ranked: list[Ranked]) -> str:
    if not ranked:
        return ""
    width = max(len(item.name) for item in ranked)
    lines = [f"{'group':{width}}  error, %  worst cosine  tokens changed, %"]
    lines += [
        f"{item.name:{width}}  {100 * item.damage.error:8.3f}  {item.damage.worst_cosine:12.5f}  "
        f"{100 * item.damage.tokens_changed:17.2f}"
        for item in ranked
    ]
    return "\n".join(lines) + "\n"


def _summary(result: Quantised) -> str:
    content = result.sidecar
    audio, left = content["calibration"], len(content["left_in_float"])
    sizes = f"{result.encoder_bytes / 1e6:.1f} MB of {result.source_bytes / 1e6:.1f} MB"
    heard = f"{audio['sounding_seconds']:.1f} s of sound, {len(audio['clips'])} recordings"
    lines = [
        f"{result.folder}: {result.layers} matrix products in int8, {left} left in float",
        f"encoder {sizes} ({result.encoder_bytes / result.source_bytes:.3f}x)",
        f"calibrated on {audio['seconds']:.1f} s of audio ({heard}, {len(audio['skipped'])} files skipped)",
        f"{result.narrow_columns} columns kept to 7 bits for CPUs without VNNI",
    ]
    if "budget" in content:
        budget = content["budget"]
        error = f"{100 * budget['damage']['error']:.2f} %" if budget["damage"] else "none"
        left_out = ", ".join(budget["left"]) or "nothing"
        lines.append(f"budget {100 * budget['bound']:.2f} %: error {error}, left in float: {left_out}")
    lines.append(f"compare it with: tdt compare MODEL {result.folder} --audio PATH")
    return "\n".join(lines) + "\n"
