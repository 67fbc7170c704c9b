"""Configuration <-> plain data. Unknown keys and impossible values are the user's to know about."""

from __future__ import annotations

import dataclasses
import difflib
import math
import sys
import types
import typing
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from enas.config.spaces import SPACE_OPTIONS, SpaceOptions
from enas.errors import UserError


def to_dict(config: Any) -> dict[str, Any]:
    """The configuration as nested dictionaries of JSON values; a space carries its name."""
    out: dict[str, Any] = {"name": config.name} if isinstance(config, SpaceOptions) else {}
    for f in fields(config):
        value = getattr(config, f.name)
        if dataclasses.is_dataclass(value):
            value = to_dict(value)
        out[f.name] = list(value) if isinstance(value, tuple) else dict(value) if isinstance(value, Mapping) else value
    return out


def update(config: Any, values: Mapping[str, Any], path: str = "") -> Any:
    """A copy of a configuration with some values replaced.

    `values` is nested like `to_dict`'s result; a `space` with another name starts from that space's
    defaults. Raises UserError with the full key for unknown keys, wrong types and impossible values.
    """
    if not isinstance(values, Mapping):
        raise UserError(f"{path or 'the configuration'} must be a table of settings, but got {values!r}")
    values = dict(values)
    if isinstance(config, SpaceOptions) and "name" in values:
        config = space_options(values.pop("name"), config)
    known = {f.name: f for f in fields(config)}
    hints = typing.get_type_hints(type(config))
    changes: dict[str, Any] = {}
    for key, value in values.items():
        full = f"{path}.{key}" if path else key
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
            raise UserError(f"there is no setting {full}; {hint}")
        current = getattr(config, key)
        if dataclasses.is_dataclass(current):
            changes[key] = update(current, value, full)
        elif isinstance(current, Mapping):
            changes[key] = {**current, **_arguments(value, full)}
        else:
            changes[key] = _coerce(hints[key], value, full)
    try:
        return dataclasses.replace(config, **changes)
    except UserError as error:
        raise UserError(f"{path}.{error}" if path else str(error)) from None


def space_options(name: Any, current: SpaceOptions | None = None) -> SpaceOptions:
    """The options of a space by name: `current` where it is that space's, else the defaults."""
    if not isinstance(name, str) or name not in SPACE_OPTIONS:
        raise UserError(f"space must be one of {', '.join(SPACE_OPTIONS)}, but got {name!r}")
    return current if current is not None and current.name == name else SPACE_OPTIONS[name]()


def from_text(config: Any, assignments: typing.Iterable[str]) -> Any:
    """Apply `key.subkey=value` assignments in order (the command line's `--set`)."""
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise UserError(f"--set must be key=value, for example controller.lr=0.002, but got {assignment!r}")
        values: Any = _Text(text.strip())
        for part in reversed(key.strip().split(".")):
            values = {part: values}
        config = update(config, values)
    return config


class _Text(str):
    """A value typed on the command line: a string that may stand for a number, true, false or none."""


def _coerce(hint: Any, value: Any, key: str) -> Any:
    """`value` as the field's type, or UserError. Ints pass as floats; nothing else is converted silently."""
    if typing.get_origin(hint) is tuple:
        return _whole_numbers(value, key)
    allowed = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if isinstance(value, _Text):
        value = _parse(allowed, value)
    if value is None and type(None) in allowed:
        return None
    if isinstance(value, bool):
        if bool in allowed:
            return value
    elif isinstance(value, int):
        if int in allowed:
            return value
        if float in allowed and abs(value) <= sys.float_info.max:
            return float(value)
    elif (isinstance(value, float) and float in allowed) or (isinstance(value, str) and str in allowed):
        return value
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "none"}
    raise UserError(f"{key} must be {' or '.join(names[t] for t in allowed)}, but got {value!r}")


def _arguments(value: Any, key: str) -> dict[str, Any]:
    """A table of arguments by name, or UserError; on the command line each has a setting of its own."""
    if not isinstance(value, Mapping):
        raise UserError(f"{key} must be a table of values by name, as --set {key}.NAME=..., but got {value!r}")
    kinds = (bool, int, float, str)
    for name, one in value.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise UserError(f"{key} must have names of arguments, but got {name!r}")
        if not isinstance(one, kinds) or (isinstance(one, float) and not math.isfinite(one)):
            raise UserError(f"{key}.{name} must be a finite number, true or false, or text, but got {one!r}")
    return {name: _parse(kinds, one) if isinstance(one, _Text) else one for name, one in value.items()}


def _whole_numbers(value: Any, key: str) -> tuple[int, ...]:
    """A list as a tuple, or UserError; on the command line its numbers stand between commas."""
    numbers = [_parse((int,), part.strip()) for part in value.split(",")] if isinstance(value, _Text) else value
    if isinstance(numbers, list | tuple) and all(type(number) is int for number in numbers):
        return tuple(numbers)
    raise UserError(f"{key} must be a list of whole numbers, but got {value!r}")


def _parse(allowed: tuple[Any, ...], text: str) -> Any:
    lowered = text.lower()
    if type(None) in allowed and lowered in ("none", "null", ""):
        return None
    if bool in allowed and lowered in ("true", "false", "yes", "no"):
        return lowered in ("true", "yes")
    for kind in (int, float):
        if kind in allowed:
            try:
                return kind(text)
            except ValueError:
                continue
    return str(text)
