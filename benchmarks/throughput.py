"""How fast shared weights are trained and architectures scored, beside the same children on their own.

    python benchmarks/throughput.py --json throughput.json

Every figure is the median of --repeats rounds after one round of warm-up, with the smallest and the
largest. A round runs the same uniform architectures of a space on the same random images: in training
a step each (forward, backward, SGD), in scoring one merged pass after the other. Run nothing else meanwhile.
"""

from __future__ import annotations

import functools
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor

from enas import searchers, spaces
from enas.config import MacroOptions, MicroOptions, RunConfig, SgdConfig, SpaceOptions
from enas.evaluators import SharedWeights
from enas.graph import Graph
from enas.network import Network
from enas.ops import Noise
from enas.runtime import Runtime, generator, start, versions
from enas.spaces import SearchSpace
from enas.supernet import Supernet
from enas.training import Batch, EpochState, Model, Output, sgd, train_epoch

CLASSES = 10
SGD = SgdConfig(max_nonfinite=10**9)  # a non-finite step takes the same time


@click.command()
@click.option("--space", "names", multiple=True, type=click.Choice(["macro", "micro"]), help="default: both")
@click.option("--width", default=None, type=click.IntRange(2), help="filters (default: the space's: 36 and 20)")
@click.option("--batch-size", default=128, type=click.IntRange(2), help="images")
@click.option("--image-size", default=32, type=click.IntRange(4), help="side of the images")
@click.option("--architectures", default=8, type=click.IntRange(1), help="architectures of a round")
@click.option("--together", default=4, type=click.IntRange(1), help="architectures trained in one step, beside 1")
@click.option("--repeats", default=10, type=click.IntRange(2), help="rounds that count")
@click.option("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
@click.option("--precision", default="auto", type=click.Choice(["auto", "float32", "bfloat16"]), help="number format")
@click.option("--json", "path", type=click.Path(path_type=Path), help="write all figures to this file")
def main(
    names: tuple[str, ...],
    width: int | None,
    batch_size: int,
    image_size: int,
    architectures: int,
    together: int,
    repeats: int,
    device: str,
    precision: str,
    path: Path | None,
) -> None:
    """Measure and print the table."""
    runtime = start(RunConfig(device=device, precision=precision))
    environment = {
        **versions(),
        "device": str(runtime.device),
        "precision": str(runtime.precision).removeprefix("torch."),
        "threads": runtime.threads,
    }
    print(" | ".join(f"{name} {value}" for name, value in environment.items()))
    batch = random_batch(batch_size, image_size, runtime)
    rows: list[dict[str, Any]] = []
    for name in names or ("macro", "micro"):
        space = spaces.build(options(name, width), (3, image_size, image_size), CLASSES)
        rows += measure(space, batch, architectures, together, repeats, runtime)
    print("\n".join(table(rows)))
    if path is not None:
        settings = {"batch_size": batch_size, "image_size": image_size, "architectures": architectures}
        path.write_text(
            json.dumps({"environment": environment, **settings, "repeats": repeats, "rows": rows}, indent=2)
        )


def options(name: str, width: int | None) -> SpaceOptions:
    """The space's defaults, or another width."""
    chosen: dict[str, Any] = {} if width is None else {"width": width}
    return MacroOptions(**chosen) if name == "macro" else MicroOptions(**chosen)


def random_batch(count: int, size: int, runtime: Runtime) -> Batch:
    """Normal noise and uniform labels."""
    draws = generator(0, "images")
    images = torch.randn(count, 3, size, size, generator=draws).to(runtime.device, memory_format=torch.channels_last)
    return images, torch.randint(0, CLASSES, (count,), generator=draws).to(runtime.device)


def measure(
    space: SearchSpace, batch: Batch, architectures: int, together: int, repeats: int, runtime: Runtime
) -> list[dict[str, Any]]:
    """All rows of one space."""
    archs = searchers.uniform(space, architectures, generator(0, "throughput"))
    graphs = [space.graph(arch) for arch in archs]
    images, rows = len(batch[0]), []
    supernet = Supernet(space, generator(0, "supernet")).to(runtime.device)
    optimizer = sgd(supernet, SGD)
    for count in dict.fromkeys((1, min(together, architectures))):
        parts = [graphs[i : i + count] for i in range(0, len(graphs), count)]
        models: list[Model] = [functools.partial(shared_model, supernet, part) for part in parts]
        seconds = rounds(functools.partial(train, models, [optimizer] * len(parts), batch, runtime), repeats, runtime)
        rows.append(row(space, f"shared weights, {count} a step", seconds, len(parts), count * images, images))
    networks = [Network(graph, generator(0, "network")).to(runtime.device) for graph in graphs]
    models = [functools.partial(network_model, network) for network in networks]
    optimizers = [sgd(network, SGD) for network in networks]
    seconds = rounds(functools.partial(train, models, optimizers, batch, runtime), repeats, runtime)
    rows.append(row(space, "each child on its own", seconds, len(networks), images, images))
    evaluator, distinct = SharedWeights(supernet, space, runtime), len(set(archs))
    seconds = rounds(functools.partial(evaluator.score, archs, [batch]), repeats, runtime)
    rows.append(row(space, "reward passes", seconds, 1, distinct * images, images, distinct))
    return rows


def shared_model(supernet: Supernet, graphs: list[Graph], images: Tensor, step: int) -> Iterator[Output]:
    """The supernet on some architectures."""
    yield Output(supernet(images, graphs, Noise(step, SGD.dropout)))


def network_model(network: Network, images: Tensor, step: int) -> Iterator[Output]:
    """One child with weights of its own."""
    yield Output(network(images, Noise(step, SGD.dropout))[None])


def train(models: Sequence[Model], optimizers: Sequence[torch.optim.SGD], batch: Batch, runtime: Runtime) -> None:
    """A step of the real training loop for every model."""
    for model, optimizer in zip(models, optimizers, strict=True):
        train_epoch(model, optimizer, [batch], 1, SGD, runtime, epoch=0, epochs=1, state=EpochState())


def rounds(run: Callable[[], Any], repeats: int, runtime: Runtime) -> list[float]:
    """Seconds of each round after the first."""
    times = []
    for _ in range(repeats + 1):
        start_s = time.perf_counter()
        run()
        runtime.wait()
        times.append(time.perf_counter() - start_s)
    return times[1:]


def row(
    space: SearchSpace, what: str, seconds: list[float], steps: int, child_images: int, images: int, archs: int = 0
) -> dict[str, Any]:
    """Figures of one kind of step; child_images and images are those of a step."""
    median = statistics.median(seconds) / steps
    return {
        "space": space.name,
        "width": getattr(space.options, "width"),  # noqa: B009  # every space has it, the union's type does not say so
        "what": what,
        "step_ms": 1e3 * median,
        "step_ms_min": 1e3 * min(seconds) / steps,
        "step_ms_max": 1e3 * max(seconds) / steps,
        "child_images_per_s": child_images / median,
        "images_per_s": images / median,
        "architectures_per_s": archs / median if archs else None,
    }


def table(rows: list[dict[str, Any]]) -> list[str]:
    """The README's rows."""
    lines = [
        "| space | step | ms (min to max) | child-images/s | distinct images/s | architectures/s |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for r in rows:
        archs = "" if r["architectures_per_s"] is None else f"{r['architectures_per_s']:.1f}"
        lines.append(
            f"| {r['space']} {r['width']} | {r['what']} | {r['step_ms']:.0f} ({r['step_ms_min']:.0f} to "
            f"{r['step_ms_max']:.0f}) | {r['child_images_per_s']:,.0f} | {r['images_per_s']:,.0f} | {archs} |"
        )
    return lines


if __name__ == "__main__":
    main()
