"""Judging architectures by shared weights (ENAS)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence

import torch

from enas.cost import cost
from enas.errors import UserError
from enas.graph import Graph, MergedGraph, merge
from enas.objective import Scores
from enas.runtime import GIB, Runtime
from enas.spaces import Architecture, SearchSpace
from enas.supernet import Supernet, concat_below
from enas.training import Batch, evaluate


class SharedWeights:
    """Scores architectures by their accuracy and loss under the supernet's weights: the proxy.

    No gradient, no dropout, batch statistics of each architecture on each batch.
    memory: bytes that the values of one merged pass may take, by estimate: as many architectures as that allows
    share a pass. Less where the device's memory runs out all the same.
    macs: multiply-accumulates of all passes so far, as if no two architectures shared any.
    """

    def __init__(self, supernet: Supernet, space: SearchSpace, runtime: Runtime, memory: int = 2 * GIB) -> None:
        self.supernet, self.runtime, self.memory = supernet, runtime, memory
        self.macs = 0
        self.graph: Callable[[Architecture], Graph] = functools.lru_cache(maxsize=4096)(space.graph)

    def score(
        self,
        archs: Sequence[Architecture],
        batches: Sequence[Batch],
        on_step: Callable[[int], None] = lambda child_images: None,
    ) -> Scores:
        """Scores of all architectures on the same batches; equal architectures are scored once.

        Raises UserError where the device has no memory for a pass of one architecture.
        """
        # in the order of their choices neighbours share most, and what they share is needed for the shortest time
        distinct = sorted(set(archs), key=lambda arch: arch.choices)
        images = max(len(labels) for _, labels in batches)
        scores: list[Scores] = []
        waiting = [distinct]
        while waiting:
            part = waiting.pop()
            merged = merge([self.graph(arch) for arch in part])
            needed = self._bytes(merged, images)
            found = None
            if needed <= self.memory or len(part) == 1:
                found = self.runtime.attempt(functools.partial(self._score_pass, merged, batches, on_step))
                if found is None:
                    self._shrink(part, needed)
            if found is None:
                middle = (len(part) + 1) // 2
                waiting += [part[middle:], part[:middle]]
            else:
                scores.append(found)
                self.macs += found.images * sum(cost(self.graph(arch)).macs for arch in part)
        position = {arch: i for i, arch in enumerate(distinct)}
        order = torch.tensor([position[arch] for arch in archs])
        accuracy = torch.cat([s.accuracy for s in scores])[order]
        loss = torch.cat([s.known_loss for s in scores])[order]
        return Scores(accuracy, loss, scores[0].images)

    def _score_pass(self, merged: MergedGraph, batches: Iterable[Batch], on_step: Callable[[int], None]) -> Scores:
        return evaluate(lambda images: self.supernet.run(images, merged), batches, self.runtime, on_step)

    def _bytes(self, merged: MergedGraph, images: int) -> int:
        """What the values of a pass take."""
        calls = merged.calls(together=concat_below(self.runtime.device) > 0)
        return merged.most_live(calls) * images * self.runtime.precision.itemsize

    def _shrink(self, archs: Sequence[Architecture], needed: int) -> None:
        """A pass of these ran out of memory: let the next ones be half as large."""
        if len(archs) == 1:
            raise UserError(
                "the device must have memory to score one architecture, but it ran out; the last checkpoint is "
                "intact; start a new run with a smaller controller.batch_size and derive.batch_size, or --width"
            )
        self.memory = min(self.memory, needed) // 2
