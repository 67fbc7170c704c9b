"""A table of NAS-Bench-201 (Dong & Yang 2020) on CIFAR-10: a CSV file, or the authors' own .pth file.

CSV: a line for each cell with the columns `arch` (the published form), `val200` and `test200` (percent after 200
epochs, means over the trainings) and, to let a search see the accuracy after 12 epochs instead, `val12`. Where
there is a column `params_M` it is checked; all other columns are left alone.

The .pth file is a pickle, which could run anything when it is opened. It is opened with what torch calls
`weights_only`, which builds numbers, texts and their containers and refuses the rest; that is slow, and the
whole file is then in memory, tens of GiB.
"""

from __future__ import annotations

import csv
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from enas import spaces
from enas.config import NasBench201Options
from enas.errors import UserError
from enas.spaces import Architecture, NasBench201Space
from enas.spaces.nasbench201 import from_published
from enas.tables.accuracies import CLASSES, INPUT_SHAPE, Entry, TrueAccuracies, collected

EPOCHS, SHORT = 200, 12  # of the two published trainings
TRAINING_IMAGES = VALIDATION_IMAGES = 25_000  # of CIFAR-10's; the test accuracies are of networks trained on all
PARAMS_WITHIN = 1.0  # `params_M` has six decimals


def load(path: Path, validation_epochs: int = EPOCHS) -> TrueAccuracies:
    """Read the file. Raises UserError where it is missing, malformed or incomplete."""
    if validation_epochs not in (EPOCHS, SHORT):
        raise UserError(f"validation_epochs must be {EPOCHS} or {SHORT}, but got {validation_epochs}")
    space = NasBench201Space(NasBench201Options(), INPUT_SHAPE, len(CLASSES))
    entries = _from_csv if path.suffix.lower() == ".csv" else _from_pickle
    trained_on = validation_epochs * TRAINING_IMAGES
    network = np.arange(spaces.size(space))  # as published, every cell is a network of its own
    return collected(
        path, space, entries(path, validation_epochs), VALIDATION_IMAGES, trained_on, network, PARAMS_WITHIN
    )


def _columns(epochs: int) -> tuple[str, str, str]:
    return "arch", f"val{epochs}", f"test{EPOCHS}"


def _from_csv(path: Path, epochs: int) -> Iterator[Entry]:
    columns = _columns(epochs)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            missing = [name for name in columns if name not in (rows.fieldnames or ())]
            if missing:
                raise UserError(
                    f"{path} must have the columns {', '.join(columns)}, but {', '.join(missing)} is missing"
                )
            for row in rows:
                where = f"line {rows.line_num}"
                arch, *accuracies = (row[name] or "" for name in columns)
                validation, test = map(_number, accuracies)
                params = _number(row["params_M"] or "") if "params_M" in row else None
                in_ones = params * 1e6 if isinstance(params, float) else params
                yield Entry(where, _cell(path, where, arch), validation, test, in_ones)
    except (OSError, ValueError, csv.Error) as error:  # not text is a ValueError
        raise UserError(f"the table must be a readable CSV file, but {path}: {str(error)[:200]}") from None


def _from_pickle(path: Path, epochs: int) -> Iterator[Entry]:
    columns = _columns(epochs)
    advice = f"give a CSV file with the columns {', '.join(columns)} and a line for each cell instead"
    try:
        with torch.serialization.safe_globals(_numpy_numbers()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles of another protocol, which fail by themselves
            file = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises anything, and so does a lack of memory
        reason = (str(error).splitlines() or [""])[0][:100]
        raise UserError(
            f"{path} must be the authors' file and hold nothing that could run when it is opened, but "
            f"{type(error).__name__}: {reason}; {advice}"
        ) from None
    try:
        for index, text in enumerate(file["meta_archs"]):
            where, trained = f"architecture {index}", file["arch2infos"][index]
            arch = _cell(path, where, text)
            validation = _mean(
                trained["full" if epochs == EPOCHS else "less"], "cifar10-valid", f"x-valid@{epochs - 1}"
            )
            test = _mean(trained["full"], "cifar10", f"ori-test@{EPOCHS - 1}")
            yield Entry(where, arch, validation, test)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        raise UserError(
            f"{path} must be laid out as NAS-Bench-201-v1_1-096897.pth, but {type(error).__name__}: "
            f"{str(error)[:100]}; {advice}"
        ) from None


def _mean(trainings: Mapping[str, Any], images: str, when: str) -> float:
    """The mean accuracy over the seeds of one cell's trainings on `images`."""
    found = [
        float(result["eval_acc1es"][when])
        for (trained_on, _), result in trainings["all_results"].items()
        if trained_on == images
    ]
    return sum(found) / len(found)


def _numpy_numbers() -> list[Any]:
    """What a pickled numpy number is made of, by old and new numpy's names: the file has some among its costs."""
    number = np.float64(0).__reduce__()[0]
    names = [f"{module}.multiarray.scalar" for module in ("numpy.core", "numpy._core")]
    return [*((number, name) for name in names), np.dtype, *(type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8"))]


def _cell(path: Path, where: str, text: str) -> Architecture:
    try:
        return from_published(text)
    except UserError as error:
        raise UserError(f"{path}, {where}: {error}") from None


def _number(text: str) -> float | str:
    """The number that a field holds, or the text itself, for an error to show."""
    try:
        return float(text)
    except ValueError:
        return text
