"""Tables of trained networks: what is read, every kind of wrong file, and scoring by them.

`pytest -m slow` with ENAS_TABLES set to a folder that holds nas-bench-macro_cifar10.json and nb201_cifar10_unified.csv
looks at every entry of the real ones.
"""

from __future__ import annotations

import functools
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from enas.config import ObjectiveConfig
from enas.cost import Cost, cost
from enas.errors import UserError
from enas.evaluators import Table
from enas.graph import signature
from enas.objective import rewards
from enas.spaces import Architecture, nasbench201, nasbench_macro
from enas.tables import TrueAccuracies, load_table
from enas.tables.accuracies import counts
from tests.samples import (
    CELLS,
    CHAINS,
    Row,
    cell_sample,
    macro_sample,
    made_up,
    whole_cells,
    whole_macro,
    write_cells,
)
from tests.toys import nasbench201 as small_cells
from tests.toys import nasbench_macro as small_chains
from tests.toys import random_archs


@pytest.fixture(scope="module")
def macro_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tables") / "macro.json"
    path.write_text(json.dumps(whole_macro()))
    return path


@pytest.fixture(scope="module")
def cells_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cells(tmp_path_factory.mktemp("tables") / "cells.csv", whole_cells())


@pytest.fixture(scope="module")
def macro_table(macro_file: Path) -> TrueAccuracies:
    return load_table(macro_file)


@pytest.fixture(scope="module")
def cells_table(cells_file: Path) -> TrueAccuracies:
    return load_table(str(cells_file))


# ---- what is read


def test_the_macro_table_holds_what_the_file_says(macro_table: TrueAccuracies) -> None:
    assert macro_table.space == CHAINS and macro_table.images == 10_000
    sample = macro_sample()
    for code, row in sample.items():
        (at,) = macro_table.positions([nasbench_macro.from_published(code)])
        assert macro_table.test[at] == macro_table.validation[at] == pytest.approx(row["mean_acc"] / 100, abs=1e-6)
        assert (macro_table.params[at], macro_table.macs[at]) == (row["params"], row["flops"])
    (at,) = macro_table.positions([nasbench_macro.from_published("11111112")])
    assert macro_table.test[at] == pytest.approx(made_up(int(at), 6561) / 100)
    assert len(np.unique(macro_table.network)) == 3969


def test_the_cells_table_holds_what_the_file_says(cells_file: Path, cells_table: TrueAccuracies) -> None:
    assert cells_table.space == CELLS and cells_table.images == 25_000
    short = load_table(cells_file, validation_epochs=12)
    for row in cell_sample():
        (at,) = cells_table.positions([nasbench201.from_published(row["arch"])])
        for table, column in ((cells_table, "val200"), (short, "val12")):
            assert table.validation[at] == pytest.approx(float(row[column]) / 100)
            assert table.test[at] == pytest.approx(float(row["test200"]) / 100)
        assert cells_table.params[at] == round(1e6 * float(row["params_M"]))
    assert np.array_equal(cells_table.network, np.arange(15_625))


def test_positions_are_the_order_of_all_choices(macro_table: TrueAccuracies, cells_table: TrueAccuracies) -> None:
    for table, size in ((macro_table, 6561), (cells_table, 15_625)):
        asked = [table.arch(position) for position in (0, 1, size - 1, 2000, 1)]
        assert table.positions(asked).tolist() == [0, 1, size - 1, 2000, 1]
        archs = random_archs(table.space, 50)
        assert [table.arch(int(at)) for at in table.positions(archs)] == archs
        assert table.positions([]).shape == (0,)
        for array in (table.validation, table.test, table.params, table.macs, table.network):
            assert array.shape == (size,)


def test_an_architecture_of_no_table_is_refused(macro_table: TrueAccuracies) -> None:
    good = Architecture("nasbench-macro", (0,) * 8)
    for choices, match in (
        ((0,) * 7, "must have 8 choices"),
        ((0,) * 16, "must have 8 choices"),
        ((0,) * 7 + (3,), r"layer8/op must be in 0\.\.2, but got 3"),
        ((-1,) + (0,) * 7, r"layer1/op must be in 0\.\.2"),
        ((2**70,) + (0,) * 7, r"layer1/op must be in 0\.\.2"),
    ):
        with pytest.raises(UserError, match=match):
            macro_table.positions([good, Architecture("nasbench-macro", choices)])
    with pytest.raises(UserError, match="must belong to space nasbench-macro, but it belongs to macro"):
        macro_table.positions([Architecture("macro", (0,) * 8), good])


def test_counts_of_all_architectures_are_those_of_each() -> None:
    for space in (small_cells(), small_chains()):
        params, macs = counts(space)
        archs = random_archs(space, 20)
        sizes = [len(decision.labels) for decision in space.decisions]
        at = [int(np.ravel_multi_index(arch.choices, sizes)) for arch in archs]
        assert [cost(space.graph(arch)) for arch in archs] == [Cost(int(params[i]), int(macs[i])) for i in at]


