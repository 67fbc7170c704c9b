"""ENAS in a space of which a table knows every network: what it finds, and how many full trainings find as good a one.

    python benchmarks/judged.py --table nas-bench-macro_cifar10.json --data CIFAR10_FOLDER --output FOLDER

--seeds searches with shared weights, trained here on images, each look their network's true accuracy up in the end. For
each --cap, most MACs of the published network, `enas derive` takes another network from the same shared weights; its
operations are added to the search's. With --runs no search is made: the shared weights are those of finished ones, a
recipe's folder that benchmarks/ranking.py wrote, and all networks are derived from them. Beside them searchers that may
look up every network they propose, --table-seeds times each: how many different networks until their pick is as
accurate, and how many floating-point operations their full trainings take: of the published networks, and, which is
what compares with weight sharing, of networks of the size that is searched here. In the table of NAS-Bench-Macro
validation and test accuracy are the same, which helps those who look it up.
Continues where it stopped. Ends with FOLDER/judged.json and rows for docs/results.md.
"""

from __future__ import annotations

import functools
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from commands import check_settings, enas
from correlation import tau_of_standings
from finalist_curves import found as finished
from lookups import PROCESSES, Play, runs
from numpy.typing import NDArray

from enas import config, spaces
from enas.cost import cost
from enas.errors import UserError
from enas.evaluators import Table
from enas.finalists import standing
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
@click.option(
    "--runs", "made", type=click.Path(path_type=Path), help="a recipe's folder of ranking.py: no new searches"
)
@click.option("--data", required=True, help="CIFAR-10: cifar10, or a folder with train/<class>/*")
@click.option("--preset", default=None, help="preset of the searches with shared weights (default: cpu)")
@click.option("--budget", help="time or operations of each (default: the preset's sizes)")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="a setting of these searches")
@click.option(
    "--cap", "caps", multiple=True, type=click.FloatRange(1), help="million MACs that a network may take, as well"
)
@click.option(
    "--derive-set",
    "within",
    multiple=True,
    metavar="KEY=VALUE",
    help="a setting of deriving, which ranking.py's runs do least of",
)
@click.option("--seeds", default=3, type=click.IntRange(2), help="searches with shared weights")
@click.option("--table-seeds", default=200, type=click.IntRange(2), help="runs of each searcher on the table")
@click.option("--processes", default=PROCESSES, type=click.IntRange(1), help="of these at the same time")
@click.option("--output", required=True, type=click.Path(path_type=Path), help="folder for all results")
def main(
    path: Path,
    made: Path | None,
    data: str,
    preset: str | None,
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
        "preset": preset or "cpu",
        "budget": budget,
        "settings": list(assignments),
        "derive_settings": list(within),
    }
    if made is not None and (preset or budget or assignments):
        raise click.UsageError("--preset, --budget and --set must be left out beside --runs: those are finished")
    if within and made is None and not caps:
        raise click.UsageError("--derive-set is about deriving, which --cap and --runs do; give one of them")
    if made is not None:
        settings |= {"runs": str(made), "preset": None}
    try:
        table = Table(load_table(path))
        folders = [output / f"enas-{seed}" for seed in range(seeds)] if made is None else finished(made, seeds)
        others = [] if made is None else [read_result(folder).space.name for folder in folders]
        if set(others) - {table.space.name}:
            raise UserError(f"--runs must be in the table's space {table.space.name}, but are in {', '.join(others)}")
    except UserError as error:
        raise click.UsageError(str(error)) from None
    check_settings(output, settings)
    common = ["--preset", preset or "cpu", "--space", table.space.name, "--data", data]
    common += ["--budget", budget] if budget else []
    common += [part for assignment in assignments for part in ("--set", assignment)]
    searches = [enas("search", folder, [*common, "--seed", str(seed)]) for seed, folder in enumerate(folders)]
    small = read_result(folders[0]).space  # of the size that was searched
    report: dict[str, Any] = {"environment": versions(), **settings, "within": {}}
    for cap in (None, *caps):
        found = []
        for seed, (folder, searched) in enumerate(zip(folders, searches, strict=True)):
            parts = [searched]
            if cap is not None or made is not None:
                derived_folder = output / (f"enas-{seed}" + ("-derived" if cap is None else f"-within-{cap:g}"))
                parts.append(enas("derive", derived_folder, deriving(data, cap, table, within), folder))
            costs = {"flops": sum(p["flops"] for p in parts), "time_s": sum(p["elapsed_s"] for p in parts)}
            found.append(looked_up(table.accuracies, parts[-1]) | costs)
        wanted = statistics.mean(entry["truth"] for entry in found)
        limits = () if cap is None else (f"objective.limit_macs={1e6 * cap}",)
        rivals = {}
        for name in RIVALS:
            store = output / f"table-{name}-{cap}-{wanted:.6f}.jsonl"
            measure = functools.partial(needed, wanted=wanted, small=small)
            rivals[name] = runs(path, name, limits, table_seeds, measure, processes, store)
        gap = better_than_chance(table.accuracies, [entry["truth"] for entry in found], cap)
        report["within"][str(cap)] = {"enas": found, "wanted": wanted, "gap": gap, "table": rivals}
    (output / "judged.json").write_text(json.dumps(report, indent=2) + "\n")
    for label, part in report["within"].items():
        print("\n".join([f"within {label}M MACs" if label != "None" else "all networks", "", *rows(part), ""]))


