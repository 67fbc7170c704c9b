"""What benchmarks/finalists.py makes of curves: ways to train finalists, what each picks, and what it costs."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from correlation import Floats, tau_of_standings
from finalist_curves import Curve, Finalist

from enas import halving
from enas.finalists import standing, worth
from enas.plan import TRAINING_COST

WEIGHTS = ("fresh", "inherited")


@dataclass(frozen=True)
class Variant:
    """One way to train finalists: its name, the weights it starts from, the course's epochs, the rungs and eta.

    criterion: what they are compared by.
    """

    name: str
    weights: str
    epochs: int
    rungs: tuple[int, ...]
    eta: int = 0
    criterion: str = "accuracy"


def variants(lengths: Sequence[int], etas: Sequence[int], first: int) -> list[Variant]:
    """Every way to train them that the curves tell of."""
    made = []
    for length in lengths:
        for weights in WEIGHTS:
            made.append(Variant(f"{weights}, {length} epochs", weights, length, (length,)))
            for eta in etas:
                rungs = halving.rungs(length, eta, first)
                if len(rungs) > 1:
                    name = f"{weights}, halving by {eta} at {', '.join(map(str, rungs))}"
                    made.append(Variant(name, weights, length, rungs, eta))
            looks = sorted({rung for eta in etas for rung in halving.rungs(length, eta, first)} - {length})
            made += [Variant(f"{weights}, stopped after {e} of {length}", weights, length, (e,)) for e in looks]
    by_loss = [replace(each, name=f"{each.name}, by training loss", criterion="training-loss") for each in made]
    return [variant for pair in zip(made, by_loss, strict=True) for variant in pair]


def outcome(
    finalists: Sequence[Finalist], curves: Sequence[Curve], variant: Variant, images: int, validation: int
) -> dict[str, Any]:
    """What a search would have found and spent that trains its finalists so.

    images: those of a training's epoch; validation: those that accuracies are measured on.
    """
    trained: list[dict[str, Any]] = [{"effects": finalist.effects, "rungs": []} for finalist in finalists]
    going_on, macs = list(range(len(finalists))), 0
    for rung, (until, span) in enumerate(zip(variant.rungs, halving.spans(variant.rungs), strict=True)):
        for i in going_on:
            trained[i]["rungs"].append({"epochs": until, **curves[i][until - 1]})
            macs += finalists[i].macs * (TRAINING_COST * span * images + validation)
        scores = [worth(trained[i]["rungs"][rung], variant.criterion) for i in going_on]
        going_on = [going_on[i] for i in halving.promoted(scores, variant.eta)] if variant.eta else going_on
    standings = [standing(each, "effects", variant.criterion) for each in trained]
    return {
        "variant": variant.name,
        "tau": tau_of_standings([each[:2] for each in standings], truths_of(finalists)),
        "pick": finalists[max(range(len(finalists)), key=standings.__getitem__)].truth,
        "flops": 2.0 * macs,
        "failed": sum(each["rungs"][-1]["standalone_accuracy"] is None for each in trained),
    }


def without(finalists: Sequence[Finalist]) -> dict[str, Any]:
    """The same of a search that trains none: the first by the criterion wins."""
    truths = [finalist.truth for finalist in finalists]
    return {
        "tau": tau_of_standings([(finalist.effects,) for finalist in finalists], truths_of(finalists)),
        "pick": truths[0],
        "mean": statistics.mean(truths),
        "best": max(truths),
    }


def truths_of(finalists: Sequence[Finalist]) -> Floats:
    return np.array([finalist.truth for finalist in finalists])
