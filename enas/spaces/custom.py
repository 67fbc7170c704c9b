"""Spaces of users: a class with decisions and a graph is enough, everything else follows from these.

`CustomSpace` is what the user's class derives from. `CheckedSpace` is the search space that becomes of it: it checks
what the class says and derives what it does not say. Which file the class comes from is `enas.spaces.source`'s.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from enas.config import SPACE_OPTIONS, CustomOptions
from enas.errors import UserError
from enas.graph import Graph, Node, Shape
from enas.spaces.base import SPACE_NAME, Architecture, Decision, active, settled, to_text
from enas.spaces.collect import Collected, collect
from enas.spaces.sketch import INPUT, MAIN, OUTPUT, SKIP, Box, Edge, Sketch, stage_of

GROUP = re.compile(r"[A-Za-z0-9_-]+")
MOST_CHOICES = 36  # one character each in the text form
SEVERAL = (tuple, list)
# What the fields of a decision must be: the type, that of each where there are several, and in words
FIELDS: tuple[tuple[str, Any, Any, str], ...] = (
    ("name", str, str, "a string"),
    ("labels", SEVERAL, str, 'strings in a tuple, as ("4", "8")'),
    ("group", str, str, "a string"),
    ("part", int, int, "a whole number"),
    ("sources", SEVERAL, int, "whole numbers in a tuple"),
    ("parent", int | None, int | None, "a whole number or None"),
    ("parent_choices", SEVERAL, int, "whole numbers in a tuple"),
)
T = TypeVar("T")


class CustomSpace(ABC):
    """Base of a user's space. The constructor sets `decisions`; `graph` gives the network of an architecture.

    name: of the space, with which its architectures' text forms begin (default: the class's name, as my-space).
    input_shape: (C, H, W) of the images; num_classes: of the labels.
    A constructor may take more arguments that have defaults; `width` is the one by which networks scale. A class may
    also have `candidates`, `describe` and `sketches` as `enas.spaces.SearchSpace` has them; else they are derived.
    """

    name: str = ""
    decisions: Sequence[Decision]

    def __init__(self, input_shape: Shape, num_classes: int) -> None:
        self.input_shape, self.num_classes = input_shape, num_classes

    @abstractmethod
    def graph(self, arch: Architecture) -> Graph:
        """The network of an architecture: the same one whenever it is asked for."""

    def chosen(self, arch: Architecture) -> dict[str, str]:
        """The labels that an architecture chooses, by the name of the decision."""
        return {d.name: d.labels[choice] for d, choice in zip(self.decisions, arch.choices, strict=True)}


class CheckedSpace:
    """The search space of a user's class. Whatever goes wrong in the class is a UserError that says where."""

    def __init__(
        self, made_by: type[CustomSpace], options: CustomOptions, input_shape: Shape, num_classes: int
    ) -> None:
        self.made_by, self.options, self.input_shape, self.num_classes = made_by, options, input_shape, num_classes
        self.name = name_of(made_by)
        self._space = self._construct()
        self.decisions = tuple(self._asked("decisions", lambda: self._space.decisions))
        self._check_decisions()
        self._collected: Collected | None = None
        self.graph(settled(self, [0] * len(self.decisions)))

    def graph(self, arch: Architecture) -> Graph:
        """The network, with weights that are among the candidates if those were asked for."""
        graph = self._asked(f"graph of {to_text(self, arch)}", lambda: self._space.graph(arch))
        if not isinstance(graph, Graph):
            raise UserError(f"{self._where()}: graph must return a Graph, but got {type(graph).__name__}")
        first, last = graph.nodes[0].shape, graph.nodes[-1].shape
        if first != self.input_shape or last != (self.num_classes, 1, 1):
            raise UserError(
                f"{self._where()}: a graph must lead from images {self.input_shape} to logits "
                f"{(self.num_classes, 1, 1)}, but got {first} to {last} of {to_text(self, arch)}"
            )
        sizes: dict[str, tuple[object, ...]] = {}
        for node in graph.nodes:
            size = node.op, node.in_shapes, node.shape
            if node.key and sizes.setdefault(node.key, size) != size:
                raise UserError(
                    f"{self._where()}: nodes of a graph that share a weight key must be alike, but {node.key} of "
                    f"{to_text(self, arch)} is {sizes[node.key]} and {size}; give each a key of its own"
                )
        if self._collected is not None:
            self._collected.check(graph, self._where())
        return graph

    def candidates(self) -> tuple[Node, ...]:
        """The class's own, or those that are collected from many architectures."""
        if self._collected is None:
            own = getattr(self._space, "candidates", None)
            if own is None:
                found = collect(self, self._where())
            else:
                found = Collected(self._where(), self._asked("candidates", own))
            self._collected = found
        return self._collected.nodes

    def describe(self, arch: Architecture) -> list[str]:
        """The class's own, or one line a part with the names and labels of its decisions."""
        own = getattr(self._space, "describe", None)
        if own is not None:
            return list(map(str, self._asked("describe", lambda: own(arch))))
        parts: dict[int, list[tuple[str, str]]] = {}
        for decision, choice, on in zip(self.decisions, arch.choices, active(self, arch.choices), strict=True):
            if on:
                parts.setdefault(decision.part, []).append((decision.name, decision.labels[choice]))
        return [_line(found) for found in parts.values()]

    def sketches(self, arch: Architecture) -> tuple[Sketch, ...]:
        """The class's own, or one drawing with a box for each node of the graph."""
        own = getattr(self._space, "sketches", None)
        if own is not None:
            return tuple(self._asked("sketches", lambda: own(arch)))
        return (_sketch(self.name, self.graph(arch), self.num_classes),)

    def scaled(self, **changes: Any) -> CheckedSpace:
        """The space with another `width`, if its constructor takes one."""
        unknown = set(changes) - {"width"}
        if unknown:
            raise UserError(f"space {self.name} scales by width alone, but got {', '.join(sorted(unknown))}")
        options = dataclasses.replace(self.options, **changes)
        return CheckedSpace(self.made_by, options, self.input_shape, self.num_classes)

    def _construct(self) -> CustomSpace:
        arguments: dict[str, Any] = dict(self.options.arguments)
        if self.options.width is not None:
            arguments["width"] = self.options.width
        parameters = inspect.signature(self.made_by).parameters
        takes = [name for name in parameters if name not in ("input_shape", "num_classes")]
        for name in arguments:
            if name not in takes:
                raise UserError(
                    f"{self._where()} must take the argument {name} to be given it, but it takes "
                    f"{', '.join(takes) or 'none'}"
                )
        return self._asked("constructor", lambda: self.made_by(self.input_shape, self.num_classes, **arguments))

    def _check_decisions(self) -> None:
        """Raise UserError unless the decisions are such that searchers can make them."""
        where, seen, labels = self._where(), set[str](), dict[str, tuple[str, ...]]()
        if not self.decisions:
            raise UserError(f"{where} must have at least one decision, but it has none")
        for d, decision in enumerate(self.decisions):
            if not isinstance(decision, Decision):
                raise UserError(f"{where}: decisions must be Decision objects, but got {type(decision).__name__}")
            self._check_types(decision)
            name, k = decision.name, len(decision.labels)
            if name in seen:
                raise UserError(f"{where}: names of decisions must be unique, but {name} is there twice")
            if not 1 <= k <= MOST_CHOICES or len(set(decision.labels)) < k:
                raise UserError(f"{where}: {name} must have 1 to {MOST_CHOICES} different labels, but got {k}")
            if not GROUP.fullmatch(decision.group):
                raise UserError(f"{where}: groups must be of letters, digits, - and _, but got {decision.group!r}")
            if d and decision.part < self.decisions[d - 1].part:
                raise UserError(f"{where}: parts must be in order, but {name} has part {decision.part} after a later")
            if not decision.sources and labels.setdefault(decision.group, decision.labels) != decision.labels:
                raise UserError(f"{where}: decisions of a group must have the same labels, but {name} has others")
            if len(decision.sources) not in (0, 1 if k == 2 else k):
                raise UserError(f"{where}: {name} must have one source and two labels, or a source for each label")
            if not all(0 <= source < decision.part for source in decision.sources):
                raise UserError(
                    f"{where}: sources of {name} must be parts before its own, {decision.part}, but got "
                    f"{decision.sources}"
                )
            self._check_parent(d, decision)
            seen.add(name)

    def _check_types(self, decision: Decision) -> None:
        """Raise UserError unless everything in the decision is of its type, which Python itself does not ask for."""
        for field, container, kind, what in FIELDS:
            value = getattr(decision, field)
            if not isinstance(value, container) or not all(isinstance(one, kind) for one in _listed(value)):
                raise UserError(
                    f"{self._where()}: {field} of decision {_short(decision.name)} must be {what}, but got "
                    f"{_short(value)}"
                )

    def _check_parent(self, d: int, decision: Decision) -> None:
        parent = decision.parent
        if parent is None:
            return
        known = 0 <= parent < d and all(0 <= c < len(self.decisions[parent].labels) for c in decision.parent_choices)
        if not known or not decision.parent_choices:
            raise UserError(
                f"{self._where()}: the parent of {decision.name} must be the position of an earlier decision, and "
                f"parent_choices some of its choices, but got {parent} and {decision.parent_choices}"
            )

    def _where(self) -> str:
        return f"space {self.options.source or self.made_by.__name__}"

    def _asked(self, what: str, call: Callable[[], T]) -> T:
        """What the class answers, or UserError with the line in it that failed."""
        try:
            return call()
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"{self._where()}: {what}: {failure(error)}") from error


