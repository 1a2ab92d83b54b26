"""The largest set of 8-bit layers whose error stays under a bound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tdt.errors import OptionError
from tdt.quantization.calibration import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from tdt.quantization.sensitivity import Damage, Ranked


@dataclass(frozen=True, slots=True)
class Choice:
    """A mixed-precision set.

    Parameters
    ----------
    quantised, left : tuple of str
        Groups in 8 bits, and groups left in float, the most harmful first.
    damage : Damage or None
        What the set does together; None where nothing is quantised.
    """

    quantised: tuple[str, ...]
    left: tuple[str, ...]
    damage: Damage | None


def choose(
    ranked: Sequence[Ranked],
    measure: Callable[[Collection[str]], Damage],
    bound: float,
    progress: Progress = silent,
) -> Choice:
    """Keep as many groups in 8 bits as the bound on the encoder's relative output error allows.

    Groups are given up in order of the damage they do alone per weight they save; the cut is found by bisection, each
    step measuring the whole set together.

    Parameters
    ----------
    ranked : sequence of Ranked
        From :func:`tdt.quantization.sensitivity.rank`.
    measure : callable
        Gives the damage of a selection.
    bound : float
        Largest relative error allowed, such as 0.03.

    Raises
    ------
    OptionError
        Where the bound is not positive.
    """
    if not bound > 0:
        raise OptionError("budget", bound, "a relative error above 0, such as 0.03")
    order = sorted(ranked, key=lambda item: -(item.damage.error**2) / max(item.weights, 1))
    names = [item.name for item in order]
    low, high = 0, len(names)  # giving up `high` groups always suffices: nothing is quantised then
    found: dict[int, Damage] = {}
    steps = 0
    while low < high:
        middle = (low + high) // 2
        progress("choosing a set", steps, max(len(names).bit_length(), steps + 1))
        steps += 1
        found[middle] = measure(names[middle:])
        if found[middle].error <= bound:
            high = middle
        else:
            low = middle + 1
    progress("choosing a set", 1, 1)
    return Choice(tuple(names[low:]), tuple(names[:low]), found.get(low))
