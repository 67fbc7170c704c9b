"""What a driver process and `peers.py` say to each other: one JSON object a line.

The driver reads commands from its standard input and answers on its standard output: `setup` with what it is,
`round` with what one round took, `quit` with its peak memory. Between commands it computes nothing. Whatever
else is printed in its process goes to standard error.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

TRAINING, REWARD, LOGGED, CONVERGED = "training", "reward", "training and logging", "reward, converged policy"
UNITS = {TRAINING: "images/s", REWARD: "architectures/s", LOGGED: "images/s", CONVERGED: "architectures/s"}


@dataclass(frozen=True)
class Setup:
    """What a driver is asked to do in every round.

    steps: training steps of the shared weights, each with a batch of its own and a new architecture.
    architectures: how many are scored on one batch, with the updates of the controller that belong to them.
    threads: CPU threads. checkout: folder of the sources that are measured, where they are not installed.
    """

    space: str
    batch_size: int
    image_size: int
    threads: int
    seed: int
    steps: int
    architectures: int
    checkout: str | None = None


@dataclass(frozen=True)
class Measure:
    """One timed part of a round.

    count: images trained or architectures scored, in `seconds`. MACs are multiply-accumulates of convolutions and
    linear layers in one child's forward pass, for one image, mean over the children of this part: macs_executed of
    what was computed (less than the child has, where children share it), macs_of_child of what its output depends on.
    """

    seconds: float
    count: int
    macs_executed: float
    macs_of_child: float

    @property
    def rate(self) -> float:
        """Images or architectures a second."""
        return self.count / self.seconds


@dataclass(frozen=True)
class About:
    """What is measured. parameters: trainable numbers of the shared weights. notes: what a reader must know."""

    name: str
    versions: Mapping[str, str]
    parameters: int
    notes: tuple[str, ...] = field(default=())


class Driver(Protocol):
    """What every driver module builds from a Setup."""

    about: About

    def round(self) -> dict[str, Measure]:
        """Train and score once; measures by kind: TRAINING, REWARD, and maybe LOGGED or CONVERGED."""


def serve(build: Callable[[Setup], Driver]) -> None:
    """Answer commands until `quit` or the end of the input. A failure is answered in one line and raised."""
    with os.fdopen(os.dup(sys.stdout.fileno()), "w") as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

        def answer(values: dict[str, Any]) -> None:
            print(json.dumps(values), file=answers, flush=True)

        try:
            driver: Driver | None = None
            for line in sys.stdin:
                command = json.loads(line)
                if command["do"] == "setup":
                    driver = build(Setup(**command["setup"]))
                    answer(asdict(driver.about))
                elif command["do"] == "round":
                    assert driver is not None, "the first command is `setup`"
                    answer({kind: asdict(measure) for kind, measure in driver.round().items()})
                else:
                    answer({"peak_rss_bytes": peak_rss_bytes()})
                    break
        except Exception as error:
            answer({"error": f"{type(error).__name__}: {error}".partition("\n")[0]})
            raise


def peak_rss_bytes() -> int:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
