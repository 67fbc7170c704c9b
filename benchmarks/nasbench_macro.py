"""ENAS on NAS-Bench-Macro, judged by the table: how many full trainings find as good a network.

    python benchmarks/nasbench_macro.py --table nas-bench-macro_cifar10.json --data CIFAR10_FOLDER --output FOLDER

--seeds searches with shared weights, trained here on images, each look their network's true accuracy up in the
end. Beside them searchers that may look up every network they propose, --table-seeds times each: how many
different networks, and how many floating-point operations of the published full trainings, until their pick is
as accurate. Continues where it stopped. Ends with FOLDER/nasbench_macro.json and the README's table.
"""

from __future__ import annotations

import functools
import json
import statistics
from pathlib import Path
from typing import Any

import click
import numpy as np
from commands import check_settings, enas
from lookups import PROCESSES, Play, runs

from enas import spaces
from enas.evaluators import Table
from enas.runtime import versions
from enas.tables import load_table

RIVALS = ("reinforce", "evolution", "random")
NETWORKS = 1000  # that a searcher may look up


@click.command()
@click.option("--table", "path", required=True, type=click.Path(path_type=Path), help="the table's file")
@click.option("--data", required=True, help="CIFAR-10: cifar10, or a folder with train/<class>/*")
@click.option("--preset", default="cpu", help="preset of the searches with shared weights")
@click.option("--budget", help="time or operations of each (default: the preset's sizes)")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="a setting of these searches")
@click.option("--seeds", default=3, type=click.IntRange(2), help="searches with shared weights")
@click.option("--table-seeds", default=200, type=click.IntRange(2), help="runs of each searcher on the table")
@click.option("--processes", default=PROCESSES, type=click.IntRange(1), help="of these at the same time")
@click.option("--output", required=True, type=click.Path(path_type=Path), help="folder for all results")
def main(
    path: Path,
    data: str,
    preset: str,
    budget: str | None,
    assignments: tuple[str, ...],
    seeds: int,
    table_seeds: int,
    processes: int,
    output: Path,
) -> None:
    """Run the whole comparison."""
    settings = {"data": data, "preset": preset, "budget": budget, "settings": list(assignments)}
    check_settings(output, settings)
    table = Table(load_table(path))
    common = ["--preset", preset, "--space", table.space.name, "--data", data]
    common += ["--budget", budget] if budget else []
    common += [part for assignment in assignments for part in ("--set", assignment)]
    found = []
    for seed in range(seeds):
        result = enas("search", output / f"enas-{seed}", [*common, "--seed", str(seed)])
        (position,) = table.accuracies.positions([spaces.from_json(result["arch"])])
        truth = float(table.accuracies.test[position])
        found.append({"text": result["text"], "truth": truth, "flops": result["flops"], "time_s": result["elapsed_s"]})
    wanted = statistics.mean(entry["truth"] for entry in found)
    rivals = {}
    for name in RIVALS:
        store = output / f"table-{name}-{wanted:.6f}.jsonl"
        rivals[name] = runs(path, name, (), table_seeds, functools.partial(needed, wanted=wanted), processes, store)
    report = {"environment": versions(), **settings, "enas": found, "wanted": wanted, "table": rivals}
    (output / "nasbench_macro.json").write_text(json.dumps(report, indent=2) + "\n")
    print("\n".join(rows(report)))


def needed(play: Play, wanted: float) -> dict[str, float | None]:
    """Networks looked up, and the operations of training them, until the pick is as accurate; None: never."""
    table, flops = play.table, 0.0
    for look in play.looks(NETWORKS):
        flops += table.flops(table.accuracies.arch(look.position))
        if look.truth >= wanted:
            return {"networks": look.networks, "flops": flops}
    return {"networks": None, "flops": None}


def rows(report: dict[str, Any]) -> list[str]:
    """The README's table."""
    found = report["enas"]
    truths, flops = [100 * entry["truth"] for entry in found], [entry["flops"] for entry in found]
    minutes = statistics.mean(entry["time_s"] for entry in found) / 60
    lines = [
        f"ENAS, {len(found)} seeds: {statistics.mean(truths):.2f} % (sd {statistics.stdev(truths):.2f}) true accuracy, "
        f"{statistics.mean(flops) / 1e15:.2f} PFLOP and {minutes:.0f} min a search.",
        "",
        "| full training, told by the table | networks for the same accuracy (10 % to 90 %) | PFLOP | times ENAS' |",
        "|---|--:|--:|--:|",
    ]
    for name, runs_of_it in report["table"].items():
        reached = [run for run in runs_of_it if run["networks"] is not None]
        cells = ["never", "", ""]
        if reached:
            networks = np.array([run["networks"] for run in reached])
            mean = statistics.mean(run["flops"] for run in reached)
            low, high = np.quantile(networks, (0.1, 0.9))
            cells = [f"{networks.mean():.1f} ({low:.0f} to {high:.0f})", f"{mean / 1e15:.1f}"]
            cells.append(f"{mean / statistics.mean(flops):.1f}")
        missed = "" if len(reached) == len(runs_of_it) else f" ({len(reached)} of {len(runs_of_it)} runs)"
        lines.append(f"| {name}{missed} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()
