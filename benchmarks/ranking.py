"""Whether shared weights rank architectures as full training does: a supernet, trained here, against a table.

    python benchmarks/ranking.py --table nas-bench-macro_cifar10.json --data CIFAR10_FOLDER --output OUT \
        --budget flops=5e13 --recipe fair --set weights.sampling=fair --set weights.architectures_per_step=3

A recipe is a name and settings of `enas search`. Each of --seeds supernets is trained on uniform architectures within
the budget; then all different networks of the table, or --networks of them, drawn once for all recipes, are scored on
the validation images, and the scores compared with the true test accuracies, beside what needs no supernet. The effects
of choices (enas/effects.py) are fitted to those scores and judge all of the table; a vote of loss and zero-cost proxies
judges as many networks as --zero-cost says. Nothing that the table says reaches the training. Continues where it
stopped; later calls add recipes to OUT/ranking.json. Ends with rows for docs/results.md and OUT/RECIPE.png; with
--curve also with OUT/curve.png, tau over operations.
"""

from __future__ import annotations

import hashlib
import json
import re
from math import comb
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from commands import check_settings, enas, scored
from correlation import Floats, figures, resampled
from ranking_table import curve as draw_curve
from ranking_table import draw, rows
from timing import earlier
from zerocost import zero_cost as zero_cost_proxies

from enas import spaces
from enas.config import parse_budget, to_dict
from enas.data import load, random_batch
from enas.effects import Effects
from enas.errors import UserError
from enas.jobs.targets import read_result
from enas.records import finite
from enas.runtime import generator, versions
from enas.spaces import Architecture
from enas.tables import TrueAccuracies, load_table
from enas.zero_cost import VOTES, vote

NAME = re.compile(r"[\w-]+")  # of a recipe, which names a folder
ZERO_COST_IMAGES = 64
RANDOM_TRAININGS = 10
CANDIDATES = 1000  # networks that a search judges before it chooses
LEAST = 10  # networks whose ranking says something
SYNFLOW = {
    "vote without synflow": 0.0,
    "vote": VOTES["synflow"],
    "vote, synflow half": 0.5,
    "vote, synflow whole": 1.0,
}


