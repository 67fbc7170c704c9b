"""Judging architectures by shared weights (ENAS)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch

from enas.cost import cost
from enas.errors import UserError
from enas.graph import MergedGraph, Shape, merge
from enas.objective import Scores
from enas.parallel import run_jobs
from enas.runtime import GIB, Runtime
from enas.seen import resized
from enas.spaces import Architecture, SearchSpace
from enas.supernet import Supernet, concat_below
from enas.training import Batch, evaluate

OnStep = Callable[[int], None]


@dataclass(frozen=True)
class _Pass:
    """Architectures that are scored together. needed: bytes that the pass takes, by estimate."""

    archs: Sequence[Architecture]
    merged: MergedGraph
    needed: int


class SharedWeights:
    """Scores architectures by their accuracy and loss under the supernet's weights: the proxy.

    No gradient, no dropout, batch statistics of each architecture on each batch.
    memory: bytes that the values of the passes at work may take, by estimate: as many architectures as that allows
    share a pass. Less where the device's memory runs out all the same.
    macs: multiply-accumulates of all passes so far, as if no two architectures shared any.
    """

    def __init__(
        self,
        supernet: Supernet,
        space: SearchSpace,
        runtime: Runtime,
        memory: int = 2 * GIB,
        shape: Shape | None = None,
    ) -> None:
        """shape: of one image, if not the space's."""
        self.supernet, self.runtime, self.memory = supernet, runtime, memory
        self.macs = 0
        shape = space.input_shape if shape is None else shape
        self.graph = functools.lru_cache(maxsize=4096)(
            lambda arch: supernet.routed(arch, resized(space.graph(arch), shape))
        )

    def score(
        self,
        archs: Sequence[Architecture],
        batches: Sequence[Batch],
        on_step: OnStep = lambda child_images: None,
    ) -> Scores:
        """Scores of all architectures on the same batches; equal architectures are scored once.

        On a CPU several passes run at once, each on its share of the threads, and sums have another order than those
        of a lone pass on all threads: last digits may depend on how many are asked for. Raises UserError where the
        device has no memory for a pass of one architecture.
        """
        # in the order of their choices neighbours share most, and what they share is needed for the shortest time
        distinct = sorted(set(archs), key=lambda arch: (self.supernet.part(arch), arch.choices))
        images = max(len(labels) for _, labels in batches)
        n, together = len(distinct), min(self.runtime.passes, len(distinct))
        shares = [distinct[i * n // together : (i + 1) * n // together] for i in range(together)]
        waiting = self._plan(shares, images, together)
        done: list[tuple[_Pass, Scores]] = []
        while waiting:
            # where one pass runs at a time, what becomes of it decides how large the next one is
            now, waiting = (waiting, []) if together > 1 else (waiting[:1], waiting[1:])
            jobs = [functools.partial(self._attempt, part, batches) for part in now]
            results = list(zip(now, run_jobs(jobs, self.runtime.passes, on_step), strict=True))
            done += [(part, scores) for part, scores in results if scores is not None]
            failed = [part for part, scores in results if scores is None]
            if failed:
                self._shrink(max(failed, key=lambda part: part.needed), together)
                waiting = self._plan([part.archs for part in failed + waiting], images, together)
        self.macs += sum(scores.images * cost(self.graph(arch)).macs for part, scores in done for arch in part.archs)
        position = {arch: i for i, arch in enumerate(arch for part, _ in done for arch in part.archs)}
        order = torch.tensor([position[arch] for arch in archs])
        accuracy = torch.cat([scores.accuracy for _, scores in done])[order]
        loss = torch.cat([scores.known_loss for _, scores in done])[order]
        return Scores(accuracy, loss, done[0][1].images)

    def _plan(self, shares: Sequence[Sequence[Architecture]], images: int, together: int) -> list[_Pass]:
        """Passes over the architectures, `together` of which fit into the memory at a time."""
        passes: list[_Pass] = []
        waiting = list(reversed(shares))
        while waiting:
            archs = waiting.pop()
            merged = merge([self.graph(arch) for arch in archs])
            needed = self._bytes(merged, images)
            if needed <= self.memory // together or len(archs) == 1:
                passes.append(_Pass(archs, merged, needed))
            else:
                middle = (len(archs) + 1) // 2
                waiting += [archs[middle:], archs[:middle]]
        return passes

    def _attempt(self, part: _Pass, batches: Iterable[Batch], on_step: OnStep) -> Scores | None:
        """Scores of a pass; None where memory runs out."""

        def score() -> Scores:
            return evaluate(lambda images: self.supernet.run(images, part.merged), batches, self.runtime, on_step)

        return self.runtime.attempt(score)

    def _bytes(self, merged: MergedGraph, images: int) -> int:
        """What the values of a pass take."""
        calls = merged.calls(together=concat_below(self.runtime.device) > 0)
        return merged.most_live(calls) * images * self.runtime.precision.itemsize

    def _shrink(self, part: _Pass, together: int) -> None:
        """A pass ran out of memory: let the next ones be half as large."""
        if len(part.archs) == 1:
            raise UserError(
                "the device must have memory to score one architecture, but it ran out; the last checkpoint is "
                "intact; start a new run with a smaller controller.batch_size and derive.batch_size, or --width"
            )
        self.memory = min(self.memory, part.needed * together) // 2
