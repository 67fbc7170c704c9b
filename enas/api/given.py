"""What the user gives as data, space and costs, as settings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from enas import config
from enas.config import COSTS, LIMIT, TARGET, CustomOptions
from enas.data import keep_arrays
from enas.errors import UserError
from enas.spaces import CustomSpace, source

Data = Any  # a name or folder, a table of settings of data, or arrays: see `enas.search`
Space = str | type[CustomSpace] | Mapping[str, Any]
Costs = Mapping[str, float] | None


def own_space(space: Space | None) -> None:
    """Run the file of a space of the user's, if he names one."""
    if space is not None:
        space_of(space)


def space_of(space: Space | None) -> tuple[str | None, CustomOptions | None, dict[str, Any]]:
    """A space's name, the options of one of the user's own, and settings of it."""
    values = dict(space) if isinstance(space, Mapping) else {}
    given = values.pop("source", values.pop("name", None)) if isinstance(space, Mapping) else space
    if given is None or (isinstance(given, str) and ":" not in given):
        if given is not None:
            config.space_options(given)
        return given, None, values
    if isinstance(given, str):
        return None, source.load(given), values
    if isinstance(given, type) and issubclass(given, CustomSpace):
        return None, source.register(given), values
    raise UserError(
        f"space must be a name, path/to/file.py:MySpace, a class that derives from enas.CustomSpace, or a table of "
        f"settings, but got {given!r}"
    )


def data_of(data: Data) -> dict[str, Any]:
    """The settings of data that this stands for."""
    if data is None:
        return {}
    if isinstance(data, Mapping):
        values = dict(data)
        return {**values, **data_of(values["name"])} if "name" in values else values
    if isinstance(data, str | os.PathLike):
        return {"name": os.fspath(data)}
    if isinstance(data, tuple | list):
        return {"name": str(keep_arrays(data))}
    raise UserError(f"data must be a name, a folder, arrays or a table of settings, but got {type(data).__name__}")


def objective_of(limit: Costs, target: Costs) -> dict[str, float]:
    """The settings of the objective that limits and targets stand for."""
    return {**_named(LIMIT, limit), **_named(TARGET, target)}


def _named(prefix: str, costs: Costs) -> dict[str, float]:
    unknown = set(costs or ()) - set(COSTS)
    if unknown:
        raise UserError(f"costs must be of {', '.join(COSTS)}, but got {sorted(unknown)[0]!r}")
    return {prefix + name: value for name, value in (costs or {}).items()}


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings with one name each, as weights.batch_size."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return found
