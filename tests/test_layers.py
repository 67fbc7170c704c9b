"""Imports go downwards only, files stay short, and the lowest level is plain Python."""

from __future__ import annotations

import ast
import functools
import graphlib
import sys
from pathlib import Path

import pytest

import enas

ROOT = Path(enas.__file__).parent
MAX_LINES = 320

# Level of every module. A package stands for all modules in it; nothing may import the package `enas` itself.
LEVELS = (
    ("errors", "halving", "config", "graph", "spaces", "cache"),
    (
        "interrupts",
        "kernels",
        "ops",
        "sliced",
        "execute",
        "cost",
        "data",
        "objective",
        "parallel",
        "controller",
        "checkpoint",
        "runtime",
        "records",
        "runs",
        "plan",
        "tables",
        "effects",
        "pareto",
        "averaging",
        "words",
    ),
    ("supernet", "network", "searchers"),
    ("losses", "training", "standalone", "zero_cost", "latency", "limits", "seen"),
    ("evaluators",),
    (
        "search_checkpoint",
        "results",
        "shrinking",
        "splitting",
        "curriculum",
        "phases",
        "scoring",
        "finalists",
        "derive",
        "audit",
        "aggregate",
        "rates",
        "budget",
        "searching",
        "generations",
        "retraining",
        "tracking",
        "draw",
        "report",
    ),
    ("export",),
    ("jobs",),
    ("cli", "__main__", "api"),
    ("",),
    ("examples",),  # written as users write, with `from enas import ...`
)
LEVEL_OF = {name: level for level, names in enumerate(LEVELS) for name in names}


def module_name(path: Path) -> str:
    """`enas.data.sets` of enas/data/sets.py, `enas.data` of enas/data/__init__.py."""
    parts = ("enas", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def top(module: str) -> str:
    """The part of a module's name that stands in the table."""
    return (module.split(".") + [""])[1]


def imports(source: str, module: str, package: bool = False) -> set[str]:
    """Full names that a module imports, within functions too, but not for type checkers alone.

    `from enas import x` counts as `enas.x`: whether x is a module is the caller's to know.
    """
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for child in node.orelse:
                visit(child)
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                parents = parts[: len(parts) - node.level + package]  # a package's own level is itself
                base = ".".join([*parents, *filter(None, [node.module])])
            found.update(f"{base}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(source))
    return found


@functools.cache
def imported(module: str) -> frozenset[str]:
    path = FILES[module]
    return frozenset(imports(path.read_text(encoding="utf-8"), module, path.name == "__init__.py"))


def internal(module: str) -> set[str]:
    """The modules of enas that a module imports."""
    found = set()
    for name in imported(module):
        if name.split(".")[0] == "enas":
            found.add(name if name in FILES else name.rpartition(".")[0] or name)
    return found - {module}


@pytest.mark.parametrize(
    ("source", "package", "expected"),
    [
        ("import a.b, c as d", False, {"a.b", "c"}),
        ("from enas import ops\nfrom enas.data import load as l", False, {"enas.ops", "enas.data.load"}),
        ("def f():\n    class A:\n        from enas.x import y", False, {"enas.x.y"}),
        ("try:\n    import a\nexcept ImportError:\n    import b", False, {"a", "b"}),
        ("from . import a\nfrom .b import c\nfrom .. import d", False, {"enas.p.a", "enas.p.b.c", "enas.d"}),
        ("from . import a\nfrom .b import c\nfrom .. import d", True, {"enas.p.m.a", "enas.p.m.b.c", "enas.p.d"}),
        ("if TYPE_CHECKING:\n    import a\nelse:\n    import b", False, {"b"}),
        ("import typing\nif typing.TYPE_CHECKING:\n    import a", False, {"typing"}),
        ("if not TYPE_CHECKING:\n    import a", False, {"a"}),
    ],
)
def test_imports_are_found(source: str, package: bool, expected: set[str]) -> None:
    assert imports(source, "enas.p.m", package) == expected


def test_every_module_is_in_the_table() -> None:
    assert len(FILES) > 40
    missing = sorted(module for module in FILES if top(module) not in LEVEL_OF)
    assert not missing, f"give {missing} a level in tests/test_layers.py"
    gone = sorted(set(LEVEL_OF) - {top(module) for module in FILES})
    assert not gone, f"{gone} no longer exist"


def test_what_is_imported_from_enas_exists() -> None:
    """A misspelt import within a function would otherwise show only when that function runs."""
    unknown = {(module, name) for module in FILES for name in internal(module) if name not in FILES}
    assert not unknown


@pytest.mark.parametrize("module", FILES)
def test_imports_go_down_only(module: str) -> None:
    level = LEVEL_OF[top(module)]
    upwards = {name for name in internal(module) if LEVEL_OF[top(name)] > level}
    assert not upwards, f"{module} (level {level}) must not import {', '.join(sorted(upwards))}"


def test_no_module_imports_itself_by_way_of_others() -> None:
    """Functions' imports count too: a cycle that only runs late is still one."""
    try:
        graphlib.TopologicalSorter({module: internal(module) for module in FILES}).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"these modules import each other in a circle: {' -> '.join(reversed(error.args[1]))}")


@pytest.mark.parametrize("module", [module for module in FILES if LEVEL_OF.get(top(module)) == 0])
def test_the_lowest_level_needs_nothing_but_python(module: str) -> None:
    """No torch, no numpy: `enas --help` and reading a configuration must be instant."""
    foreign = {name.split(".")[0] for name in imported(module)} - {"enas", "__future__"} - sys.stdlib_module_names
    assert not foreign


@pytest.mark.parametrize("module", FILES)
def test_files_stay_short(module: str) -> None:
    lines = len(FILES[module].read_text(encoding="utf-8").splitlines())
    assert lines < MAX_LINES, f"{module} has {lines} lines: make it a folder of the same name"


def test_nothing_is_called_utils() -> None:
    vague = {"utils", "util", "common", "core", "helpers", "misc"}
    assert not [module for module in FILES if vague & set(module.split("."))]
