"""`tdt convert`: a fine-tuned checkpoint becomes a model folder, or a model changes its layout."""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import TYPE_CHECKING

from tdt.commands.options import add

if TYPE_CHECKING:
    import argparse

    from tdt.conversion import Converted

EPILOG = """\
examples:
  tdt convert fine-tuned.nemo -o model                             (onto the published graphs of its architecture)
  tdt convert fine-tuned.nemo -o model --graph v3/ --layout sherpa-onnx
  tdt convert transformers/ -o model --graph parakeet-tdt-0.6b-v3  (model.safetensors and the .json beside it)
  tdt convert model/ -o other --layout sherpa-onnx                 (the same weights in the other layout)

Nothing of a checkpoint is run: its pickle may hold tensors and plain containers, and anything else is refused by name.
Exit status: 0 done, 1 the checkpoint or the graphs cannot be used, 2 wrong usage; OUT is then as it was.
"""

_SHOWN = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take the options from the table."""
    from tdt.conversion import LAYOUTS

    add(
        parser, "converted", "graph", "layout", "precision", "model_folder", "overwrite", "json", "quiet",
        layout={"choices": LAYOUTS}, model_folder={"required": True},
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Convert, say what became of what, and return the exit status."""
    from tdt.commands.messages import Messages
    from tdt.commands.progress import Bars
    from tdt.conversion import convert

    with Messages("tdt convert", quiet=args.quiet), Bars(quiet=args.quiet) as bars:
        done = convert(
            args.checkpoint, args.output, graph=args.graph, layout=args.layout, precision=args.precision,
            overwrite=args.overwrite, progress=bars,
        )  # fmt: skip
    sys.stdout.write(json.dumps(done.as_json()) + "\n" if args.json else _summary(done))
    return 0


def _summary(done: Converted) -> str:
    lines = [f"{done.folder}: {done.layout} layout, {done.bytes / 1e6:.1f} MB, ran once on noise"]
    if done.replaced:
        counts = ", ".join(f"{count} in {role}" for role, count in done.replaced.items())
        lines.append(f"from {done.source}'s checkpoint: {len(done.used)} tensors used, onto the graphs of {done.graph}")
        lines.append(f"weights replaced: {counts}")
        kept = [f"{name} ({role})" for role, names in done.kept.items() for name in names]
        lines.append(f"constants kept: {_listed(kept)}")
        lines.append(f"tensors not used: {_listed(_grouped(done.unused))}")
    else:
        lines.append(f"the graphs of {done.graph}, brought from the {done.source} layout")
    lines.append(f"check it with: tdt doctor --model {done.folder}")
    return "\n".join(lines) + "\n"


def _grouped(names: tuple[str, ...]) -> list[str]:
    """Return names, those that differ in a layer's number alone as one."""
    groups = Counter(".".join("*" if part.isdigit() else part for part in name.split(".")) for name in names)
    return [name if count == 1 else f"{name} ({count})" for name, count in groups.items()]


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more or "none"
