"""One epoch of training and one evaluation, shared by search, finalists and retraining.

A architectures, N images. The model is a function from (images, step) to logits [A, N, classes]:
the supernet with freshly sampled graphs, or one network with A = 1.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from enas.config import SgdConfig
from enas.errors import UserError
from enas.objective import Scores
from enas.runtime import Runtime

Batch = tuple[Tensor, Tensor]  # float32 [N, C, H, W], int64 [N]
Model = Callable[[Tensor, int], Tensor]
UNLIMITED = 10**9  # max_nonfinite of a training whose failure is a result
CHECK_EVERY = 100  # steps between looks at the number of skipped ones: each look waits for the device


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
    statistics: Sequence[Tensor] = (),
    on_step: Callable[[int], None] = lambda child_images: None,
) -> EpochStats:
    """Train for one epoch of `steps` batches; `on_step` hears the child images of each step.

    The loss is the mean over architectures of their cross-entropies on the same images. A step whose
    gradient is not finite is skipped on the device and counted; more than `max_nonfinite` of them
    raise UserError, with nothing written. `statistics` are the model's running batch-norm statistics, which
    a skipped step must not spoil either.
    """
    start = time.perf_counter()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    sums = torch.zeros(3, device=runtime.device)  # loss, right answers, gradient norm of the finite steps
    skipped = torch.zeros((), device=runtime.device)
    images = child_images = 0
    rate = config.lr_max
    for step, (inputs, labels) in enumerate(batches):
        rate = optimizer.param_groups[0]["lr"] = learning_rate(config, epoch + step / steps, epochs)
        kept = [statistic.clone() for statistic in statistics]
        with runtime.autocast():
            logits = model(inputs, step).float()  # [A, N, classes]
        targets = repeat(labels, "n -> (a n)", a=len(logits))
        flat = rearrange(logits, "a n k -> (a n) k")
        loss = F.cross_entropy(flat, targets, label_smoothing=config.label_smoothing)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_([p for p in parameters if p.grad is not None], config.grad_clip)
        bad = ~torch.isfinite(norm)
        optimizer.found_inf = bad.float()  # type: ignore[attr-defined]  # the fused kernel then does nothing
        optimizer.step()
        with torch.no_grad():
            for statistic, old in zip(statistics, kept, strict=True):
                statistic.copy_(torch.where(bad, old, statistic))
            right = (flat.argmax(1) == targets).float().mean()
            sums += torch.where(bad, 0.0, torch.stack([loss, right, norm]))
            skipped += bad
        images += len(inputs)
        child_images += len(targets)
        if step % CHECK_EVERY == CHECK_EVERY - 1:
            _check_finite(skipped, config)
        on_step(len(targets))
    optimizer.zero_grad(set_to_none=True)
    num_skipped = _check_finite(skipped, config, steps)
    loss_mean, accuracy, grad_norm = (sums / max(1, steps - num_skipped)).tolist()
    seconds = time.perf_counter() - start
    return EpochStats(loss_mean, accuracy, grad_norm, rate, num_skipped, images, child_images, seconds)


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
        with runtime.autocast():
            logits = model(images, max(0, step))
        F.cross_entropy(logits.float().mean(0), labels).backward()  # type: ignore[no-untyped-call]
        module.zero_grad(set_to_none=True)
    runtime.wait()
    return (time.perf_counter() - start) / steps


@torch.inference_mode()
def evaluate(
    model: Callable[[Tensor], Tensor],
    batches: Iterable[Batch],
    runtime: Runtime,
    on_step: Callable[[int], None] = lambda child_images: None,
) -> Scores:
    """Accuracy and mean loss of A architectures over all batches; one wait for the device at the end."""
    totals: Tensor | None = None
    images = 0
    for inputs, labels in batches:
        with runtime.autocast():
            logits = model(inputs).float()  # [A, N, classes]
        losses = -torch.log_softmax(logits, -1).gather(-1, labels.expand(len(logits), -1)[..., None]).sum((1, 2))
        right = (logits.argmax(-1) == labels).sum(1)
        batch_totals = torch.stack([right.to(losses.dtype), losses])  # [2, A]
        totals = batch_totals if totals is None else totals + batch_totals
        images += len(inputs)
        on_step(logits.shape[0] * logits.shape[1])
    assert totals is not None, "an evaluation needs at least one batch"
    accuracy, loss = (totals / images).cpu()
    # logits that are not finite still have an arg max, so a failed architecture would have an accuracy by luck
    return Scores(torch.where(torch.isfinite(loss), accuracy, 0.0), loss, images)


def _check_finite(skipped: Tensor, config: SgdConfig, steps: int | None = None) -> int:
    """The number of skipped steps. Raises UserError past the limit, or where all `steps` of an epoch were skipped."""
    count = int(skipped.item())
    if count > config.max_nonfinite or (count == steps and count > 0 and config.max_nonfinite < UNLIMITED):
        raise UserError(
            f"the loss must stay finite, but {count} steps of one epoch were not (limit {config.max_nonfinite}); "
            "the last checkpoint is intact; start a new run with a lower learning rate (--lr-max)"
        )
    return count
