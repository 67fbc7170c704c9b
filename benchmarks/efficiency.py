"""How much cheaper weight sharing is: ENAS beside full-training REINFORCE and full-training random search.

    python benchmarks/efficiency.py --data CIFAR10_FOLDER --space chain --output FOLDER

All three search one space on the same images and the same machine. What each has found after some time
is retrained from scratch with one recipe and --seeds seeds, ResNet-20 beside it, and tested. Weight sharing gives
one network a search, so there are several searches of different lengths; full training gives its best so far
after every generation of children. Every search is run once: intervals are over the retrainings alone. Costs
are wall-clock time and floating-point operations of the search (two for each multiply-accumulate, backward counted
as twice forward), which compare between machines.

Every step is an `enas` command, printed before it runs; a second call continues where the first one stopped.
Ends with FOLDER/efficiency.json, FOLDER/efficiency.png and the table of docs/results.md.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from commands import check_settings, enas, records

from enas.config import SEARCHABLE
from enas.runtime import derived_seed, versions

DRAWS = 10_000  # of the networks' true mean accuracies, for the interval of the factor
REFERENCE = "resnet20"
FULL = {"full training, REINFORCE": "reinforce", "full training, random": "random"}


@dataclass(frozen=True)
class Scale:
    """Sizes of one comparison.

    preset: of searches and retrainings. enas_epochs: of the searches with shared weights, one after the other.
    evaluations: children that full training gets; generation: so many of them at a time.
    child_epochs: of each child; retrain_epochs: of what was found. image_size: in pixels; None: as they are.
    """

    preset: str
    enas_epochs: tuple[int, ...]
    evaluations: int
    generation: int
    child_epochs: int
    retrain_epochs: int
    image_size: int | None


SCALES = {
    "tiny": Scale("quick", (2, 3), 4, 2, 1, 1, None),  # a few minutes with digits, to see that everything works
    "small": Scale("cpu", (6, 12, 24), 40, 4, 2, 2, 16),  # two CPU cores, two to three hours
    "paper": Scale("cifar10-fast", (20, 60, 150), 800, 10, 50, 60, None),
}


@dataclass(frozen=True)
class Find:
    """What a search had found at some point. size: of the search until then, as are its flops and time_s."""

    side: str
    size: str
    text: str
    time_s: float
    flops: float


@click.command()
@click.option("--data", required=True, help="digits, a data set's name, or a folder with train/<class>/*")
@click.option("--space", default="chain", type=click.Choice([n for n in SEARCHABLE if n != "macro"]), help="one space")
@click.option(
    "--scale",
    default="small",
    type=click.Choice(list(SCALES)),
    help="small: two CPU cores; paper: a GPU; tiny: to try it",
)
@click.option("--workers", default=2, type=click.IntRange(1), help="children or retrainings at the same time")
@click.option("--seeds", default=3, type=click.IntRange(2), help="retrainings of each network")
@click.option("--seed", default=0, type=click.IntRange(0), help="seed of the searches")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="a setting of space.* or data.*")
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
    if strange := [assignment for assignment in assignments if not assignment.startswith(("space.", "data."))]:
        raise click.UsageError(f"--set must be a setting of space.* or data.*, which all runs share, but got {strange}")
    settings = {"data": data, "space": space, "scale": scale, "workers": workers, "seed": seed}
    settings |= {"settings": list(assignments)}
    check_settings(output, settings)
    of_space: list[str] = []
    shared = ["--preset", sizes.preset, "--data", data]
    shared += [] if sizes.image_size is None else ["--image-size", str(sizes.image_size)]
    for assignment in assignments:
        (of_space if assignment.startswith("space.") else shared).extend(["--set", assignment])
    common = [*shared, *of_space, "--space", space, "--seed", str(seed)]
    finds = shared_weights(output, sizes, common) + full_training(output, sizes, common, workers)
    texts = sorted({find.text for find in finds})
    results = retrained(output, [*texts, REFERENCE], sizes, shared, of_space, seeds, workers)
    check_recipes([result for found in results.values() for result in found])
    accuracies = {text: [result["test_accuracy"] for result in found] for text, found in results.items()}
    hand_drawn = accuracies.pop(REFERENCE)
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
        warmup = ["--set", f"controller.warmup_epochs={epochs // 2}"]
        found = enas("search", output / "enas" / f"{epochs}-epochs", [*common, "--epochs", str(epochs), *warmup])
        finds.append(Find("ENAS", f"{epochs} epochs", found["text"], found["elapsed_s"], found["flops"]))
    return finds


def full_training(output: Path, sizes: Scale, common: list[str], workers: int) -> list[Find]:
    """The best so far of each search by full training, after so many children."""
    finds = []
    for side, searcher in FULL.items():
        folder = output / f"full-{searcher}"
        arguments = ["--evaluator", "full-training", "--searcher", searcher, "--evaluations", str(sizes.evaluations)]
        arguments += ["--child-epochs", str(sizes.child_epochs), "--workers", str(workers)]
        enas("search", folder, [*common, *arguments, "--generation", str(sizes.generation)])
        generations = records(folder, "generation")
        previous = None
        for then in generations:
            if then["best_arch"] != previous or then is generations[-1]:
                size = f"{then['evaluations']} children"
                finds.append(Find(side, size, then["best_arch"], then["elapsed_s"], then["flops"]))
            previous = then["best_arch"]
    return finds


def retrained(
    output: Path, texts: list[str], sizes: Scale, shared: list[str], of_space: list[str], seeds: int, workers: int
) -> dict[str, list[dict[str, Any]]]:
    """Results of every architecture (or of ResNet-20, under its name) with each seed; `workers` retrainings at once."""
    epochs = ["--epochs", str(sizes.retrain_epochs)]
    threads = ["--set", f"threads={max((os.cpu_count() or 1) // workers, 1)}"]
    with ThreadPoolExecutor(workers) as pool:
        runs = {}
        for text in texts:
            name = text if text == REFERENCE else hashlib.sha256(text.encode()).hexdigest()[:12]
            what = ["--reference", REFERENCE] if text == REFERENCE else [text, *of_space]
            runs[text] = [
                pool.submit(
                    enas,
                    "retrain",
                    output / "retrained" / f"{name}-{seed}",
                    [*what, *shared, *epochs, *threads, "--seed", str(seed)],
                )
                for seed in range(seeds)
            ]
        try:
            return {text: [run.result() for run in of_text] for text, of_text in runs.items()}
        except BaseException:  # an interrupted or failed run: those not begun are for the next call
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def check_recipes(results: list[dict[str, Any]]) -> None:
    """Stop where networks were not all trained in the same way."""
    recipes = {json.dumps([result["config"][key] for key in ("epochs", "sgd", "data")]) for result in results}
    if len(recipes) > 1:
        raise SystemExit(f"all networks must be retrained with one recipe, but there are {len(recipes)}: {recipes}")


def factors(finds: list[Find], accuracies: dict[str, list[float]]) -> list[dict[str, Any]]:
    """For each ENAS search: how many times its cost full training needs for the same accuracy.

    The accuracy of the best so far is interpolated over the logarithm of the cost. Low and high: 2.5 % and 97.5 % of
    what follows from each network's mean accuracy, which its retrainings tell with Student's error. 0: fewer than
    the first children are enough; infinite: all of them are too few.
    """
    draws = np.random.default_rng(derived_seed(0, "factors"))
    means = {text: statistics.mean(values) for text, values in accuracies.items()}
    drawn = {  # [DRAWS] each
        text: means[text]
        + statistics.stdev(values) / len(values) ** 0.5 * draws.standard_t(len(values) - 1, size=DRAWS)
        for text, values in accuracies.items()
    }
    found = []
    for find in (find for find in finds if find.side == "ENAS"):
        for side in FULL:
            rivals = [rival for rival in finds if rival.side == side]
            entry: dict[str, Any] = {"size": find.size, "rival": side}
            for cost in ("time_s", "flops"):
                own, costs = getattr(find, cost), np.array([getattr(rival, cost) for rival in rivals])
                centre = reached(costs, np.array([means[rival.text] for rival in rivals]), means[find.text])
                curves = np.stack([drawn[rival.text] for rival in rivals], 1)
                spread = [reached(costs, curve, wanted) for curve, wanted in zip(curves, drawn[find.text], strict=True)]
                low, high = np.quantile(spread, (0.025, 0.975), method="nearest")
                entry[cost] = {
                    name: times(float(value) / own, costs / own)
                    for name, value in (("factor", centre), ("low", low), ("high", high))
                }
            found.append(entry)
    return found


def reached(costs: np.ndarray, accuracies: np.ndarray, wanted: float) -> float:
    """The cost at which the best so far is as accurate as wanted; 0: from the first one on; infinite: never."""
    best = np.maximum.accumulate(accuracies)
    if best[0] >= wanted:
        return 0.0
    if best[-1] < wanted:
        return float("inf")
    i = int(np.argmax(best >= wanted))
    share = (wanted - best[i - 1]) / (best[i] - best[i - 1])
    return float(np.exp(np.log(costs[i - 1]) + share * (np.log(costs[i]) - np.log(costs[i - 1]))))


def times(factor: float, tried: np.ndarray) -> str:
    """A factor as the table has it. tried: the factors of what full training was tried with, in order."""
    if factor == 0:
        return f"below {tried[0]:.2g}"
    return f"above {tried[-1]:.2g}" if np.isinf(factor) else f"{factor:.2g}"


def table(report: dict[str, Any]) -> list[str]:
    """The rows of docs/results.md."""
    lines = ["| search | size | time | PFLOP | test accuracy (sd) |", "|---|---|--:|--:|--:|"]
    for find in report["finds"]:
        lines.append(
            f"| {find['side']} | {find['size']} | {find['time_s'] / 60:.0f} min | {find['flops'] / 1e15:.3g} | "
            f"{accuracy(find['test_accuracy'])} |"
        )
    lines.append(f"| ResNet-20, drawn by hand |  |  |  | {accuracy(report['resnet20'])} |")
    lines += ["", "| ENAS search | for its accuracy | needs, in time | in operations |", "|---|---|--:|--:|"]
    for entry in report["factors"]:
        cells = [f"{cost['factor']} ({cost['low']} to {cost['high']})" for cost in (entry["time_s"], entry["flops"])]
        lines.append(f"| {entry['size']} | {entry['rival']} | {' | '.join(cells)} |")
    return lines


def accuracy(values: list[float]) -> str:
    return f"{100 * statistics.mean(values):.2f} % ({100 * statistics.stdev(values):.2f})"


def plot(report: dict[str, Any], path: Path) -> None:
    """Test accuracy of what was found over time and over operations, both on a log axis, with the sd."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

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
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.legend(fontsize="small")
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
