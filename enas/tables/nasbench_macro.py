"""The table of NAS-Bench-Macro (Su et al. 2021), as its authors give it: nas-bench-macro_cifar10.json.

By code: the test accuracies of three trainings, parameters and "flops", which are MACs. The authors
kept the best epoch of each training by its test accuracy and had no validation images, so validation and
truth are the same here: the mean of the three.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from enas.config import NasBenchMacroOptions
from enas.errors import UserError
from enas.spaces import NasBenchMacroSpace
from enas.spaces.nasbench_macro import STAGES, from_published
from enas.tables.accuracies import (
    CLASSES,
    INPUT_SHAPE,
    Entry,
    Ints,
    TrueAccuracies,
    all_choices,
    check_percent,
    collected,
    positions_of,
)

TEST_IMAGES = 10_000
EPOCHS, TRAINING_IMAGES = 50, 50_000
TRAININGS = 3


def load(path: Path) -> TrueAccuracies:
    """Read the file. Raises UserError where it is missing, malformed or incomplete."""
    space = NasBenchMacroSpace(NasBenchMacroOptions(), INPUT_SHAPE, len(CLASSES))
    return collected(path, space, _entries(path, _read(path)), TEST_IMAGES, EPOCHS * TRAINING_IMAGES, networks(space))


def networks(space: NasBenchMacroSpace) -> Ints:
    """For every code the position of the one that stands for its network, [S].

    Behind the first layer of a stage an identity is nothing at all: it counts as the last of its stage.
    """
    choices, first = all_choices(space), 0
    for layers in STAGES:
        rest = choices[:, first + 1 : first + layers]
        order = np.argsort(rest == 0, axis=1, kind="stable")
        choices[:, first + 1 : first + layers] = np.take_along_axis(rest, order, axis=1)
        first += layers
    return positions_of(space, choices)


def _entries(path: Path, pairs: list[tuple[str, Any]]) -> Iterator[Entry]:
    for code, values in pairs:
        where = f"entry {code[:40]!r}"
        try:
            arch = from_published(code)
        except UserError as error:
            raise UserError(f"{path}, {where}: {error}") from None
        fields = dict(values) if isinstance(values, _Object) else {}
        accuracies, params, macs = (fields.get(name) for name in ("test_acc", "params", "flops"))
        if not isinstance(accuracies, list) or len(accuracies) != TRAININGS or params is None or macs is None:
            raise UserError(f"{path}, {where} must have test_acc ({TRAININGS} accuracies), params and flops")
        for number, value in enumerate(accuracies, start=1):
            check_percent(path, f"{where}, training {number},", value)
        mean = sum(accuracies) / TRAININGS
        yield Entry(where, arch, mean, mean, params, macs)


class _Object(list[tuple[str, Any]]):
    """A JSON object as its pairs: a dictionary would hide that a code stands there twice."""


def _read(path: Path) -> list[tuple[str, Any]]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_Object)
    except (OSError, ValueError, RecursionError) as error:
        reason = (str(error).splitlines() or [""])[0][:200]
        raise UserError(f"the table must be a readable JSON file, but {path}: {reason}") from None
    if not isinstance(found, _Object):
        raise UserError(f"{path} must be one JSON object with an entry for each code, but it is none")
    return found