def deriving(data: str, cap: float | None, table: Table, assignments: tuple[str, ...]) -> list[str]:
    """Arguments of `enas derive`, within the cap if there is one. The searched networks are smaller than the published
    ones, which the cap is about."""
    published = config.to_dict(table.space.options)
    sizes = {"objective.width": published["width"], "objective.depth": published.get("cells_per_stage")}
    same_size = [f"{name}={size}" for name, size in sizes.items() if size is not None] if cap is not None else []
    limit = [] if cap is None else ["--limit", f"macs={1e6 * cap}"]
    return ["--data", data, *limit, *(part for one in (*same_size, *assignments) for part in ("--set", one))]


def looked_up(accuracies: TrueAccuracies, result: dict[str, Any]) -> dict[str, Any]:
    """What the table says of what a search found; and, where it trained its finalists, what each figure of these would
    have found and how it ranks them; with successive halving, whose rungs one figure decides, that one alone. rounds:
    what was found after each round of finalists."""
    finalists = result["finalists"]
    positions = accuracies.positions([spaces.from_json(each["arch"]) for each in finalists])
    truths = accuracies.test[positions]
    entry = {"text": result["text"], "truth": float(truths[0]), "macs": int(accuracies.macs[positions[0]])}
    derive = result["config"]["derive"]
    if derive["finalist_epochs"] == 0:
        return entry
    by = "reward" if derive["criterion"] == "own" else derive["criterion"]
    rounds = np.array([each.get("round", 1) for each in finalists])
    first = np.flatnonzero(rounds == 1)  # those of further rounds come from training the ones before
    found = {"no training": ranking([(finalists[i][by],) for i in first], truths[first])}
    decided = derive.get("finalist_criterion", "accuracy")
    for name in config.FINALIST_CRITERIA:
        if name == decided or not derive["halving_eta"] and "training_loss" in finalists[0]:
            found[name] = ranking([standing(each, by, name) for each in finalists], truths)
    rows = [
        {"text": each["text"], "truth": float(truth), "round": int(number), by: each[by], "rungs": each["rungs"]}
        for each, truth, number in zip(finalists, truths, rounds, strict=True)
    ]
    after = []
    for number in range(1, rounds.max() + 1):
        so_far = np.flatnonzero(rounds <= number)
        best = ranking([standing(finalists[i], by, decided) for i in so_far], truths[so_far])
        after.append({"finalists": len(so_far), "best": float(truths[so_far].max()), **best})
    return entry | {"finalists": rows, "by": found, "rungs": at_rungs(rows), "rounds": after}


