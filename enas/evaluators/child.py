"""What a worker does: train one child, tell of every epoch, and say in the end how it went.

A worker is a process of its own, on this machine or on another one; it knows nothing of the search.
"""

from __future__ import annotations

import contextlib
import json
import math
import traceback
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from enas import checkpoint, runtime
from enas.config import RunConfig, StandaloneConfig
from enas.data import DataSet
from enas.errors import UserError
from enas.graph import Graph
from enas.spaces import source
from enas.spaces.source import Code
from enas.standalone import OutOfMemory, Standalone
from enas.training import Diverged

REASON_LENGTH = 400  # characters; a message must fit into what a pipe takes in one piece (4096 bytes)


@dataclass(frozen=True)
class Course:
    """What all children of a run have in common.

    data: its test images are those that judge children, a part of the run's training images: the run's own
    test images never reach a worker. run: device, number format and threads of a worker. code: the file of a user's
    space, which the user let the search run: a worker runs it too, for it may register operations.
    """

    data: DataSet
    sgd: StandaloneConfig
    epochs: int
    run: RunConfig
    code: Code | None = None


@dataclass(frozen=True)
class Child:
    """One child, to be trained until the end of epoch `until`.

    state: the file where it is kept between two stretches of its training (None: there will be no other).
    """

    graph: Graph
    seed: int
    until: int
    state: str | None = None


@dataclass(frozen=True)
class Epoch:
    """One epoch of a child: images trained on, and seconds it took (both 0 for an epoch of an earlier process);
    validation accuracy and loss (nan: not finite)."""

    images: int
    accuracy: float
    loss: float
    seconds: float = 0.0


@dataclass(frozen=True)
class Failure:
    """Why a child has no score.

    kind: diverged, memory, exception, killed, exit, timeout, start (its process did not), or settings (no
    child can be trained with them). reason: the same for the user, one line.
    """

    kind: str
    reason: str


@dataclass(frozen=True)
class End:
    """The child's training is over, for now."""

    failure: Failure | None = None


Answer = Epoch | End
Answers = Generator[tuple[int, Answer] | None, None, None]  # of which child; None: nothing new
Train = Callable[[Course, Child], Iterator[Epoch]]


def train_child(course: Course, child: Child) -> Iterator[Epoch]:
    """Train the child from the beginning or from where its state stands; yields its epochs from the first one.

    Raises what training raises.
    """
    if course.code is not None:
        source.run(course.code)
    here = runtime.start(course.run)
    data = course.data
    train, validation = data.train.to(here.device), data.test.to(here.device)
    training = Standalone(child.graph, data, train, course.sgd, course.epochs, child.seed, here)
    epochs = _restore(training, child)
    if epochs is None:  # what a broken state was taken over into is nothing to go on from
        training = Standalone(child.graph, data, train, course.sgd, course.epochs, child.seed, here)
        epochs = []
    for accuracy, loss in epochs:
        yield Epoch(0, accuracy, loss)
    while training.epoch < child.until:
        stats = training.train_epoch()
        scores = training.score(validation)
        loss = scores.known_loss.item()
        epochs.append((scores.accuracy.item(), loss if math.isfinite(loss) else math.nan))
        yield Epoch(stats.images, *epochs[-1], stats.seconds)
    if child.state is not None and child.until < course.epochs:
        # The state saves work and nothing else: without it the same training begins again and comes to the same end.
        with contextlib.suppress(UserError, OSError):
            Path(child.state).parent.mkdir(parents=True, exist_ok=True)
            checkpoint.save(Path(child.state), {"training": training.state_dict(), "epochs": epochs})


def _restore(training: Standalone, child: Child) -> list[tuple[float, float]] | None:
    """Take over the child's state and return its epochs' accuracies and losses; None where the state is broken."""
    if child.state is None or not Path(child.state).exists():
        return []
    try:
        state = checkpoint.load(Path(child.state))
        epochs = [(float(accuracy), float(loss)) for accuracy, loss in state["epochs"]]
        training.load_state_dict(state["training"])
    except Exception:  # whatever is wrong with it
        return None
    return epochs if training.epoch == len(epochs) <= child.until else None


def attempt(train: Train, course: Course, child: Child) -> Iterator[Answer]:
    """Train the child; the last answer is the only `End`, whatever happens short of the process's own end."""
    try:
        yield from train(course, child)
    except (OutOfMemory, torch.OutOfMemoryError, MemoryError) as error:
        yield End(Failure("memory", _reason(error)))
    except Diverged as error:
        yield End(Failure("diverged", str(error).partition(";")[0]))  # the rest is advice for a run
    except UserError as error:
        yield End(Failure("settings", str(error)))
    except Exception as error:
        # torch has no class of its own for a CPU without memory
        memory = isinstance(error, RuntimeError) and "allocate memory" in str(error)
        yield End(Failure("memory" if memory else "exception", _reason(error)))
    else:
        yield End()


def _reason(error: BaseException) -> str:
    """Type, first line and place of an exception."""
    text = (str(error).strip().splitlines() or [""])[0]
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {text[:REASON_LENGTH]}{place}"


def encode(answer: Answer) -> bytes:
    """The answer as JSON, short enough to travel through a pipe in one piece."""
    if isinstance(answer, End) and answer.failure is not None:
        answer = End(Failure(answer.failure.kind, answer.failure.reason[: REASON_LENGTH + 100]))
    return json.dumps(asdict(answer)).encode()


def decode(message: bytes) -> Answer:
    """What `encode` wrote. Of our own making, so it is not checked."""
    values: dict[str, Any] = json.loads(message)
    if "images" in values:
        return Epoch(**values)
    failure = values["failure"]
    return End(None if failure is None else Failure(str(failure["kind"]), str(failure["reason"])))
