"""Whether training the finalists of a search pays, how long, and from which weights: true accuracies from a table.

    python benchmarks/finalists.py --table nas-bench-macro_cifar10.json --data CIFAR10_FOLDER \
        --runs RANKING_OUT/sandwich-3 --output OUT --epochs 1 --epochs 4

--runs is a recipe's folder that benchmarks/ranking.py wrote: finished searches seed-0, seed-1, ... with their scores.
Of each the best --finalists different networks by the effects of choices (enas/effects.py), under --cap if there is
one, are trained as `enas search` trains finalists (enas/finalists.py): from fresh and from inherited weights, once for
each --epochs, and their validation accuracy and training loss are noted after every epoch. That is what all lines of
the table are made of, each by either figure: all finalists trained to the end; successive halving; and, to see what its
rungs see, all of them stopped in the middle of the course. Nothing that the table says reaches the training. Of a
checkpoint the shared weights alone are read, so searches of other versions of enas will do. A finished training is kept
in OUT/trainings.json: a second call continues, and further --epochs, --finalists or a --cap add to it. Ends with
OUT/finalists.json and the table of docs/results.md.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from commands import check_settings
from finalist_curves import Curve, Trainer, Trainings, allowed, best, check_images, found, read_run
from finalist_variants import WEIGHTS, outcome, variants, without
from timing import earlier, environment
from tqdm import tqdm

from enas import checkpoint, config
from enas.data import load
from enas.errors import UserError
from enas.records import student_t
from enas.runtime import keep_freed_memory, start
from enas.tables import load_table


@click.command()
@click.option("--table", "path", required=True, type=click.Path(path_type=Path), help="the table's file")
@click.option("--data", required=True, help="CIFAR-10 as in the searches: cifar10, or a folder with train/<class>/*")
@click.option("--runs", required=True, type=click.Path(path_type=Path), help="a recipe's folder of ranking.py")
@click.option("--output", required=True, type=click.Path(path_type=Path), help="folder for all results")
@click.option("--seeds", default=None, type=click.IntRange(1), help="searches, from seed-0 on (default: all)")
@click.option("--finalists", "count", default=10, type=click.IntRange(2), help="of each search")
@click.option("--epochs", multiple=True, default=(1, 4), type=click.IntRange(1), help="lengths of their training")
@click.option("--halving-eta", "etas", multiple=True, default=(2,), type=click.IntRange(2), help="for halving")
@click.option("--halving-first", default=1, type=click.IntRange(1), help="epochs before the first selection, at least")
@click.option("--cap", default=None, type=click.FloatRange(1), help="million MACs that a published network may have")
@click.option("--images", default=None, type=click.IntRange(100), help="training images (default: the search's)")
@click.option("--image-size", default=None, type=click.IntRange(4, 32), help="their sides in pixels (default: 32)")
@click.option("--device", default=None, help="auto, cpu, cuda, cuda:N or mps (default: the searches')")
@click.option("--threads", default=None, type=click.IntRange(1), help="CPU threads (default: the searches')")
def main(
    path: Path,
    data: str,
    runs: Path,
    output: Path,
    seeds: int | None,
    count: int,
    epochs: tuple[int, ...],
    etas: tuple[int, ...],
    halving_first: int,
    cap: float | None,
    images: int | None,
    image_size: int | None,
    device: str | None,
    threads: int | None,
) -> None:
    """Train finalists, compare."""
    earlier(output / "trainings.json")  # says so where the folder cannot be had, before anything is read
    try:
        table = load_table(path)
        searches = [read_run(folder, table.space) for folder in found(runs, seeds)]
        chosen = [best(table, search, count, cap, image_size) for search in searches]
        place = {"device": device, "threads": threads}
        run_config = config.update(searches[0].config, {k: v for k, v in place.items() if v is not None})
        runtime = start(run_config)
        keep_freed_memory()
        loaded = load(config.update(run_config.data, {"name": data}), runtime.device)
        for search in searches:
            check_images(loaded, search)
        known = Trainings(output / "trainings.json")
    except UserError as error:
        raise click.UsageError(str(error)) from None
    settings = {"runs": str(runs), "data": data, "images": images}
    check_settings(output, settings if image_size is None else settings | {"image_size": image_size})
    lengths = sorted(set(epochs))
    entries = []
    with tqdm(total=len(searches) * count * len(WEIGHTS) * sum(lengths), desc="epochs", unit="epoch") as bar:
        for search, finalists in zip(searches, chosen, strict=True):
            trainer = Trainer(search, loaded, runtime, images, image_size)
            curves: dict[tuple[str, int], list[Curve]] = {}
            for length in lengths:
                for weights in WEIGHTS:
                    curves[weights, length] = []
                    for finalist in finalists:
                        curves[weights, length].append(known.curve(trainer, finalist.text, weights, length))
                        bar.update(length)
            sizes = {"train_images": trainer.images_each, "validation_images": len(trainer.validation)}
            outcomes = [
                outcome(finalists, curves[variant.weights, variant.epochs], variant, *sizes.values())
                for variant in variants(lengths, etas, halving_first)
            ]
            entries.append(
                {
                    "run": search.name,
                    "search_flops": search.flops,
                    **sizes,
                    "finalists": [vars(finalist) for finalist in finalists],
                    "curves": {f"{weights}/{length}": each for (weights, length), each in curves.items()},
                    "untrained": without(finalists),
                    "trained": outcomes,
                }
            )
    report = {
        "environment": environment(runtime),
        "table": path.name,
        "runs": runs.name,
        "finalists": count,
        "cap": cap,
        "image_size": image_size,
        "halving_first": halving_first,
        "best": float(table.test[allowed(table, cap)].max()),
        "searches": entries,
    }
    report["variants"] = summary(entries)
    checkpoint.write_json(output / "finalists.json", report)
    print("\n".join(rows(report)))


def summary(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over the searches with standard deviations, and each pick's gain over no training, search by search, with
    its 95 % interval; None where one search tells no spread."""
    made: dict[str, Any] = {"no training": figures([entry["untrained"] for entry in entries], None)}
    for i, each in enumerate(entries[0]["trained"]):
        outcomes = [entry["trained"][i] for entry in entries]
        gains = [entry["trained"][i]["pick"] - entry["untrained"]["pick"] for entry in entries]
        made[each["variant"]] = figures(outcomes, gains) | {
            "share_of_search": statistics.mean(e["trained"][i]["flops"] / e["search_flops"] for e in entries),
            "failed": sum(found["failed"] for found in outcomes),
        }
    return made


