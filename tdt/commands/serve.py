"""`tdt serve`: one model for many callers, over HTTP."""

from __future__ import annotations

import logging
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from tdt.c_library import c_function
from tdt.commands.options import add
from tdt.commands.running import load_model
from tdt.errors import MissingDependencyError, OptionError

if TYPE_CHECKING:
    import argparse

    from tdt.recognizer import Recognizer
    from tdt.serving import Settings

EPILOG = """\
examples:
  tdt serve                                             on http://127.0.0.1:8000, for this machine only
  tdt serve --model parakeet-tdt-0.6b-v3 --provider cuda:0 --max-batch 32
  tdt serve --host 0.0.0.0 --api-key-file keys.txt      for others, who send one of the keys
  tdt serve --wyoming 10300                             also Home Assistant's protocol
  curl -F file=@talk.flac localhost:8000/v1/audio/transcriptions
  curl -F file=@talk.flac -F response_format=srt localhost:8000/v1/audio/transcriptions

Needs the extra "serve". The log goes to standard error, a line a request: its id, status and time, never what was said.
SIGTERM or Ctrl-C takes no more requests and lets those under way be done; a second one ends at once.
Exit status: 0 ended as told, 1 the model or its provider cannot start, 2 wrong usage, 143 told twice.
"""

# glibc's own: the parameter of mallopt that bounds its heaps.
_M_ARENA_MAX, _ARENAS = -8, 2
_PACKAGES = ("starlette", "uvicorn", "python_multipart")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take the options from the table."""
    add(
        parser, "model", "provider_or_auto", "precision", "decoder", "weights", "threads", "host", "port", "wyoming",
        "api_key_file", "shared_batch", "collect_ms", "queue", "max_mb", "longest", "timeout", "upload_seconds",
        "readers", "quiet",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Serve, and return the exit status."""
    _require()
    _share_heaps()
    from tdt.serving import Engine, claim, serve

    _log_to_standard_error(quiet=args.quiet)
    settings = settings_of(args)
    with ExitStack() as opened:
        listening = opened.enter_context(claim(settings))
        wyoming = None if settings.wyoming is None else opened.enter_context(claim(settings, wyoming=True))
        recognizer = opened.enter_context(load_model(args))
        settings = named(settings, recognizer)
        return serve(Engine(recognizer, settings), settings, listening, wyoming)


def settings_of(args: argparse.Namespace) -> Settings:
    """Return what the options say.

    Raises
    ------
    OptionError
        The file of keys cannot be read, or holds none.
    """
    from tdt.serving import Settings

    return Settings(
        provider=args.provider,
        host=args.host,
        port=args.port,
        wyoming=args.wyoming,
        max_batch=args.max_batch,
        collect_ms=args.collect_ms,
        queue=args.queue,
        max_mb=args.max_mb,
        max_seconds=args.max_seconds,
        timeout=args.timeout,
        upload_seconds=args.upload_seconds,
        readers=args.readers,
        api_keys=() if args.api_key_file is None else keys_of(Path(args.api_key_file)),
    )


def named(settings: Settings, recognizer: Recognizer) -> Settings:
    """Return the settings with the name of the model that was loaded."""
    from dataclasses import replace

    return replace(settings, model=recognizer.files.folder.name)


def keys_of(path: Path) -> tuple[str, ...]:
    """Return the keys of a file: one a line, empty lines and those that begin with # left out.

    Raises
    ------
    OptionError
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise OptionError("--api-key-file", str(path), f"a text file of keys, one a line ({error})") from error
    keys = tuple(line for line in lines if line and not line.startswith("#"))
    if not keys:
        raise OptionError("--api-key-file", str(path), "a file with at least one key, one a line")
    return keys


def _require() -> None:
    from importlib.util import find_spec

    for package in _PACKAGES:
        if find_spec(package) is None:
            raise MissingDependencyError(package, "tdt serve", "pip install 'parakeet-tdt[serve]'")


def _share_heaps() -> None:
    """Have all threads share few heaps of the C library: with some for each, memory creeps up as requests come."""
    mallopt = c_function("mallopt")
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, _ARENAS)


def _log_to_standard_error(*, quiet: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for name in ("tdt", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(logging.WARNING if quiet or name != "tdt" else logging.INFO)
