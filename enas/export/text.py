"""Lines of Python as a formatter would leave them, and texts that break nothing."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

WIDTH = 120  # characters in a line of an exported module, as in `enas.export.blocks`
INDENT = "    "


def literal(text: str) -> str:
    """A string's literal; what cannot be printed is escaped."""
    quote = "'" if text.count('"') > text.count("'") else '"'

    def escaped(character: str) -> str:
        if character in (quote, "\\"):
            return f"\\{character}"
        return character if character.isprintable() else character.encode("unicode_escape").decode()

    return quote + "".join(map(escaped, text)) + quote


def comment(text: str, indent: int) -> list[str]:
    """A comment, in as many lines as it needs."""
    prefix = INDENT * indent + "# "
    return textwrap.wrap(_one_line(text), WIDTH, initial_indent=prefix, subsequent_indent=prefix) or []


def docstring(lines: Sequence[str], indent: int) -> list[str]:
    """A docstring: the first line, and below it the others."""
    margin = INDENT * indent
    wrapped: list[str] = []
    for line in lines:
        inner = len(line) - len(line.lstrip())
        below = margin + " " * inner
        further = below + "  " * (inner > 0)
        one = _one_line(line.strip())
        # escaped only now: a line must not end within an escape
        wrapped += map(_escaped, textwrap.wrap(one, WIDTH - 3, initial_indent=below, subsequent_indent=further) or [""])
    if not wrapped:
        return []
    wrapped[0] = f'{margin}"""{wrapped[0].lstrip()}'
    if wrapped[-1].endswith('"'):  # it would end the docstring early
        wrapped[-1] += "."
    if len(wrapped) == 1:
        return [f'{wrapped[0]}"""']
    return [*(line.rstrip() for line in wrapped), f'{margin}"""']


def call(head: str, arguments: Sequence[str], tail: str, indent: int) -> list[str]:
    """`head(arguments)tail`, in one line, or the arguments in a line of their own, or each in one."""
    margin = INDENT * indent
    line = f"{margin}{head}({', '.join(arguments)}){tail}"
    if len(line) <= WIDTH or not arguments:
        return [line]
    inner = f"{margin}{INDENT}{', '.join(arguments)}"
    if len(inner) <= WIDTH:
        return [f"{margin}{head}(", inner, f"{margin}){tail}"]
    return [f"{margin}{head}(", *(f"{margin}{INDENT}{one}," for one in arguments), f"{margin}){tail}"]


def total(target: str, summands: Sequence[str], indent: int) -> list[str]:
    """`target = a + b`, in brackets where it is long."""
    margin = INDENT * indent
    line = f"{margin}{target} = {' + '.join(summands)}"
    if len(line) <= WIDTH:
        return [line]
    inner = f"{margin}{INDENT}{' + '.join(summands)}"
    if len(inner) <= WIDTH:
        return [f"{margin}{target} = (", inner, f"{margin})"]
    first, *rest = summands
    below = margin + INDENT
    return [f"{margin}{target} = (", f"{below}{first}", *(f"{below}+ {one}" for one in rest), f"{margin})"]


def sequence(target: str, items: Iterable[str], indent: int = 0) -> list[str]:
    """`target = (items)`, a tuple."""
    items = tuple(items)
    margin = INDENT * indent
    one = f"{margin}{target} = ({', '.join(items)}{',' if len(items) == 1 else ''})"
    if len(one) <= WIDTH:
        return [one]
    return [f"{margin}{target} = (", *(f"{margin}{INDENT}{item}," for item in items), f"{margin})"]


def _escaped(line: str) -> str:
    """A line of a docstring, which it does not end."""
    return line.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')


def _one_line(text: str) -> str:
    """The text without anything that would end a line or cannot be printed."""
    return "".join(character if character.isprintable() else " " for character in text)
