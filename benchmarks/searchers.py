"""How good each searcher is, on tables of networks that others trained: true accuracy over networks evaluated.

    python benchmarks/searchers.py --table nas-bench-macro_cifar10.json --table nb201_cifar10.csv --output FOLDER

Every run asks the searcher, looks the proposals up and tells it, until so many *different* networks were
evaluated; its pick is the one with the best validation accuracy so far, and what counts is that network's true
test accuracy. All searchers run under this rule, with the settings that `enas search --evaluator table` has,
--seeds times (TPE, which is slow, --tpe-seeds times); REINFORCE is told ten networks at a time, evolution, local
search and TPE one. Continues where it stopped. Ends with FOLDER/searchers.json, FOLDER/searchers.png and the
tables of docs/results.md.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import numpy as np
from lookups import PROCESSES, Play, runs
from numpy.typing import NDArray

from enas.config import SEARCHERS
from enas.records import student_t
from enas.runtime import versions
from enas.tables import load_table

CHECKPOINTS = (10, 50, 100, 200, 500)  # networks evaluated
RIVALS = ("evolution", "random")  # what the others are compared with, seed by seed
Curves = NDArray[np.float64]  # [seeds, checkpoints]


@click.command()
@click.option("--table", "tables", multiple=True, required=True, type=click.Path(path_type=Path), help="a table's file")
@click.option("--searcher", "names", multiple=True, type=click.Choice(SEARCHERS), help="default: all")
@click.option("--seeds", default=500, type=click.IntRange(2), help="runs of each searcher")
@click.option("--tpe-seeds", default=20, type=click.IntRange(2), help="runs of TPE")
@click.option("--set", "assignments", multiple=True, help="a setting of the searches, key=value")
@click.option("--processes", default=PROCESSES, type=click.IntRange(1), help="runs at the same time")
@click.option("--output", required=True, type=click.Path(path_type=Path), help="folder for all results")
def main(
    tables: tuple[Path, ...],
    names: tuple[str, ...],
    seeds: int,
    tpe_seeds: int,
    assignments: tuple[str, ...],
    processes: int,
    output: Path,
) -> None:
    """Run the whole comparison."""
    output.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {"environment": versions(), "settings": list(assignments), "tables": {}}
    for path in tables:
        table = load_table(path)
        if table.name in report["tables"]:
            raise click.UsageError(f"each --table must be of another space, but two are of {table.name}")
        curves = {
            name: np.array(
                runs(
                    path,
                    name,
                    assignments,
                    tpe_seeds if name == "tpe" else seeds,
                    picks,
                    processes,
                    output / f"{table.name}-{name}.jsonl",
                )
            )
            for name in names or SEARCHERS
        }
        truth = table.test[np.unique(table.network)]
        report["tables"][table.name] = {
            "architectures": len(table),
            "networks": len(set(table.network.tolist())),
            "best": 100 * float(table.test.max()),
            "searchers": {name: summary(truth, found, curves) for name, found in curves.items()},
        }
    (output / "searchers.json").write_text(json.dumps(report, indent=2) + "\n")
    plot(report, output / "searchers.png")
    print("\n\n".join("\n".join(rows(name, found)) for name, found in report["tables"].items()))


def picks(play: Play) -> list[float]:
    """The true accuracy in percent of the pick after each checkpoint's number of networks."""
    found = {look.networks: 100 * look.truth for look in play.looks(CHECKPOINTS[-1])}
    last = max(found)  # a searcher that finds nothing new keeps its pick
    return [found[min(checkpoint, last)] for checkpoint in CHECKPOINTS]


def summary(truth: NDArray[np.float64], found: Curves, everyone: dict[str, Curves]) -> dict[str, Any]:
    """Mean, sd, mean rank in the table, and the mean difference from each rival with its 95 % interval.

    truth: the true accuracies of all networks in the table, in 0..1.
    """
    ordered = np.sort(100 * truth)
    ranks = 1 + len(ordered) - np.searchsorted(ordered, found + 1e-9, side="right")  # 1 + how many are better
    result: dict[str, Any] = {
        "seeds": len(found),
        "mean": found.mean(0).tolist(),
        "sd": found.std(0, ddof=1).tolist(),
        "rank": ranks.mean(0).tolist(),
        "minus": {},
    }
    for rival in RIVALS:
        if rival in everyone:
            count = min(len(found), len(everyone[rival]))
            gaps = found[:count] - everyone[rival][:count]
            half = student_t(count - 1) * gaps.std(0, ddof=1) / count**0.5
            result["minus"][rival] = [
                {"mean": mean, "low": mean - width, "high": mean + width}
                for mean, width in zip(gaps.mean(0).tolist(), half.tolist(), strict=True)
            ]
    return result


def rows(name: str, found: dict[str, Any]) -> list[str]:
    """The table in docs/results.md of one table: mean (sd) of the pick's true accuracy, and the paired differences."""
    lines = [
        f"{name}, {found['architectures']:,} architectures ({found['networks']:,} networks), the best has "
        f"{found['best']:.2f} %:",
        "",
        f"| searcher | seeds | {' | '.join(f'{n} networks' for n in CHECKPOINTS)} | rank at {CHECKPOINTS[3]} |",
        "|---|--:|" + "--:|" * (len(CHECKPOINTS) + 1),
    ]
    for searcher, figures in found["searchers"].items():
        cells = [f"{mean:.2f} ({sd:.2f})" for mean, sd in zip(figures["mean"], figures["sd"], strict=True)]
        lines.append(f"| {searcher} | {figures['seeds']} | {' | '.join(cells)} | {figures['rank'][3]:.0f} |")
    lines += ["", f"| difference | {' | '.join(f'{n} networks' for n in CHECKPOINTS)} |"]
    lines.append("|---|" + "--:|" * len(CHECKPOINTS))
    for searcher, figures in found["searchers"].items():
        for rival, gaps in figures["minus"].items():
            if rival != searcher and (searcher == "reinforce" or rival == "random"):
                cells = [f"{gap['mean']:+.3f} ({gap['low']:+.3f} to {gap['high']:+.3f})" for gap in gaps]
                lines.append(f"| {searcher} minus {rival} | {' | '.join(cells)} |")
    return lines


def plot(report: dict[str, Any], path: Path) -> None:
    """Mean true accuracy of the pick over networks evaluated, with the standard error."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(report["tables"]), 4), layout="constrained")
    for axes, (name, found) in zip(
        figure.subplots(1, len(report["tables"]), squeeze=False)[0], report["tables"].items(), strict=True
    ):
        for searcher, figures in found["searchers"].items():
            mean, sd = np.array(figures["mean"]), np.array(figures["sd"])
            axes.errorbar(CHECKPOINTS, mean, sd / figures["seeds"] ** 0.5, marker="o", capsize=2, label=searcher)
        axes.axhline(found["best"], color="grey", linestyle=":", label="best in the table")
        axes.set(xscale="log", xlabel="different networks evaluated", ylabel="true test accuracy of the pick, %")
        axes.set_ylim(bottom=found["searchers"][next(iter(found["searchers"]))]["mean"][0] - 0.5)
        axes.set_title(name)
        axes.legend(fontsize="small")
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
