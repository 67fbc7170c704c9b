"""Profiles as JSON files, which may come from another machine and from anyone: everything in them is checked."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

from enas import checkpoint, config, spaces
from enas.errors import UserError
from enas.graph import Shape
from enas.latency.nodes import NodeShape
from enas.latency.profile import Calibration, Machine, Measured, Profile, Timing
from enas.ops import OPS
from enas.spaces.source import NotAsked

SCHEMA = 1
KIND = "latency profile"
MOST_BYTES = 1 << 28
MOST_NODES = 10**6
MOST_INPUTS = 1024
DEVICES = ("cpu", "cuda", "mps")
PRECISIONS = ("float32", "bfloat16")
MOST_THREADS = 1024
LARGEST_SEED = 2**31 - 1
LARGEST = 1 << 20  # of every other whole number
LONGEST_MS = 1e9
LONGEST_TEXT = 2000


def write_profile(path: Path, profile: Profile) -> None:
    """Write a profile in one step. Raises UserError where the disk refuses; an old file then stays."""
    checkpoint.write_json(path, to_json(profile))


def read_profile(path: Path, advice: str = "make it anew with enas profile") -> Profile:
    """Read what `write_profile` wrote. Raises UserError, with the field and the advice, for anything else."""
    try:
        bytes_there = path.stat().st_size
    except (OSError, ValueError) as error:
        raise UserError(f"{path} must be a profile of enas profile, but: {error}; check the path") from None
    if bytes_there > MOST_BYTES:
        raise UserError(f"{path} must be a profile of enas profile, but has {bytes_there:,} bytes; {advice}")
    try:
        values = checkpoint.read_json(path)
    except UserError as error:
        raise UserError(f"{error}; {advice}") from None
    try:
        return dataclasses.replace(from_json(values), source=str(path))
    except NotAsked:  # nothing is wrong with the file: its space's has to be named
        raise
    except UserError as error:
        raise UserError(f"{path} must be an intact latency profile: {error}; {advice}") from None


def to_json(profile: Profile) -> dict[str, Any]:
    """The profile as JSON values."""
    calibration = profile.calibration
    return {
        "schema": SCHEMA,
        "kind": KIND,
        "machine": dataclasses.asdict(profile.machine),
        "versions": {name: text for name, text in profile.versions.items() if text},
        "batch_size": profile.batch_size,
        "space": config.to_dict(profile.space.options),
        "input_shape": list(profile.space.input_shape),
        "num_classes": profile.space.num_classes,
        "seed": profile.seed,
        "calibration": None if calibration is None else dataclasses.asdict(calibration),
        "nodes": [{**shape._asdict(), **dataclasses.asdict(timing)} for shape, timing in profile.nodes.items()],
    }


def from_json(values: Any) -> Profile:
    """Read the JSON form. Raises UserError, with the field, where it is malformed."""
    values = _table(values, "the file")
    for name, expected in (("schema", SCHEMA), ("kind", KIND)):
        if values.get(name) != expected:
            raise UserError(f"{name} must be {expected!r}, but got {_short(values.get(name))}")
    machine = _table(values.get("machine"), "machine")
    versions = _table(values.get("versions"), "versions")
    strange = next((name for name in versions if not _is_line(name)), None)
    if strange is not None:
        raise UserError(f"versions must have names of one line of text, but got {_short(strange)}")
    words = {name: _text(machine, name, "machine") for name in ("device", "processor", "precision", "torch", "kernels")}
    for name, known in (("device", DEVICES), ("precision", PRECISIONS)):
        if words[name] not in known:
            raise UserError(f"machine.{name} must be one of {', '.join(known)}, but got {_short(words[name])}")
    calibration = values.get("calibration")
    return Profile(
        machine=Machine(threads=_whole(machine.get("threads"), "machine.threads", MOST_THREADS), **words),
        versions={name: _text(versions, name, "versions") for name in versions},
        batch_size=_whole(values.get("batch_size"), "batch_size"),
        space=_space(values),
        nodes=_nodes(_list(values.get("nodes"), "nodes", MOST_NODES)),
        # which files of earlier versions do not say
        seed=None if values.get("seed") is None else _whole(values["seed"], "seed", LARGEST_SEED, 0),
        calibration=None if calibration is None else _calibration(_table(calibration, "calibration")),
    )


def _space(values: Mapping[str, Any]) -> spaces.SearchSpace:
    options = _table(values.get("space"), "space")
    chosen = config.update(config.space_options(options.get("name")), options, "space")
    shape = _shape(values.get("input_shape"), "input_shape")
    return spaces.build(chosen, shape, _whole(values.get("num_classes"), "num_classes"))


def _nodes(rows: list[Any]) -> dict[NodeShape, Timing]:
    nodes: dict[NodeShape, Timing] = {}
    for position, values in enumerate(rows):
        where = f"nodes[{position}]"
        row = _table(values, where)
        op = _text(row, "op", where)
        if op.partition(":")[0] not in OPS:
            raise UserError(f"{where}.op must be an operation of this version, but got {_short(op)}")
        in_shapes = _list(row.get("in_shapes"), f"{where}.in_shapes", MOST_INPUTS)
        inputs = tuple(_shape(shape, f"{where}.in_shapes[{i}]") for i, shape in enumerate(in_shapes))
        shape = NodeShape(op, inputs, _shape(row.get("shape"), f"{where}.shape"))
        if not inputs or shape in nodes:
            raise UserError(f"{where} must have inputs and be there once, but is {_short(str(shape))}")
        low, ms, high = (_number(row.get(name), f"{where}.{name}") for name in ("low_ms", "ms", "high_ms"))
        if not 0 < low <= ms <= high:
            raise UserError(f"{where} must have 0 < low_ms <= ms <= high_ms, but got {low}, {ms}, {high}")
        nodes[shape] = Timing(ms, low, high, _whole(row.get("calls"), f"{where}.calls"))
    return nodes


def _calibration(values: Mapping[str, Any]) -> Calibration:
    networks = []
    for i, network in enumerate(_list(values.get("networks"), "calibration.networks", MOST_NODES)):
        where = f"calibration.networks[{i}]"
        row = _table(network, where)
        sum_ms, ms = (_number(row.get(name), f"{where}.{name}") for name in ("sum_ms", "ms"))
        if not ms:
            raise UserError(f"{where}.ms must be greater than 0, but got 0")
        networks.append(Measured(_text(row, "text", where), sum_ms, ms))
    if not networks:
        raise UserError("calibration.networks must be at least one, but got []")
    slope, intercept = (_number(values.get(name), f"calibration.{name}") for name in ("slope", "intercept_ms"))
    if slope == intercept == 0:
        raise UserError("calibration.slope and intercept_ms must not both be 0")
    return Calibration(slope, intercept, tuple(networks))


def _table(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{where} must be a JSON object, but got {_short(value)}")
    return value


def _list(value: Any, where: str, most: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > most:
        raise UserError(f"{where} must be a list of at most {most:,}, but got {_short(value)}")
    return value


def _text(values: Mapping[str, Any], name: str, where: str) -> str:
    value = values.get(name)
    if not _is_line(value):
        raise UserError(f"{where}.{name} must be one line of text, but got {_short(value)}")
    return value


def _is_line(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and value.isprintable() and 0 < len(value) <= LONGEST_TEXT


def _shape(value: Any, where: str) -> Shape:
    if not isinstance(value, list) or len(value) != 3:
        raise UserError(f"{where} must be three whole numbers, but got {_short(value)}")
    channels, height, width = (_whole(number, where) for number in value)
    return channels, height, width


def _whole(value: Any, where: str, most: int = LARGEST, least: int = 1) -> int:
    if type(value) is not int or not least <= value <= most:
        raise UserError(f"{where} must be a whole number from {least} to {most:,}, but got {_short(value)}")
    return value


def _number(value: Any, where: str) -> float:
    if type(value) not in (int, float) or not 0 <= value <= LONGEST_MS or not math.isfinite(value):
        raise UserError(f"{where} must be a number from 0 to {LONGEST_MS:g}, but got {_short(value)}")
    return float(value)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