@click.command()
@click.option("--table", "path", required=True, type=click.Path(path_type=Path), help="the table's file")
@click.option("--data", required=True, help="CIFAR-10: cifar10, or a folder with train/<class>/*")
@click.option("--output", required=True, type=click.Path(path_type=Path), help="folder for all results")
@click.option("--budget", required=True, help="of each supernet's training, as for enas search: flops=5e13, 40m")
@click.option("--recipe", required=True, help="name of this line of the table")
@click.option("--preset", default="cpu", help="preset of the search")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="a setting of the search")
@click.option("--seeds", default=1, type=click.IntRange(1), help="supernets")
@click.option("--networks", default=None, type=click.IntRange(50), help="that are scored (default: all of the table)")
@click.option(
    "--zero-cost", default=0, type=click.IntRange(0), help="of those networks, for zero-cost proxies; 0: none"
)
@click.option("--cap", default=None, type=click.FloatRange(1), help="million MACs, under which there is a pick too")
@click.option(
    "--curve", multiple=True, metavar="RECIPE", help="recipes, two at least, that OUT/curve.png joins by lines"
)
@click.option("--images", default=1000, type=click.IntRange(100), help="validation images")
def main(
    path: Path,
    data: str,
    output: Path,
    budget: str,
    recipe: str,
    preset: str,
    assignments: tuple[str, ...],
    seeds: int,
    networks: int | None,
    zero_cost: int,
    cap: float | None,
    curve: tuple[str, ...],
    images: int,
) -> None:
    """Train, score, compare."""
    if not NAME.fullmatch(recipe):
        raise click.UsageError(f"--recipe must be letters, digits, - and _, but got {recipe!r}")
    report = earlier(output / "ranking.json")
    unknown = sorted({*curve} - {*report.get("recipes", {}), recipe})
    if unknown or len(set(curve)) == 1:
        raise click.UsageError(
            f"--curve must name two recipes of {output} or more, this one or earlier ones, but got {', '.join(curve)}"
        )
    try:
        parse_budget(budget)
        table = load_table(path)
    except UserError as error:
        raise click.UsageError(str(error)) from None
    positions = sample(table, networks)
    archs = [table.arch(int(position)) for position in positions]
    everyone = sample(table, None)
    settings = [f"data.validation_fraction={images / 50_000}", *assignments]
    # a name stands for one recipe, and one folder for one choice of networks: no old run passes for another
    most = None if cap is None else 1e6 * cap
    few = sample(table, min(zero_cost, len(archs))) if zero_cost else positions
    for among, least in ((everyone, RANDOM_TRAININGS), (positions, LEAST), (few, LEAST)):
        left = len(among) if most is None else int((table.macs[among] <= most).sum())
        if left < least:
            raise click.UsageError(
                f"--cap must leave {least} networks of {len(among):,}, but it leaves {left}; raise it"
            )
    common = {"table": path.name, "networks": len(archs), "images": images, "cap": cap, "zero_cost": zero_cost}
    check_settings(output, {**common, "data": data})
    check_settings(output / recipe, {"preset": preset, "data": data, "budget": budget, "settings": settings})
    search = ["--preset", preset, "--space", table.space.name, "--data", data, "--searcher", "random"]
    search += ["--budget", budget, "--set", "derive.finalist_epochs=0", "--set", "derive.samples=2"]
    search += ["--set", "derive.random=2", "--set", "derive.random_per_epoch=2"]
    search += [part for setting in settings for part in ("--set", setting)]
    report |= {"environment": versions(), **common, "chance": chance(table, everyone)}
    if most is not None:
        report["chance_under_cap"] = chance(table, everyone[table.macs[everyone] <= most])
    report["predictors"] = report.get("predictors", {}) | {
        name: summary(table, everyone, values, most, 0) for name, values in predictors(table, everyone).items()
    }
    runs: list[dict[str, Any]] = []
    free: dict[str, Floats] = {}
    for seed in range(seeds):
        folder = output / recipe / f"seed-{seed}"
        result = enas("search", folder, [*search, "--seed", str(seed)])
        found = scored(folder, table.space, archs)
        effects = Effects(table.space, archs, torch.from_numpy(-np.log(found["proxy_loss"])))
        predicted = effects.predict([table.arch(int(position)) for position in everyone]).numpy()
        rankings = {
            "accuracy": summary(table, positions, found["proxy_accuracy"], most, seed),
            "loss": summary(table, positions, -found["proxy_loss"], most, seed),
            "effects": summary(table, everyone, predicted, most, seed),
        }
        if zero_cost:
            free = free or untrained(folder, table, few)
            loss = found["proxy_loss"][np.searchsorted(positions, few)]
            for name, share in SYNFLOW.items():
                rankings[name] = summary(table, few, vote(loss, **free, votes=VOTES | {"synflow": share}), most, seed)
            if seed == 0:
                at = sizes_of(folder)
                report["predictors"] |= {f"{n}, {at}": summary(table, few, v, most, 0) for n, v in free.items()}
        runs.append({"seed": seed, "flops": result["flops"], "time_s": result["elapsed_s"], "scores": rankings})
    report.setdefault("recipes", {})[recipe] = {"settings": settings, "preset": preset, "budget": budget, "runs": runs}
    report = finite(report)
    (output / "ranking.json").write_text(json.dumps(report, indent=2) + "\n")
    print("\n".join(rows(report)))
    if curve:
        draw_curve(report, curve, output / "curve.png")
    draw(predicted, table.test[everyone], f"{table.name}, {recipe}", output / f"{recipe}.png")


def sample(table: TrueAccuracies, networks: int | None) -> Any:
    """Positions of all different networks, or of some, always the same ones."""
    different = np.unique(table.network)
    if networks is None or networks >= len(different):
        return different
    order = np.random.default_rng(generator(0, "ranking").initial_seed()).permutation(len(different))
    return np.sort(different[order[:networks]])


def predictors(table: TrueAccuracies, positions: Any) -> dict[str, Floats]:
    """What ranks networks without any training."""
    choices = [table.arch(int(position)) for position in positions]
    return {
        "parameters": table.params[positions].astype(float),
        "MACs": table.macs[positions].astype(float),
        "blocks": np.array([blocks(table, arch) for arch in choices], dtype=float),
    }


