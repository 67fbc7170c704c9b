"""Judging architectures by shared weights (ENAS)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence

import torch

from enas.cost import cost
from enas.errors import UserError
from enas.graph import Graph
from enas.objective import Scores
from enas.runtime import Runtime
from enas.spaces import Architecture, SearchSpace
from enas.supernet import Supernet
from enas.training import Batch, evaluate


class SharedWeights:
    """Scores architectures by their accuracy and loss under the supernet's weights: the proxy.

    No gradient, no dropout, batch statistics of each architecture on each batch.
    per_pass: architectures in one merged pass, which bounds memory; halved where memory runs out.
    macs: multiply-accumulates of all passes so far, as if no two architectures shared any.
    """

    def __init__(self, supernet: Supernet, space: SearchSpace, runtime: Runtime, per_pass: int = 8) -> None:
        self.supernet, self.runtime, self.per_pass = supernet, runtime, per_pass
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
        distinct = list(dict.fromkeys(archs))
        scores: list[Scores] = []
        first = 0
        while first < len(distinct):
            part = distinct[first : first + self.per_pass]
            found = self.runtime.attempt(functools.partial(self._score_pass, part, batches, on_step))
            if found is None:
                self._halve()
            else:
                scores.append(found)
                self.macs += found.images * sum(cost(self.graph(arch)).macs for arch in part)
                first += len(part)
        position = {arch: i for i, arch in enumerate(distinct)}
        order = torch.tensor([position[arch] for arch in archs])
        accuracy = torch.cat([s.accuracy for s in scores])[order]
        loss = torch.cat([s.known_loss for s in scores])[order]
        return Scores(accuracy, loss, scores[0].images)

    def _score_pass(
        self, archs: Sequence[Architecture], batches: Iterable[Batch], on_step: Callable[[int], None]
    ) -> Scores:
        graphs = [self.graph(arch) for arch in archs]
        return evaluate(lambda images: self.supernet(images, graphs), batches, self.runtime, on_step)

    def _halve(self) -> None:
        if self.per_pass == 1:
            raise UserError(
                "the device must have memory to score one architecture, but it ran out; the last checkpoint is "
                "intact; start a new run with a smaller controller.batch_size and derive.batch_size, or --width"
            )
        self.per_pass //= 2
