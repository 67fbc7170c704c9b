"""Measuring nodes and networks as they are deployed: evaluation mode, running statistics, no gradients.

A node that runs alone again and again finds its weights in the nearest cache, and the machine in whatever mood it is in
for that second; in a network it does neither. So nodes take turns, in an order that is drawn anew for each round, with
inputs that were written just before, as the network's own are; and all of them come again in each of a few sweeps.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from enas.execute import Modules, module_getter, run_node, run_plain
from enas.graph import Graph, Node, Shape
from enas.latency.nodes import NodeShape
from enas.latency.profile import Timing
from enas.network import Network
from enas.ops import build
from enas.runtime import Runtime, generator

CHUNK = 192  # nodes that share the sweeps, after which their times are there to be kept
GROUP = 48  # nodes that take turns: about as many as a network has
SWEEPS = 3
WARMUP = 3  # rounds at the beginning of each sweep that do not count
LEAST, MOST = 5, 40  # rounds of a sweep that count
SHARE_S = 0.05  # seconds that a node should take of a sweep, within those bounds
CALLS = 10  # of a node on a GPU in a row, which waits for the last one alone
NETWORK_LEAST, NETWORK_MOST = 11, 60  # rounds of whole networks
NETWORK_SHARE_S = 1.0
EXAMPLE = 2  # images in the passes that show what a node's inputs are like


class Task(NamedTuple):
    """run: what is timed. prepare: what comes before, untimed. calls: how often it runs in a row, as one."""

    run: Callable[[], object]
    prepare: Callable[[], object]
    calls: int = 1


class Kind(NamedTuple):
    """What a node's input is like in a network: everything but its size."""

    dtype: torch.dtype
    channels_last: bool
    flat: bool  # [N, C] instead of [N, C, 1, 1]


Samples = list[list[float]]  # milliseconds of each task's calls
Stopwatch = Callable[[Sequence[Task], int], Samples]  # of so many rounds


class Clock:
    """The stopwatch: tasks take turns.

    now: seconds. wait: until the device has done what it was told. draws: the order of each round.
    """

    def __init__(self, wait: Callable[[], None], now: Callable[[], float] = time.perf_counter) -> None:
        self.wait, self.now = wait, now
        self._draws = generator(0, "latency/order")

    def __call__(self, tasks: Sequence[Task], rounds: int) -> Samples:
        """Milliseconds of each call of each task, in the order of the tasks."""
        samples: Samples = [[] for _ in tasks]
        for _ in range(rounds):
            for i in torch.randperm(len(tasks), generator=self._draws).tolist():
                run, prepare, calls = tasks[i]
                prepare()
                self.wait()
                start = self.now()
                for _ in range(calls):
                    run()
                self.wait()
                samples[i].append(1e3 * (self.now() - start) / calls)
        return samples


