"""The parser of a subcommand: options anywhere between the files, errors of one line."""

from __future__ import annotations

import argparse
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Parser(argparse.ArgumentParser):
    """An argument parser that takes options anywhere, and whose errors fit on a line and say where to read on.

    Parameters
    ----------
    prog : str
        What messages begin with.
    description, epilog : str
        What stands above and below the options in the help.
    """

    def __init__(self, prog: str, description: str, epilog: str = "") -> None:
        super().__init__(prog, None, description, epilog, formatter_class=argparse.RawDescriptionHelpFormatter)
        self._whole: list[argparse.Action] | None = None

    def read(self, words: Sequence[str]) -> argparse.Namespace:
        """Return the values of the command line, options between the files (``a.wav --format json b.wav``) included.

        argparse by itself gives all files before the first option to the list and refuses the others; its
        `parse_intermixed_args` forgets what `--` is for. So the options are read first, then what they leave over.

        Parameters
        ----------
        words : sequence of str
            Behind ``--`` there are no options.
        """
        end = list(words).index("--") if "--" in words else len(words)
        with self._only(lambda action: bool(action.option_strings)):
            values, rest = self.parse_known_args(words[:end])
        unknown = [word for word in rest if word.startswith("-") and word != "-"]
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}; a file of such a name goes behind --")
        with self._only(lambda action: not action.option_strings):
            behind = [*rest, *words[end + 1 :]]
            values, left = self.parse_known_args(["--", *behind] if behind else [], values)
        if left:
            self.error(f"unrecognized arguments: {' '.join(left)}")
        return values

    @contextmanager
    def _only(self, wanted: Any) -> Iterator[None]:
        self._whole = self._actions
        self._actions = [action for action in self._actions if wanted(action)]
        try:
            yield
        finally:
            self._actions, self._whole = self._whole, None

    def format_help(self) -> str:
        """Return the help, of all arguments at any time."""
        known, self._actions = self._actions, self._whole or self._actions
        try:
            return super().format_help()
        finally:
            self._actions = known

    def print_help(self, file: Any = None) -> None:
        """Print the help; unlike argparse's, this does not hide that it cannot be written."""
        (file or sys.stdout).write(self.format_help())

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and end with status 2; the options are left to --help."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        # Older argparse drops a "--" that is an option's own value, as in --threads=--, and takes [] for it.
        if arg_strings != ["--"] or not action.option_strings:
            return super()._get_values(action, arg_strings)
        value = self._get_value(action, "--")
        self._check_value(action, value)
        return value if action.nargs in (None, argparse.OPTIONAL) else [value]