def chance(table: TrueAccuracies, positions: Any) -> dict[str, float]:
    """What random choice among networks gives: the mean accuracy, and that of the best of ten different ones."""
    rising = np.sort(table.test[positions])
    n = len(rising)
    best = sum(comb(i, RANDOM_TRAININGS - 1) * rising[i] for i in range(RANDOM_TRAININGS - 1, n))
    return {
        "mean": float(rising.mean()),
        "best_of_ten": float(best / comb(n, RANDOM_TRAININGS)),
        "best": float(rising[-1]),
    }


def sizes_of(run: Path) -> str:
    """The sizes of a search's networks and images, in a few words."""
    space = read_result(run).space
    options = [f"{name} {value}" for name, value in to_dict(space.options).items() if name != "name"]
    return " ".join([*options, f"{space.input_shape[1]}x{space.input_shape[2]}"])


def untrained(run: Path, table: TrueAccuracies, positions: Any) -> dict[str, Floats]:
    """Zero-cost proxies on a batch of training images, of networks and images of the sizes that the search has; kept
    beside the recipes, for others of these sizes."""
    result = read_result(run)
    images = load(result.config.data, torch.device("cpu"))
    batch, _ = random_batch(images.train, ZERO_COST_IMAGES, images.mean, images.std, generator(0, "zero-cost images"))
    texts = [spaces.to_text(table.space, table.arch(int(position))) for position in positions]
    sizes = json.dumps([to_dict(result.space.options), result.space.input_shape], sort_keys=True)
    name = f"zero-cost-{hashlib.sha256(sizes.encode()).hexdigest()[:8]}.json"
    return zero_cost_proxies(result.space, texts, batch, run.parent.parent / name)


def blocks(table: TrueAccuracies, arch: Architecture) -> int:
    """Decisions that choose a convolution."""
    pairs = zip(table.space.decisions, arch.choices, strict=True)
    return sum("conv" in decision.labels[choice] for decision, choice in pairs)


def summary(table: TrueAccuracies, positions: Any, values: Floats, cap: float | None, seed: int) -> dict[str, Any]:
    """Correlations with the truth, also under the cap, with their bootstrap error; and what the best score picks."""
    truth, macs = table.test[positions], table.macs[positions]
    found: dict[str, Any] = figures(values, truth, macs)
    found["errors"] = resampled(values, truth, macs, np.random.default_rng(seed))
    if cap is not None:
        part = macs <= cap
        few = values[part], truth[part], macs[part]
        found["tau_under_cap"] = figures(*few)["tau"]
        found["errors"]["tau_under_cap"] = resampled(*few, np.random.default_rng(seed))["tau"]
    found["pick"] = picked(table, positions, values, np.inf)
    found["pick_under_cap"] = None if cap is None else picked(table, positions, values, cap)
    found["networks"] = len(positions)
    if len(positions) > CANDIDATES:
        found["pick_of_some"] = picked_of_some(values, truth, CANDIDATES)
    return found


def picked_of_some(values: Floats, truth: Floats, count: int) -> dict[str, float]:
    """The true accuracy of what the score picks of so many networks, drawn at random: mean and standard deviation over
    all draws. Who draws others picks another."""
    ordered = truth[np.argsort(-np.nan_to_num(values, nan=-np.inf), kind="stable")]
    n = len(ordered)
    # the chance that the k-th best is drawn, and nobody better
    left = np.arange(n - count)  # better networks that are all not drawn, for each k but the first
    shares = count / n * np.cumprod(np.concatenate([[1.0], (n - count - left) / (n - 1 - left)]))
    accuracies = ordered[: len(shares)]
    mean = float(shares @ accuracies)
    return {"count": count, "mean": mean, "sd": float((shares @ (accuracies - mean) ** 2) ** 0.5)}


def picked(table: TrueAccuracies, positions: Any, values: Floats, most: float) -> dict[str, Any]:
    """The network of the best score among those of so many MACs at most, and its true rank among those."""
    allowed = table.macs[positions] <= most
    pick = int(positions[allowed][np.argmax(np.nan_to_num(values[allowed], nan=-np.inf))])
    different = np.unique(table.network)
    others = table.test[different[table.macs[different] <= most]]
    better = int((others > table.test[pick] + 1e-9).sum())
    arch = spaces.to_text(table.space, table.arch(pick))
    return {"arch": arch, "accuracy": float(table.test[pick]), "rank": better + 1, "macs": int(table.macs[pick])}


if __name__ == "__main__":
    main()
