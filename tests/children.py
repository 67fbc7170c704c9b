"""Children for tests of full training. Workers import this file, so it imports no more than they have loaded.

The functions stand where `train_child` does. Which way a child goes depends on the first operation of its network,
a macro space of one layer or more.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from enas.config import FullTrainingConfig, MacroOptions
from enas.data import Augmentation, DataSet, ImageSet
from enas.evaluators import FullTraining
from enas.evaluators.child import Child, Course, Epoch
from enas.interrupts import Stopped, StopRequest
from enas.runtime import Runtime
from enas.spaces import Architecture, MacroSpace

CPU = Runtime(torch.device("cpu"), torch.float32, 1)
IMAGES = 7  # that a child of these claims to train on in an epoch
OPERATIONS = ("conv_3x3", "conv_5x5", "sep_conv_3x3", "sep_conv_5x5", "avg_pool_3x3", "max_pool_3x3")


def small_data(count: int = 48) -> DataSet:
    """Random images of three classes that a network can learn: each class has a brightness of its own."""
    draws = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 3
    images = torch.randint(0, 120, (count, 8, 8, 3), generator=draws) + 60 * labels[:, None, None, None]
    train = ImageSet(images.to(torch.uint8), labels)
    return DataSet("small", ("a", "b", "c"), train, train.subset(torch.arange(3)), (0.5,) * 3, (0.3,) * 3, PLAIN)


PLAIN = Augmentation(1, True, 0)


def one_layer(op: int) -> Architecture:
    """The architecture of a macro space of one layer with this operation."""
    return Architecture("macro", (op,))


def operation(child: Child) -> int:
    """Which of the operations the child's only layer has."""
    found = {op for op in range(6) for node in child.graph.nodes if node.op.startswith(OPERATIONS[op])}
    assert len(found) == 1, [node.op for node in child.graph.nodes]
    return found.pop()


def quality(op: int, epoch: int) -> float:
    """The accuracy of a made-up child after an epoch (from 1): slow learners get further."""
    return (op + 1) / 10 * (1 - 0.5**epoch)


def well(course: Course, child: Child) -> Iterator[Epoch]:
    """Every child trains well, in no time."""
    op = operation(child)
    for epoch in range(1, child.until + 1):
        yield Epoch(IMAGES, quality(op, epoch), 1 - quality(op, epoch))


def crash(course: Course, child: Child) -> Iterator[Epoch]:
    """The last operation does well; each of the others goes wrong in its own way, after one epoch."""
    op = operation(child)
    yield Epoch(IMAGES, quality(op, 1), 0.5)
    if op == 0:
        raise KeyError("lost\nfor ever")
    if op == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if op == 2:
        os._exit(3)
    if op == 3:
        raise MemoryError
    if op == 4:
        sys.exit("no")
    for epoch in range(2, child.until + 1):
        yield Epoch(IMAGES, quality(op, epoch), 0.5)


def hang(course: Course, child: Child) -> Iterator[Epoch]:
    """The first operation never comes back; the others do well."""
    if operation(child) == 0:
        yield Epoch(IMAGES, 0.0, 1.0)
        time.sleep(3600)
    yield from well(course, child)


def deaf(course: Course, child: Child) -> Iterator[Epoch]:
    """Every child gets the signals that a terminal or a service manager sends to all processes, and does well."""
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(os.getpid(), number)
    yield from well(course, child)


def announce(course: Course, child: Child) -> Iterator[Epoch]:
    """Says that it runs, and never comes back."""
    print("running", flush=True)
    yield Epoch(IMAGES, 0.0, 1.0)
    time.sleep(3600)


def fail_alike(course: Course, child: Child) -> Iterator[Epoch]:
    """No child trains."""
    yield from ()
    raise ValueError(f"nothing works, not even {operation(child)}")


def stoppable(folder: Path) -> int:
    """Two children at a time that never come back, until a signal; returns its number. For a process of its own."""
    data = small_data()
    space = MacroSpace(MacroOptions(layers=1, width=2), (3, 8, 8), 3)
    settings = FullTrainingConfig(epochs=1, workers=2)
    evaluator = FullTraining(space, settings, data, data.train, data.test, CPU, 0, folder, announce)
    with StopRequest() as stop, evaluator:

        def tick(images: int) -> None:
            if stop.number is not None:
                raise Stopped(stop.number)

        try:
            evaluator.score([one_layer(op) for op in range(4)], tick)
        except Stopped as error:
            return error.number
    return 0
