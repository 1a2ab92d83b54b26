"""A server: many callers share one model. The engine room knows no protocol; the faces to HTTP are thin.

Knows requests, batches of them, who waits and who has gone. Knows nothing of how stages compute.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdt.doors import door

if TYPE_CHECKING:
    from tdt.serving.app import create_app as create_app
    from tdt.serving.engine import Engine as Engine
    from tdt.serving.server import claim as claim
    from tdt.serving.server import serve as serve
    from tdt.serving.settings import Settings as Settings
    from tdt.serving.triton import write_repository as write_repository

__getattr__, __all__ = door(
    __name__,
    {
        "app": "create_app",
        "engine": "Engine",
        "server": "claim serve",
        "settings": "Settings",
        "triton": "write_repository",
    },
)
