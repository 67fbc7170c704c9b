"""Whether the latency of a network follows from its nodes: profiles against measurements of whole networks.

    python benchmarks/latency.py --space macro --output OUT

For each --batch-size, in one process: measure every node of the space, calibrate on ten networks, predict --networks
others, and measure those twice. The two measurements and ten calibrating networks take turns, so that a machine that
slows down slows all of them down. `own calibration` predicts by the profile as `enas profile` writes it, minutes
before; `same rounds` by one whose ten networks were measured among the others. What the second measurement says of the
first is the most that a prediction can reach. Writes OUT/latency.json (later calls add their spaces), the profiles
OUT/SPACE-bN.json, and OUT/latency-SPACE.png. Run nothing else meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
from correlation import Floats, tau
from scipy.stats import spearmanr
from timing import earlier, environment

from enas import config, spaces
from enas.config import PRESETS, SEARCHABLE, RunConfig
from enas.cost import cost
from enas.errors import UserError
from enas.latency import Calibration, Measured, Meter, calibration_archs, different, profile_for, write_profile
from enas.runtime import generator, start
from enas.spaces import SearchSpace
from enas.tracking import Progress

CLASSES = 10
# largest median error, by batch size, and least share of the two measurements' own rank correlation
MEDIAN_ERROR = {1: 0.20, 64: 0.10}
RANK_SHARE = 0.95


@click.command()
@click.option("--space", "name", default="macro", type=click.Choice(SEARCHABLE), help="search space")
@click.option("--preset", default="cpu", type=click.Choice(list(PRESETS)), help="sizes of the space")
@click.option("--set", "assignments", multiple=True, metavar="space.KEY=VALUE", help="any other size of the space")
@click.option("--image-size", default=32, type=click.IntRange(4), help="side of the images")
@click.option("--networks", default=30, type=click.IntRange(5), help="that are predicted and measured")
@click.option(
    "--batch-size", "batches", multiple=True, default=(1, 64), type=click.IntRange(1), help="images in a pass"
)
@click.option("--device", default="auto", help="cpu, cuda, mps or auto")
@click.option("--precision", default="float32", type=click.Choice(["float32", "bfloat16"]), help="number format")
@click.option("--threads", default=0, type=click.IntRange(0), help="CPU threads (0: all cores)")
@click.option("--seed", default=0, type=click.IntRange(0), help="which networks")
@click.option("--output", required=True, type=click.Path(path_type=Path), help="folder for all results")
def main(
    name: str,
    preset: str,
    assignments: tuple[str, ...],
    image_size: int,
    networks: int,
    batches: tuple[int, ...],
    device: str,
    precision: str,
    threads: int,
    seed: int,
    output: Path,
) -> None:
    """Profile, predict, measure, compare."""
    for assignment in assignments:
        if not assignment.startswith("space."):
            raise click.UsageError(f"--set must change the space, as in space.width=8, but got {assignment!r}")
    report = earlier(output / "latency.json")
    try:
        options = config.from_text(PRESETS[preset](name)[0], assignments).space
        space = spaces.build(options, (3, image_size, image_size), CLASSES)
        runtime = start(RunConfig(device=device, precision=precision, threads=threads))
    except UserError as error:
        raise click.UsageError(str(error)) from None
    settings = {"space": config.to_dict(space.options), "input_shape": list(space.input_shape), "seed": seed}
    found = {f"{batch}": validated(space, Meter(runtime, batch), networks, seed, output) for batch in batches}
    report[name] = {**settings, "environment": environment(runtime), "batch_sizes": found}
    (output / "latency.json").write_text(json.dumps(report, indent=2) + "\n")
    print("\n".join(rows(report)))
    draw(name, found, output / f"latency-{name}.png")


def validated(space: SearchSpace, meter: Meter, count: int, seed: int, output: Path) -> dict[str, Any]:
    """Figures and times of one batch size."""
    calibrating = calibration_archs(space, seed)
    archs = different(space, count, generator(seed, "latency/validation"), calibrating)
    if len(archs) < count:
        raise click.UsageError(f"--networks must be at most {len(archs)} in this space, but got {count}")
    what = f"{space.name}, batch size {meter.batch_size}"
    with Progress(1, f"{what}: nodes") as bar:
        profile = profile_for(space, meter, progress=bar.work, seed=seed)
    write_profile(output / f"{space.name}-b{meter.batch_size}.json", profile)
    graphs = [space.graph(arch) for arch in [*archs, *calibrating]]
    with Progress(1, f"{what}: networks") as bar:
        timings = meter.networks(graphs, 2, bar.work)
    first, second = (np.array([timing.ms for timing in each]) for each in timings)
    sums = np.array([profile.total(graph) for graph in graphs])
    texts = [spaces.to_text(space, arch) for arch in [*archs, *calibrating]]
    pairs = list(zip(texts, sums.tolist(), first.tolist(), strict=True))
    again = Calibration.fit([Measured(*pair) for pair in pairs[count:]])
    assert profile.calibration is not None
    predictions = {
        "own calibration": np.array([profile.calibration.predict(ms) for ms in sums[:count]]),
        "same rounds": np.array([again.predict(ms) for ms in sums[:count]]),
        "second measurement": second[:count],
    }
    macs = np.array([cost(graph).macs for graph in graphs[:count]], dtype=float)
    compared: dict[str, dict[str, float]] = {
        label: {**errors(values, first[:count]), **ranks(values, first[:count])}
        for label, values in predictions.items()
    }
    compared["MACs"] = ranks(macs, first[:count])
    return {
        "nodes": len(profile.nodes),
        "compared": compared,
        "calibrations": {
            label: {"slope": each.slope, "intercept_ms": each.intercept_ms}
            for label, each in (("own calibration", profile.calibration), ("same rounds", again))
        },
        "networks": [
            {"arch": text, "sum_ms": ms, "measured_ms": one, "again_ms": two, "predicted_ms": predicted}
            for (text, ms, one), two, predicted in zip(
                pairs[:count], second.tolist(), predictions["own calibration"].tolist(), strict=False
            )
        ],
    }


def errors(predicted: Floats, measured: Floats) -> dict[str, float]:
    """Relative errors: their median and 90 % quantile."""
    relative = np.abs(predicted / measured - 1)
    return {"median_error": float(np.median(relative)), "error_90": float(np.quantile(relative, 0.9))}


def ranks(predicted: Floats, measured: Floats) -> dict[str, float]:
    """Rank correlations."""
    return {"tau": tau(predicted, measured), "spearman": float(spearmanr(predicted, measured).statistic)}


def reached(figures: Mapping[str, float], repeated: Mapping[str, float], batch: int) -> bool | None:
    """Whether a prediction is as good as it was meant to be; None where nothing was set for the batch size."""
    if batch not in MEDIAN_ERROR:
        return None
    ranked = all(figures[name] >= RANK_SHARE * repeated[name] for name in ("tau", "spearman"))
    return figures["median_error"] <= MEDIAN_ERROR[batch] and ranked


def rows(report: Mapping[str, Any]) -> list[str]:
    """The table of docs/results.md."""
    lines = [
        "| space | batch size | networks | ms (min to max) | first measurement beside | median error | 90 % error "
        "| Kendall's tau | Spearman | as good as meant |",
        "|---|--:|--:|--:|---|--:|--:|--:|--:|---|",
    ]
    for space, entry in report.items():
        for batch, found in entry["batch_sizes"].items():
            times = [network["measured_ms"] for network in found["networks"]]
            head = f"| {space} | {batch} | {len(times)} | {min(times):.3g} to {max(times):.3g} "
            repeated = found["compared"]["second measurement"]
            for label, figures in found["compared"].items():
                percent = [f"{figures[key]:.1%}" if key in figures else "" for key in ("median_error", "error_90")]
                good = reached(figures, repeated, int(batch)) if label in found["calibrations"] else None
                cells = [label, *percent, f"{figures['tau']:.3f}", f"{figures['spearman']:.3f}"]
                lines.append(f"{head}| {' | '.join([*cells, {None: '', True: 'yes', False: 'no'}[good]])} |")
    return lines


def draw(name: str, found: Mapping[str, Any], path: Path) -> None:
    """Predicted beside measured times, a panel for each batch size."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(
        1, len(found), figsize=(4.5 * len(found), 4), constrained_layout=True, squeeze=False
    )
    for panel, (batch, entry) in zip(panels[0], found.items(), strict=True):
        measured, again, predicted = (
            [network[key] for network in entry["networks"]] for key in ("measured_ms", "again_ms", "predicted_ms")
        )
        panel.axline((0, 0), slope=1, color="0.8", zorder=0)
        panel.scatter(measured, again, s=10, color="0.6", label="second measurement")
        panel.scatter(measured, predicted, s=14, label="prediction")
        low, high = min(measured + predicted), max(measured + predicted)
        panel.set(xlim=(0.9 * low, 1.1 * high), ylim=(0.9 * low, 1.1 * high))
        panel.set(xlabel="measured, ms", ylabel="ms", title=f"{name}, batch size {batch}")
        panel.legend()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
