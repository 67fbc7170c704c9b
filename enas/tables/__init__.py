"""Tables of truly trained networks, by which searchers can be judged without training anything.

accuracies.py      what a table says: accuracies, parameters and MACs of every architecture of a space
nasbench_macro.py  reading the table of NAS-Bench-Macro (Su et al. 2021)
nasbench201.py     reading a table of NAS-Bench-201 (Dong & Yang 2020): CSV, or the authors' file

The tables are other projects' data: they are read from a file that the user names and checked from end to end.
All accuracies are of CIFAR-10.
"""

from __future__ import annotations

from pathlib import Path

from enas.errors import UserError
from enas.tables import nasbench201, nasbench_macro
from enas.tables.accuracies import TrueAccuracies

__all__ = ["TrueAccuracies", "load_table"]


def load_table(path: str | Path, validation_epochs: int | None = None) -> TrueAccuracies:
    """The table in a file. Raises UserError, which names the entry, where anything in it is wrong or missing.

    validation_epochs: NAS-Bench-201 only: the accuracy that a search may see is that after so many epochs of
    training, 200 (the default) or 12. The truth is always the test accuracy after 200 epochs.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind == ".json":
        if validation_epochs is not None:
            raise UserError(
                f"validation_epochs applies to NAS-Bench-201 only, but {path} is to be NAS-Bench-Macro; leave it out"
            )
        return nasbench_macro.load(path)
    if kind in (".csv", ".pth"):
        return nasbench201.load(path, nasbench201.EPOCHS if validation_epochs is None else validation_epochs)
    raise UserError(
        f"a table must be nas-bench-macro_cifar10.json, or NAS-Bench-201 as a .csv or .pth file, but got {path}"
    )
