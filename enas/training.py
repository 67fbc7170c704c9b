"""One epoch of training and one evaluation, shared by search, finalists and retraining.

A architectures, N images, K classes. The model is a function from (images, step) to its outputs: the
supernet's for freshly sampled graphs, in one or more parts, or one network's with A = 1.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from enas.config import SgdConfig
from enas.errors import UserError
from enas.losses import Output, training_loss
from enas.objective import Scores
from enas.runtime import Runtime

Batch = tuple[Tensor, Tensor]  # float32 [N, C, H, W], labels int64 [N] or, mixed, probabilities [N, K]
UNLIMITED = 10**9  # max_nonfinite of a training whose failure is a result
CHECK_EVERY = 100  # steps between looks at the number of skipped ones: each look waits for the device


Model = Callable[[Tensor, int], Iterator[Output]]


class Diverged(UserError):
    """Too many steps of an epoch had a loss or gradient that was not finite."""


@dataclass(frozen=True)
class EpochStats:
    """Means over one epoch's steps. child_images: images times architectures; learning_rate: the last one."""

    loss: float
    accuracy: float
    grad_norm: float
    learning_rate: float
    skipped_steps: int
    images: int
    child_images: int
    seconds: float


UNTRAINED = EpochStats(math.nan, math.nan, math.nan, 0.0, 0, 0, 0, 0.0)  # of an epoch without training


@dataclass
class EpochState:
    """How far an epoch has come: what a checkpoint within it holds.

    sums: [4], over the finite steps: loss, accuracy, gradient norm; and the number of skipped ones.
    """

    step: int = 0
    sums: Tensor = field(default_factory=lambda: torch.zeros(4))
    images: int = 0
    child_images: int = 0
    seconds: float = 0.0

    def state_dict(self) -> dict[str, Any]:
        return asdict(self)


def learning_rate(config: SgdConfig, epoch: float, epochs: int) -> float:
    """The learning rate at a fractional epoch of `epochs`.

    cosine: lr_max to lr_min once. cosine-restarts: the same in cycles that grow by restart_factor
    (Loshchilov & Hutter 2017; ENAS appendix). one-cycle: linear up from lr_min, then cosine down.
    """
    if config.schedule == "cosine-restarts":
        start, length = 0.0, float(config.restart_period)
        while epoch >= start + length:
            start, length = start + length, length * config.restart_factor
        part = (epoch - start) / length
    elif config.schedule == "one-cycle":
        peak = config.warmup_fraction * epochs
        if epoch < peak:
            return config.lr_min + (config.lr_max - config.lr_min) * epoch / peak
        part = (epoch - peak) / (epochs - peak)
    else:
        part = epoch / epochs
    return config.lr_min + (config.lr_max - config.lr_min) * (1 + math.cos(math.pi * part)) / 2


