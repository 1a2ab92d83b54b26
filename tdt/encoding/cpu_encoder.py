"""Open an encoder on the CPU provider in the form that runs best there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdt.encoding.position_cache import PositionCache
from tdt.runtime import Session
from tdt.surgery import for_cpu

if TYPE_CHECKING:
    from pathlib import Path

    from tdt.runtime import Backend


def open_on_cpu(
    path: Path, backend: Backend, *, threads: int | None = None, limit: int | None = None
) -> tuple[Session, PositionCache | None]:
    """Return the session of the encoder at `path`, and the positions to feed it where they were taken out.

    Parameters
    ----------
    path : Path
        An encoder of any kind.
    backend : Backend
        The CPU provider.
    threads : int, optional
        Threads inside an operator.
    limit : int, optional
        Encoder frames that the position table reaches.

    Raises
    ------
    ModelError
        Where the graph cannot be read.
    """
    plan = for_cpu(path)
    if plan is None:
        return Session(path, backend, threads=threads), None
    session = Session(plan.model, backend, threads=threads, external_folder=plan.folder, name=path.name)
    if plan.positions is None:
        return session, None
    cache = PositionCache(plan.positions, plan.position_names, plan.folder, backend, threads=threads, limit=limit)
    return session, cache
