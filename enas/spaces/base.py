"""What a search space is: decisions, architectures, and the graph that an architecture gives.

Pure data, no torch. A new space is one file: a class with the attributes of `SearchSpace`.
D decisions; decision d has K_d choices.
"""

from __future__ import annotations

import math
import re
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from enas.config import SpaceOptions
from enas.errors import UserError
from enas.graph import Graph, Node, Shape
from enas.spaces.sketch import Sketch

SCHEMA = 1
_DIGITS = string.digits + string.ascii_lowercase  # one character a choice in the text form
SPACE_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class Decision:
    """One categorical choice.

    name: unique, readable ("layer4/op").
    labels: readable names of the choices; K = len(labels).
    group: decisions of a group share their embedding and softmax in the controller.
    part: which part of the network it belongs to (macro: the layer, from 0). Parts are in order.
    sources: for a decision about connections, the parts that they come from; the controller then
        decides by attention to the states it had there. One source and two labels: whether to
        connect (ENAS section 2.3). A source for every label: which one to connect to (section 2.4).
    parent, parent_choices: the position of an earlier decision, and those of its choices under which
        this one matters. It is active where the parent is active and has made one of them; where it
        is inactive its choice is 0. Without a parent (None) it is always active.
    """

    name: str
    labels: tuple[str, ...]
    group: str
    part: int
    sources: tuple[int, ...] = ()
    parent: int | None = None
    parent_choices: tuple[int, ...] = ()

    @property
    def is_connection(self) -> bool:
        """Whether it says yes or no to one connection."""
        return len(self.sources) == 1


@dataclass(frozen=True, slots=True)
class Architecture:
    """All choices of one network: immutable, hashable, with a one-line text form and a JSON form."""

    space: str
    choices: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        return {"schema": SCHEMA, "space": self.space, "choices": list(self.choices)}


class SearchSpace(Protocol):
    """The interface of all spaces."""

    @property
    def name(self) -> str: ...

    @property
    def options(self) -> SpaceOptions: ...

    @property
    def input_shape(self) -> Shape: ...

    @property
    def num_classes(self) -> int: ...

    @property
    def decisions(self) -> tuple[Decision, ...]: ...

    def graph(self, arch: Architecture) -> Graph:
        """The network of an architecture, a valid one of this space."""

    def candidates(self) -> tuple[Node, ...]:
        """One node for every weight key that any architecture of the space can use; where architectures use it in
        several sizes (`enas.sliced`), nodes that have them all."""

    def describe(self, arch: Architecture) -> list[str]:
        """The architecture in words, one line a part."""

    def sketches(self, arch: Architecture) -> tuple[Sketch, ...]:
        """What a picture of the architecture shows: one drawing, or one for each kind of part."""

    def scaled(self, **changes: Any) -> SearchSpace:
        """The same decisions in a larger network, for retraining."""


def active(space: SearchSpace, choices: Sequence[int]) -> list[bool]:
    """Which decisions matter, given all choices. [D]"""
    found: list[bool] = []
    for decision in space.decisions:
        parent = decision.parent
        found.append(parent is None or (found[parent] and choices[parent] in decision.parent_choices))
    return found


def settled(space: SearchSpace, choices: Sequence[int]) -> Architecture:
    """The architecture with these choices; inactive decisions become 0, so equal networks compare equal."""
    kept = (choice if on else 0 for choice, on in zip(choices, active(space, choices), strict=True))
    return Architecture(space.name, tuple(kept))


def size(space: SearchSpace) -> int:
    """Number of architectures in the space."""
    # below[d][k]: number of ways to decide all that choice k of decision d activates
    below = [[1] * len(decision.labels) for decision in space.decisions]
    total = 1
    for d in reversed(range(len(space.decisions))):  # parents come before their children
        ways, decision = sum(below[d]), space.decisions[d]
        if decision.parent is None:
            total *= ways
        else:
            for choice in decision.parent_choices:
                below[decision.parent][choice] *= ways
    return total


def validate(space: SearchSpace, arch: Architecture) -> None:
    """Raise UserError unless `arch` is an architecture of `space`."""
    if arch.space != space.name:
        raise UserError(f"the architecture must belong to space {space.name}, but it belongs to {arch.space}")
    num_decisions = len(space.decisions)
    if len(arch.choices) != num_decisions:
        raise UserError(
            f"an architecture of this {space.name} space must have {num_decisions} choices, one per decision, "
            f"but got {len(arch.choices)}; the space's sizes are settings (--set space.NAME=..., see --print-config)"
        )
    for decision, choice in zip(space.decisions, arch.choices, strict=True):
        if not 0 <= choice < len(decision.labels):
            raise UserError(f"{decision.name} must be in 0..{len(decision.labels) - 1}, but got {choice}")
    for decision, choice, on in zip(space.decisions, arch.choices, active(space, arch.choices), strict=True):
        if choice and not on:
            raise UserError(f"{decision.name} must be 0, because it plays no part here, but got {choice}")


