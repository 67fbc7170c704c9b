"""What drivers share that needs torch: batches, the children that were sampled, and what each of them costs."""

from __future__ import annotations

import functools
import importlib
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from peer_drivers.protocol import REWARD, TRAINING, Measure, Setup

CLASSES = 10
Batch = tuple[Tensor, Tensor]  # float32 [N, 3, H, W], int64 [N]


def begin(setup: Setup) -> None:
    """Threads and seed of this process."""
    torch.set_num_threads(setup.threads)
    torch.manual_seed(setup.seed)


class Batches:
    """Batches in memory, to iterate over as over a data loader, or to ask for the next one.

    No list: Lightning takes those for lists of loaders.
    """

    def __init__(self, batches: Sequence[Batch]) -> None:
        self.batches, self._position = batches, 0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches)

    def next_batch(self) -> Batch:
        """One after the other, for ever."""
        self._position += 1
        return self.batches[(self._position - 1) % len(self.batches)]


def random_batches(setup: Setup, count: int) -> list[Batch]:
    """Normal noise and uniform labels."""
    draws = torch.Generator().manual_seed(setup.seed)
    shape = (setup.batch_size, 3, setup.image_size, setup.image_size)
    return [
        (torch.randn(shape, generator=draws), torch.randint(0, CLASSES, shape[:1], generator=draws))
        for _ in range(count)
    ]


def training_batches(setup: Setup) -> Batches:
    """A batch for each step."""
    return Batches(random_batches(setup, setup.steps))


def reward_batches(setup: Setup) -> Batches:
    """The same batch for each architecture."""
    return Batches(random_batches(setup, 1) * setup.architectures)


def parameters(module: nn.Module) -> int:
    """Trainable numbers."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def versions(*packages: str) -> dict[str, str]:
    """Versions of installed packages."""
    return {name: metadata.version(name) for name in packages}


def recorded(owner: object, method: str, keep: Callable[[tuple[Any, ...], Any], Any]) -> list[Any]:
    """Let the owner's method note what `keep` makes of the arguments and result of each call from now on."""
    original, kept = getattr(owner, method), []

    @functools.wraps(original)
    def noting(*args: Any, **options: Any) -> Any:
        result = original(*args, **options)
        kept.append(keep(args, result))
        return result

    setattr(owner, method, noting)
    return kept


def timed(run: Callable[[], Any]) -> float:
    """Seconds that it takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def two_phases(
    setup: Setup,
    train: Callable[[], Any],
    reward: Callable[[], Any],
    sampled: list[Any],
    network: nn.Module,
    run: Callable[[Any, Tensor], Tensor],
) -> dict[str, Measure]:
    """Time both phases of a search; `sampled` has each one's children when it is over."""
    training = measured(setup, timed(train), setup.steps * setup.batch_size, sampled, network, run)
    return {TRAINING: training, REWARD: measured(setup, timed(reward), setup.architectures, sampled, network, run)}


def measured(
    setup: Setup,
    seconds: float,
    count: int,
    sampled: list[Any],
    network: nn.Module,
    run: Callable[[Any, Tensor], Tensor],
) -> Measure:
    """A measure with the MACs of the sampled children, which are forgotten then.

    run: the logits of a child on images. Counted in evaluation mode, so that running statistics stay as they are.
    """
    images, training = counting_images(setup), network.training
    network.eval()
    counts = [macs(functools.partial(run, child), images) for child in sampled]
    network.train(training)
    sampled.clear()
    executed, of_child = zip(*counts, strict=True)
    return Measure(seconds, count, statistics.mean(executed), statistics.mean(of_child))


def counting_images(setup: Setup) -> Tensor:
    """Two, whose content does not matter; with one, batch norm may see a single number, which it refuses."""
    return torch.zeros(2, 3, setup.image_size, setup.image_size)


def macs(forward: Callable[[Tensor], Tensor], images: Tensor) -> tuple[float, float]:
    """MACs for one image: of all that the pass executes, and of what the logits depend on.

    The second is counted in the gradient by the images, for which every convolution and linear layer that matters
    runs once more, with as many MACs as forward, and the others do not. No gradient of a weight is computed.
    """
    inputs = images.clone().requires_grad_()
    with torch.enable_grad(), FlopCounterMode(display=False) as executed:
        logits = forward(inputs)
    with FlopCounterMode(display=False) as of_child:
        torch.autograd.grad(logits.sum(), inputs)
    return executed.get_total_flops() / 2 / len(images), of_child.get_total_flops() / 2 / len(images)


def executed_macs(forward: Callable[[Tensor], Tensor], images: Tensor) -> float:
    """MACs for one image of all that the pass executes."""
    with torch.no_grad(), FlopCounterMode(display=False) as executed:
        forward(images)
    total: int = executed.get_total_flops()
    return total / 2 / len(images)


def without_cuda() -> None:
    """Let `.cuda()` do nothing: for code that calls it without asking whether there is a GPU."""

    def same(self: Any, *args: Any, **options: Any) -> Any:
        return self

    for kind in (Tensor, nn.Module):
        setattr(kind, "cuda", same)  # noqa: B010  # an assignment would be refused: the signatures differ


def imported(folders: Sequence[Path], name: str) -> ModuleType:
    """A module of a checkout, with these folders in front of all others."""
    sys.path[:0] = map(str, folders)
    return importlib.import_module(name)


def stubbed(name: str, **names: Any) -> None:
    """Let a module be importable that is not there and not needed, with these names in it."""
    module = ModuleType(name)
    vars(module).update(names)
    sys.modules.setdefault(name, module)
