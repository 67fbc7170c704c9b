"""From the rounds of all drivers to rates, ratios and the table of docs/results.md."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from peer_drivers.alternation import Taken
from peer_drivers.protocol import CONVERGED, LOGGED, REWARD, TRAINING, UNITS, Measure

OURS = "ours"


@dataclass(frozen=True)
class Spread:
    """Median and range of one figure over the rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))


def rows(space: str, taken: Mapping[str, Taken]) -> list[dict[str, Any]]:
    """A row for every kind of work of every driver, ours first.

    ratio: our rate by theirs, round by round. ratio_at_equal_macs: the same of the rates times the MACs of a child,
    so that a lighter space is not taken for speed. Peers score one architecture after the other, equal ones too: both
    of our rewards are compared with theirs, whose policy is the uniform one (a converged one may draw lighter children,
    for which there is the ratio at equal MACs).
    """
    ours = taken[OURS].rounds
    found = []
    for kind in UNITS:
        for driver, what in taken.items():
            theirs = REWARD if kind == CONVERGED and driver != OURS else kind
            our_kind = TRAINING if kind == LOGGED else kind
            if theirs not in what.rounds[0] or our_kind not in ours[0]:
                continue
            measures = [measures[theirs] for measures in what.rounds]
            own = [measures[our_kind] for measures in ours]
            row: dict[str, Any] = {
                "space": space,
                "kind": kind,
                "driver": driver,
                "name": what.about.name,
                "unit": UNITS[kind],
                "rate": asdict(Spread.of([measure.rate for measure in measures])),
                "macs_executed": statistics.median(measure.macs_executed for measure in measures),
                "macs_of_child": statistics.median(measure.macs_of_child for measure in measures),
                "peak_rss_bytes": what.peak_rss_bytes,
            }
            if driver != OURS:
                row["ratio"] = asdict(ratio(own, measures, lambda measure: measure.rate))
                row["ratio_at_equal_macs"] = asdict(ratio(own, measures, useful_rate))
            found.append(row)
    return found


def ratio(ours: Sequence[Measure], theirs: Sequence[Measure], figure: Callable[[Measure], float]) -> Spread:
    """Of a figure of both, round by round."""
    return Spread.of([figure(own) / figure(peer) for own, peer in zip(ours, theirs, strict=True)])


def useful_rate(measure: Measure) -> float:
    """MACs a second that a child's output depends on, but for the images of a batch, which are equally many."""
    return measure.rate * measure.macs_of_child


def table(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """The rows of docs/results.md."""
    lines = [
        "| space | work | who | rate (min to max) | MMACs a child (executed) | times faster (min to max) "
        "| at equal MACs (min to max) | peak memory |",
        "|---|---|---|--:|--:|--:|--:|--:|",
    ]
    for row in found:
        of_child, executed = row["macs_of_child"] / 1e6, row["macs_executed"] / 1e6
        ratios = [spread(row[name], 2) if name in row else "" for name in ("ratio", "ratio_at_equal_macs")]
        lines.append(
            f"| {row['space']} | {row['kind']} | {row['name']} | {spread(row['rate'], 1)} {row['unit']} "
            f"| {of_child:.1f} ({executed:.1f}) | {ratios[0]} | {ratios[1]} | {row['peak_rss_bytes'] / 2**30:.2f} GiB |"
        )
    return lines


def notes(taken: Iterable[Mapping[str, Taken]]) -> list[str]:
    """Who was measured, and what a reader must know of it: once each."""
    lines: dict[str, None] = {}  # in order, without repetition
    for what in (what for of_space in taken for what in of_space.values()):
        found = " ".join(f"{name} {version}" for name, version in what.about.versions.items())
        lines[f"- {what.about.name}: {'; '.join([found, *what.about.notes])}."] = None
    return list(lines)


def spread(values: Mapping[str, float], digits: int) -> str:
    """As the table has it."""
    median, low, high = (f"{values[name]:,.{digits}f}" for name in ("median", "low", "high"))
    return f"{median} ({low} to {high})"
