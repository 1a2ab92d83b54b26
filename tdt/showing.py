"""Values as errors show them."""

from __future__ import annotations


def shown(value: object, characters: int = 200) -> str:
    """Return a value as Python writes it, in a line's length; whatever it is, showing it must not fail, too."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001  its own, or that of a number with too many digits
        text = f"<{type(value).__name__}>"
    return text if len(text) <= characters else text[: characters - 3] + "..."
