"""The trust report: does the proxy rank architectures on these images, and is the found one better than random ones?

Uniform architectures are trained on their own for a short time, one from each of as many slices of a larger pool that
is sorted by proxy: they are spread over the proxy's range and uniform all the same. The found architecture is trained
several times with the same settings. All are judged by their accuracy on the validation images.

N architectures, R trainings of the found one.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from enas import searchers, spaces
from enas.config import SearchConfig
from enas.effects import Effects
from enas.evaluators import FullTraining
from enas.objective import Scores
from enas.phases import Search
from enas.records import Difference, difference
from enas.scoring import ProxyScores
from enas.spaces import Architecture

OnWork = Callable[[int], None]
LEAST = 5  # architectures below which there is no interval
NORMAL = 1.959964  # 97.5 % of the standard normal distribution


@dataclass(frozen=True)
class Tau:
    """Kendall's tau-b over n pairs with its 95 % interval, by Fisher's z with the variance 0.437 / (n - 4) of Fieller,
    Hartley & Pearson 1957. All None where one of the two is the same everywhere."""

    tau: float | None
    low: float | None
    high: float | None


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> Tau:
    """How well a ranks b; at least five pairs."""
    from scipy.stats import kendalltau  # takes half a second to import

    n = len(a)
    tau = float(kendalltau(a, b).statistic)
    if math.isnan(tau):
        return Tau(None, None, None)
    most = 1 - 1 / (n * (n - 1))  # half a pair in the wrong order: z of a perfect ranking has no bounds
    z, half = math.atanh(max(-most, min(most, tau))), NORMAL * math.sqrt(0.437 / (n - 4))
    return Tau(tau, math.tanh(z - half), math.tanh(z + half))


class Audit:
    """An audit of a finished search whose shared weights are in `state`. found: the architecture that it chose.

    What was trained is kept in the folder `audit` of the run: asked for again, it costs nothing.
    """

    def __init__(self, state: Search, found: Architecture, settings: SearchConfig) -> None:
        self.state, self.found, self.settings = state, found, settings.audit
        # all to the end: what is stopped early cannot be compared
        self.training = dataclasses.replace(settings.full_training, halving_eta=0)
        self.flops = 0.0

    @property
    def proxy_images(self) -> int:
        """Images that `chosen` scores: the validation images, once for each architecture of the pool."""
        return self._pool * len(self.state.validation)

    @property
    def _pool(self) -> int:
        return max(self.settings.pool, self.settings.networks)

    def run(self, on_work: OnWork = lambda images: None) -> dict[str, Any]:
        """The report, as JSON. on_work hears of images, and several times a second of 0: a chance to raise.

        Raises UserError where no network can be trained.
        """
        began = time.perf_counter()
        proxy = self.chosen(on_work)
        accuracy = self.trained(proxy.archs, 0, on_work)
        again = [self.trained([self.found], r, on_work)[0] for r in range(1, self.settings.repeats + 1)]
        ranks = "effects" if self.state.config.derive.criterion == "effects" else "reward"
        report = assess(proxy, accuracy, again, ranks)
        rows = [{**proxy.row(i), "standalone_accuracy": accuracy[i]} for i in range(len(accuracy))]
        return {
            "networks": len(rows),
            "epochs": self.training.epochs,
            "validation_images": proxy.images,
            **report,
            "found": {"text": spaces.to_text(self.state.space, self.found), "standalone_accuracy": again},
            "random": rows,
            "flops": self.flops,
            "elapsed_s": time.perf_counter() - began,
        }

    def chosen(self, on_work: OnWork) -> ProxyScores:
        """The uniform architectures to train, and their proxy scores."""
        state, n = self.state, self.settings.networks
        draws = state.draws("audit")
        pool = searchers.uniform(state.space, self._pool, draws)
        scores = ProxyScores(state, pool, state.evaluator.score(pool, state.validation_batches(), on_work))
        order = scores.ranked(range(len(pool)))
        picks = [
            order[first + int(torch.randint(last - first, (), generator=draws))]
            for first, last in ((i * len(pool) // n, (i + 1) * len(pool) // n) for i in range(n))
        ]
        chosen = torch.tensor(picks)
        losses = torch.tensor(scores.loss)
        part = Scores(torch.tensor(scores.accuracy)[chosen], losses[chosen], scores.images)
        return ProxyScores(state, [pool[i] for i in picks], part, Effects(state.space, pool, -losses.log()))

    def trained(self, archs: Sequence[Architecture], repeat: int, on_work: OnWork) -> list[float]:
        """Validation accuracy of each after its own training, nan where that failed. repeat: which seed."""
        state = self.state
        train, validation, seed = state.train, state.validation, state.config.seed + repeat
        folder = state.folder.path / "audit"
        with FullTraining(
            state.space, self.training, state.data, train, validation, state.runtime, seed, folder
        ) as evaluator:
            accuracy: list[float] = evaluator.score(archs, on_work).accuracy.tolist()
            self.flops += sum(evaluator.flops(arch) for arch in set(archs))
        return accuracy


def assess(
    proxy: ProxyScores, accuracy: Sequence[float], found: Sequence[float], ranks: str = "reward"
) -> dict[str, Any]:
    """What the numbers say: accuracies [N] of the architectures that `proxy` scored, and [R] of the found one's
    trainings; nan where one failed.

    The report has Kendall's tau of the reward, of the proxy's accuracy and loss, and of the effects of choices; its
    sentence that of `ranks`, which the search chose by.
    """
    known = [i for i, value in enumerate(accuracy) if math.isfinite(value)]
    random, found = [accuracy[i] for i in known], [value for value in found if math.isfinite(value)]
    report: dict[str, Any] = {"failed": len(accuracy) - len(known)}
    if len(known) < LEAST or len(found) < 2:
        return {**report, "verdict": "unknown", "sentence": "too many trainings failed to tell anything"}
    scores = {"reward": proxy.reward, "accuracy": proxy.accuracy, "loss": [-loss for loss in proxy.loss]}
    if proxy.effects is not None:
        scores["effects"] = proxy.effects
    taus = {name: rank_correlation([values[i] for i in known], random) for name, values in scores.items()}
    gap = difference(found, random)
    verdict = "better than random" if gap.low > 0 else "worse than random" if gap.high < 0 else "no better than random"
    beaten = sum(value < sum(found) / len(found) for value in random)
    return {
        **report,
        "verdict": verdict,
        "sentence": _sentence(verdict, gap, beaten, len(random), taus[ranks]),
        "found_minus_random": dataclasses.asdict(gap),
        "beaten": beaten,
        "tau": {name: dataclasses.asdict(tau) for name, tau in taus.items()},
    }


def _sentence(verdict: str, gap: Difference, beaten: int, count: int, tau: Tau) -> str:
    ranks = "the proxy says the same of all of them"
    if tau.tau is not None:
        ranks = f"the proxy ranks them with Kendall's tau {tau.tau:.2f} ({tau.low:.2f} to {tau.high:.2f})"
    return (
        f"the found architecture is {verdict}: {100 * gap.mean:+.2f} points of accuracy after a short training of its "
        f"own (95 % interval {100 * gap.low:+.2f} to {100 * gap.high:+.2f}), ahead of {beaten} of {count} uniform "
        f"architectures; {ranks}"
    )
