"""What an option of a subcommand is made of."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Option:
    """An option or a positional argument.

    Parameters
    ----------
    flags : tuple of str
        `("-q", "--quiet")`, or the name of a positional argument.
    group : str
        Heading of the help below which it stands.
    help : str
        What it says or does, without the default.
    default : object
        Its value where it is not given.
    shown : str
        Words for the default where the value is not enough.
    settings : mapping
        What else :meth:`argparse.ArgumentParser.add_argument` is told.
    """

    flags: tuple[str, ...]
    group: str
    help: str
    default: Any = None
    shown: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The help with the default."""
        default = self.shown or ("" if self.default is None else str(self.default))
        return f"{self.help} (default: {default})" if default else self.help


def option(flags: str, group: str, text: str, *, default: Any = None, shown: str = "", **settings: Any) -> Option:
    """Return an option; its flags are separated by slashes."""
    return Option(tuple(flags.split("/")), group, text, default, shown, settings)


def flag(flags: str, group: str, text: str) -> Option:
    """Return an option that is there or not."""
    return option(flags, group, text, action="store_true")


def repeated(one: Option) -> Option:
    """Return an option that may be given several times."""
    settings = {**one.settings, "action": "append"}
    return replace(one, help=f"{one.help}; may be repeated", default=None, settings=settings)
