"""How the cost of a pass grows with images, layers, and architectures."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from timing import CLASSES, alternate, random_batch

from enas import searchers, spaces
from enas.config import MacroOptions
from enas.evaluators import SharedWeights
from enas.runtime import Runtime, generator
from enas.supernet import Supernet

SIZE = 32
WIDTH = 36
CURVES = {
    "images": (16, 32, 64, 128, 256),
    "layers": (3, 6, 9, 12, 15),
    "architectures": (1, 2, 4, 8, 16, 32, 64),
}
BASE = {"images": 64, "layers": 12, "architectures": 8}  # of what does not vary


def measure_curves(repeats: int, runtime: Runtime) -> list[dict[str, Any]]:
    """Scoring passes of space macro, one quantity varied at a time; rows like those of all figures."""
    rows = []
    for varied, values in CURVES.items():
        runs = []
        for value in values:
            size = BASE | {varied: value}
            space = spaces.build(MacroOptions(layers=size["layers"], width=WIDTH), (3, SIZE, SIZE), CLASSES)
            evaluator = SharedWeights(
                Supernet(space, generator(0, "supernet")).to(runtime.device),
                space,
                runtime,
                runtime.share_of_memory(None),
            )
            archs = searchers.uniform(space, size["architectures"], generator(0, "scoring"))
            runs.append(functools.partial(evaluator.score, archs, [random_batch(size["images"], SIZE, runtime)]))
        for value, (median, least, most) in zip(values, alternate(runs, repeats, runtime), strict=True):
            seconds = {"median_s": median, "least_s": least, "most_s": most}
            rows.append({"varied": varied, "value": value, **seconds, "repeats": repeats, **{"base": BASE}})
    return rows


def draw_curves(rows: list[dict[str, Any]], path: Path) -> None:
    """A panel for each quantity, logarithmic, with the line of proportional cost."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(CURVES), figsize=(12, 3.6), constrained_layout=True)
    for panel, varied in zip(panels, CURVES, strict=True):
        part = [row for row in rows if row["varied"] == varied]
        values, medians = [row["value"] for row in part], [row["median_s"] for row in part]
        errors = [
            [row["median_s"] - row["least_s"] for row in part],
            [row["most_s"] - row["median_s"] for row in part],
        ]
        panel.errorbar(values, medians, yerr=errors, marker="o", capsize=3, label="scoring pass")
        panel.plot(values, [medians[-1] * value / values[-1] for value in values], "--", label="proportional")
        panel.set(xscale="log", yscale="log", xlabel=varied, ylabel="seconds")
        others = ", ".join(f"{count} {name}" for name, count in BASE.items() if name != varied)
        panel.set_title(f"macro, {WIDTH} filters, {others}", fontsize=9)
        panel.set_xticks(values, [str(value) for value in values])
        panel.minorticks_off()
        panel.legend()
    figure.savefig(path, dpi=110)
