"""How much cheaper weight sharing is: ENAS beside full-training REINFORCE and full-training random search.

    python benchmarks/efficiency.py --data CIFAR10_FOLDER --space chain --output FOLDER

All three search one space on the same images and the same machine. What each has found after some time
is retrained from scratch with one recipe and --seeds seeds, ResNet-20 beside it, and tested. Weight sharing gives
one network a search, so there are several searches of different lengths; full training gives its best
so far after every child. Costs are wall-clock time and floating-point operations of the search (two for each
multiply-accumulate, backward counted as twice forward), which compare between machines.

Every step is an `enas` command, printed before it runs; a second call continues where the first one stopped.
Ends with FOLDER/efficiency.json, FOLDER/efficiency.png and the README's table.
"""

from __future__ import annotations

import hashlib
import json
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from commands import check_settings, enas, records

from enas.config import SEARCHABLE
from enas.runtime import generator, versions

RESAMPLES = 10_000  # of the retrainings, for the interval of the factor
FULL = {"full training, REINFORCE": "reinforce", "full training, random": "random"}


@dataclass(frozen=True)
class Scale:
    """Sizes of one comparison.

    preset: of searches and retrainings. enas_epochs: of the searches with shared weights, one after the other.
    evaluations: children that full training gets; looks: after how many of them its best is retrained.
    child_epochs: of each child; retrain_epochs: of what was found.
    """

    preset: str
    enas_epochs: tuple[int, ...]
    evaluations: int
    looks: tuple[int, ...]
    child_epochs: int
    retrain_epochs: int


SCALES = {
    # two CPU cores: about three hours of full training, one of shared weights, three of retraining
    "small": Scale("cpu", (3, 9, 18), 48, (6, 12, 24, 48), 4, 8),
    "paper": Scale("cifar10-fast", (20, 60, 150), 800, (50, 100, 200, 400, 800), 50, 60),
}


@dataclass(frozen=True)
class Find:
    """What a search had found at some point. flops, time_s: of the search until then."""

    side: str
    size: str
    text: str
    time_s: float
    flops: float


@click.command()
@click.option("--data", required=True, help="digits, a data set's name, or a folder with train/<class>/*")
@click.option("--space", default="chain", type=click.Choice([n for n in SEARCHABLE if n != "macro"]), help="one space")
@click.option("--scale", default="small", type=click.Choice(list(SCALES)), help="small: two CPU cores; paper: a GPU")
@click.option("--workers", default=2, type=click.IntRange(1), help="children trained at the same time")
@click.option("--seeds", default=3, type=click.IntRange(2), help="retrainings of each network")
@click.option("--seed", default=0, type=click.IntRange(0), help="seed of the searches")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="a setting of all searches")
@click.option("--output", required=True, type=click.Path(path_type=Path), help="folder for all runs")
def main(
    data: str,
    space: str,
    scale: str,
    workers: int,
    seeds: int,
    seed: int,
    assignments: tuple[str, ...],
    output: Path,
) -> None:
    """Run the whole comparison."""
    sizes = SCALES[scale]
    settings = {"data": data, "space": space, "scale": scale, "workers": workers, "seed": seed}
    settings |= {"settings": list(assignments)}
    check_settings(output, settings)
    common = ["--preset", sizes.preset, "--space", space, "--data", data, "--seed", str(seed)]
    common += [part for assignment in assignments for part in ("--set", assignment)]
    finds = shared_weights(output, sizes, common) + full_training(output, sizes, common, workers)
    reference = output / "enas" / f"{sizes.enas_epochs[0]}-epochs"
    accuracies = {
        text: retrained(output, text, reference, sizes, data, seeds) for text in sorted({find.text for find in finds})
    }
    hand_drawn = retrained(output, None, reference, sizes, data, seeds)
    report: dict[str, Any] = {
        "environment": versions(),
        **settings,
        "sizes": asdict(sizes),
        "finds": [{**asdict(find), "test_accuracy": accuracies[find.text]} for find in finds],
        "resnet20": hand_drawn,
        "factors": factors(finds, accuracies),
    }
    (output / "efficiency.json").write_text(json.dumps(report, indent=2) + "\n")
    plot(report, output / "efficiency.png")
    print("\n".join(table(report)))


def shared_weights(output: Path, sizes: Scale, common: list[str]) -> list[Find]:
    """One find for each search with shared weights."""
    finds = []
    for epochs in sizes.enas_epochs:
        warmup = ["--set", f"controller.warmup_epochs={epochs // 3}"]
        found = enas("search", output / "enas" / f"{epochs}-epochs", [*common, "--epochs", str(epochs), *warmup])
        finds.append(Find("ENAS", f"{epochs} epochs", found["text"], found["elapsed_s"], found["flops"]))
    return finds


def full_training(output: Path, sizes: Scale, common: list[str], workers: int) -> list[Find]:
    """The best so far of each search by full training, after so many children."""
    finds = []
    for side, searcher in FULL.items():
        folder = output / f"full-{searcher}"
        arguments = ["--evaluator", "full-training", "--searcher", searcher, "--evaluations", str(sizes.evaluations)]
        arguments += ["--set", f"full_training.epochs={sizes.child_epochs}"]
        arguments += ["--set", f"full_training.workers={workers}", "--generation", str(sizes.looks[0])]
        enas("search", folder, [*common, *arguments])
        generations = records(folder, "generation")
        for look in sizes.looks:
            then = next(record for record in generations if record["evaluations"] >= look)
            size = f"{then['evaluations']} children"
            finds.append(Find(side, size, then["best_arch"], then["elapsed_s"], then["flops"]))
    return finds