# ---- the evaluator


def test_scores_are_the_validation_accuracies(cells_table: TrueAccuracies) -> None:
    archs = random_archs(CELLS, 6)
    scores = Table(cells_table).score([*archs, archs[0]])
    expected = cells_table.validation[cells_table.positions([*archs, archs[0]])]
    torch.testing.assert_close(scores.accuracy, torch.tensor(expected, dtype=torch.float32))
    assert (scores.loss, scores.images) == (None, 25_000) and not scores.failed.any()
    assert torch.equal(rewards(scores, ObjectiveConfig()), scores.accuracy)
    with pytest.raises(UserError, match="a table of trained networks holds accuracies alone"):
        rewards(scores, ObjectiveConfig(metric="loss"))
    with pytest.raises(UserError, match="belongs to nasbench-macro"):
        Table(cells_table).score([Architecture("nasbench-macro", (0,) * 8)])


# ---- wrong files


def refused(path: Path, match: str, validation_epochs: int | None = None) -> None:
    with pytest.raises(UserError, match=match) as error:
        load_table(path, validation_epochs)
    assert "\n" not in str(error.value) and len(str(error.value)) < 600


def test_files_that_are_no_table(tmp_path: Path) -> None:
    for name in ("none.json", "none.csv", "none.pth"):
        refused(tmp_path / name, "none")
    for name in ("folder.json", "folder.csv", "folder.pth"):
        (tmp_path / name).mkdir()
        refused(tmp_path / name, "folder")
    refused(tmp_path / "table.txt", "must be nas-bench-macro_cifar10.json, or NAS-Bench-201 as a .csv or .pth file")
    refused(tmp_path / "a.json", "validation_epochs applies to NAS-Bench-201 only", 200)
    refused(tmp_path / "a.csv", "validation_epochs must be 200 or 12, but got 100", 100)
    for name in ("a.json", "a.csv", "a.pth"):
        for content in (b"", b"\0\1\2", b"\xff\xfe", b"[" * 10**5, b"{}", b"[1]", b'"arch"', b"PK\3\4" + b"\0" * 100):
            (tmp_path / name).write_bytes(content)
            refused(tmp_path / name, "must")


@settings(max_examples=60)
@given(st.binary(max_size=200), st.sampled_from(["json", "csv", "pth"]))
def test_any_bytes_are_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes, ending: str) -> None:
    path = tmp_path_factory.mktemp("hostile") / f"a.{ending}"
    path.write_bytes(content)
    with pytest.raises(UserError):
        load_table(path)


CODE = "02012100"


def without(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda table: table[CODE].pop(name)  # type: ignore[no-any-return]


def changed(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda table: table[CODE].update(values)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda table: None, "hold all 6,561 architectures .* 6,518 are missing, nasbench-macro:00000001 among them"),
        (lambda table: table.update({"02012103": {}}), "entry '02012103': .* must be 8 digits"),
        (lambda table: table.update({"0" * 10**5: {}}), "must be 8 digits"),
        (lambda table: table.update({CODE: 3}), "entry '02012100' must have test_acc"),
        (lambda table: table.update({CODE: []}), "entry '02012100' must have test_acc"),
        (without("test_acc"), "entry '02012100' must have test_acc .3 accuracies., params and flops"),
        (without("params"), "entry '02012100' must have"),
        (without("flops"), "entry '02012100' must have"),
        (changed(test_acc=[90.0, 90.0]), "must have test_acc .3 accuracies."),
        (changed(test_acc=90.0), "must have test_acc"),
        (changed(test_acc=[90.0, 90.0, 100.1]), r"0\.\.100, but entry '02012100', training 3, gives 100.1"),
        (changed(test_acc=[-0.1, 90.0, 90.0]), r"0\.\.100, but entry '02012100', training 1"),
        (changed(test_acc=[90.0, float("nan"), 90.0]), r"0\.\.100, but .* training 2, gives nan"),
        (changed(test_acc=[90.0, float("inf"), 90.0]), r"0\.\.100"),
        (changed(test_acc=[90.0, "90", 90.0]), r"0\.\.100"),
        (changed(test_acc=[90.0, True, 90.0]), r"0\.\.100"),
        (changed(test_acc=[90.0, [90.0], 90.0]), r"0\.\.100"),
        (changed(test_acc=[90.0, 10**400, 90.0]), r"0\.\.100"),
        (changed(params=890_667), "entry '02012100' gives 890667 parameters and not 890,666"),
        (changed(flops=47_327_754), "entry '02012100' gives 47327754 MACs and not 47,327,744"),
        (changed(params="890666"), "parameters and not 890,666"),
        (changed(params=float("nan")), "gives nan parameters"),
    ],
)
def test_wrong_macro_tables_are_refused(change: Any, match: str, tmp_path: Path) -> None:
    table = macro_sample()
    change(table)
    (tmp_path / "a.json").write_text(json.dumps(table))
    refused(tmp_path / "a.json", match)


