"""How fast shared weights are trained and architectures scored, beside the same children by other means.

    python benchmarks/throughput.py --output OUT

Everything that is compared takes turns, on the same children and the same random images; the first round does not
count. Parts (--part, default all but `compiled`, whose compilation takes minutes):

training    a training step of the supernet, also with the kernels in Python, of the same child as a network of its
            own, and of that network with torch's own kernels
scoring     fresh uniform architectures, and those of a policy with a fifth of its entropy left, in merged passes and
            for some of them not merged, and one by one
arithmetic  both kinds of pass for children of dense convolutions, and these convolutions by themselves
exhaustive  all networks of NAS-Bench-Macro, and some of them one by one
curves      cost over images, layers, and architectures in a pass
operators   what takes the time of training steps, and of scoring in one pass, with our kernels and with torch's
compiled    training steps of single children, and of the same under torch.compile

OUT gets throughput.json and throughput.png; a later call replaces the parts that it measures. Run nothing else
meanwhile.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import torch
from ceiling import Convolution, alone, convolutions
from curves import draw_curves, measure_curves
from operators import measure_operators
from timing import (
    CLASSES,
    SPACES,
    Figure,
    Run,
    alternate,
    earlier,
    environment,
    plainly,
    random_batch,
    sharp,
    started,
    together,
    uncompiled,
)
from torch import Tensor

from enas import searchers, spaces
from enas.config import NasBenchMacroOptions, SgdConfig
from enas.cost import cost
from enas.evaluators import SharedWeights
from enas.graph import Graph, signature
from enas.losses import Output
from enas.network import Network
from enas.ops import Noise
from enas.plan import TRAINING_COST
from enas.runtime import Runtime, generator
from enas.spaces import Architecture, SearchSpace
from enas.supernet import Supernet
from enas.training import UNLIMITED, Batch, EpochState, Model, sgd, train_epoch

# a non-finite step takes the same time; dropout, of a few hundred numbers, is nothing that torch.compile understands
SGD = SgdConfig(max_nonfinite=UNLIMITED, dropout=0.0)
SIZE = 32  # of the images
ENTROPY_SHARE = 0.2  # of the policy that stands for a converged one
ALONE = 16  # architectures that are scored one by one
ENUMERATED_IMAGES = 250


class Bench:
    """A space with its supernet, and what is measured with it."""

    def __init__(self, space: SearchSpace, batch: Batch, repeats: int, runtime: Runtime) -> None:
        self.space, self.batch, self.repeats, self.runtime = space, batch, repeats, runtime
        self.supernet = Supernet(space, generator(0, "supernet")).to(runtime.device)
        self.optimizer = sgd(self.supernet, SGD)
        self.evaluator = SharedWeights(self.supernet, space, runtime, runtime.share_of_memory(None))

    def step(self, graph: Graph) -> Run:
        """A training step of a child of the supernet, as a search does it."""
        return functools.partial(self._train, functools.partial(_child, self.supernet, graph), self.optimizer)

    def network_step(self, graph: Graph, compiled: bool = False) -> Run:
        """The same of the child as a network of its own."""
        network = Network(graph, generator(0, "network")).to(self.runtime.device)
        forward = torch.compile(network) if compiled else network
        model: Model = functools.partial(_alone, forward)
        return functools.partial(self._train, model, sgd(network, SGD))

    def score(self, archs: Sequence[Architecture]) -> Run:
        return functools.partial(self.evaluator.score, archs, [self.batch])

    def compare(
        self, names: Sequence[str], runs: Sequence[Run], children: Sequence[int], macs: Sequence[float]
    ) -> list[Figure]:
        """Figures of runs that take turns. macs: of one image in each run, of all its children together."""
        times = alternate(runs, self.repeats, self.runtime)
        images = len(self.batch[0])
        return [
            Figure(self.space.name, name, *seconds, self.repeats, count, images, 2.0 * images * mac)
            for name, seconds, count, mac in zip(names, times, children, macs, strict=True)
        ]

    def _train(self, model: Model, optimizer: torch.optim.SGD) -> None:
        """One step of the real training loop."""
        train_epoch(model, optimizer, [self.batch], 1, SGD, self.runtime, epoch=0, epochs=1, state=EpochState())


def _child(supernet: Supernet, graph: Graph, images: Tensor, step: int) -> Iterator[Output]:
    yield Output(supernet(images, [graph], Noise(step, SGD.dropout)))


def _alone(network: Callable[..., Tensor], images: Tensor, step: int) -> Iterator[Output]:
    yield Output(network(images, Noise(step, SGD.dropout))[None])


def training(bench: Bench, children: int) -> list[Figure]:
    graphs = [bench.space.graph(a) for a in searchers.uniform(bench.space, children, generator(0, "training"))]
    macs = TRAINING_COST * sum(cost(graph).macs for graph in graphs)
    shared = together([bench.step(graph) for graph in graphs])
    alone = together([bench.network_step(graph) for graph in graphs])
    runs = {
        "shared weights": shared,
        "shared weights, kernels in Python": uncompiled(shared),
        "networks of their own": alone,
        "those with torch's kernels": plainly(alone),
    }
    names = [f"training, {name}" for name in runs]
    return bench.compare(names, list(runs.values()), [children] * 4, [macs] * 4)


def scoring(bench: Bench, count: int) -> list[Figure]:
    """Many architectures, and some of them by themselves: in as many passes at a time, and with all threads."""
    figures = []
    kinds = {
        "uniform": searchers.uniform(bench.space, count, generator(0, "scoring")),
        "a fifth of the entropy": sharp(bench.space, count, ENTROPY_SHARE, generator(0, "scoring")),
    }
    apart = SharedWeights(bench.supernet, bench.space, bench.runtime, memory=1)
    for kind, archs in kinds.items():
        some = list(dict.fromkeys(archs))[:ALONE]
        runs: list[Run] = [
            bench.score(archs),
            functools.partial(apart.score, some, [bench.batch]),
            together([bench.score([arch]) for arch in some]),
        ]
        names = [f"{len(set(archs))} distinct", "not merged", "one by one"]
        macs = [0.0, *[float(sum(cost(bench.space.graph(arch)).macs for arch in some))] * 2]  # merged passes save some
        names = [f"scoring, {kind}, {name}" for name in names]
        figures += bench.compare(names, runs, [len(archs), len(some), len(some)], macs)
    return figures


def arithmetic(bench: Bench, count: int) -> list[dict[str, Any]]:
    """For children of convolutions alone, the share of a pass's time that its convolutions take by themselves: one
    child at a time on all threads, both ways."""
    archs = [_convolutional(bench.space, arch) for arch in searchers.uniform(bench.space, count, generator(0, "conv"))]
    graphs = [bench.space.graph(arch) for arch in archs]
    macs = float(sum(cost(graph).macs for graph in graphs))
    found: Counter[Convolution] = Counter()
    for graph in graphs:
        found += convolutions(Network(graph, generator(0, "network")).eval(), bench.batch[0], bench.runtime)
    rows = []
    both: tuple[tuple[str, int, Run], ...] = (
        ("scoring", 1, together([bench.score([arch]) for arch in archs])),
        ("training", TRAINING_COST, together([bench.step(graph) for graph in graphs])),
    )
    for name, times, run in both:
        names = [f"{name}, children of convolutions", f"{name}, those convolutions alone"]
        runs: list[Run] = [run, alone(found, times > 1, bench.runtime)]
        whole, convs = bench.compare(names, runs, [count] * 2, [times * macs] * 2)
        rows += [whole.record() | {"share_of_ceiling": convs.median_s / whole.median_s}, convs.record()]
    return rows


def _convolutional(space: SearchSpace, arch: Architecture) -> Architecture:
    """The same skips, but dense convolutions in every layer."""
    choices = [
        choice % 2 if decision.labels[0] == "conv_3x3" else choice
        for decision, choice in zip(space.decisions, arch.choices, strict=True)
    ]
    return Architecture(space.name, tuple(choices))


def exhaustive(repeats: int, runtime: Runtime) -> list[Figure]:
    """All different networks of NAS-Bench-Macro, at a small width."""
    space = spaces.build(NasBenchMacroOptions(width=8, head=64), (3, SIZE, SIZE), CLASSES)
    bench = Bench(space, random_batch(ENUMERATED_IMAGES, SIZE, runtime), repeats, runtime)
    codes = torch.cartesian_prod(*[torch.arange(len(d.labels)) for d in space.decisions]).tolist()
    archs = {signature(space.graph(arch)): arch for arch in (Architecture(space.name, tuple(code)) for code in codes)}
    everyone = list(archs.values())
    sample = [everyone[i] for i in torch.randperm(len(everyone), generator=generator(0, "alone"))[: 4 * ALONE]]
    macs = {arch: cost(space.graph(arch)).macs for arch in everyone}
    names = [f"scoring, all {len(everyone)} networks", "scoring, one by one"]
    runs = [bench.score(everyone), together([bench.score([arch]) for arch in sample])]
    sums = [0.0, float(sum(macs[arch] for arch in sample))]  # merged passes save most of it
    return bench.compare(names, runs, [len(everyone), len(sample)], sums)


def compiled(bench: Bench, children: int) -> list[Figure]:
    """Single children under shared weights, and as networks that torch has compiled from its own kernels."""
    torch._dynamo.reset()
    torch._dynamo.config.recompile_limit = 4 * children  # beyond it networks would silently run without compilation
    graphs = [bench.space.graph(a) for a in searchers.uniform(bench.space, children, generator(0, "training"))]
    macs = TRAINING_COST * sum(cost(graph).macs for graph in graphs)
    names = ["training, shared weights", "training, networks under torch.compile"]
    shared = together([bench.step(graph) for graph in graphs])
    fused = plainly(together([bench.network_step(graph, compiled=True) for graph in graphs]))
    return bench.compare(names, [shared, fused], [children] * 2, [macs] * 2)


def operators(bench: Bench, children: int) -> list[dict[str, Any]]:
    archs = searchers.uniform(bench.space, children, generator(0, "training"))
    train = together([bench.step(bench.space.graph(arch)) for arch in archs])
    runtime = dataclasses.replace(bench.runtime, threads=1)  # for one pass at a time, on all of torch's threads
    evaluator = SharedWeights(bench.supernet, bench.space, runtime, runtime.share_of_memory(None))
    score = functools.partial(evaluator.score, archs, [bench.batch])
    kinds = (("training", train), ("scoring", score))
    plain = [(f"{name}, torch's kernels", children, plainly(run)) for name, run in kinds]
    return measure_operators(bench.space.name, [(name, children, run) for name, run in kinds] + plain)


PARTS = ("training", "scoring", "arithmetic", "exhaustive", "curves", "operators", "compiled")


@click.command()
@click.option("--output", type=click.Path(path_type=Path), required=True, help="folder for the results")
@click.option("--part", "parts", multiple=True, type=click.Choice(PARTS), help="default: all but compiled")
@click.option("--space", "names", multiple=True, type=click.Choice(list(SPACES)), help="default: all")
@click.option("--width", default=None, type=click.IntRange(2), help="filters (default: the space's)")
@click.option("--batch-size", default=64, type=click.IntRange(2), help="images")
@click.option("--children", default=8, type=click.IntRange(1), help="children of a round of training")
@click.option("--architectures", default=64, type=click.IntRange(1), help="architectures of a round of scoring")
@click.option("--repeats", default=5, type=click.IntRange(1), help="rounds that count")
@click.option("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
@click.option("--precision", default="auto", type=click.Choice(["auto", "float32", "bfloat16"]), help="number format")
def main(
    output: Path,
    parts: tuple[str, ...],
    names: tuple[str, ...],
    width: int | None,
    batch_size: int,
    children: int,
    architectures: int,
    repeats: int,
    device: str,
    precision: str,
) -> None:
    """Measure, write, and print the tables."""
    path = output / "throughput.json"
    result, runtime = earlier(path), started(device, precision)
    result |= {"environment": environment(runtime), "batch_size": batch_size, "repeats": repeats}
    chosen = {} if width is None else {"width": width}
    built = [spaces.build(SPACES[name](**chosen), (3, SIZE, SIZE), CLASSES) for name in names or SPACES]
    batch = random_batch(batch_size, SIZE, runtime)
    for part in parts or PARTS[:-1]:
        if part == "exhaustive":
            rows = [figure.record() for figure in exhaustive(repeats, runtime)]
        elif part == "curves":
            rows = measure_curves(repeats, runtime)
        else:
            rows = []
            for space in built:
                if part != "arithmetic" or space.name == "macro":
                    rows += _measure(part, Bench(space, batch, repeats, runtime), children, architectures)
        result[part] = rows
        path.write_text(json.dumps(result, indent=2) + "\n")
        print("\n".join(table(part, rows)), flush=True)
    if "curves" in result:
        draw_curves(result["curves"], output / "throughput.png")


def _measure(part: str, bench: Bench, children: int, architectures: int) -> list[dict[str, Any]]:
    if part in ("arithmetic", "operators"):
        return {"arithmetic": arithmetic, "operators": operators}[part](bench, children)
    figures = {"training": training, "compiled": compiled}[part](bench, children) if part != "scoring" else None
    return [figure.record() for figure in figures or scoring(bench, architectures)]


def table(part: str, rows: list[dict[str, Any]]) -> list[str]:
    """The rows of docs/results.md."""
    if part == "curves":
        return [f"{row['varied']} {row['value']}: {row['median_s']:.3g} s" for row in rows]
    if part == "operators":
        lines = ["| operators | of | ms/child | share |", "|---|---|--:|--:|"]
        figures = "| {operator} | {space}, {what} | {ms_per_child:.3g} | {share:.1%} |"
        return lines + [figures.format(**row) for row in rows]
    lines = [f"| {part} | children | round, s (min to max) | children/s | child-images/s | GFLOP/s |"]
    lines.append("|---|--:|--:|--:|--:|--:|")
    for row in rows:
        share = f", {row['share_of_ceiling']:.0%} of the ceiling" if "share_of_ceiling" in row else ""
        spread = f"{row['median_s']:.3g} ({row['least_s']:.3g} to {row['most_s']:.3g})"
        gflops = f"{row['gflops']:.0f}" if row["gflops"] else ""  # merged passes do less than their children's
        rates = f"{row['children_per_s']:.3g} | {row['child_images_per_s']:,.0f} | {gflops}"
        lines.append(f"| {row['space']}, {row['what']}{share} | {row['children']} | {spread} | {rates} |")
    return lines


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
