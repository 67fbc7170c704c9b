"""One round after the other, of every driver in turn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from peer_drivers.processes import DriverError, Round
from peer_drivers.protocol import About, Setup


class Process(Protocol):
    """What is asked of a driver's process. Each of these raises DriverError where it fails."""

    def setup(self, setup: Setup) -> About: ...

    def round(self) -> Round: ...

    def quit(self) -> int: ...


@dataclass(frozen=True)
class Side:
    """A driver, and what it is to do in a round."""

    process: Process
    setup: Setup


@dataclass(frozen=True)
class Taken:
    """What one driver did on one space: its rounds in order, and its peak resident memory."""

    about: About
    rounds: list[Round]
    peak_rss_bytes: int


def alternated(sides: Mapping[str, Side], rounds: int) -> tuple[dict[str, Taken], dict[str, str]]:
    """What everybody did in `rounds` rounds after one of warm-up, and why those failed that did.

    A round of each driver is followed by one of the next, so all of them see the machine at about the same times.
    """
    abouts: dict[str, About] = {}
    done: dict[str, list[Round]] = {name: [] for name in sides}
    peaks: dict[str, int] = {}
    failed: dict[str, str] = {}
    for number in range(-1, rounds + 2):  # to set up, to warm up, to count, to end
        for name, side in sides.items():
            if name in failed:
                continue
            try:
                if number == -1:
                    abouts[name] = side.process.setup(side.setup)
                elif number <= rounds:
                    done[name].append(side.process.round())
                else:
                    peaks[name] = side.process.quit()
            except DriverError as error:
                failed[name] = str(error)
    taken = {name: Taken(abouts[name], done[name][1:], peaks[name]) for name in sides if name not in failed}
    return taken, failed
