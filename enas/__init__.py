"""Neural architecture search with shared weights: `import enas; run = enas.search("digits")`.

The public names, each imported when it is first used, so that `enas --help` is instant.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from enas.api import Run, load, retrain, search
    from enas.errors import UserError
    from enas.graph import Graph, GraphBuilder
    from enas.ops import BatchNorm, register_op
    from enas.spaces import Architecture, CustomSpace, Decision, add_stem

__all__ = [
    "Architecture",
    "BatchNorm",
    "CustomSpace",
    "Decision",
    "Graph",
    "GraphBuilder",
    "Run",
    "UserError",
    "add_stem",
    "load",
    "register_op",
    "retrain",
    "search",
]
_PLACES = {
    "Architecture": "enas.spaces",
    "BatchNorm": "enas.ops",
    "CustomSpace": "enas.spaces",
    "Decision": "enas.spaces",
    "Graph": "enas.graph",
    "GraphBuilder": "enas.graph",
    "Run": "enas.api",
    "UserError": "enas.errors",
    "add_stem": "enas.spaces",
    "load": "enas.api",
    "register_op": "enas.ops",
    "retrain": "enas.api",
    "search": "enas.api",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'enas' has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
