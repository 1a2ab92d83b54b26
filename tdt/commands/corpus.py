"""`tdt corpus`: lists of recordings into shards of texts, here or on a cluster; their error rates; a forecast."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tdt.commands.options import add
from tdt.errors import OptionError

if TYPE_CHECKING:
    import argparse

    from tdt.commands.messages import Messages
    from tdt.corpus import Settings, ShardRule, Speed

EPILOG = """\
examples:
  tdt corpus manifest.jsonl -o out                          this machine, all its cores
  tdt corpus 'shards/*.tar' -o out --model parakeet-tdt-0.6b-v3 --provider cuda   all its cards
  tdt corpus 's3://bucket/shards/*.tar' -o out --ray auto --workers 8 --gpus-per-worker 1 --provider cuda
  tdt corpus manifest.jsonl -o out --resume                 goes on where a run was stopped
  tdt corpus manifest.jsonl --dry-run                       shards, items, hours
  tdt corpus score out --references text --by speaker       error rates
  tdt corpus plan manifest.jsonl --rtfx 3000 --workers 64   how long it will take
  tdt corpus plan manifest.jsonl --like small --workers 64  the same, with what a small run of the kind has shown

OUT gets part-00000.jsonl and so on: the input's lines, with pred_text, or with error where an item failed. A part
appears whole, and is the same whatever the number of workers, their order, and however often the run was stopped.
Exit status: 0 all done, 1 some item or shard failed (the others are done), 2 wrong usage.
"""

ACTIONS = ("score", "plan")
FORMATS = ("jsonl", "parquet")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take the options from the table."""
    from tdt.quantization import NORMALIZERS

    add(
        parser, "corpora", "run_folder", "detail", "format", "resume", "root", "column", "shard_items", "dry_run",
        "model", "provider", "precision", "decoder", "weights", "threads", "ray", "workers", "gpus_per_worker",
        "channel", "batch_size", "chunk_seconds", "context_seconds", "max_memory", "no_second_look",
        "reference_key", "by", "normalizer", "rtfx", "like", "start_seconds", "json", "quiet",
        format={"choices": FORMATS, "default": "jsonl"}, normalizer={"choices": NORMALIZERS},
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Do what was asked for, and return the exit status."""
    from tdt.commands.messages import Messages

    action = args.inputs[0] if args.inputs[0] in ACTIONS else "label"
    inputs = args.inputs if action == "label" else args.inputs[1:]
    if not inputs:
        raise OptionError("INPUT", action, f"an input behind {action}; a file of that name is ./{action}")
    with Messages("tdt corpus", quiet=args.quiet) as messages:
        if action == "score":
            return _score(args, inputs)
        if action == "plan":
            return _plan(args, inputs, messages)
        if args.dry_run:
            return _dry_run(args, inputs)
        if args.output is None:
            raise OptionError("--output", None, "a folder for the texts: -o OUT")
        return _label(args, inputs, messages)


def _rule(args: argparse.Namespace) -> ShardRule:
    from tdt.corpus import ShardRule

    return ShardRule(args.shard_items)


def _settings(args: argparse.Namespace) -> Settings:
    from tdt.corpus import Settings

    names = ("model", "provider", "precision", "decoder", "weights", "detail", "channel", "batch_size",
             "chunk_seconds", "context_seconds")  # fmt: skip
    options: dict[str, Any] = {name: getattr(args, name) for name in names}
    options |= {
        "max_memory_bytes": args.max_memory,
        "second_look": not args.no_second_look,
        "root": None if args.root is None else str(Path(args.root).absolute()) if "://" not in args.root else args.root,
    }
    if args.model is not None and Path(args.model).is_dir():
        options["model"] = str(Path(args.model).absolute())
    return Settings(options, args.format, args.column)


def _label(args: argparse.Namespace, inputs: list[str], messages: Messages) -> int:
    from tdt.commands.corpus_progress import Watch
    from tdt.commands.interrupts import end_in_order
    from tdt.corpus import Hardware, label

    hardware = Hardware(args.workers, args.threads, args.gpus_per_worker, args.ray)
    end_in_order(60.0)
    try:
        with Watch(quiet=args.quiet) as watch:
            summary = label(
                inputs, args.output, _settings(args), rule=_rule(args), hardware=hardware, resume=args.resume,
                progress=watch,
            )  # fmt: skip
    except KeyboardInterrupt:
        messages.error("interrupted; the parts so far are complete, and --resume goes on")
        return 130
    if args.json:
        sys.stdout.write(json.dumps(summary, ensure_ascii=False) + "\n")
    if summary["failed"]:
        kinds = ", ".join(f"{count} {kind}" for kind, count in summary["errors"].items())
        messages.error(f"{summary['failed']} of {summary['items']} items failed ({kinds}); the others are done")
    elif not args.json:
        messages.warn(f"{summary['items']} items, {summary['hours']:.2f} h, {summary['rtfx'] or 0:.0f} x real time")
    return 1 if summary["failed"] else 0


def _dry_run(args: argparse.Namespace, inputs: list[str]) -> int:
    from tdt.corpus import Plan

    plan = Plan.of(inputs, _rule(args))
    told = {"shards": len(plan.identities), "items": plan.items, "hours": round(plan.seconds / 3600, 6),
            "unknown_durations": plan.unknown, "unread_shards": plan.unread}  # fmt: skip
    lines = [f"{told['shards']} shards, {told['items']} items, {told['hours']:.2f} h"]
    lines += [f"{plan.unknown} items do not say how long they are"] if plan.unknown else []
    lines += [f"{plan.unread} tars, whose items are counted when they are read"] if plan.unread else []
    sys.stdout.write(json.dumps(told) + "\n" if args.json else "\n".join(lines) + "\n")
    return 0


def _plan(args: argparse.Namespace, inputs: list[str], messages: Messages) -> int:
    from tdt.corpus import forecast, packs_of
    from tdt.longform import BatchRule

    if args.workers is None:
        raise OptionError("--workers", None, "a number, for plan")
    speed = _speed(args)
    known = [pack.lengths for pack in packs_of(inputs, _rule(args))]
    unknown = sum(lengths.count(None) for lengths in known)
    unread = sum(not lengths for lengths in known)
    if unknown or unread:
        messages.warn(f"{unknown} items and {unread} tars or tables do not say how long they are, and count as nothing")
    lengths = [[length or 0.0 for length in one] for one in known]
    rule = BatchRule() if args.batch_size is None else BatchRule.of(args.batch_size)
    found = forecast(
        lengths,
        rtfx=speed.rtfx,
        item_seconds=speed.item_seconds,
        workers=args.workers,
        start_seconds=args.start_seconds,
        rule=rule,
    )
    text = (
        f"{found.audio_seconds / 3600:.2f} h of sound in {found.shards} shards, {found.workers} workers\n"
        f"{found.wall_seconds / 3600:.3f} h ({found.wall_seconds:.0f} s), {found.rtfx:.0f} x real time, "
        f"{found.rtfx * 24:.0f} h a day\n"
        f"{found.padding_share:.1%} of what is computed is padding; the workers are busy {found.utilisation:.0%} of "
        f"the time; the last one ends {found.straggler_seconds:.0f} s after the first; the longest shard takes "
        f"{found.longest_shard_seconds:.0f} s\n"
    )
    sys.stdout.write(json.dumps(asdict(found) | {"rtfx": found.rtfx}) + "\n" if args.json else text)
    return 0


def _speed(args: argparse.Namespace) -> Speed:
    """Return how fast a worker is: as told, or as runs before have shown."""
    from tdt.corpus import Speed, shards_done, speed_of

    if (args.rtfx is None) == (args.like is None):
        raise OptionError("--rtfx", args.rtfx, "either a number or the folders of --like, for plan")
    if args.like is None:
        return Speed(args.rtfx)
    return speed_of([(shard.items, shard.audio_seconds, shard.seconds) for shard in shards_done(map(Path, args.like))])


def _score(args: argparse.Namespace, inputs: list[str]) -> int:
    from itertools import chain

    from tdt.corpus import read_lines, score
    from tdt.quantization import check_scoring, normalizer

    check_scoring(args.normalizer)
    parts = chain.from_iterable(read_lines(Path(folder)) for folder in inputs)
    scores = score(parts, args.references, normalizer(args.normalizer), args.by)
    if args.json:
        groups = {name: rate.as_dict() for name, rate in scores.groups.items()}
        sys.stdout.write(json.dumps({**scores.overall.as_dict(), "by": groups}, ensure_ascii=False) + "\n")
        return 0
    rows = [("all", scores.overall), *((f"{args.by}={name}", rate) for name, rate in scores.groups.items())]
    for name, rate in rows:
        wer, cer = (f"{value:.2%}" if value is not None else "-" for value in (rate.wer, rate.cer))
        more = [f"{rate.failed} failed"] * (rate.failed > 0)
        more += [f"{rate.unreferenced} without reference"] * (rate.unreferenced > 0)
        said = ", ".join([f"{rate.lines} lines", *more])
        sys.stdout.write(f"{name}: WER {wer}, CER {cer}, {rate.words} words in {said}\n")
    return 0