def test_one_missing_code_is_enough(macro_file: Path, tmp_path: Path) -> None:
    table = json.loads(macro_file.read_text())
    del table[CODE]
    (tmp_path / "a.json").write_text(json.dumps(table))
    refused(tmp_path / "a.json", "hold all 6,561 architectures .* 1 are missing, nasbench-macro:02012100 among them")


def test_a_code_that_stands_there_twice_is_refused(tmp_path: Path) -> None:
    entry = json.dumps(macro_sample()[CODE])
    (tmp_path / "a.json").write_text(json.dumps(macro_sample())[:-1] + f', "{CODE}": {entry}}}')
    refused(tmp_path / "a.json", "entry '02012100' holds nasbench-macro:02012100 again")


def at_line(line: int, **values: str) -> Callable[[list[Row]], None]:
    return lambda rows: rows[line - 2].update(values)


def removed(name: str) -> Callable[[list[Row]], None]:
    def change(rows: list[Row]) -> None:
        for row in rows:
            del row[name]

    return change


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            lambda rows: None,
            "hold all 15,625 architectures of nasbench201, but 15,580 are missing, nasbench201:0-00-001",
        ),
        (lambda rows: rows.append(rows[6]), "line 47 holds nasbench201:.* again"),
        (at_line(5, arch="|none~0|"), "line 5: a cell of NAS-Bench-201 must look like"),
        (at_line(5, arch=""), "line 5: a cell"),
        (at_line(9, val200="100.5"), r"accuracies in 0\.\.100, but line 9 gives 100.5"),
        (at_line(9, test200="-1"), r"0\.\.100, but line 9 gives -1"),
        (at_line(9, test200="nan"), r"0\.\.100, but line 9 gives nan"),
        (at_line(9, test200="high\nup"), r"0\.\.100, but line \d+ gives 'high"),
        (at_line(9, test200=""), r"0\.\.100, but line 9 gives ''"),
        (at_line(7, params_M="0.5"), "line 7 gives 500000.0 parameters and not"),
        (at_line(7, params_M=""), "line 7 gives '' parameters and not"),
        (removed("arch"), "must have the columns arch, val200, test200, but arch is missing"),
        (removed("test200"), "but test200 is missing"),
        (removed("val200"), "but val200 is missing"),
        (lambda rows: rows.clear() or rows.append({"x": "1"}), "but arch, val200, test200 is missing"),
    ],
)
def test_wrong_cell_tables_are_refused(change: Any, match: str, tmp_path: Path) -> None:
    rows = cell_sample()
    change(rows)
    refused(write_cells(tmp_path / "a.csv", rows), match)


def test_further_columns_and_missing_counts_are_no_matter(tmp_path: Path, cells_table: TrueAccuracies) -> None:
    rows = [{"note": "x", **row} for row in whole_cells()]
    for name in ("params_M", "test12", "val12"):
        removed(name)(rows)
    found = load_table(write_cells(tmp_path / "a.csv", rows))
    assert np.array_equal(found.test, cells_table.test) and np.array_equal(found.params, cells_table.params)
    refused(tmp_path / "a.csv", "must have the columns arch, val12, test200, but val12 is missing", 12)


# ---- the authors' file of NAS-Bench-201


def authors_file(number: Any = float) -> dict[str, Any]:
    """The layout of NAS-Bench-201-v1_1-096897.pth, with few trainings that cells share. number: of the costs."""

    def trainings(epochs: int, accuracy: float) -> dict[str, Any]:
        last, results = epochs - 1, {}
        for images, seeds, name in (("cifar10-valid", (777, 888), "x-valid"), ("cifar10", (777,), "ori-test")):
            for seed in seeds:
                accuracies = {f"{name}@{last}": accuracy + (seed == 888), f"{name}@{last - 1}": 1.0, "other@0": 2.0}
                results[images, seed] = {
                    "eval_acc1es": accuracies,
                    "params": number(0.5),
                    "latency": [0.1],
                    "seed": seed,
                }
        return {"arch_index": 0, "all_results": results, "dataset_seed": {}}

    kinds = [{"less": trainings(12, 40.0 + i), "full": trainings(200, 80.0 + i)} for i in range(5)]
    archs = whole_archs()
    return {
        "meta_archs": [nasbench201.to_published(arch) for arch in archs],
        "arch2infos": {i: kinds[arch.choices[-1]] for i, arch in enumerate(archs)},
        "evaluated_indexes": list(range(len(archs))),
    }


