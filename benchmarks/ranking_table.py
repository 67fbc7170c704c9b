"""What benchmarks/ranking.py prints and draws: rows for docs/results.md, gains over chance, proxy against truth."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from correlation import Floats

from enas.records import student_t

FEW = 3  # seeds whose picks are named one by one
COLUMNS = {
    "tau": "tau",
    "tau_top_half": "tau, top half",
    "tau_from_90": "tau, from 90 %",
    "tau_bands": "tau, 5M-MAC bands",
    "tau_under_cap": "tau under the cap",
    "precision_top_percent": "of the top 1 %",
}


def rows(report: Mapping[str, Any]) -> list[str]:
    """For docs/results.md; the rest is in the report."""
    columns = dict(COLUMNS)
    if report["cap"] is None:
        del columns["tau_under_cap"]
    heads = ["recipe", "score", "networks", "seeds", "PFLOP", "min", *columns.values(), "pick, true % (rank)"]
    heads += ["pick under the cap"] if report["cap"] is not None else []
    lines = [f"| {' | '.join(heads)} |", f"|---|---|{'--:|' * (len(heads) - 2)}"]
    for name, entry in report["recipes"].items():
        runs = entry["runs"]
        costs = [f"{mean(run['flops'] for run in runs) / 1e15:.3f}", f"{mean(run['time_s'] for run in runs) / 60:.0f}"]
        for score in runs[0]["scores"]:
            lines.append(line(name, score, costs, [run["scores"][score] for run in runs], columns))
    for name, found in report["predictors"].items():
        lines.append(line(name, "", ["", ""], [found], columns))
    lines += gains(report)
    for name, entry in report["recipes"].items():
        for score in entry["runs"][0]["scores"]:
            found = [run["scores"][score].get("pick_of_some") for run in entry["runs"]]
            if None not in found:
                middle, spread = (100 * mean(each[key] for each in found) for key in ("mean", "sd"))
                words = f"pick of {found[0]['count']:,} drawn at random: {middle:.2f} % on average of all draws"
                lines.append(f"{name}, {score}, {words} (sd {spread:.2f})")
    for key, among in (("chance", "all networks"), ("chance_under_cap", "networks under the cap")):
        if key in report:
            figures = {name: f"{100 * value:.2f} %" for name, value in report[key].items()}
            words = "{mean} on average, {best_of_ten} the best of ten random ones on average, {best} the best"
            lines.append(f"{among}: {words.format(**figures)}")
    return lines


def gains(report: Mapping[str, Any]) -> list[str]:
    """By how much what a score picks is better than a random network, whose mean accuracy is known, over the seeds."""
    lines = []
    for name, entry in report["recipes"].items():
        runs = entry["runs"]
        if len(runs) < 2:
            continue
        for kind, key in (("pick", "chance"), ("pick_under_cap", "chance_under_cap")):
            for score, found in runs[0]["scores"].items():
                if not found[kind]:
                    continue
                above = [100 * (run["scores"][score][kind]["accuracy"] - report[key]["mean"]) for run in runs]
                half = student_t(len(above) - 1) * statistics.stdev(above) / len(above) ** 0.5
                words = f"{name}, {score}, {kind.replace('_', ' ')} minus random: {mean(above):+.2f} points"
                lines.append(
                    f"{words} (95 %: {mean(above) - half:+.2f} to {mean(above) + half:+.2f}, {len(above)} seeds)"
                )
    return lines


def line(
    name: str, score: str, costs: Sequence[str], found: Sequence[Mapping[str, Any]], columns: Iterable[str]
) -> str:
    """Means over the seeds, with their standard deviation, or of one seed the bootstrap's error."""
    cells = [name, score, f"{found[0]['networks']:,}", f"{len(found)}", *costs]
    for key in columns:
        if key not in found[0]:  # by a call without a cap
            cells.append("")
            continue
        values = [entry[key] for entry in found]
        if None in values:  # too few networks for this
            cells.append("-")
            continue
        error = statistics.stdev(values) if len(values) > 1 else found[0]["errors"][key]
        cells.append(f"{mean(values):.3f} ({error:.3f})")
    for kind in ("pick", "pick_under_cap"):
        picks = [entry[kind] for entry in found if entry[kind]]
        accuracies = [100 * pick["accuracy"] for pick in picks]
        if len(picks) > FEW:
            cells.append(f"{mean(accuracies):.2f}, sd {statistics.stdev(accuracies):.2f}")
        elif picks:
            cells.append(", ".join(f"{a:.2f} ({pick['rank']})" for a, pick in zip(accuracies, picks, strict=True)))
    return f"| {' | '.join(cells)} |"


def curve(report: Mapping[str, Any], names: Sequence[str], path: Path) -> None:
    """Tau over training operations: the named recipes as lines, one for each score, the others as dots."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panel = pyplot.subplots(figsize=(5, 4), constrained_layout=True)
    for score in ("loss", "effects", "vote"):
        points = {}
        for name, entry in report["recipes"].items():
            found = [run["scores"][score]["tau"] for run in entry["runs"] if score in run["scores"]]
            if found and None not in found:
                points[name] = mean(run["flops"] for run in entry["runs"]) / 1e15, mean(found)
        line = sorted(points[name] for name in names if name in points)
        if not line:
            continue
        (drawn,) = panel.plot(*zip(*line, strict=True), marker="o", label=score)
        others = [point for name, point in points.items() if name not in names]
        if others:
            flops, taus = zip(*others, strict=True)
            panel.scatter(flops, taus, s=8, alpha=0.4, color=drawn.get_color())
    panel.set(xscale="log", xlabel="PFLOP of the supernet's training", ylabel="Kendall's tau", title=report["table"])
    panel.legend()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def draw(values: Floats, truth: Floats, title: str, path: Path) -> None:
    """Proxy against truth."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panel = pyplot.subplots(figsize=(5, 4), constrained_layout=True)
    panel.scatter(values, 100 * truth, s=4, alpha=0.4)
    panel.set(xlabel="score: sum of the effects of choices", ylabel="true test accuracy, %", title=title)
    panel.set_ylim(bottom=float(np.percentile(100 * truth, 2)))
    figure.savefig(path, dpi=110)
