"""What limits of cost give: networks found within several limits from one supernet, beside random ones within each.

    python benchmarks/tradeoff.py --data CIFAR10_FOLDER --limits macs=5e6,1e7,2e7 --output FOLDER

One search trains the shared weights on uniform architectures. `enas derive` then finds a network for each limit by
itself; each is trained with --seeds seeds, --random uniform architectures within the same limit with one seed each, and
ResNet-20, all by one recipe, and tested once. Every step is an `enas` command, printed before it runs; a second call
continues where the first one stopped. Ends with FOLDER/tradeoff.json, FOLDER/tradeoff.png and rows for docs/results.md.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
from collections.abc import Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from commands import check_settings, enas, scored

from enas import searchers, spaces
from enas.audit import LEAST, rank_correlation
from enas.cli.sweep import parse_sweep
from enas.config import PRESETS, SEARCHABLE, SearchConfig
from enas.errors import UserError
from enas.graph import signature
from enas.jobs.targets import read_result
from enas.limits import limited, objective_of
from enas.objective import number
from enas.records import difference
from enas.runtime import generator, versions

REFERENCE = "resnet20"
TRAINED = ("space.", "data.", "objective.")  # settings of more than the search
TRIES = 100  # draws for each different network
Job = tuple[str, Path, list[str], Path | None]  # an `enas` command, its folder, its options, the run it takes


@click.command()
@click.option("--data", required=True, help="digits, a data set's name, or a folder with train/<class>/*")
@click.option("--limits", required=True, metavar="COST=N,N,...", help="as for enas derive --sweep")
@click.option("--preset", default="cpu", type=click.Choice(list(PRESETS)), help="of the search and the retrainings")
@click.option("--space", type=click.Choice(SEARCHABLE), help="to search (default: the preset's)")
@click.option("--epochs", default=10, type=click.IntRange(1), help="of the controller, for each limit")
@click.option("--train-epochs", default=None, type=click.IntRange(1), help="of each training (default: the preset's)")
@click.option("--seeds", default=3, type=click.IntRange(2), help="trainings of each found network, and of ResNet-20")
@click.option("--random", "others", default=5, type=click.IntRange(2), help="uniform architectures within each limit")
@click.option("--reference/--no-reference", default=True, help="whether ResNet-20 is trained too")
@click.option("--workers", default=1, type=click.IntRange(1), help="commands at the same time")
@click.option("--device", default="auto", help="of all but the search, as for enas")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="a setting of the search")
@click.option("--output", required=True, type=click.Path(path_type=Path), help="folder for all runs")
def main(
    data: str,
    limits: str,
    preset: str,
    space: str | None,
    epochs: int,
    train_epochs: int | None,
    seeds: int,
    others: int,
    reference: bool,
    workers: int,
    device: str,
    assignments: tuple[str, ...],
    output: Path,
) -> None:
    """Search, derive, train, compare."""
    try:
        cost, values = parse_sweep(limits)
    except UserError as error:
        raise click.UsageError(str(error)) from None
    settings = {
        "data": data,
        "preset": preset,
        "space": space,
        "limits": limits,
        "epochs": epochs,
        "train_epochs": train_epochs,
        "settings": list(assignments),
    }
    if strange := [text for text in assignments if text.startswith(TRAINED)]:
        raise click.UsageError(
            f"--set must not change {', '.join(TRAINED)}, which trainings need too, but got {strange}"
        )
    check_settings(output, settings)
    sets = [part for assignment in assignments for part in ("--set", assignment)]
    run = output / "search"
    where = [] if space is None else ["--space", space]
    enas("search", run, ["--preset", preset, *where, "--data", data, "--searcher", "random", *sets])
    threads = ["--set", f"threads={max(1, (os.cpu_count() or 1) // workers)}"]
    learning = ["--searcher", "reinforce", "--epochs", str(epochs), "--device", device, *threads]
    folders = {value: output / "derived" / f"{cost}-{value}" for value in values}
    limited_to = {folder: ["--limit", f"{cost}={value}"] for value, folder in folders.items()}
    done_by(workers, [("derive", folder, [*limit, *learning], run) for folder, limit in limited_to.items()])
    found = {value: read_result(folder) for value, folder in folders.items()}
    wanted: dict[str, list[tuple[str, int]]] = {REFERENCE: [(REFERENCE, seed) for seed in range(seeds * reference)]}
    for value, result in found.items():
        text = spaces.to_text(result.space, result.arch)
        wanted[value] = [(text, seed) for seed in range(seeds)]
        wanted[f"{value}, random"] = [(other, 0) for other in uniform_within(result.config, result.space, others)]
    common = ["--preset", preset, "--data", data, "--device", device, *threads]
    common += [] if train_epochs is None else ["--epochs", str(train_epochs)]
    tested = trained(output / "trained", sorted({pair for pairs in wanted.values() for pair in pairs}), common, workers)
    rows = [described(cost, value, result, wanted, tested) for value, result in found.items()]
    report: dict[str, Any] = {
        "environment": versions(),
        **settings,
        "trained_on": next(iter(tested.values()))["config"]["device"],
        "search": {key: read_result(run).values[key] for key in ("elapsed_s", "flops")},
        "cost": cost,
        "rows": rows,
        "ranking": ranking(run, read_result(run).space, rows),
        "resnet20": [network(tested[pair]) for pair in wanted[REFERENCE]],
    }
    (output / "tradeoff.json").write_text(json.dumps(report, indent=2) + "\n")
    draw(report, output / "tradeoff.png")
    print("\n".join(table(report)))


def uniform_within(run_config: Any, space: spaces.SearchSpace, count: int) -> list[str]:
    """Uniform architectures within the limits of a run, no two of them the same network; the same in every call."""
    assert isinstance(run_config, SearchConfig)
    within = limited(space, objective_of(space, run_config.objective))
    draws = generator(0, f"tradeoff/{run_config.objective.limits}")
    found: dict[Hashable, str] = {}
    for _ in range(TRIES * count):
        arch = searchers.uniform(within, 1, draws)[0]
        found.setdefault(signature(space.graph(arch)), spaces.to_text(space, arch))
        if len(found) == count:
            return list(found.values())
    limits = run_config.objective.limits
    raise SystemExit(f"there must be {count} networks within {limits}, but there are {len(found)}; ask for fewer")


def trained(
    output: Path, pairs: list[tuple[str, int]], common: list[str], workers: int
) -> dict[tuple[str, int], dict[str, Any]]:
    """Results of training each of these networks with its seed."""
    jobs: list[Job] = []
    for text, seed in pairs:
        name = text if text == REFERENCE else hashlib.sha256(text.encode()).hexdigest()[:12]
        what = ["--reference", REFERENCE] if text == REFERENCE else [text]
        jobs.append(("retrain", output / f"{name}-{seed}", [*what, *common, "--seed", str(seed)], None))
    return dict(zip(pairs, done_by(workers, jobs), strict=True))


def done_by(workers: int, jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """Results of `enas` commands, some of which run at the same time."""
    with ThreadPoolExecutor(workers) as pool:
        runs = [pool.submit(enas, *job) for job in jobs]
        try:
            return [run.result() for run in runs]
        except BaseException:  # those not begun are for the next call
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def network(result: dict[str, Any]) -> dict[str, Any]:
    """What the report keeps of a training."""
    return {key: result[key] for key in ("text", "test_accuracy", "params", "macs", "elapsed_s")}


def described(cost: str, value: str, result: Any, wanted: dict[str, Any], tested: dict[Any, Any]) -> dict[str, Any]:
    """One limit: the found network's trainings, the random ones', and the difference of their means."""
    own, random = ([network(tested[pair]) for pair in wanted[key]] for key in (value, f"{value}, random"))
    gap = difference([each["test_accuracy"] for each in own], [each["test_accuracy"] for each in random])
    return {
        "limit": float(value),
        "text": own[0]["text"],
        "cost": result.values["costs"]["costs"][cost]["found"],
        "proxy": result.values["finalists"][0],
        "derive_s": result.values["elapsed_s"],
        "found": own,
        "random": random,
        "found_minus_random": asdict(gap),
    }


def ranking(run: Path, space: spaces.SearchSpace, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """How the shared weights' loss, and costs, rank all random networks by their test accuracies; of a few nothing."""
    networks = list({each["text"]: each for row in rows for each in row["random"]}.values())
    loss = scored(run, space, [spaces.parse(space, each["text"]) for each in networks])["proxy_loss"]
    scores = {"loss": [-value for value in loss]} | {c: [each[c] for each in networks] for c in ("params", "macs")}
    truth = [each["test_accuracy"] for each in networks]
    enough = len(networks) >= LEAST
    taus = {name: asdict(rank_correlation(values, truth)) for name, values in scores.items() if enough}
    return {"networks": len(networks), "tau": taus}