def figures(outcomes: Sequence[Mapping[str, Any]], gains: Sequence[float] | None) -> dict[str, Any]:
    """Mean and standard deviation of each figure; gains: of the pick."""
    made: dict[str, Any] = {}
    for name in [name for name in ("tau", "pick", "flops", "mean", "best") if name in outcomes[0]]:
        values = [found[name] for found in outcomes]
        made[name] = {"mean": statistics.mean(values), "sd": statistics.stdev(values) if len(values) > 1 else None}
    if gains is not None:
        n, mean = len(gains), statistics.mean(gains)
        half = student_t(n - 1) * statistics.stdev(gains) / n**0.5 if n > 1 else None
        made["gain"] = {"mean": mean, "half": half}
    return made


def rows(report: Mapping[str, Any]) -> list[str]:
    """The table of docs/results.md."""
    found = report["variants"]
    untrained = found["no training"]
    lines = [
        f"{report['finalists']} finalists of {len(report['searches'])} searches by effects: true accuracy "
        f"{percent(untrained['mean'])} on average, {percent(untrained['best'])} the best of them; the best network "
        f"there is has {100 * report['best']:.2f} %",
        "",
        "| training of the finalists | PFLOP | share of the search's | tau among them | pick, true % | gain, points "
        "(95 % interval) |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name, each in found.items():
        ranks = f"{each['tau']['mean']:.2f}" + spread(each["tau"]["sd"], 1)
        cells = [ranks, percent(each["pick"])]
        if "gain" in each:
            gain, half = each["gain"]["mean"], each["gain"]["half"]
            interval = "" if half is None else f" ({100 * (gain - half):+.2f} to {100 * (gain + half):+.2f})"
            costs = [f"{each['flops']['mean'] / 1e15:.4f}", f"{each['share_of_search']:.2f}"]
            cells = [*costs, *cells, f"{100 * gain:+.2f}{interval}"]
        else:
            cells = ["0", "0", *cells, ""]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def percent(figure: Mapping[str, float | None]) -> str:
    """Mean and standard deviation in percent."""
    return f"{100 * (figure['mean'] or 0.0):.2f}" + spread(figure["sd"], 100)


def spread(sd: float | None, scale: float) -> str:
    return "" if sd is None else f" ({scale * sd:.2f})"


if __name__ == "__main__":
    main()
