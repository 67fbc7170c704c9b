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

from enas.config.budget import parse_budget
from enas.config.settings import RetrainConfig, SearchConfig
from enas.config.spaces import SPACE_OPTIONS, ChainOptions, SpaceOptions
from enas.config.training import SgdConfig
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


def check(config: SearchConfig | RetrainConfig) -> None:
    """Raise UserError for settings that are possible alone but not together."""
    sections: dict[str, SgdConfig] = (
        {"weights": config.weights, "full_training.sgd": config.full_training.sgd}
        if isinstance(config, SearchConfig)
        else {"sgd": config.sgd}
    )
    for section, sgd in sections.items():
        if sgd.lr_min <= sgd.lr_max:
            continue
        raise UserError(
            f"the lowest learning rate must not be above the highest, but got lr_min {sgd.lr_min:g} and lr_max "
            f"{sgd.lr_max:g}; give --set {section}.lr_min=... too"
        )
    if isinstance(config.space, ChainOptions):
        config.space.check()
    if isinstance(config, SearchConfig):
        _check_evaluator(config)
        _check_costs(config)
        _check_source(config)
        _check_sampling(config)
        check_image_size(config.weights.image_size, config.data.image_size)
        _check_audit(config)
        _check_finalists(config)
    if isinstance(config, SearchConfig) and config.budget is not None:
        parse_budget(config.budget)
    elif isinstance(config, SearchConfig) and config.evaluator == "shared-weights" and config.learns:
        warmup = config.controller.warmup_epochs
        if warmup >= config.epochs:
            raise UserError(
                f"the controller must have epochs to learn in, but all {config.epochs} are warm-up "
                f"(controller.warmup_epochs is {warmup}); give more --epochs or --set controller.warmup_epochs=..."
            )


def _check_evaluator(config: SearchConfig) -> None:
    """Raise UserError where settings do not suit what judges the architectures."""
    if (config.evaluator == "table") != (config.table is not None):
        raise UserError(
            f"--table FILE goes with --evaluator table and with no other, but got evaluator {config.evaluator} and "
            f"table {config.table or 'none'}; give both or neither"
        )
    if config.evaluator == "table" and config.objective.metric == "loss":
        raise UserError("--reward must be accuracy with --evaluator table, because a table holds no losses")
    alone = config.searcher == "reinforce" and config.controller.advantage == "leave-one-out"
    if config.evaluator != "shared-weights" and config.generation == 1 and alone:
        raise UserError(
            "--generation must be at least 2 with searcher reinforce, which compares the architectures of a generation "
            "with each other, but got 1; give more, or --set controller.advantage=moving-average"
        )
    if config.full_training.ray_address is not None and config.full_training.executor != "ray":
        raise UserError(
            f"--ray-address goes with --executor ray, but got {config.full_training.ray_address} with executor "
            f"{config.full_training.executor}; give --executor ray too"
        )
    if config.evaluator != "shared-weights" and config.budget is not None:
        raise UserError(
            f"--budget sizes the search with shared weights only, but got evaluator {config.evaluator}; "
            "give --evaluations instead"
        )


def _check_costs(config: SearchConfig) -> None:
    """Raise UserError where a size is given for costs that nothing heeds."""
    objective = config.objective
    if "latency_ms" in {*objective.limits, *objective.targets} and objective.profile is None:
        raise UserError(
            "a limit or target of latency_ms needs the times of a machine, but there is no profile; make one with enas "
            "profile and give --profile FILE"
        )
    for name in ("width", "depth"):
        if getattr(objective, name) is not None and not objective.heeds_costs:
            raise UserError(
                f"objective.{name} is about the networks whose costs count, but there is no limit, target or profile; "
                "give --limit, --target or --profile too, or leave it out"
            )


def _check_source(config: SearchConfig) -> None:
    """Raise UserError for settings of a training of shared weights that does not happen."""
    if config.weights.source is None:
        return
    if config.evaluator != "shared-weights":
        raise UserError(
            f"weights.source has shared weights, but evaluator {config.evaluator} uses none; leave one of them out"
        )
    if config.learns and config.controller.warmup_epochs:
        raise UserError(
            "the shared weights of weights.source are trained already, so there must be no warm-up, but "
            f"controller.warmup_epochs is {config.controller.warmup_epochs}; set it to 0"
        )
    if config.weights.sampling != "independent":
        raise UserError(
            "the shared weights of weights.source are trained already, so nothing is left to sample for, but "
            f"weights.sampling is {config.weights.sampling}; leave it out"
        )


def check_image_size(seen: int | None, own: int | None) -> None:
    """Raise UserError where shared weights are to see larger images than there are. None: not known."""
    if seen is not None and own is not None and seen > own:
        raise UserError(
            f"weights.image_size must be at most the images' {own} pixels, but got {seen}; give a smaller number, or a "
            "larger --image-size"
        )


def _check_sampling(config: SearchConfig) -> None:
    """Raise UserError for a way to draw uniform architectures that cannot be had, or that nothing would use."""
    sampling, together = config.weights.sampling, config.weights.architectures_per_step
    if sampling == "independent" or config.evaluator != "shared-weights":
        return
    if sampling == "sandwich" and together < 2:
        raise UserError(
            "--sampling sandwich needs at least two architectures in a step, the largest one being always the first, "
            f"but got {together}; give --architectures-per-step"
        )
    if config.learns and config.controller.warmup_epochs == 0:
        raise UserError(
            f"--sampling {sampling} is about uniform architectures, which only warm-up and searcher random train on, "
            "but controller.warmup_epochs is 0; give it more, or leave --sampling out"
        )


def _check_audit(config: SearchConfig) -> None:
    """Raise UserError for an audit of a search that can have none."""
    if config.audit.networks == 0:
        return
    if config.evaluator != "shared-weights":
        raise UserError(
            f"--audit is about a proxy, so it goes with shared weights, but got --evaluator {config.evaluator}; leave "
            "it out"
        )
    if config.full_training.halving_eta:
        raise UserError(
            "an audit trains all its networks to the end, but full_training.halving_eta is "
            f"{config.full_training.halving_eta}; set it to 0"
        )


def _check_finalists(config: SearchConfig) -> None:
    """Raise UserError for settings of the finalists' training that nothing would use; a budget may shorten it later."""
    derive = config.derive
    if config.evaluator != "shared-weights" or config.budget is not None:
        return
    if derive.finalist_epochs == 0 and derive.finalist_weights != "fresh":
        raise UserError(
            f"--finalist-weights {derive.finalist_weights} is about the finalists' training, but "
            "derive.finalist_epochs is 0; give it more, or leave --finalist-weights out"
        )
    if derive.halving_eta and (len(derive.rungs) == 1 or derive.finalists == 1):
        raise UserError(
            f"derive.halving_eta must leave a selection among finalists before their last epoch, but with "
            f"{derive.finalists} finalists, {derive.finalist_epochs} epochs and halving_first {derive.halving_first} "
            f"it is {derive.halving_eta} and leaves none; give more derive.finalist_epochs, or set it to 0"
        )


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
