#!/usr/bin/env python3
"""Transcribe files and print each one's text on one line, then its words with their times.

With no file, the recordings that ship with the package are used. Exit status: 0, or 1 if some file failed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import tdt


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", metavar="FILE", help="audio files; none: the bundled recordings")
    parser.add_argument("--model", help="model folder or name (default: the bundled parakeet-tdt-tiny)")
    args = parser.parse_args()
    names = ("06_digits_theo", "15_hello_world", "03_flite-rms")
    recordings = Path(tdt.__file__).parent / "models" / "recordings"
    files = args.files or [str(recordings / f"{name}.flac") for name in names]
    failed = 0
    with tdt.load(args.model) as recognizer:
        for file, outcome in zip(files, recognizer.transcribe(files, errors="return"), strict=True):
            if isinstance(outcome, BaseException):
                sys.stderr.write(f"{file}: {outcome}\n")
                failed = 1
                continue
            sys.stderr.write(f"\n{file} ({outcome.audio_seconds:.2f} s)\n")
            sys.stderr.flush()
            sys.stdout.write(outcome.text + "\n")
            for word in outcome.words:
                sys.stdout.write(f"  {word.start:7.2f} – {word.end:7.2f}  {word.text}\n")
            sys.stdout.flush()
    return failed


if __name__ == "__main__":
    sys.exit(main())
