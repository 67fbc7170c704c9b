"""What searches with several seeds have in common: mean, spread and interval of what each of them reports.

The numbers that decide whether a search is better than chance need several seeds: one seed has no spread.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from enas.errors import UserError
from enas.records import spread, student_t
from enas.runs import PLACES, drop_newer

SCHEMA = 1
# settings that a budget decides, by section
SIZES = {
    "": ("epochs", "derive"),
    "controller": ("updates", "warmup_epochs"),
    "weights": ("steps",),
}
Result = Mapping[str, Any]


@dataclass(frozen=True)
class Measure:
    """One figure of a search. words: what it is. form: how its mean, sd and interval are printed."""

    words: str
    form: str
    of: Callable[[Result], float | None]


def _relative_gain(result: Result) -> float | None:
    """RI of Yang et al. 2020, 100 (method - random) / random, of mean proxy accuracies on the same images."""
    baseline = result["random_baseline"]
    if baseline is None:
        return None
    controller, random = baseline["controller"]["mean"], baseline["random"]["mean"]
    return 100 * (controller - random) / random if random else None


def _controller_minus_random(result: Result) -> float | None:
    baseline = result["random_baseline"]
    return baseline["controller_minus_random"]["mean"] if baseline is not None else None


def _best(figure: str) -> Callable[[Result], float | None]:
    """A figure of the best finalist; which there are depends on what judged it."""
    return lambda result: result["finalists"][0].get(figure)


def _audit_gap(result: Result) -> float | None:
    gap = (result.get("audit") or {}).get("found_minus_random")
    return None if gap is None else gap["mean"]


def _audit_tau(result: Result) -> float | None:
    report = result.get("audit") or {}
    return report["tau"][report["criterion"]]["tau"] if "tau" in report else None


# Yang et al. compare trained networks; these searches have only proxy accuracies of both, and the words say so.
MEASURES = {
    "controller_minus_random": Measure(
        "controller minus random, proxy accuracy",
        "+.4f",
        _controller_minus_random,
    ),
    "relative_gain_percent": Measure("relative gain over random in %, of proxy accuracy", "+.2f", _relative_gain),
    "standalone_accuracy": Measure(
        "best finalist after a short training of its own, validation accuracy",
        ".4f",
        _best("standalone_accuracy"),
    ),
    "audit_gap": Measure(
        "audit: found minus random ones, validation accuracy after a short training", "+.4f", _audit_gap
    ),
    "audit_tau": Measure("audit: Kendall's tau of the proxy", "+.3f", _audit_tau),
    "accuracy": Measure("validation accuracy of the best network", ".4f", _best("accuracy")),
    "true_accuracy": Measure("its true test accuracy, from the table", ".4f", _best("true_accuracy")),
    "params": Measure("parameters of the best finalist", ",.0f", _best("params")),
    "macs": Measure("MACs of the best finalist", ",.0f", _best("macs")),
}


def aggregate(results: Mapping[str, Result]) -> dict[str, Any]:
    """The result of several searches, from each one's result by the name of its folder.

    Raises UserError where they differ in more than their seed. A malformed result raises KeyError or TypeError.
    """
    first, *others = results.values()
    for result in others:
        if _comparable(result) != _comparable(first):
            raise UserError(
                "all searches must have one configuration and the same images, but that of seed "
                f"{result['seed']} differs from that of seed {first['seed']}; start them anew in another folder"
            )
    figures = {name: {key: measure.of(result) for key, measure in MEASURES.items()} for name, result in results.items()}
    measures = {
        key: measure for key, measure in MEASURES.items() if any(run[key] is not None for run in figures.values())
    }
    return {
        "schema": SCHEMA,
        "kind": "searches",
        "seeds": [result["seed"] for result in results.values()],
        "runs": [
            {"folder": name, "seed": result["seed"], "text": result["text"], "arch": result["arch"], **figures[name]}
            for name, result in results.items()
        ],
        "statistics": {
            key: {"words": measure.words, **summary([run[key] for run in figures.values()])}
            for key, measure in measures.items()
        },
        "config": first["config"],
        "images": first["images"],
        "versions": first["versions"],
        "elapsed_s": sum(result["elapsed_s"] for result in results.values()),
    }


def summary(values: Sequence[float | None]) -> dict[str, float | int | None]:
    """Count, mean, sample sd and the 95 % interval of the mean (Student) of the values that there are.

    None where there are too few: one for the mean, two for the rest.
    """
    known = [float(value) for value in values if value is not None]
    if not known:
        return {"count": 0, "mean": None, "sd": None, "low": None, "high": None}
    found = spread(known)
    mean, count = found["mean"], len(known)
    if count == 1:
        return {"count": 1, "mean": mean, "sd": None, "low": None, "high": None}
    half = student_t(count - 1) * found["sd"] / math.sqrt(count)
    return {"count": count, "mean": mean, "sd": found["sd"], "low": mean - half, "high": mean + half}


def _comparable(result: Result) -> dict[str, Any]:
    """What searches of one aggregate share: images and settings, but the seed and what a budget settled."""
    settings = copy.deepcopy(result["config"])
    del settings["seed"]
    drop_newer(settings)
    for name in PLACES:
        del settings["data"][name]
    del settings["table"]
    for section, names in (SIZES if settings["budget"] is not None else {}).items():
        for name in names:
            del (settings[section] if section else settings)[name]
    return {**settings, "images": result["images"]}