@functools.cache
def whole_archs() -> list[Architecture]:
    return [nasbench201.from_published(row["arch"]) for row in whole_cells()]


@pytest.mark.parametrize("legacy", [False, True])
def test_the_authors_file_is_read_without_running_anything(tmp_path: Path, legacy: bool) -> None:
    """In both of torch's formats, with numpy's numbers among the costs."""
    path = tmp_path / "a.pth"
    torch.save(authors_file(np.float64), path, _use_new_zipfile_serialization=not legacy)
    for epochs, validation in ((None, 80.5), (12, 40.5)):  # the mean over two seeds that differ by one
        table = load_table(path, epochs)
        kinds = np.array([table.arch(i).choices[-1] for i in range(15_625)])
        np.testing.assert_allclose(table.validation, (validation + kinds) / 100)
        np.testing.assert_allclose(table.test, (80 + kinds) / 100)


class Mischief:
    """What a pickle can do."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_would_run_something_is_refused(tmp_path: Path) -> None:
    advice = "give a CSV file with the columns arch, val200, test200 and a line for each cell instead"
    torch.save({**authors_file(), "more": Mischief(tmp_path / "made")}, tmp_path / "a.pth")
    refused(tmp_path / "a.pth", f"hold nothing that could run when it is opened, .*{advice}")
    (tmp_path / "b.pth").write_bytes(pickle.dumps(Mischief(tmp_path / "made")))
    refused(tmp_path / "b.pth", advice)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda file: file.pop("meta_archs"), "must be laid out as NAS-Bench-201-v1_1-096897.pth"),
        (lambda file: file.pop("arch2infos"), "must be laid out"),
        (lambda file: file["arch2infos"].pop(3), "must be laid out"),
        (lambda file: file["arch2infos"].update({3: None}), "must be laid out"),
        (lambda file: file["arch2infos"][3]["full"]["all_results"].clear(), "must be laid out"),
        (lambda file: file["meta_archs"].pop(), "1 are missing"),
        (lambda file: file["meta_archs"].insert(0, "|none~0|"), "architecture 0: a cell of NAS-Bench-201 must"),
        (lambda file: file["meta_archs"].insert(0, 7), "must"),
    ],
)
def test_another_layout_is_refused(change: Any, match: str, tmp_path: Path) -> None:
    file = authors_file()
    change(file)
    torch.save(file, tmp_path / "a.pth")
    refused(tmp_path / "a.pth", match)


# ---- every entry of the real tables


def real(name: str) -> Path:
    folder = os.environ.get("ENAS_TABLES")
    if not folder:
        pytest.skip("set ENAS_TABLES to a folder with the published tables")
    return Path(folder) / name


@pytest.mark.slow
def test_every_published_chain() -> None:
    path = real("nas-bench-macro_cifar10.json")
    table, file = load_table(path), json.loads(path.read_text())
    codes = {}
    for code, row in file.items():
        arch = nasbench_macro.from_published(code)
        (at,) = table.positions([arch])
        graph = CHAINS.graph(arch)
        assert cost(graph) == Cost(row["params"], row["flops"]) == Cost(int(table.params[at]), int(table.macs[at]))
        codes[int(at)] = signature(graph)
    assert len(codes) == 6561 and len(set(codes.values())) == len(np.unique(table.network)) == 3969
    assert len({(int(table.network[at]), code) for at, code in codes.items()}) == 3969
    assert np.array_equal(table.test, table.test[table.network])  # the authors trained each network once
    assert table.test.max() == pytest.approx(0.931267, abs=1e-6) and np.median(table.test) < 0.91


@pytest.mark.slow
def test_every_published_cell() -> None:
    path = real("nb201_cifar10_unified.csv")
    table, short = load_table(path), load_table(path, 12)
    for at in range(15_625):
        arch = table.arch(at)
        text = nasbench201.to_published(arch)
        ones, threes = text.count("nor_conv_1x1"), text.count("nor_conv_3x3")
        expected = Cost(73_306 + 28_000 * ones + 243_040 * threes, 7_783_040 + 3_932_160 * ones + 35_389_440 * threes)
        assert cost(CELLS.graph(arch)) == expected == Cost(int(table.params[at]), int(table.macs[at]))
    assert table.test.max() == pytest.approx(0.943733) and np.array_equal(table.test, short.test)
    assert table.validation.max() == pytest.approx(0.916067) and short.validation.max() == pytest.approx(0.84892)


@pytest.mark.slow
def test_cells_that_are_the_same_graph() -> None:
    """As the space's docstring says; the number of cells in a stage does not matter."""
    space = small_cells()
    found = {signature(space.graph(arch)) for arch in whole_archs()}
    assert len(found) == 13_375
