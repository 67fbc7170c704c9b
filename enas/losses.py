"""The loss of a training step, of one network or of several architectures.

A architectures, N images, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor

from enas.config import SgdConfig


@dataclass(frozen=True)
class Lesson:
    """What all architectures of an output but the first `skipped` ones learn besides the labels.

    answer: probabilities [N, K] that another architecture gives; share: theirs in the loss, the labels have the rest.
    """

    answer: Tensor
    share: float
    skipped: int


@dataclass(frozen=True)
class Output:
    """What a model says in a training step, or in one part of it.

    logits: [A, N, K]; share: this part's share of the step's architectures; auxiliary: [N, K], the
    logits of an auxiliary classifier, where there is one; lesson: in distillation.
    """

    logits: Tensor
    share: float = 1.0
    auxiliary: Tensor | None = None
    lesson: Lesson | None = None


def training_loss(
    output: Output, labels: Tensor, classes: Tensor, config: SgdConfig, auxiliary_weight: float
) -> tuple[Tensor, Tensor]:
    """Training loss and accuracy, means over architectures and images."""
    logits = rearrange(output.logits.float(), "a n k -> (a n) k")
    num_archs = len(output.logits)
    targets = repeat(labels, "n ... -> (a n) ...", a=num_archs)
    loss = F.cross_entropy(logits, targets, label_smoothing=config.label_smoothing)
    if output.auxiliary is not None:
        auxiliary = F.cross_entropy(output.auxiliary.float(), labels, label_smoothing=config.label_smoothing)
        loss = loss + auxiliary_weight * auxiliary
    if output.lesson is not None and output.lesson.skipped < num_archs:
        loss = loss + _distilled(output.logits.float(), labels, output.lesson, config)
    return loss, (logits.detach().argmax(1) == classes.repeat(num_archs)).float().mean()


def _distilled(logits: Tensor, labels: Tensor, lesson: Lesson, config: SgdConfig) -> Tensor:
    """What a lesson adds to the mean loss of architectures with these logits [A, N, K] on the labels."""
    students = len(logits) - lesson.skipped
    learned = rearrange(logits[lesson.skipped :], "a n k -> (a n) k")
    from_answer = F.cross_entropy(learned, repeat(lesson.answer, "n k -> (a n) k", a=students))
    targets = repeat(labels, "n ... -> (a n) ...", a=students)
    from_labels = F.cross_entropy(learned, targets, label_smoothing=config.label_smoothing)
    return lesson.share * students / len(logits) * (from_answer - from_labels)
