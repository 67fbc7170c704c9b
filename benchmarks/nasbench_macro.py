"""ENAS on NAS-Bench-Macro, judged by the table: how many full trainings find as good a network.

    python benchmarks/nasbench_macro.py --table nas-bench-macro_cifar10.json --data CIFAR10_FOLDER --output FOLDER

--seeds searches with shared weights, trained here on images, each look their network's true accuracy up in the end. For
each --cap, most MACs of the published network, `enas derive` takes another network from the same shared weights; its
operations are added to the search's. Beside them searchers that may look up every network they propose, --table-seeds
times each: how many different networks until their pick is as accurate, and how many floating-point operations their
full trainings (50 epochs) take: of the published networks, and, which is what compares with weight sharing, of networks
of the size that is searched here. In this table validation and test accuracy are the same, which helps those who look
it up.
Continues where it stopped. Ends with FOLDER/nasbench_macro.json and the README's table.
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
from numpy.typing import NDArray

from enas import config, spaces
from enas.cost import cost
from enas.evaluators import Table
from enas.jobs.targets import read_result
from enas.plan import TRAINING_COST
from enas.records import student_t
from enas.runtime import versions
from enas.spaces import SearchSpace
from enas.tables import TrueAccuracies, load_table

RIVALS = ("reinforce", "evolution", "random")
NETWORKS = 1000  # that a searcher may look up


@click.command()
@click.option("--table", "path", required=True, type=click.Path(path_type=Path), help="the table's file")
@click.option("--data", required=True, help="CIFAR-10: cifar10, or a folder with train/<class>/*")
@click.option("--preset", default="cpu", help="preset of the searches with shared weights")
@click.option("--budget", help="time or operations of each (default: the preset's sizes)")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="a setting of these searches")
@click.option(
    "--cap", "caps", multiple=True, type=click.FloatRange(1), help="million MACs that a network may take, as well"
)
@click.option("--derive-set", "within", multiple=True, metavar="KEY=VALUE", help="a setting of deriving within caps")
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
    caps: tuple[float, ...],
    within: tuple[str, ...],
    seeds: int,
    table_seeds: int,
    processes: int,
    output: Path,
) -> None:
    """Run the whole comparison."""
    settings: dict[str, Any] = {
        "table": path.name,
        "data": data,
        "preset": preset,
        "budget": budget,
        "settings": list(assignments),
        "derive_settings": list(within),
    }
    check_settings(output, settings)
    table = Table(load_table(path))
    common = ["--preset", preset, "--space", table.space.name, "--data", data]
    common += ["--budget", budget] if budget else []
    common += [part for assignment in assignments for part in ("--set", assignment)]
    searches = [enas("search", output / f"enas-{seed}", [*common, "--seed", str(seed)]) for seed in range(seeds)]
    small = read_result(output / "enas-0").space  # of the size that was searched
    report: dict[str, Any] = {"environment": versions(), **settings, "within": {}}
    for cap in (None, *caps):
        found = []
        for seed, searched in enumerate(searches):
            parts = [searched] if cap is None else [searched, derived(output, seed, cap, table, within)]
            text = parts[-1]["text"]
            (position,) = table.accuracies.positions([spaces.from_json(parts[-1]["arch"])])
            figures = {"truth": float(table.accuracies.test[position]), "macs": int(table.accuracies.macs[position])}
            costs = {"flops": sum(p["flops"] for p in parts), "time_s": sum(p["elapsed_s"] for p in parts)}
            found.append({"text": text, **figures, **costs})
        wanted = statistics.mean(entry["truth"] for entry in found)
        limits = () if cap is None else (f"objective.limit_macs={1e6 * cap}",)
        rivals = {}
        for name in RIVALS:
            store = output / f"table-{name}-{cap}-{wanted:.6f}.jsonl"
            measure = functools.partial(needed, wanted=wanted, small=small)
            rivals[name] = runs(path, name, limits, table_seeds, measure, processes, store)
        gap = better_than_chance(table.accuracies, [entry["truth"] for entry in found], cap)
        report["within"][str(cap)] = {"enas": found, "wanted": wanted, "gap": gap, "table": rivals}
    (output / "nasbench_macro.json").write_text(json.dumps(report, indent=2) + "\n")
    for label, part in report["within"].items():
        print("\n".join([f"within {label}M MACs" if label != "None" else "all networks", "", *rows(part), ""]))


def derived(output: Path, seed: int, cap: float, table: Table, assignments: tuple[str, ...]) -> dict[str, Any]:
    """The result of deriving within the cap from the shared weights of a search. The searched networks are smaller than
    the published ones, which the cap is about."""
    width = config.to_dict(table.space.options)["width"]
    settings = [part for one in (f"objective.width={width}", *assignments) for part in ("--set", one)]
    limit, run = ["--limit", f"macs={1e6 * cap}", *settings], output / f"enas-{seed}"
    return enas("derive", output / f"enas-{seed}-within-{cap:g}", limit, run)


def better_than_chance(table: TrueAccuracies, found: list[float], cap: float | None) -> dict[str, float]:
    """The mean accuracy of what was found minus that of all different networks within the cap, with the 95 % interval
    that the searches' spread gives; random: the latter."""
    positions = np.unique(table.network)
    random = table.test[positions[table.macs[positions] <= (np.inf if cap is None else 1e6 * cap)]]
    n, mean = len(found), statistics.mean(found) - float(random.mean())
    half = student_t(n - 1) * statistics.stdev(found) / n**0.5
    return {"random": float(random.mean()), "mean": mean, "low": mean - half, "high": mean + half}


