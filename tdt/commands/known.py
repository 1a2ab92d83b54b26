"""What is known beforehand, on the command line: phrases, a language model, scripts, how many hypotheses are kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tdt.errors import OptionError
from tdt.longform import source_identity

if TYPE_CHECKING:
    import argparse

    from tdt.fusion import Phrases
    from tdt.options import FusionOptions


def fusion_options(args: argparse.Namespace) -> FusionOptions:
    """Return the options of a call as the command line has them; files are read here, before any audio.

    Raises
    ------
    OptionError
        A file that cannot be read or holds what it should not, or options that need another one.
    """
    beam = getattr(args, "beam", None)  # not every command takes it
    if getattr(args, "nbest", None) is not None and beam is None:
        raise OptionError("--nbest", args.nbest, "--beam with it: there is one hypothesis without")
    if args.lm_weight is not None and args.lm is None:
        raise OptionError("--lm-weight", args.lm_weight, "--lm with it, a language model")
    options: FusionOptions = {}
    phrases = _phrases(args)
    if phrases is not None:
        options["phrases"] = phrases
    if args.lm is not None:
        from tdt.fusion import NgramLM

        options["lm"] = NgramLM.read(args.lm)
        if args.lm_weight is not None:
            options["lm_weight"] = args.lm_weight
    if beam is not None:
        options["beam"] = beam
    if args.script is not None:
        options["script"] = args.script
    return options


def _phrases(args: argparse.Namespace) -> Phrases | None:
    if not args.phrases and not args.phrase:
        return None
    from tdt.fusion import Phrases

    read = [entry for file in args.phrases or () for entry in Phrases.read(file)]
    return Phrases([*read, *(args.phrase or ())], weight=args.phrase_weight)


def identity(args: argparse.Namespace) -> dict[str, Any]:
    """Return what tells whether another run knew the same: the values, and which state the files were in."""
    values = {name: getattr(args, name) for name in ("phrase", "phrase_weight", "lm_weight", "beam", "script")}
    files = [*(args.phrases or ()), *([args.lm] if args.lm else [])]
    return {**values, "files": [source_identity(Path(file)) for file in files]}