def to_text(space: SearchSpace, arch: Architecture) -> str:
    """One line, for example `macro:0-31-201`: a group of characters a part, a character a choice."""
    parts: dict[int, str] = {}
    for decision, choice in zip(space.decisions, arch.choices, strict=True):
        parts[decision.part] = parts.get(decision.part, "") + _DIGITS[choice]
    return f"{arch.space}:{'-'.join(parts.values())}"


def from_text(text: str) -> Architecture:
    """Parse the text form. Raises UserError where it is malformed; `validate` checks it against a space."""
    space, colon, body = text.strip().partition(":")
    if not colon or not SPACE_NAME.fullmatch(space):
        raise UserError(
            f"an architecture must look like macro:0-31-201 (space, colon, choices), but got {_short(text)}"
        )
    characters = body.replace("-", "")
    wrong = sorted(set(characters) - set(_DIGITS))
    if wrong:
        raise UserError(f"choices must be the characters 0-9 and a-z, but got {wrong[0]!r} in {_short(text)}")
    return Architecture(space, tuple(_DIGITS.index(c) for c in characters))


def parse(space: SearchSpace, text: str) -> Architecture:
    """The architecture of `space` with this text form. Raises UserError unless it is one, dashes included."""
    arch = from_text(text)
    validate(space, arch)
    if to_text(space, arch) != text.strip():
        raise UserError(f"dashes must separate the parts: {_short(to_text(space, arch))}, but got {_short(text)}")
    return arch


def from_json(value: Any) -> Architecture:
    """Read the JSON form. Raises UserError where it is malformed or of another schema."""
    if not isinstance(value, Mapping):
        raise UserError(
            f"an architecture must be a JSON object with schema, space and choices, but got {_short(value)}"
        )
    if value.get("schema") != SCHEMA:
        raise UserError(f"the architecture's schema must be {SCHEMA}, but got {_short(value.get('schema'))}")
    space, choices = value.get("space"), value.get("choices")
    if not isinstance(space, str) or not SPACE_NAME.fullmatch(space):
        raise UserError(f"the architecture's space must be a name, but got {_short(space)}")
    if not isinstance(choices, list) or not all(type(c) is int and 0 <= c < len(_DIGITS) for c in choices):
        raise UserError(f"the architecture's choices must be a list of small whole numbers, but got {_short(choices)}")
    return Architecture(space, tuple(choices))


def steps(space: SearchSpace) -> Iterator[tuple[int, ...]]:
    """Positions of the decisions that the controller takes in one step, in order: each alone, but the
    yes/no decisions about all connections into one part together (ENAS section 2.3)."""
    step: list[int] = []
    for d, decision in enumerate(space.decisions):
        if step:
            last = space.decisions[step[-1]]
            together = last.is_connection and decision.is_connection
            if not together or (last.part, last.group) != (decision.part, decision.group):
                yield tuple(step)
                step = []
        step.append(d)
    if step:
        yield tuple(step)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def uniform_entropies(space: SearchSpace) -> dict[str, float]:
    """Entropy in nats, by group, of the policy that makes every active decision uniformly."""
    entropies: dict[str, float] = {}
    active_share: list[float] = []  # how often each decision is active under that policy
    for decision in space.decisions:
        share = 1.0
        if decision.parent is not None:
            parent = space.decisions[decision.parent]
            share = active_share[decision.parent] * len(decision.parent_choices) / len(parent.labels)
        active_share.append(share)
        entropies[decision.group] = entropies.get(decision.group, 0.0) + share * math.log(len(decision.labels))
    return entropies


def choice_shares(space: SearchSpace, archs: Sequence[Architecture]) -> dict[str, dict[str, float]]:
    """How often the architectures make each choice: group -> label -> share of the group's active decisions."""
    counts: dict[str, dict[str, int]] = {}
    for arch in archs:
        for decision, choice, on in zip(space.decisions, arch.choices, active(space, arch.choices), strict=True):
            group = counts.setdefault(decision.group, {})
            for label in decision.labels:  # decisions of a group may differ in how many choices they have
                group.setdefault(label, 0)
            group[decision.labels[choice]] += on
    return {
        name: {label: count / max(1, sum(group.values())) for label, count in group.items()}
        for name, group in counts.items()
    }
