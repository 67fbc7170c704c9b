"""Search, then retrain what was found beside random architectures and ResNet-20, all with one recipe.

    python benchmarks/end_to_end.py --data CIFAR10_FOLDER --preset cpu --space micro --output FOLDER

Every step is an `enas` command, printed before it runs. A second call continues where the first one
stopped. Ends with FOLDER/end_to_end.json and the table of docs/results.md.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from commands import check_settings, enas

from enas import config, searchers, spaces
from enas.config import PRESETS, SEARCHABLE
from enas.runtime import generator, versions


@click.command()
@click.option("--data", required=True, help="digits, or a folder with train/<class>/* and test/<class>/*")
@click.option("--preset", default="cpu", type=click.Choice(list(PRESETS)), help="preset of search and retraining")
@click.option("--space", default="macro", type=click.Choice(SEARCHABLE), help="search space")
@click.option("--budget", help="time or operations of the search, such as 40m (default: the preset's sizes)")
@click.option("--output", required=True, type=click.Path(path_type=Path), help="folder for all runs")
@click.option("--random", "num_random", default=2, type=click.IntRange(1), help="random architectures beside it")
@click.option("--seed", default=0, help="seed of the search, of the random architectures and of all training")
def main(data: str, preset: str, space: str, budget: str | None, output: Path, num_random: int, seed: int) -> None:
    """Run the whole comparison."""
    settings = {"data": data, "preset": preset, "space": space, "budget": budget, "seed": seed}
    check_settings(output, settings)
    common = ["--seed", str(seed)]
    search_folder = output / "search"
    budgeted = ["--budget", budget] if budget else []
    search = enas("search", search_folder, ["--preset", preset, "--space", space, "--data", data, *budgeted, *common])

    rows = {"derived": enas("retrain", output / "derived", [str(search_folder), *common])}
    for i, text in enumerate(random_architectures(search, num_random, seed), start=1):
        arguments = [text, "--preset", preset, "--data", data, *common]
        rows[f"random{i}"] = enas("retrain", output / f"random{i}", arguments)
    reference = [str(search_folder), "--reference", "resnet20", *common]
    rows["resnet20"] = enas("retrain", output / "resnet20", reference)
    recipes = {name: {**row["config"], "arch": ""} for name, row in rows.items()}
    different = [name for name, recipe in recipes.items() if recipe != recipes["derived"]]
    if different:
        raise SystemExit(f"all networks must be trained with one recipe, but these were not: {', '.join(different)}")
    report = {"environment": versions(), **settings, "search": search, "retrained": rows}
    (output / "end_to_end.json").write_text(json.dumps(report, indent=2) + "\n")
    print("\n".join(table(rows)))


def random_architectures(search: dict[str, Any], count: int, seed: int) -> list[str]:
    """Uniform architectures of the search's space, as text."""
    options = config.update(config.space_options(search["space"]["name"]), search["space"])
    channels, height, width = search["input_shape"]
    space = spaces.build(options, (channels, height, width), len(search["classes"]))
    draws = generator(seed, "random architectures to retrain")
    return [spaces.to_text(space, arch) for arch in searchers.uniform(space, count, draws)]


def table(rows: dict[str, dict[str, Any]]) -> list[str]:
    """The rows of docs/results.md."""
    lines = ["| network | test accuracy | parameters | MACs | training |", "|---|--:|--:|--:|--:|"]
    for name, row in rows.items():
        costs = f"{row['params'] / 1e6:.3f} M | {row['macs'] / 1e6:.1f} M | {row['elapsed_s'] / 60:.1f} min"
        lines.append(f"| {name} | {100 * row['test_accuracy']:.2f} % | {costs} |")
    return lines


if __name__ == "__main__":
    main()