class Meter:
    """Measures nodes and networks on one device at one batch size. stopwatch: for tests."""

    def __init__(self, runtime: Runtime, batch_size: int, stopwatch: Stopwatch | None = None) -> None:
        self.runtime, self.batch_size = runtime, batch_size
        self._stopwatch = stopwatch or Clock(runtime.wait)

    def nodes(
        self,
        shapes: Sequence[NodeShape],
        examples: Sequence[Graph],
        work: Callable[[float], None] = lambda share: None,
    ) -> Iterator[dict[NodeShape, Timing]]:
        """The times of all node shapes, a part at a time.

        examples: networks in which each of the operations is, best with all its inputs. work: hears which share of all
        of this was just done.
        """
        kinds = self._kinds(examples) if shapes else {}
        for chunk in _parts(shapes, CHUNK):
            groups = _parts(chunk, GROUP)
            samples: dict[NodeShape, list[float]] = {shape: [] for shape in chunk}
            with torch.inference_mode(), self.runtime.autocast():
                for _ in range(SWEEPS):
                    for group in groups:
                        for shape, times in zip(
                            group, self._sweep(self._tasks(group, kinds), LEAST, MOST, SHARE_S), strict=True
                        ):
                            samples[shape] += times
                        work(len(group) / (SWEEPS * len(shapes)))
            yield {shape: Timing.of(times) for shape, times in samples.items()}

    def networks(
        self, graphs: Sequence[Graph], repeats: int = 1, work: Callable[[float], None] = lambda share: None
    ) -> list[list[Timing]]:
        """The times of whole networks, measured so many times, all in turns. A list for each repeat.

        work: hears after each round which share of all rounds that is.
        """
        images = self._images(graphs[0], self.batch_size)
        networks = [self._network(graph) for graph in graphs]
        tasks = [Task(functools.partial(network, images), _nothing) for network in networks] * repeats
        with torch.inference_mode(), self.runtime.autocast():
            samples = self._sweep(tasks, NETWORK_LEAST, NETWORK_MOST, NETWORK_SHARE_S, work)
        timings = [Timing.of(times) for times in samples]
        return [timings[i : i + len(graphs)] for i in range(0, len(timings), len(graphs))]

    def _sweep(
        self,
        tasks: Sequence[Task],
        least: int,
        most: int,
        share_s: float,
        work: Callable[[float], None] = lambda share: None,
    ) -> Samples:
        """Warm up, then as many rounds as the last of the warm-up says there is time for."""
        warm = self._stopwatch(tasks, WARMUP)
        round_s = sum(times[-1] * task.calls for times, task in zip(warm, tasks, strict=True)) / 1e3
        rounds = round(max(least, min(most, share_s * len(tasks) / max(round_s, 1e-9))))
        samples: Samples = [[] for _ in tasks]
        for _ in range(rounds):
            for times, new in zip(samples, self._stopwatch(tasks, 1), strict=True):
                times += new
            work(1 / rounds)
        return samples

    def _tasks(self, shapes: Sequence[NodeShape], kinds: dict[tuple[str, Shape], Kind]) -> list[Task]:
        """A task for each node. Nodes share their inputs' memory, which counts images alone."""
        pool: dict[tuple[object, ...], Tensor] = {}
        tasks = []
        for shape in shapes:
            inputs: list[Tensor] = []
            for position, (name, in_shape) in enumerate(shape.inputs):
                kind = _likeliest(kinds, name, in_shape)
                key = (in_shape, kind, position)
                if key not in pool:
                    pool[key] = self._input(in_shape, kind)
                inputs.append(pool[key])
            tasks.append(self._task(shape, inputs))
        return tasks

    def _task(self, shape: NodeShape, inputs: list[Tensor]) -> Task:
        node = Node(shape.op, tuple(range(len(inputs))), "node", shape.in_shapes, shape.shape)
        module = build(node, running=True).to(memory_format=torch.channels_last).to(self.runtime.device).eval()

        def run() -> Tensor:
            return run_node(node, lambda node: module, inputs)

        def touch() -> None:
            for x in reversed(inputs):
                x.mul_(1)

        calls = CALLS if self.runtime.device.type == "cuda" else 1
        return Task(run, touch, calls)

    def _kinds(self, graphs: Sequence[Graph]) -> dict[tuple[str, Shape], Kind]:
        """What the inputs of nodes are like, by the name of the operation and the input's shape."""
        kinds: dict[tuple[str, Shape], Kind] = {}
        for graph in graphs:
            get = module_getter(dict(self._network(graph).weights.items()))

            def noting(node: Node, get: Modules = get) -> Callable[..., Tensor]:
                def run(*inputs: Tensor, context: object) -> Tensor:
                    for place, x in zip(NodeShape.of(node).inputs, inputs, strict=True):
                        last = x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)
                        kinds.setdefault(place, Kind(x.dtype, last, x.dim() == 2))
                    return get(node)(*inputs, context=context)

                return run

            with torch.inference_mode(), self.runtime.autocast():
                run_plain(graph, noting, self._images(graph, EXAMPLE))
        return kinds

    def _input(self, shape: Shape, kind: Kind) -> Tensor:
        size = (self.batch_size, shape[0]) if kind.flat else (self.batch_size, *shape)
        x = torch.randn(size, generator=generator(0, "latency/inputs")).to(self.runtime.device, kind.dtype)
        return x.contiguous(memory_format=torch.channels_last) if kind.channels_last else x

    def _images(self, graph: Graph, count: int) -> Tensor:
        x = torch.randn(count, *graph.nodes[0].shape, generator=generator(0, "latency/images"))
        return x.to(self.runtime.device, memory_format=torch.channels_last)

    def _network(self, graph: Graph) -> Network:
        return Network(graph, generator(0, "latency/weights")).eval().to(self.runtime.device)


def _likeliest(kinds: Mapping[tuple[str, Shape], Kind], name: str, shape: Shape) -> Kind:
    """What such an input of this operation is like; where it was not seen, another one, of the same resolution if there
    is one."""
    alike = (place for place in kinds if place[0] == name)
    return kinds[min(alike, key=lambda place: (place[1] != shape, place[1][1:] != shape[1:]))]


def _parts(shapes: Sequence[NodeShape], most: int) -> list[list[NodeShape]]:
    """As few parts as possible of so many node shapes at most, about equally large: none is nearly alone."""
    count = -(-len(shapes) // most)
    return [list(shapes[i * len(shapes) // count : (i + 1) * len(shapes) // count]) for i in range(count)]


def _nothing() -> None:
    """What comes before a network: its images are as they were."""