def table(report: dict[str, Any]) -> list[str]:
    """The rows of docs/results.md."""
    heads = [f"{report['cost']} at most", "found", "parameters", "test % (sd)", "random within it: test % (sd)"]
    heads += ["best random", "found minus random (95 %)"]
    lines = [f"| {' | '.join(heads)} |", f"|{'--:|' * len(heads)}"]
    for row in report["rows"]:
        gap = row["found_minus_random"]
        best = max(each["test_accuracy"] for each in row["random"])
        cells = [number(row["limit"]), number(row["cost"]), f"{row['found'][0]['params']:,}"]
        cells += [spread(row["found"]), spread(row["random"]), f"{100 * best:.2f}"]
        cells.append(f"{100 * gap['mean']:+.2f} ({100 * gap['low']:+.2f} to {100 * gap['high']:+.2f})")
        lines.append(f"| {' | '.join(cells)} |")
    drawn, taus = report["resnet20"], report["ranking"]["tau"]
    known = {name: tau for name, tau in taus.items() if tau["tau"] is not None}
    words = [f"{name} {tau['tau']:.2f} ({tau['low']:.2f} to {tau['high']:.2f})" for name, tau in known.items()]
    if words:
        lines.append(f"Kendall's tau among the {report['ranking']['networks']} random networks: {', '.join(words)}")
    if drawn:
        lines.append(f"ResNet-20: {drawn[0]['macs']:,} MACs, {drawn[0]['params']:,} parameters, {spread(drawn)}")
    return lines


