"""Profiles: how long each node takes on one machine, and what whole networks make of that.

A network's predicted time is a * (sum of its nodes' times) + b. a and b are fitted to a few measured networks: what
comes between nodes, and what a node takes more or less among others than when it is measured by itself.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import quantiles

import numpy as np
from scipy.optimize import nnls

from enas.errors import UserError
from enas.graph import COMMUTATIVE, Graph
from enas.latency.nodes import NodeShape, node_shapes
from enas.spaces import SearchSpace

Estimate = Callable[[NodeShape], float]


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one call: median, lower and upper quartile, and how many calls were measured."""

    ms: float
    low_ms: float
    high_ms: float
    calls: int

    @staticmethod
    def of(samples: Sequence[float]) -> Timing:
        """From milliseconds, two or more."""
        low, median, high = quantiles(samples, n=4, method="inclusive")
        return Timing(median, low, high, len(samples))


@dataclass(frozen=True)
class Machine:
    """What times depend on beside the nodes. device: cpu, cuda or mps. processor: the one that computes, a GPU where
    it is one. kernels: the language of those of `enas.kernels`, on a CPU."""

    device: str
    processor: str
    threads: int
    precision: str
    torch: str
    kernels: str

    def __str__(self) -> str:
        threads = f", {self.threads} thread{'s' if self.threads > 1 else ''}" if self.device == "cpu" else ""
        return f"{self.processor} ({self.device}{threads}, {self.precision}, torch {self.torch})"

    def difference(self, other: Machine) -> str | None:
        """The first thing in which they differ, or None."""
        for name in ("device", "processor", "threads", "precision", "torch", "kernels"):
            ours, theirs = getattr(self, name), getattr(other, name)
            if ours != theirs:
                return f"{name} {ours} and {theirs}"
        return None


@dataclass(frozen=True)
class Measured:
    """A network whose time was measured for the calibration, beside the sum of its nodes' times."""

    text: str
    sum_ms: float
    ms: float


@dataclass(frozen=True)
class Calibration:
    """A network's time is slope * sum + intercept_ms, neither of them negative."""

    slope: float
    intercept_ms: float
    networks: tuple[Measured, ...]

    @staticmethod
    def fit(networks: Sequence[Measured]) -> Calibration:
        """The least squares of relative errors. Of networks whose sums are all the same there is a slope alone."""
        ms = np.array([network.ms for network in networks])
        sums = np.array([network.sum_ms for network in networks])
        columns = [sums / ms] + ([1 / ms] if len(set(sums)) > 1 else [])
        solution, _ = nnls(np.stack(columns, axis=1), np.ones(len(ms)))
        slope, intercept = (*solution.tolist(), 0.0)[:2]
        return Calibration(slope, intercept, tuple(networks))

    def predict(self, sum_ms: float) -> float:
        """A network's milliseconds, from the sum of its nodes'."""
        return self.slope * sum_ms + self.intercept_ms


@dataclass(frozen=True)
class Profile:
    """The times of a space's nodes on one machine at one batch size. space: what it was made for, with the image and
    class sizes; nodes that are not that space's may be in it. calibration: None where it is not finished. seed: of the
    draws of its nodes and of the networks that the calibration measures."""

    machine: Machine
    versions: Mapping[str, str]
    batch_size: int
    space: SearchSpace
    nodes: Mapping[NodeShape, Timing]
    calibration: Calibration | None = None
    seed: int | None = 0
    source: str = field(default="the profile", compare=False)  # what messages call it

    def latency(self, graph: Graph, estimate: Estimate | None = None) -> float:
        """Predicted milliseconds of one forward pass on a batch.

        estimate: gives the milliseconds of nodes whose times are not known. Raises UserError for such nodes where there
        is none, and where the profile is not finished.
        """
        if self.calibration is None:
            raise UserError(f"{self.source} must be finished, but lacks its calibration; give its command again")
        return self.calibration.predict(self.total(graph, estimate))

    def total(self, graph: Graph, estimate: Estimate | None = None) -> float:
        """The sum of the nodes' milliseconds. Raises UserError where one is not known and there is no estimate."""
        missing = self.missing([graph])
        if missing and estimate is None:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise UserError(
                f"{self.source} must hold every node of the network, but lacks {missing[0]}{more}; it is of space "
                f"{self.space.name} for images {'x'.join(map(str, self.space.input_shape))}: make one of this "
                "network's space and size with enas profile, on the same machine"
            )
        estimated = {} if estimate is None else {shape: estimate(shape) for shape in missing}
        return sum(self._known_ms(shape) or estimated[shape] for shape in node_shapes(graph))

    def missing(self, graphs: Iterable[Graph]) -> list[NodeShape]:
        """The node shapes whose times are neither measured nor follow from others, each once."""
        shapes = dict.fromkeys(shape for graph in graphs for shape in node_shapes(graph))
        return [shape for shape in shapes if self._known_ms(shape) is None]

    def _known_ms(self, shape: NodeShape) -> float | None:
        """What was measured; of sums of a number of inputs that was not, what follows from the two nearest ones."""
        if shape in self.nodes:
            return self.nodes[shape].ms
        counts = self._counts.get((shape.op, shape.in_shapes[0], shape.shape), {})
        if shape.op not in COMMUTATIVE or len(counts) < 2 or len(set(shape.in_shapes)) > 1:
            return None
        wanted = len(shape.in_shapes)
        a, b = sorted(counts, key=lambda count: abs(count - wanted))[:2]
        ms = counts[a] + (counts[b] - counts[a]) * (wanted - a) / (b - a)
        return max(ms, min(counts.values()))

    @functools.cached_property
    def _counts(self) -> dict[tuple[object, ...], dict[int, float]]:
        """The times of sums of equal shapes, by operation and shape, then by the number of inputs."""
        found: dict[tuple[object, ...], dict[int, float]] = {}
        for shape, timing in self.nodes.items():
            if shape.op in COMMUTATIVE and len(set(shape.in_shapes)) == 1:
                found.setdefault((shape.op, shape.in_shapes[0], shape.shape), {})[len(shape.in_shapes)] = timing.ms
        return found
