"""`enas profile`, and what other commands say of a network's costs."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import click

from enas import config, spaces
from enas.cli import options
from enas.config import PRESETS, SEARCHABLE, CustomOptions, DataConfig, RunConfig
from enas.errors import UserError
from enas.jobs.targets import existing, read_result
from enas.spaces import SearchSpace, source
from enas.words import in_shell

if TYPE_CHECKING:
    from enas.graph import Graph
    from enas.latency import Profile
    from enas.runtime import Runtime

MIB = 1 << 20
INSTEAD = "remove it or give another --output"  # where the file is not one to go on with


@click.command()
@click.argument("run", required=False)
@click.option("--preset", type=click.Choice(list(PRESETS)), help="sizes of the space, and its images (default: quick)")
@click.option("--space", "space_name", type=options.SpaceName(), help="search space (default: the preset's)")
@click.option("--set", "assignments", multiple=True, metavar="space.KEY=VALUE", help="any other size of the space")
@click.option("--data", help="take the images' size and classes from this data set or folder")
@click.option("--data-folder", help="where data sets lie or are downloaded to, as for search")
@click.option("--image-size", type=click.IntRange(4, 1024), help="side of the images (default: the data's, or 32)")
@click.option("--channels", type=click.IntRange(1, 4), help="without --data: channels of the images (default: 3)")
@click.option("--classes", type=click.IntRange(2), help="without --data: number of classes (default: 10)")
@click.option("--width", type=click.IntRange(2, 4096), help="channels of the first stage, as for retrain")
@click.option("--depth", type=click.IntRange(1, 32), help="micro: normal cells in each stage, as for retrain")
@click.option("--batch-size", type=click.IntRange(1, 4096), default=1, show_default=True, help="images in a pass")
@click.option("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
@click.option("--precision", default="float32", type=click.Choice(["float32", "bfloat16"]), help="number format")
@click.option("--threads", type=click.IntRange(0, 1024), default=0, help="CPU threads (0: all cores)")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, help="which networks the calibration measures")
@click.option("--output", required=True, type=click.Path(path_type=Path), metavar="FILE", help="the profile, as JSON")
def profile(
    run: str | None,
    preset: str | None,
    space_name: str | None,
    assignments: tuple[str, ...],
    data: str | None,
    data_folder: str | None,
    image_size: int | None,
    channels: int | None,
    classes: int | None,
    width: int | None,
    depth: int | None,
    batch_size: int,
    device: str,
    precision: str,
    threads: int,
    seed: int,
    output: Path,
) -> None:
    """Measure how long each node of a space takes on this machine, so that every network's latency can be predicted.

    RUN is the folder of a finished run or its result.json, whose space and images are taken; or name a space. Where
    FILE holds the beginning of the same profile, the command goes on with it. Run nothing else meanwhile.
    """
    from enas.latency import Meter, profile_for, write_profile
    from enas.runtime import start
    from enas.tracking import Progress

    scale = {name: value for name, value in (("width", width), ("depth", depth)) if value is not None}
    images = {"--data": data, "--data-folder": data_folder, "--image-size": image_size}
    images |= {"--channels": channels, "--classes": classes}
    own = source.load(space_name) if space_name is not None and ":" in space_name else None
    if run is not None:
        if own is not None:
            space_name = None  # the run's own, which its folder alone does not let run
        given = {"--preset": preset, "--space": space_name, "--set": assignments or None, **images}
        space = _space_of(run, [option for option, value in given.items() if value is not None])
    else:
        space = _space(preset, space_name, own, assignments, images)
    if scale:
        space = space.scaled(**scale)
    if output.is_dir() or not output.parent.is_dir():
        raise UserError(f"--output must be a file in a folder that exists, but got {output}; check it")
    runtime = start(RunConfig(device=device, precision=precision, threads=threads))
    meter = Meter(runtime, batch_size)
    begun = _begun(output, space, runtime, batch_size, seed) if output.exists() else None
    with Progress(1, "profile") as bar:
        made = profile_for(space, meter, begun, lambda found: write_profile(output, found), bar.work, seed)
    _print(made, output)


def _space_of(run: str, given: list[str]) -> SearchSpace:
    """The space of a finished run, and no other options about spaces and images beside it."""
    path = existing(run)
    if path is None:
        raise UserError(f"there must be a run folder or a result.json, but {run!r} is none; or give --space instead")
    if given:
        raise UserError(f"{given[0]} must be left out beside a run, whose space and images are taken")
    return read_result(path).space


def _space(
    preset: str | None,
    name: str | None,
    own: CustomOptions | None,
    assignments: tuple[str, ...],
    images: dict[str, Any],
) -> SearchSpace:
    """The space that options name, for the images that they name. own: the user's, if it is one."""
    from enas.data import load
    from enas.runtime import start

    for assignment in assignments:
        if not assignment.strip().startswith("space."):
            raise UserError(f"--set must change the space here, as in space.layers=6, but got {assignment!r}")
    base, _ = PRESETS[preset or "quick"](name if own is None else own.name)
    if own is not None:
        base = config.update(base, {"space": config.to_dict(own)})
    chosen = config.from_text(base, assignments)
    config.check(chosen)
    if own is None and chosen.space.name not in SEARCHABLE:
        raise UserError(f"space must be one of {', '.join(SEARCHABLE)}, but got {chosen.space.name}")
    typed = [option for option in ("--channels", "--classes") if images[option] is not None]
    name = images["--data"]
    if name is None and images["--data-folder"] is not None:
        raise UserError("--data-folder must go with --data, but there is none; leave it out")
    if name is None and not typed and images["--image-size"] is None:
        name = base.data.name
    if name is None:
        side = images["--image-size"] or 32
        return spaces.build(chosen.space, (images["--channels"] or 3, side, side), images["--classes"] or 10)
    if typed:
        raise UserError(f"{typed[0]} must be left out with --data, whose images and classes are taken")
    data = DataConfig(name=name, folder=images["--data-folder"], image_size=images["--image-size"])
    found = load(data, start(RunConfig(device="cpu")).device)
    return spaces.build(chosen.space, found.input_shape, found.num_classes)


