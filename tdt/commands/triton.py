"""`tdt triton`: a model repository for Triton Inference Server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tdt.commands.options import add
from tdt.commands.running import load_model

if TYPE_CHECKING:
    import argparse

EPILOG = """\
examples:
  tdt triton repository                                                   the bundled model, on the CPU
  tdt triton repository --model parakeet-tdt-0.6b-v3 --provider cuda:0 --max-batch 32
  tritonserver --model-repository repository

The model is loaded once, so that what is written works here; Triton's Python environment needs parakeet-tdt, too.
Input AUDIO: sound files as bytes; outputs TEXT, and WORDS as JSON with times.
Exit status: 0 done, 1 the model or its provider cannot be used, 2 wrong usage.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take the options from the table."""
    add(
        parser, "repository", "model", "provider", "precision", "decoder", "weights", "threads", "shared_batch", "quiet"
    )


def run(args: argparse.Namespace) -> int:
    """Write the repository and return the exit status."""
    from tdt.commands.messages import Messages
    from tdt.serving import write_repository

    with Messages("tdt triton", quiet=args.quiet):
        with load_model(args) as recognizer:
            name = recognizer.files.folder.name
        local = args.model is not None and Path(args.model).exists()
        model = str(Path(args.model).resolve()) if local else args.model or ""
        names = ("provider", "precision", "decoder", "weights", "threads")
        parameters = {"model": model} | {key: str(getattr(args, key) or "") for key in names}
        files = write_repository(Path(args.repository), name, args.max_batch, parameters)
    sys.stdout.write("".join(f"{path}\n" for path in files))
    return 0
