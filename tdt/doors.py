"""The door of a wing: the names that it hands on to other wings, imported from their files when first asked for.

So a wing has one list of what others may use, and importing it costs nothing until something is used.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def door(wing: str, homes: Mapping[str, str]) -> tuple[Callable[[str], object], list[str]]:
    """Return `__getattr__` and `__all__` of a wing's package.

    Parameters
    ----------
    wing : str
        Its dotted name.
    homes : mapping of str to str
        Module of the wing → the names in it that are handed on, separated by spaces; under "", modules handed on whole.
    """
    places = {name: module for module, names in homes.items() for name in names.split()}

    def find(name: str) -> object:
        if name not in places:
            raise AttributeError(f"module {wing!r} has no attribute {name!r}")
        module = places[name]
        value = getattr(import_module(f"{wing}.{module}"), name) if module else import_module(f"{wing}.{name}")
        setattr(sys.modules[wing], name, value)
        return value

    return find, sorted(places)
