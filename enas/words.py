"""Figures and counts as text, with their units, and paths as a shell takes them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

NONE = "–"  # where there is no figure
PREFIXES = ("", "k", "M", "G", "T", "P", "E")
UNITS = {"params": "parameters", "macs": "MACs", "latency_ms": "ms"}  # of costs

PROXY = (
    "Proxy accuracy is the share of right answers under the shared weights of the search. It is there to rank "
    "architectures, and is not the accuracy of a trained network, which is usually far above it."
)

SHORTLY = "Proxy accuracy, under shared weights, is no trained network's accuracy."


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, whichever is readable."""
    minutes = seconds / 60
    return f"{seconds:.0f} s" if minutes < 2 else f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def percent(share: float | None) -> str:
    """A share of one, such as an accuracy."""
    return NONE if share is None else f"{_minus(f'{100 * share:.2f}')} %"


def points(difference: float | None) -> str:
    """A difference of two shares, in percentage points."""
    return NONE if difference is None else f"{_signed(100 * difference)} points"


def interval(found: Mapping[str, Any]) -> str:
    """The 95 % interval of a difference of two shares, in percentage points."""
    if found["low"] is None or found["high"] is None:
        return NONE
    return f"{_signed(100 * found['low'])} to {_signed(100 * found['high'])} points"


def number(value: float | None, digits: int = 4) -> str:
    """A figure without a unit."""
    return NONE if value is None else _minus(f"{value:.{digits}f}")


def whole(value: float | None, unit: str = "") -> str:
    """A count."""
    return NONE if value is None else _minus(f"{value:,.0f}") + (f" {unit}" if unit else "")


def counted(number: int, thing: str) -> str:
    """So many things, in words: thing is the singular."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def in_shell(path: Path) -> str:
    """A path within a command that the user may copy: quoted where a shell would read it otherwise."""
    return shlex.quote(str(path))


def large(value: float, unit: str) -> str:
    """A count of very many, with three digits and a prefix."""
    power = 0
    while value >= 999.5 and power + 1 < len(PREFIXES):
        value, power = value / 1000, power + 1
    return f"{value:.3g} {PREFIXES[power]}{unit}"


def deviation(value: float | None) -> str:
    """The standard deviation of shares, in percentage points."""
    return NONE if value is None else f"{100 * value:.2f} points"


def cost(name: str, value: float | None) -> str:
    """A cost of a network, with its unit."""
    return NONE if value is None else f"{cost_number(value)} {UNITS.get(name, name)}"


def cost_number(value: float | None) -> str:
    """The same without it, as in a column: not every cost is a whole number."""
    from enas import objective

    return NONE if value is None else objective.number(value)


def reward_differs(result: Mapping[str, Any]) -> bool:
    """Whether a search with this result may have rewarded one network more than another that is more accurate."""
    report = result.get("costs")
    targets = report is not None and any(each["target"] for each in report["costs"].values())
    return targets or result["config"]["objective"].get("metric") == "loss"


def best_of_many(result: Mapping[str, Any]) -> str:
    """What the first finalist is, or has, among the networks that a search judged each by itself."""
    return "the best reward" if reward_differs(result) else "the best"


def listed(parts: list[str]) -> str:
    """Parts of a sentence, with "and" before the last one."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


def _signed(value: float) -> str:
    return _minus(f"{value:+.2f}")


def _minus(text: str) -> str:
    return text.replace("-", "−")


def finalist_training(derive: Mapping[str, Any]) -> str:
    """How finalists were trained and compared, in words that go on a sentence, where it is not as usual; else nothing.

    derive: a configuration's settings of deriving, as JSON, of any version.
    """
    size, criterion = derive.get("finalist_image_size"), derive.get("finalist_criterion", "accuracy")
    on = "" if size is None else f" on {size}x{size} pixels"
    return on + ("" if criterion == "accuracy" else ", compared by training loss")


def finalist_rounds(finalists: Sequence[Mapping[str, Any]]) -> str:
    """In how many rounds finalists were chosen, in words that go on a sentence, where there were several; else nothing.

    finalists: of a result of any version.
    """
    rounds = max(finalist.get("round", 1) for finalist in finalists)
    return f" in {rounds} rounds" if rounds > 1 else ""


def failed_finalists(finalists: Sequence[Mapping[str, Any]]) -> str:
    """How many of the finalists that were trained on their own failed, if any did; else nothing.

    finalists: of a result of any version.
    """
    ends = [finalist["rungs"][-1] for finalist in finalists if finalist.get("rungs")]  # older versions have none
    trained = [end for end in ends if end["epochs"]]
    failed = sum(end["standalone_accuracy"] is None for end in trained)
    alone = ", so their scores alone have chosen" if failed == len(trained) else ""
    return f"{failed} of {len(trained)} finalists' trainings failed{alone}" if failed else ""