def retrained(output: Path, text: str | None, search: Path, sizes: Scale, data: str, seeds: int) -> list[float]:
    """Test accuracies of a network (None: ResNet-20), retrained with each seed."""
    name = "resnet20" if text is None else hashlib.sha256(text.encode()).hexdigest()[:12]
    arguments = [str(search), "--reference", "resnet20"] if text is None else [text, "--preset", sizes.preset]
    arguments += ["--epochs", str(sizes.retrain_epochs)] + ([] if text is None else ["--data", data])
    return [
        enas("retrain", output / "retrained" / f"{name}-{seed}", [*arguments, "--seed", str(seed)])["test_accuracy"]
        for seed in range(seeds)
    ]


def factors(finds: list[Find], accuracies: dict[str, list[float]]) -> list[dict[str, Any]]:
    """For each ENAS search: how many times its cost full-training REINFORCE needs for the same accuracy.

    The accuracy of the best so far is interpolated over the logarithm of the cost. The interval (95 %) comes from
    drawing the retrainings of every network anew, with replacement. None: not reached with all its children.
    """
    draws = np.random.default_rng(generator(0, "factors").initial_seed())
    rivals = [find for find in finds if find.side == next(iter(FULL))]
    found = []
    for find in (find for find in finds if find.side == "ENAS"):
        entry: dict[str, Any] = {"size": find.size}
        for cost in ("time_s", "flops"):
            costs = np.array([getattr(rival, cost) for rival in rivals])
            ratios = []
            for _ in range(RESAMPLES):
                drawn = {text: draws.choice(values, len(values)).mean() for text, values in accuracies.items()}
                curve = np.array([drawn[rival.text] for rival in rivals])
                ratios.append(reached(costs, curve, drawn[find.text]) / getattr(find, cost))
            means = {text: statistics.mean(values) for text, values in accuracies.items()}
            centre = reached(costs, np.array([means[rival.text] for rival in rivals]), means[find.text])
            low, high = np.quantile(ratios, (0.025, 0.975), method="nearest")
            entry[cost] = {
                name: float(value) if np.isfinite(value) else None
                for name, value in (("factor", centre / getattr(find, cost)), ("low", low), ("high", high))
            }
            entry[cost]["at_least"] = float(costs[-1] / getattr(find, cost))
        found.append(entry)
    return found


def reached(costs: np.ndarray, accuracies: np.ndarray, wanted: float) -> float:
    """The cost at which the best so far is as accurate as wanted; infinite where it never is."""
    best = np.maximum.accumulate(accuracies)
    if best[0] >= wanted:
        return float(costs[0])
    if best[-1] < wanted:
        return float("inf")
    i = int(np.argmax(best >= wanted))
    share = (wanted - best[i - 1]) / (best[i] - best[i - 1])
    return float(np.exp(np.log(costs[i - 1]) + share * (np.log(costs[i]) - np.log(costs[i - 1]))))


def table(report: dict[str, Any]) -> list[str]:
    """The README's rows."""
    lines = ["| search | size | time | PFLOP | test accuracy (sd) |", "|---|---|--:|--:|--:|"]
    for find in report["finds"]:
        lines.append(
            f"| {find['side']} | {find['size']} | {find['time_s'] / 60:.0f} min | {find['flops'] / 1e15:.2f} | "
            f"{accuracy(find['test_accuracy'])} |"
        )
    lines.append(f"| ResNet-20, drawn by hand |  |  |  | {accuracy(report['resnet20'])} |")
    lines += ["", "| ENAS search | full training needs, in time | in operations |", "|---|--:|--:|"]
    for entry in report["factors"]:
        lines.append(f"| {entry['size']} | {times(entry['time_s'])} | {times(entry['flops'])} |")
    return lines


def accuracy(values: list[float]) -> str:
    return f"{100 * statistics.mean(values):.2f} % ({100 * statistics.stdev(values):.2f})"


def times(factor: dict[str, float | None]) -> str:
    """How many times the cost, with the interval; where it was not reached: more than was spent."""
    low, high, centre = (
        f"{value:.1f}" if value is not None else f"more than {factor['at_least']:.1f}"
        for value in (factor["low"], factor["high"], factor["factor"])
    )
    return f"{centre} (95 %: {low} to {high})"


def plot(report: dict[str, Any], path: Path) -> None:
    """Test accuracy of what was found over time and over operations, both on a log axis, with the sd."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    hand_drawn = 100 * statistics.mean(report["resnet20"])
    for axes, cost, unit, label in zip(
        figure.subplots(1, 2, sharey=True),
        ("time_s", "flops"),
        (60, 1e15),
        ("wall-clock time of the search, minutes", "operations of the search, PFLOP"),
        strict=True,
    ):
        for side in ("ENAS", *FULL):
            finds = [find for find in report["finds"] if find["side"] == side]
            means = [100 * statistics.mean(find["test_accuracy"]) for find in finds]
            spreads = [100 * statistics.stdev(find["test_accuracy"]) for find in finds]
            axes.errorbar([f[cost] / unit for f in finds], means, spreads, marker="o", capsize=3, label=side)
        axes.axhline(hand_drawn, color="grey", linestyle=":", label="ResNet-20, drawn by hand")
        axes.set(xscale="log", xlabel=label, ylabel="test accuracy after retraining, %")
        axes.legend(fontsize="small")
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
