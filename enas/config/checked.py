"""What all configuration classes share: fields with help and bounds, checked when an instance is made."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import field, fields
from types import MappingProxyType
from typing import Any

from enas.errors import UserError


def setting(
    default: Any,
    help: str,
    *,
    option: str | None = None,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    choices: tuple[str, ...] | None = None,
) -> Any:
    """A dataclass field with its help, its bounds and, where it has one, its own command-line option.

    `low` and `high` are inclusive bounds, `above` is an exclusive lower bound.
    """
    metadata = {"help": help, "option": option, "low": low, "high": high, "above": above, "choices": choices}
    return field(default=default, metadata=metadata)


class Table(Mapping[str, Any]):
    """A mapping that never changes, as configurations do not: it has a hash."""

    def __init__(self, values: Mapping[str, Any] = MappingProxyType({})) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(frozenset(self._values.items()))

    def __repr__(self) -> str:
        return repr(self._values)


class Checked:
    """Base of all configuration classes: checks the fields' bounds when an instance is made."""

    def __post_init__(self) -> None:
        for f in fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            check_value(f, getattr(self, f.name))


def check_value(f: dataclasses.Field[Any], value: Any) -> None:
    """Raise UserError unless `value` respects the bounds in the field's metadata."""
    if value is None or not f.metadata:
        return
    low, high, above = f.metadata["low"], f.metadata["high"], f.metadata["above"]
    choices = f.metadata["choices"]
    if choices is not None and value not in choices:
        raise UserError(f"{f.name} must be one of {', '.join(choices)}, but got {value!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{f.name} must be a finite number, but got {value}")
    if low is not None and value < low:
        raise UserError(f"{f.name} must be at least {low}, but got {value}")
    if high is not None and value > high:
        raise UserError(f"{f.name} must be at most {high}, but got {value}")
    if above is not None and value <= above:
        raise UserError(f"{f.name} must be greater than {above}, but got {value}")
