"""What judges architectures. Here: by shared weights (ENAS)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence

import torch

from enas.graph import Graph
from enas.objective import Scores
from enas.runtime import Runtime
from enas.spaces import Architecture, SearchSpace
from enas.supernet import Supernet
from enas.training import Batch, evaluate


class SharedWeights:
    """Scores architectures by their accuracy and loss under the supernet's weights: the proxy.

    No gradient, no dropout, batch statistics of each architecture on each batch.
    per_pass: architectures in one merged pass, which bounds memory.
    """

    def __init__(self, supernet: Supernet, space: SearchSpace, runtime: Runtime, per_pass: int = 8) -> None:
        self.supernet, self.runtime, self.per_pass = supernet, runtime, per_pass
        self.graph: Callable[[Architecture], Graph] = functools.lru_cache(maxsize=4096)(space.graph)

    def score(
        self,
        archs: Sequence[Architecture],
        batches: Sequence[Batch],
        on_step: Callable[[int], None] = lambda child_images: None,
    ) -> Scores:
        """Scores of all architectures on the same batches; equal architectures are scored once."""
        distinct = list(dict.fromkeys(archs))
        scores = [
            self._score_pass(distinct[i : i + self.per_pass], batches, on_step)
            for i in range(0, len(distinct), self.per_pass)
        ]
        position = {arch: i for i, arch in enumerate(distinct)}
        order = torch.tensor([position[arch] for arch in archs])
        accuracy = torch.cat([s.accuracy for s in scores])[order]
        loss = torch.cat([s.loss for s in scores])[order]
        return Scores(accuracy, loss, scores[0].images)

    def _score_pass(
        self, archs: Sequence[Architecture], batches: Iterable[Batch], on_step: Callable[[int], None]
    ) -> Scores:
        graphs = [self.graph(arch) for arch in archs]
        return evaluate(lambda images: self.supernet(images, graphs), batches, self.runtime, on_step)