def sgd(module: nn.Module, config: SgdConfig) -> torch.optim.SGD:
    """Nesterov SGD on the module's parameters. Parameters without gradient are left alone: no decay,
    no momentum.

    Momentum starts as zeros instead of absent, which gives the same first step and lets the fused
    kernel run whatever set of parameters a step touches.
    """
    optimizer = torch.optim.SGD(
        module.parameters(),
        lr=config.lr_max,
        momentum=config.momentum,
        nesterov=config.momentum > 0,
        weight_decay=config.weight_decay,
        fused=True,
    )
    for parameter in module.parameters():
        optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def train_epoch(
    model: Model,
    optimizer: torch.optim.SGD,
    batches: Iterable[Batch],
    steps: int,
    config: SgdConfig,
    runtime: Runtime,
    *,
    epoch: int,
    epochs: int,
    state: EpochState,
    statistics: Sequence[Tensor] = (),
    auxiliary_weight: float = 0.0,
    on_step: Callable[[int], None] = lambda child_images: None,
    on_out_of_memory: Callable[[], None] | None = None,
) -> EpochStats:
    """Train for one epoch of `steps` batches, or for the rest of it.

    state: where the epoch stands; `batches` begin there, and it is up to date whenever `on_step`, which
    hears the child images of each step, is called. The loss is the mean over architectures of their
    cross-entropies on the same images; a model that gives its output in parts has each part's
    activations freed before the next one. A step whose gradient is not finite is skipped on the device
    and counted; more than `max_nonfinite` of them raise UserError, with nothing written. `statistics`
    are the model's running batch-norm statistics, which a skipped step must not spoil either. Where
    memory runs out `on_out_of_memory` may make the model's parts smaller, and the step is run again.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state.sums = state.sums.to(runtime.device)
    rate = learning_rate(config, epoch + max(0, state.step - 1) / steps, epochs)
    then = time.perf_counter()
    for inputs, labels in batches:
        rate = optimizer.param_groups[0]["lr"] = learning_rate(config, epoch + state.step / steps, epochs)
        kept = [statistic.clone() for statistic in statistics]
        while True:
            optimizer.zero_grad(set_to_none=True)
            try:
                figures, num_archs = _backward(model(inputs, state.step), labels, config, runtime, auxiliary_weight)
                break
            except torch.OutOfMemoryError:
                if on_out_of_memory is None:
                    raise
            _restore(statistics, kept)
            optimizer.zero_grad(set_to_none=True)
            runtime.release_memory()
            on_out_of_memory()
        norm = torch.nn.utils.clip_grad_norm_([p for p in parameters if p.grad is not None], config.grad_clip)
        bad = ~torch.isfinite(norm)
        optimizer.found_inf = bad.float()  # type: ignore[attr-defined]  # the fused kernel then does nothing
        optimizer.step()
        with torch.no_grad():
            _restore(statistics, kept, where=bad)
            state.sums[:3] += torch.where(bad, 0.0, torch.stack([*figures, norm]))
            state.sums[3] += bad
        child_images = num_archs * len(inputs)
        state.images += len(inputs)
        state.child_images += child_images
        state.step += 1
        now = time.perf_counter()
        state.seconds, then = state.seconds + now - then, now
        if state.step % CHECK_EVERY == 0:
            _check_finite(state.sums[3], config)
        on_step(child_images)
    optimizer.zero_grad(set_to_none=True)
    skipped = _check_finite(state.sums[3], config, steps)
    loss, accuracy, grad_norm = (state.sums[:3] / (steps - skipped)).tolist()  # no number where all were skipped
    seconds = state.seconds + time.perf_counter() - then
    return EpochStats(loss, accuracy, grad_norm, rate, skipped, state.images, state.child_images, seconds)


def _backward(
    outputs: Iterator[Output], labels: Tensor, config: SgdConfig, runtime: Runtime, auxiliary_weight: float
) -> tuple[Tensor, int]:
    """Add the gradients of one step. Returns its loss and accuracy [2], and the number of architectures."""
    figures = torch.zeros(2, device=labels.device)
    num_archs = 0
    classes = labels.argmax(1) if labels.is_floating_point() else labels
    while True:
        with runtime.autocast():
            output = next(outputs, None)  # runs the model's next part
        if output is None:
            return figures, num_archs
        loss, accuracy = training_loss(output, labels, classes, config, auxiliary_weight)
        (output.share * loss).backward()  # type: ignore[no-untyped-call]
        figures += output.share * torch.stack([loss.detach(), accuracy])
        num_archs += len(output.logits)


def _restore(statistics: Sequence[Tensor], kept: Sequence[Tensor], where: Tensor | None = None) -> None:
    """Bring back the statistics that were kept: all, or those `where` says so."""
    with torch.no_grad():
        for statistic, old in zip(statistics, kept, strict=True):
            statistic.copy_(old if where is None else torch.where(where, old, statistic))


def seconds_per_step(model: Model, module: nn.Module, batch: Batch, steps: int, runtime: Runtime) -> float:
    """Mean seconds of a forward and backward pass, after one that also pays for start-up.

    Changes no parameter of `module` (a network's running statistics do move).
    """
    images, labels = batch
    start = 0.0
    for step in range(-1, steps):
        if step == 0:
            runtime.wait()
            start = time.perf_counter()
        _backward(model(images, max(0, step)), labels, SgdConfig(), runtime, 0.0)
        module.zero_grad(set_to_none=True)
    runtime.wait()
    return (time.perf_counter() - start) / steps


@torch.inference_mode()
def evaluate(
    model: Callable[[Tensor], Tensor],
    batches: Iterable[Batch],
    runtime: Runtime,
    on_step: Callable[[int], None] = lambda child_images: None,
    by_class: bool = False,
) -> Scores:
    """Accuracy and mean loss of A architectures over all batches, and the same class by class where asked for; one wait
    for the device at the end."""
    totals: Tensor | None = None
    counts: Tensor | None = None  # [2, A, K]
    images = 0
    for inputs, labels in batches:
        with runtime.autocast():
            logits = model(inputs).float()  # [A, N, classes]
        losses = -torch.log_softmax(logits, -1).gather(-1, labels.expand(len(logits), -1)[..., None]).sum((1, 2))
        right = (logits.argmax(-1) == labels).sum(1)
        batch_totals = torch.stack([right.to(losses.dtype), losses])  # [2, A]
        totals = batch_totals if totals is None else totals + batch_totals
        if by_class:
            found = _count_classes(logits, labels)
            counts = found if counts is None else counts + found
        images += len(inputs)
        on_step(logits.shape[0] * logits.shape[1])
    assert totals is not None, "an evaluation needs at least one batch"
    accuracy, loss = (totals / images).cpu()
    # logits that are not finite still have an arg max, so a failed architecture would have an accuracy by luck
    finite = torch.isfinite(loss)
    if counts is not None:
        counts = counts.cpu()
        counts[1] *= finite[:, None]
    return Scores(torch.where(finite, accuracy, 0.0), loss, images, counts)


def _count_classes(logits: Tensor, labels: Tensor) -> Tensor:
    """[2, A, K]: images of each class, and those of them that are answered right, of logits [A, N, K]."""
    of_class = F.one_hot(labels, logits.shape[-1])  # [N, K]
    right = (logits.argmax(-1) == labels).float() @ of_class.float()  # [A, K], whole numbers; GPUs multiply no ints
    return torch.stack([of_class.sum(0).expand(len(logits), -1), right.long()])


def _check_finite(skipped: Tensor, config: SgdConfig, steps: int | None = None) -> int:
    """The number of skipped steps. Raises UserError past the limit, or where all `steps` of an epoch were skipped."""
    count = int(skipped.item())
    if count > config.max_nonfinite or (count == steps and count > 0 and config.max_nonfinite < UNLIMITED):
        raise Diverged(
            f"the loss must stay finite, but {count} steps of one epoch were not (limit {config.max_nonfinite}); "
            "the last checkpoint is intact; start a new run with a lower learning rate (--lr-max)"
        )
    return count