def at_rungs(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """How each figure ranks those that came so far, at each rung to which two or more did."""
    found = []
    for rung in range(max(len(row["rungs"]) for row in rows)):
        there = [row for row in rows if len(row["rungs"]) > rung]
        there = [row for row in there if row["rungs"][rung]["standalone_accuracy"] is not None]
        if len(there) < 2:
            continue
        reached, truths = [row["rungs"][rung] for row in there], np.array([row["truth"] for row in there])
        figures = {"accuracy": [(each["standalone_accuracy"],) for each in reached]}
        if all("training_loss" in each for each in reached):  # runs of earlier versions have none
            figures["training-loss"] = [(-each["training_loss"],) for each in reached]
        taus = {name: tau_of_standings(values, truths) for name, values in figures.items()}
        found.append({"epochs": reached[0]["epochs"], "finalists": len(there), "tau": taus})
    return found


def ranking(standings: Sequence[tuple[float, ...]], truths: NDArray[np.float64]) -> dict[str, float]:
    """The true accuracy of the one with the greatest standing, and Kendall's tau between standings and truths; what
    decides between equal ones, the last part, does not count for that."""
    best = max(range(len(standings)), key=standings.__getitem__)
    return {"pick": float(truths[best]), "tau": tau_of_standings([each[:2] for each in standings], truths)}


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
    """For docs/results.md: medians (10 % to 90 %) over all runs, of which one without success counts as endless."""
    found = report["enas"]
    truths, flops = [100 * entry["truth"] for entry in found], [entry["flops"] for entry in found]
    gap = report["gap"]
    minutes = statistics.mean(entry["time_s"] for entry in found) / 60
    lines = [
        f"ENAS, {len(found)} searches: {statistics.mean(truths):.2f} % (sd {statistics.stdev(truths):.2f}) true "
        f"accuracy, {statistics.mean(flops) / 1e15:.3g} PFLOP and {minutes:.0f} min a search.",
        f"Derived minus random: {100 * gap['mean']:+.2f} points ({100 * gap['low']:+.2f} to {100 * gap['high']:+.2f}), "
        f"{100 * gap['mean'] / (1 - gap['random']):.0f} % of the error that random networks leave.",
        *trained(found),
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


def trained(found: list[dict[str, Any]]) -> list[str]:
    """What training the finalists gave, if they were trained: a line for each figure that they may be compared by."""
    if "finalists" not in found[0]:
        return []
    mean = statistics.mean(100 * each["truth"] for entry in found for each in entry["finalists"])
    lines = ["", f"{len(found[0]['finalists'])} finalists, {mean:.2f} % on average, compared by:", ""]
    for name in found[0]["by"]:
        picks, taus = ([entry["by"][name][figure] for entry in found] for figure in ("pick", "tau"))
        lines.append(
            f"- {name}: {100 * statistics.mean(picks):.2f} % (sd {100 * statistics.stdev(picks):.2f}), tau among them "
            f"{statistics.mean(taus):.2f} (sd {statistics.stdev(taus):.2f})"
        )
    for rungs in zip(*(entry["rungs"] for entry in found), strict=True) if len(found[0]["rungs"]) > 1 else ():
        words = (f"by {name} " + ", ".join(f"{each['tau'][name]:.2f}" for each in rungs) for name in rungs[0]["tau"])
        lines.append(f"- after {rungs[0]['epochs']} epochs, {rungs[0]['finalists']} finalists: tau {'; '.join(words)}")
    rounds = list(zip(*(entry["rounds"] for entry in found), strict=False))  # a space may be exhausted in some
    for number, after in enumerate(rounds if len(rounds) > 1 else (), start=1):
        picks, best = ([100 * each[figure] for each in after] for figure in ("pick", "best"))
        lines.append(
            f"- after round {number}, {after[0]['finalists']} finalists: {statistics.mean(picks):.2f} % "
            f"(sd {statistics.stdev(picks):.2f}): {', '.join(f'{pick:.2f}' for pick in picks)}; the best of them "
            f"{statistics.mean(best):.2f} %"
        )
    return lines


def quantiles(values: list[float | None]) -> NDArray[np.float64]:
    """10 %, 50 % and 90 %; None counts as endless."""
    known = [np.inf if value is None else value for value in values]
    return np.quantile(known, (0.1, 0.5, 0.9), method="nearest")


if __name__ == "__main__":
    main()
