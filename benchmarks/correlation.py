"""How well one number of each network ranks another."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, spearmanr

BAND = 5e6  # MACs
GOOD = 0.9  # accuracy
LEAST = 20  # networks in a band that counts
DRAWS = 100  # of the bootstrap

Floats = NDArray[np.float64]


def figures(scores: Floats, truth: Floats, macs: NDArray[np.int64]) -> dict[str, float]:
    """Kendall's tau-b, Spearman's rho, tau among the truly better half, the best tenth and networks of 90 % accuracy or
    more, the mean tau over bands of 5M MACs, and the share of the truly best 1 % in the best 1 % by score. A score that
    is no number ranks last; the tau of bands is none where no band has LEAST networks."""
    scores = np.nan_to_num(scores, nan=-np.inf)
    half, tenth = (truth >= np.quantile(truth, q) for q in (0.5, 0.9))
    bands = (macs // BAND).astype(int)
    inside = [bands == band for band in np.unique(bands) if (bands == band).sum() >= LEAST]
    count = max(1, round(len(truth) / 100))
    best = set(np.argsort(-truth, kind="stable")[:count])
    return {
        "tau": tau(scores, truth),
        "spearman": float(spearmanr(scores, truth).statistic),
        "tau_top_half": tau(scores[half], truth[half]),
        "tau_top_tenth": tau(scores[tenth], truth[tenth]),
        "tau_from_90": tau(scores[truth >= GOOD], truth[truth >= GOOD]),
        "tau_bands": float(np.mean([tau(scores[band], truth[band]) for band in inside])) if inside else math.nan,
        "precision_top_percent": len(best & set(np.argsort(-scores, kind="stable")[:count])) / count,
    }


def resampled(scores: Floats, truth: Floats, macs: NDArray[np.int64], draws: np.random.Generator) -> dict[str, float]:
    """The standard deviation of each figure when the networks are drawn anew from themselves."""
    found = []
    for _ in range(DRAWS):
        chosen = draws.integers(len(truth), size=len(truth))
        found.append(figures(scores[chosen], truth[chosen], macs[chosen]))
    return {name: float(np.std([each[name] for each in found], ddof=1)) for name in found[0]}


def tau(a: Floats, b: Floats) -> float:
    """Kendall's tau-b; 0 where one of them is the same everywhere."""
    return float(np.nan_to_num(kendalltau(a, b).statistic))


def tau_of_standings(standings: Sequence[tuple[float, ...]], truth: Floats) -> float:
    """The same between tuples, ordered as such, and the truth."""
    order = sorted(set(standings))
    return tau(np.array([order.index(each) for each in standings], dtype=float), truth)