def needed(play: Play, wanted: float, small: SearchSpace) -> dict[str, float | None]:
    """Networks looked up, and the operations of training them, until the pick is as accurate; None: never.

    flops: of the published networks. small_flops: of the same architectures in the space `small`.
    """
    table, published, ours = play.table, 0.0, 0.0
    for look in play.looks(NETWORKS):
        arch = table.accuracies.arch(look.position)
        published += table.flops(arch)
        ours += 2.0 * TRAINING_COST * table.accuracies.trained_on * cost(small.graph(arch)).macs
        if look.truth >= wanted:
            return {"networks": look.networks, "flops": published, "small_flops": ours}
    return {"networks": None, "flops": None, "small_flops": None}


def rows(report: dict[str, Any]) -> list[str]:
    """The README's table: medians (10 % to 90 %) over all runs, of which one without success counts as endless."""
    found = report["enas"]
    truths, flops = [100 * entry["truth"] for entry in found], [entry["flops"] for entry in found]
    gap = report["gap"]
    minutes = statistics.mean(entry["time_s"] for entry in found) / 60
    lines = [
        f"ENAS, {len(found)} searches: {statistics.mean(truths):.2f} % (sd {statistics.stdev(truths):.2f}) true "
        f"accuracy, {statistics.mean(flops) / 1e15:.3g} PFLOP and {minutes:.0f} min a search.",
        f"Derived minus random: {100 * gap['mean']:+.2f} points ({100 * gap['low']:+.2f} to {100 * gap['high']:+.2f}), "
        f"{100 * gap['mean'] / (1 - gap['random']):.0f} % of the error that random networks leave.",
        "",
        "| full training, told by the table | runs | networks for that accuracy | PFLOP, published size | PFLOP, size "
        "as searched | times ENAS' |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name, runs_of_it in report["table"].items():
        networks, published, ours = (
            quantiles([run[key] for run in runs_of_it]) for key in ("networks", "flops", "small_flops")
        )
        columns = (networks, published / 1e15, ours / 1e15, ours / statistics.mean(flops))
        cells = [f"{middle:.3g} ({low:.3g} to {high:.3g})" for low, middle, high in columns]
        lines.append(f"| {name} | {len(runs_of_it)} | {' | '.join(cells)} |")
    return lines


def quantiles(values: list[float | None]) -> NDArray[np.float64]:
    """10 %, 50 % and 90 %; None counts as endless."""
    known = [np.inf if value is None else value for value in values]
    return np.quantile(known, (0.1, 0.5, 0.9), method="nearest")


if __name__ == "__main__":
    main()