def spread(networks: list[dict[str, Any]]) -> str:
    values = [100 * each["test_accuracy"] for each in networks]
    return f"{statistics.mean(values):.2f} ({statistics.stdev(values):.2f}), n = {len(values)}"


def draw(report: dict[str, Any], path: Path) -> None:
    """Test accuracy over multiply-accumulates, of what was found and of random networks."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    others = [each for row in report["rows"] for each in row["random"]]
    axes.scatter([e["macs"] / 1e6 for e in others], [100 * e["test_accuracy"] for e in others], c="0.6", label="random")
    drawn = [report["resnet20"]] if report["resnet20"] else []
    for name, groups in (("found", [row["found"] for row in report["rows"]]), ("ResNet-20", drawn)):
        if not groups:
            continue
        accuracies = [[100 * each["test_accuracy"] for each in group] for group in groups]
        means, errors = [statistics.mean(values) for values in accuracies], [statistics.stdev(v) for v in accuracies]
        axes.errorbar([group[0]["macs"] / 1e6 for group in groups], means, errors, marker="o", capsize=3, label=name)
    axes.set(xscale="log")
    for formats in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        formats("{x:g}")  # and not powers of ten: all lie within one
    axes.set(xlabel="million multiply-accumulates", ylabel="test accuracy, %")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
