"""Sections about several seeds: each search's figures, and what they have in common."""

from __future__ import annotations

from enas.aggregate import MEASURES
from enas.report.blocks import Cell, Row, Section, Table, Text
from enas.report.what import Several, Values
from enas.words import NONE, deviation, interval, number, percent, points, whole

SHARES = ("standalone_accuracy", "accuracy", "true_accuracy")
GAPS = ("controller_minus_random", "audit_gap")
COUNTS = {"params": "parameters", "macs": "MACs"}


def seeds_section(run: Several) -> Section:
    """A row for each search."""
    if run.result is None:
        rows: list[Row] = [
            [Cell(name, run.links.get(name)), "finished" if search.result is not None else "not finished"]
            for name, search in run.searches.items()
        ]
        return Section("Each seed", [Table(("folder", "state"), rows)] if rows else [])
    keys = [key for key in MEASURES if key in run.result["statistics"]]
    head = ["folder", *(MEASURES[key].words for key in keys), "architecture"]
    table: list[Row] = [
        [
            Cell(each["folder"], run.links.get(each["folder"])),
            *(figure(key, each[key]) for key in keys),
            Cell(each["text"], code=True),
        ]
        for each in run.result["runs"]
    ]
    notes = [] if run.links else [Text("enas report FOLDER makes the page of one of them.")]
    return Section("Each seed", [Table(head, table), *notes])


def statistics_section(run: Several) -> Section:
    """Mean, standard deviation and interval of each figure."""
    if run.result is None:
        return Section("Over the seeds", [])
    rows = []
    for key, found in run.result["statistics"].items():
        bounds = NONE if found["low"] is None else _between(key, found)
        sd = deviation(found["sd"]) if key in (*SHARES, *GAPS) else figure(key, found["sd"])
        rows.append([found["words"], whole(found["count"]), figure(key, found["mean"]), sd, bounds])
    text = (
        "The relative gain is 100 (search - random) / random of mean proxy accuracies; Yang et al. 2020, who define "
        "it, take accuracies of trained networks."
    )
    notes = [Text(text)] if "relative_gain_percent" in run.result["statistics"] else []
    head = ("figure", "seeds", "mean", "standard deviation", "95 % interval of the mean")
    return Section("Over the seeds", [Table(head, rows), *notes])


def _between(key: str, found: Values) -> str:
    if key in GAPS:
        return interval(found)
    return f"{figure(key, found['low'])} to {figure(key, found['high'])}"


def figure(key: str, value: float | None) -> str:
    """One of `enas.aggregate.MEASURES` with its unit."""
    if key in SHARES:
        return percent(value)
    if key in GAPS:
        return points(value)
    if key in COUNTS:
        return whole(value)
    return number(value, 2) + (" %" if key == "relative_gain_percent" and value is not None else "")