def name_of(made_by: type[CustomSpace]) -> str:
    """The name of the space of a class. Raises UserError where it cannot be one."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", made_by.__name__)
    name = made_by.name or words.replace("_", "-").lower()
    if not isinstance(name, str) or not SPACE_NAME.fullmatch(name) or name in SPACE_OPTIONS:
        raise UserError(
            f"the name of a space must be lower-case words with dashes, and none of {', '.join(SPACE_OPTIONS)}, but "
            f"{made_by.__name__} has {name!r}; give the class a name = ..."
        )
    return name


def failure(error: BaseException) -> str:
    """An exception of the user's code in one line: what, and in which line of it."""
    text = (str(error).strip().splitlines() or [""])[0][:200]
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if os.path.dirname(frame.filename) != os.path.dirname(__file__)]
    if isinstance(error, SyntaxError):
        lines, text = [error.lineno], error.msg
    return f"{type(error).__name__}: {text}" + (f" (line {lines[0]} of it)" if lines else "")


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, SEVERAL) else (value,)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else text[:97] + "..."


def _line(found: Sequence[tuple[str, str]]) -> str:
    """`layer1: op conv_3x3, skip yes` of decisions called layer1/op and layer1/skip."""
    heads = {name.partition("/")[0] for name, _ in found}
    if len(heads) == 1 and all("/" in name for name, _ in found):
        return f"{heads.pop()}: " + ", ".join(f"{name.partition('/')[2]} {label}" for name, label in found)
    return ", ".join(f"{name} {label}" for name, label in found)


def _sketch(title: str, graph: Graph, num_classes: int) -> Sketch:
    """A box for each node, an edge for each input; of a chain of nodes, edges that pass a box are skips."""
    channels, height, width = graph.nodes[0].shape
    chain = all(i in node.inputs for i, node in enumerate(graph.nodes[1:]))
    boxes, edges = [Box("0", "images", INPUT, detail=f"{height}x{width}x{channels}")], []
    for i, node in enumerate(graph.nodes[1:], start=1):
        last = i == len(graph.nodes) - 1
        op, head = node.op.partition(":")[0], node.key.rpartition("/")[0]
        detail = f"{num_classes} classes" if last else ""
        kind, stage = (OUTPUT, "") if last else (op, stage_of(node.shape))
        boxes.append(Box(str(i), op, kind, tag="" if last else head, detail=detail, stage=stage))
        edges += [Edge(str(j), str(i), SKIP if chain and j < i - 1 else MAIN) for j in dict.fromkeys(node.inputs)]
    return Sketch(title, tuple(boxes), tuple(edges))
