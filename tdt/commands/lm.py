"""`tdt lm`: make a language model of a model's pieces from text, look at one, or measure how well it fits text."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tdt.commands.options import add
from tdt.errors import OptionError

if TYPE_CHECKING:
    import argparse

    from tdt.fusion import Vocabulary

EPILOG = """\
examples:
  tdt lm build corpus.txt --model parakeet-tdt-0.6b-v3 -o domain.arpa    a sentence a line, as it is spoken
  tdt lm build *.txt -o domain.arpa.gz --order 4 --prune 0,0,1           without what occurs once, from order 3 on
  tdt lm inspect domain.arpa --model parakeet-tdt-0.6b-v3                orders, numbers, which pieces it knows
  tdt lm score domain.arpa heldout.txt                                   perplexity: the less, the better it fits

A language model belongs to the vocabulary of one model: its symbols are pieces, in NeMo's encoding.
Exit status: 0 done, 1 a file or the model cannot be used, 2 wrong usage.
"""

ACTIONS = ("build", "inspect", "score")
_SIGNS_SHOWN = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take the options from the table."""
    from tdt.fusion import ESTIMATORS

    add(parser, "lm_action", "lm_files", "model", "order", "prune", "estimator", "arpa", "json", "quiet",
        lm_action={"choices": ACTIONS}, estimator={"choices": ESTIMATORS})  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Do what was asked for, print what came of it, and return the exit status."""
    from tdt.commands.messages import Messages

    if args.output is None and args.action == "build":
        raise OptionError("--output", None, "a file for the language model, such as domain.arpa")
    if args.output is not None and args.action != "build":
        raise OptionError("--output", args.output, "`tdt lm build`: nothing else writes a file")
    with Messages("tdt lm", quiet=args.quiet):
        found = {"build": _build, "inspect": _inspect, "score": _score}[args.action](args)
    for values, lines in found:
        sys.stdout.write(json.dumps(values, ensure_ascii=False) + "\n" if args.json else "\n".join(lines) + "\n")
    return 0


def _build(args: argparse.Namespace) -> list[tuple[dict[str, Any], list[str]]]:
    from tdt.commands.progress import Bars
    from tdt.fusion import NgramLM, build_model

    with Bars(quiet=args.quiet) as bars:
        built = build_model([Path(name) for name in args.files], _vocabulary(args.model), Path(args.output),
                            order=args.order, prune=args.prune, estimator=args.estimator, progress=bars)  # fmt: skip
    lm = NgramLM.read(built.path)
    corpus = built.corpus
    tool = "the estimator of this package" if built.estimator == "own" else built.estimator
    values = {
        "file": str(built.path), "estimator": built.estimator, "counts": list(lm.counts), "lines": corpus.lines,
        "pieces": corpus.tokens, "unknown": dict(corpus.unknown), "lines_in_parts": corpus.broken,
        "notes": list(built.notes),
    }  # fmt: skip
    lines = [f"{built.path}: order {lm.order}, {_listed(lm.counts)}, by {tool}"]
    lines += [f"made from {corpus.lines} lines, {corpus.tokens} pieces", *_unknown(corpus.unknown, corpus.broken)]
    return [(values, lines + [f"note: {note}" for note in built.notes])]


def _inspect(args: argparse.Namespace) -> list[tuple[dict[str, Any], list[str]]]:
    from tdt.fusion import NgramLM

    vocabulary = _vocabulary(args.model)
    found = []
    for name in args.files:
        lm = NgramLM.read(name)
        made = lm.automaton(vocabulary)
        known, size = len(lm.pieces), len(vocabulary)
        values = {"file": name, "order": lm.order, "counts": list(lm.counts), "known": known, "vocabulary": size,
                  "states": len(made.backoffs), "arcs": len(made.labels)}  # fmt: skip
        lines = [f"{name}: order {lm.order}, {_listed(lm.counts)}", f"{known} of the {size} pieces of the model"]
        found.append((values, [*lines, f"{len(made.backoffs)} states, {len(made.labels)} arcs"]))
    return found


def _score(args: argparse.Namespace) -> list[tuple[dict[str, Any], list[str]]]:
    from tdt.commands.progress import Bars
    from tdt.fusion import NgramLM, read_corpus

    if len(args.files) < 2:
        raise OptionError("files", args.files, "a language model and then texts")
    vocabulary = _vocabulary(args.model)
    lm = NgramLM.read(args.files[0])
    lm.automaton(vocabulary)
    with Bars(quiet=args.quiet) as bars:
        corpus = read_corpus([Path(name) for name in args.files[1:]], vocabulary, bars)
    perplexity = lm.perplexity(corpus.texts(), vocabulary)
    known = frozenset(lm.pieces)
    new = sum(token not in known for text in corpus.texts() for token in text.tolist())
    values = {"file": args.files[0], "perplexity": perplexity, "lines": corpus.lines, "pieces": corpus.tokens,
              "pieces_not_met": new, "unknown": dict(corpus.unknown)}  # fmt: skip
    lines = [f"{args.files[0]}: perplexity {perplexity:.2f} a piece over {corpus.lines} lines, {corpus.tokens} pieces"]
    lines += [f"{new} of them are pieces that the model has not met"] if new else []
    return [(values, lines + _unknown(corpus.unknown, corpus.broken))]


def _vocabulary(model: str | None) -> Vocabulary:
    from tdt.fusion import vocabulary_of
    from tdt.model import find_model

    return vocabulary_of(find_model(model)[1])


def _listed(counts: tuple[int, ...]) -> str:
    return "n-grams by order " + " ".join(map(str, counts))


def _unknown(signs: dict[str, int], broken: int) -> list[str]:
    """Return what is to be said of characters that the vocabulary lacks."""
    if not signs:
        return []
    most = sorted(signs.items(), key=lambda item: -item[1])
    shown = " ".join(f"{sign!r} {count}" for sign, count in most[:_SIGNS_SHOWN])
    more = f" and {len(most) - _SIGNS_SHOWN} others" if len(most) > _SIGNS_SHOWN else ""
    told = (
        f"characters outside the vocabulary: {shown}{more}; signs were taken as spaces, words with letters or digits "
        f"among them were left out, which broke {broken} lines"
    )
    return [told]