def _begun(path: Path, space: SearchSpace, runtime: Runtime, batch_size: int, seed: int) -> Profile:
    """The profile in the file. Raises UserError unless it is one of this space, machine, batch size and seed."""
    from enas.latency import check_same, read_profile

    found = read_profile(path, INSTEAD)
    theirs, ours = (
        f"{config.to_dict(each.options)} for images {each.input_shape} of {each.num_classes} classes"
        for each in (found.space, space)
    )
    if theirs != ours:
        raise UserError(f"{path} must be a profile of this space to go on with, but is of another; {INSTEAD}")
    if found.seed not in (None, seed):
        raise UserError(
            f"{path} must be a profile of --seed {seed} to go on with, but was begun with --seed {found.seed}; give "
            f"that one, or {INSTEAD}"
        )
    check_same(found, runtime, batch_size)
    return found


def _print(made: Profile, output: Path) -> None:
    from enas.latency import prediction_errors

    assert made.calibration is not None
    slope, intercept, networks = made.calibration.slope, made.calibration.intercept_ms, made.calibration.networks
    times = [network.ms for network in networks]
    spread = median((timing.high_ms - timing.low_ms) / timing.ms for timing in made.nodes.values())
    click.echo(f"profile       {output}: {len(made.nodes)} nodes at batch size {made.batch_size}")
    click.echo(f"machine       {made.machine}")
    click.echo(f"spread        {spread:.1%} of a node's time between the quartiles of its calls, in the median")
    click.echo(
        f"calibration   {slope:.3f} x the sum of the nodes + {intercept:.3f} ms, from {len(times)} networks of "
        f"{min(times):.3g} to {max(times):.3g} ms, with a median error of {median(prediction_errors(made)):.1%} on them"
    )
    click.echo(f"next          enas show ARCH|RUN --profile {in_shell(output)}")


def costs(graph: Graph, path: Path | None, batch_size: int | None) -> tuple[dict[str, Any], list[str]]:
    """What a network costs, as JSON and as lines: beside parameters and MACs its activations, and with a profile its
    latency. batch_size: of the activations, if not the profile's."""
    from enas.cost import activation_memory, cost
    from enas.latency import read_profile

    found = None if path is None else read_profile(path)
    if found is not None and batch_size not in (None, found.batch_size):
        raise UserError(f"--batch-size must be the profile's, {found.batch_size}, but got {batch_size}; leave it out")
    batch = found.batch_size if found is not None else batch_size or 1
    wide = 2 if found is not None and found.machine.precision == "bfloat16" else 4
    counts, activations = cost(graph), activation_memory(graph, batch, wide)
    size = "x".join(map(str, graph.nodes[0].shape))
    lines = [
        f"{counts.params:,} parameters, {counts.macs:,} MACs for images {size} (channels, height, width)",
        f"{activations / MIB:.3g} MiB of activations at most, at batch size {batch} without gradients",
    ]
    values: dict[str, Any] = {"params": counts.params, "macs": counts.macs}
    values |= {"batch_size": batch, "activation_bytes": activations}
    if found is not None:
        ms = _latency(found, graph)
        lines.append(f"{ms:.3g} ms latency at batch size {batch}, predicted for {found.machine}")
        values |= {"latency_ms": ms, "profile": str(path)}
    return values, lines


def _latency(found: Profile, graph: Graph) -> float:
    """Predicted milliseconds; nodes that the profile lacks are measured where this is its machine."""
    from enas.latency import Latency, meter_like

    missing = found.missing([graph])
    meter = meter_like(found) if missing else None
    if meter is not None:
        click.echo(f"{found.source} lacks {len(missing)} nodes of this network; they are measured now", err=True)
    return Latency(found, meter)(graph)
