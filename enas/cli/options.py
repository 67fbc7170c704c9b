"""Command-line options made from the configuration's fields, so that each default and help stands once."""

from __future__ import annotations

import dataclasses
import json
import tomllib
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from enas import config
from enas.config import PRESETS, SEARCHABLE, CustomOptions, RetrainConfig, SearchConfig
from enas.errors import UserError
from enas.spaces import source

Command = Callable[..., Any]


def settings(config_class: type[SearchConfig] | type[RetrainConfig]) -> Callable[[Command], Command]:
    """Decorator: --preset, --config, --set and one option for each field that names one."""

    def decorate(command: Command) -> Command:
        decorators: list[Callable[[Command], Command]] = [
            click.option("--preset", type=click.Choice(list(PRESETS)), help="sizes and budgets to start from"),
            click.option("--config", "config_file", type=click.Path(path_type=Path), help="settings from a TOML file"),
            *(_option(path, field, hint) for path, field, hint in _fields(config_class)),
            click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="any other setting"),
            click.option("--print-config", is_flag=True, help="print all settings as TOML and stop"),
        ]
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


class SpaceName(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions of click alone
    """The name of a space that can be searched, or path/to/file.py:MySpace."""

    name = "SPACE"

    def convert(self, value: str, parameter: click.Parameter | None, context: click.Context | None) -> str:
        if ":" in value or value in SEARCHABLE:
            return value
        self.fail(f"{value!r} is not one of {', '.join(SEARCHABLE)}, nor FILE.py:CLASS", parameter, context)


def own_space(command: Command) -> Command:
    """Decorator: --space, for commands that read runs: the user's word that the file of its own space may be run."""

    def run(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
        if value is not None:
            source.load(value)

    help = "run this file: it has the space of your own that the run, model or architecture belongs to"
    return click.option("--space", metavar="FILE.py:CLASS", callback=run, expose_value=False, help=help)(command)


def apply(base: Any, file: Mapping[str, Any], options: Mapping[str, Any], assignments: typing.Iterable[str]) -> Any:
    """The configuration after the file's settings, then the options that were given, then `--set`."""
    base = config.update(base, file)
    for path, _, _ in _fields(type(base)):
        value = options.get(_parameter(path))
        if value is not None:
            nested: Any = value
            for part in reversed(path.split(".")):
                nested = {part: nested}
            base = config.update(base, nested)
    return config.from_text(base, assignments)


def typed(config_class: type, options: Mapping[str, Any]) -> dict[str, str]:
    """The options that were given, as typed, by the path of their setting."""
    return {
        path: field.metadata["option"]
        for path, field, _ in _fields(config_class)
        if options.get(_parameter(path)) is not None
    }


def preset_and_file(preset: str | None, space: str | None, file: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The preset to start from (`quick` where none is named), and the settings of the file that apply.

    preset, space: as typed, which beats the file: its preset does not apply beside a typed one, nor do its
    options of another space than the typed one.
    """
    values = dict(file)
    named = values.get("preset", "quick")
    if not isinstance(named, str) or named not in PRESETS:
        raise UserError(f"preset must be one of {', '.join(PRESETS)}, but the file of --config has {named!r}")
    if preset is not None:
        values.pop("preset", None)
    of_space = values.get("space")
    if space is not None and isinstance(of_space, Mapping) and of_space.get("name", space) != space:
        del values["space"]
    elif space == CustomOptions.name and isinstance(of_space, Mapping):  # the typed file, with the file's arguments
        values["space"] = {key: value for key, value in of_space.items() if key not in ("source", "sha256")}
    return preset or named, values


def read_toml(path: Path | None) -> dict[str, Any]:
    """A TOML file as nested dictionaries (no file: none). Raises UserError where it is missing or malformed."""
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"--config must be a readable TOML file, but {path}: {error}") from None


def to_toml(values: Mapping[str, Any], prefix: str = "") -> str:
    """Nested settings as TOML that `--config` reads back. Settings that are none are comments."""
    lines, tables = [], []
    for key, value in values.items():
        if isinstance(value, Mapping):
            tables.append(f"\n[{prefix}{key}]\n{to_toml(value, f'{prefix}{key}.')}")
        elif value is None:
            lines.append(f"# {key} =")
        elif isinstance(value, bool):
            lines.append(f"{key} = {str(value).lower()}")
        elif isinstance(value, str):
            escaped = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # TOML's escapes, but for this
            lines.append(f"{key} = {escaped}")
        else:
            lines.append(f"{key} = {value!r}")
    return "\n".join([*lines, *tables])


def _fields(config_class: type, prefix: str = "") -> Iterator[tuple[str, dataclasses.Field[Any], Any]]:
    """(path, field, type) of every field with an option of its own, in nested order.

    A section within a section has none: its settings stand elsewhere too, where their options belong.
    """
    hints = typing.get_type_hints(config_class)
    for field in dataclasses.fields(config_class):
        hint = hints[field.name]
        if field.metadata.get("option"):
            yield prefix + field.name, field, hint
        elif field.name == "space" and config_class is SearchConfig:
            # the options of the space at hand; further spaces add theirs here
            yield from _fields(config.MacroOptions, "space.")
        elif dataclasses.is_dataclass(hint) and not prefix:
            yield from _fields(typing.cast(type, hint), f"{prefix}{field.name}.")


def _option(path: str, field: dataclasses.Field[Any], hint: Any) -> Callable[[Command], Command]:
    allowed = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    kind = next(t for t in allowed if t is not type(None))
    name, help = field.metadata["option"], field.metadata["help"]
    if kind is bool:
        return click.option(f"{name}/--no-{name[2:]}", _parameter(path), default=None, help=help)
    choices = field.metadata["choices"]
    return click.option(name, _parameter(path), type=click.Choice(choices) if choices else kind, help=help)


def _parameter(path: str) -> str:
    return path.replace(".", "__")
