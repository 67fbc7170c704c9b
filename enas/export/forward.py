"""The lines of a class: those that make its parts, and those of its forward pass."""

from __future__ import annotations

from collections.abc import Mapping

from enas.export.operations import INPUT, MODULE
from enas.export.outline import Scope, Step
from enas.export.text import INDENT, WIDTH, call, comment, total

NESTED = 2  # calls within each other in a line, at most
BODY = 2  # indentation within a method


def makes(scope: Scope, titles: Mapping[str, str]) -> list[str]:
    """The assignments of a class's parts. titles: what to say before the first part of a group, by its prefix."""
    lines: list[str] = []
    made, said = set(), set()
    for step in scope.steps:
        if not step.attribute or step.attribute in made:
            continue
        made.add(step.attribute)
        title = step.key.partition("/")[0]
        if title in titles and title not in said:
            said.add(title)
            lines += comment(titles[title], BODY)
        lines += call(f"self.{step.attribute} = {step.module}", step.arguments, "", BODY)
    return lines + [f"{INDENT * BODY}self.{name} = DropPath({share})" for name, share in scope.drops.items()]


def passes(scope: Scope, ends: tuple[int, ...]) -> tuple[list[str], list[str]]:
    """The lines of a forward pass, and what its ends are then called or computed by.

    What is read once stands within the line that reads it, where that stays short.
    """
    reads: dict[int, int] = {end: 1 for end in ends}
    for step in scope.steps:
        for i in step.inputs:
            reads[i] = reads.get(i, 0) + 1
    lines: list[str] = []
    names = dict(scope.inputs)
    waiting: dict[int, tuple[Step, str, int]] = {}  # not yet written: expression, and how deep it is

    def operands(step: Step) -> list[str]:
        return [names.get(i) or waiting[i][1] for i in step.inputs]

    def write(step: Step) -> None:
        names[step.position] = step.name
        lines.extend(_assignment(step, operands(step)))

    for step in scope.steps:
        inner = [i for i in step.inputs if i in waiting]
        deep = 1 + max((waiting[i][2] for i in inner), default=0)
        text = _expression(step, operands(step))
        if inner and (deep > NESTED or len(f"{INDENT * BODY}{step.name} = {text}") > WIDTH):
            for i in inner:
                write(waiting.pop(i)[0])
            deep, text = 1, _expression(step, operands(step))
        is_end = step.position in ends
        if reads[step.position] == 1 and (len(ends) == 1 if is_end else step.value != INPUT):
            waiting[step.position] = step, text, deep
        else:
            write(step)
            for i in inner:
                waiting.pop(i, None)
    (last, *others), margin = ends, len(f"{INDENT * BODY}return F.relu()")
    if not others and last in waiting and margin + len(waiting[last][1]) > WIDTH:
        write(waiting[last][0])
    return lines, [names.get(end) or waiting[end][1] for end in ends]


def _expression(step: Step, operands: list[str]) -> str:
    if not step.value:
        text = f"self.{step.attribute}({', '.join(operands)})"
    else:
        text = step.value.replace(MODULE, f"self.{step.attribute}").replace(INPUT, " + ".join(operands))
    return f"self.{step.drop}({text})" if step.drop else text


def _assignment(step: Step, operands: list[str]) -> list[str]:
    """`name = expression`, in several lines where one is too long."""
    text = _expression(step, operands)
    if len(f"{INDENT * BODY}{step.name} = {text}") <= WIDTH:
        return [f"{INDENT * BODY}{step.name} = {text}"]
    if step.value == INPUT:
        return total(step.name, operands, BODY)
    if len(operands) > 1 and step.value:
        return [*total(step.name, operands, BODY), *_assignment(step, [step.name])]
    if not step.value:
        return call(f"{step.name} = self.{step.attribute}", operands, "", BODY)
    head, _, inner = text.partition("(")
    return call(f"{step.name} = {head}", [inner[:-1]], "", BODY)
