"""What is said of a run's data and device, in a few words."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from enas.errors import UserError

if TYPE_CHECKING:
    from enas.data import DataSet
    from enas.runtime import Runtime
    from enas.tables import TrueAccuracies


def data_line(data: DataSet | TrueAccuracies) -> str:
    """What judges architectures, or what a network is trained on."""
    from enas.tables import TrueAccuracies

    if isinstance(data, TrueAccuracies):
        return f"{data.name}: {len(data):,} architectures with known accuracies"
    channels, height, width = data.input_shape
    return (
        f"{data.name}: {len(data.train):,} training and {len(data.test):,} test images "
        f"{height}x{width}x{channels}, {data.num_classes} classes"
    )


def runtime_line(runtime: Runtime) -> str:
    threads = f", {runtime.threads} threads" if runtime.device.type == "cpu" else ""
    return f"{runtime.device}, {precision(runtime)}{threads}"


def precision(runtime: Runtime) -> str:
    return str(runtime.precision).removeprefix("torch.")


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what a malformed result file breaks into one line for the user."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise UserError(
            f"{path} must be an intact result of enas, but something in it is missing or wrong "
            f"({type(error).__name__}: {error}); restore the file"
        ) from None
