"""The door of a wing: the names that it hands on to other wings, imported from their files when first asked for.

So a wing has one list of what others may use, and importing it costs nothing until something is used.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

from tdt.lifetime import setting_up

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
        path = f"{wing}.{places[name] or name}"
        module = sys.modules.get(path)
        if module is None or getattr(module.__spec__, "_initializing", False):
            with setting_up():  # in a process forked meanwhile by another thread the module's lock would never open
                module = import_module(path)
        value = getattr(module, name) if places[name] else module
        setattr(sys.modules[wing], name, value)
        return value

    return find, sorted(places)
