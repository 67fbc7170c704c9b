"""The trust report: does the proxy rank architectures on these images, and is the found one better than random ones?

Uniform architectures are trained on their own for a short time: of a larger pool those that are spread evenly over its
order by proxy, so that they have its range. The found architecture is trained several times with the same settings.
All see the images at their own size and are judged by their accuracy on the validation images, by which the found one
was also chosen, unless by its training loss: a little of what it is ahead is that.

N architectures, R trainings of the found one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from enas import searchers, spaces
from enas.config import SearchConfig
from enas.data import training_images
from enas.derive import criteria
from enas.evaluators import FullTraining
from enas.graph import signature
from enas.objective import Scores
from enas.phases import Search
from enas.plan import TRAINING_COST, untrained_images
from enas.records import NORMAL, Difference, difference, standing
from enas.runtime import derived_seed
from enas.scoring import ProxyScores
from enas.spaces import Architecture
from enas.words import counted

OnWork = Callable[[int], None]
FOLDER = "audit"  # in the run's
LEAST = 5  # trained networks below which nothing is said


@dataclass(frozen=True)
class Tau:
    """Kendall's tau-b over n pairs with its 95 % interval, by Fisher's z with the variance 0.437 / (n - 4) of Fieller,
    Hartley & Pearson 1957, which is meant for ten pairs or more. All None where one of the two is the same everywhere.
    """

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
    most = 1 - 2 / (n * (n - 1))  # half a pair in the wrong order: z of a perfect ranking has no bounds
    z, half = math.atanh(max(-most, min(most, tau))), NORMAL * math.sqrt(0.437 / (n - 4))
    return Tau(tau, min(tau, math.tanh(z - half)), max(tau, math.tanh(z + half)))


class Audit:
    """An audit of a finished search whose shared weights are in `state`. found: the architecture that it chose.

    What was trained is kept in the folder `audit` of the run: asked for again, it costs nothing, and N architectures
    are among those of any larger number, up to the size of the pool. They are different networks, so there may be fewer
    than were asked for.
    """

    def __init__(self, state: Search, found: Architecture, settings: SearchConfig) -> None:
        self.state, self.found, self.training = state, found, settings.full_training
        self.repeats = settings.audit.repeats
        drawn = max(settings.audit.pool, settings.audit.networks)
        archs = searchers.uniform(state.space, drawn, state.draws("audit"))
        # one network twice would count as two witnesses
        self.pool = list({signature(state.evaluator.graph(arch)): arch for arch in reversed(archs)}.values())[::-1]
        self.networks = min(settings.audit.networks, len(self.pool))
        self.flops = 0.0

    @property
    def trainings(self) -> int:
        """How many there are: N + R."""
        return self.networks + self.repeats

    @property
    def units(self) -> int:
        """The whole work, in forward passes of one image: what `run` tells `on_work` of."""
        return len(self.pool) * self._scoring_each + self.trainings * self._training_each

    @property
    def _scoring_each(self) -> int:
        state = self.state
        untrained = untrained_images(len(state.train)) if state.config.derive.criterion == "vote" else 0
        return len(state.validation) + untrained

    @property
    def _training_each(self) -> int:
        images = training_images(len(self.state.train), self.training.sgd.batch_size)
        return round(TRAINING_COST * self.training.epochs * images * self.state.images.larger)

    def run(self, on_work: OnWork = lambda units: None) -> dict[str, Any]:
        """The report, as JSON. on_work hears of finished work, and several times a second of 0: a chance to raise.

        Raises UserError where no network can be trained with these settings.
        """
        began = time.perf_counter()
        proxy = self.chosen(on_work)
        accuracy = self.trained(proxy.archs, 0, on_work)
        again = [self.trained([self.found], r, on_work)[0] for r in range(1, self.repeats + 1)]
        report = assess(proxy, accuracy, again, self.training.epochs)
        rows = [{**proxy.row(i), "standalone_accuracy": accuracy[i]} for i in range(len(accuracy))]
        return {
            "networks": len(rows),
            "epochs": self.training.epochs,
            "validation_images": proxy.images,
            **report,
            "criterion": proxy.criterion,
            "found": {"text": spaces.to_text(self.state.space, self.found), "standalone_accuracy": again},
            "random": rows,
            "flops": self.flops,
            "elapsed_s": time.perf_counter() - began,
        }

    def chosen(self, on_work: OnWork) -> ProxyScores:
        """The uniform architectures to train, and their proxy scores."""
        state, pool = self.state, self.pool
        with _counting(len(pool) * self._scoring_each, on_work) as done:
            state.on_work = done
            found = state.evaluator.score(pool, state.validation_batches(), done)
            others = criteria(state, pool, found)
        order = ProxyScores(state, pool, found, others).ranked(range(len(pool)))
        picks = [order[place] for place in spread_places(len(pool), self.networks)]
        part = Scores(found.accuracy[picks], found.known_loss[picks], found.images)
        chosen = {name: [values[i] for i in picks] for name, values in others.items()}
        return ProxyScores(state, [pool[i] for i in picks], part, chosen)

    def trained(self, archs: Sequence[Architecture], repeat: int, on_work: OnWork) -> list[float]:
        """Validation accuracy of each after its own training, nan where that failed. repeat: which seed."""
        state = self.state
        train, validation, runtime = state.train, state.validation, state.runtime
        seed, folder = derived_seed(state.config.seed, f"audit/{repeat}"), state.folder.path / FOLDER
        with (
            _counting(len(archs) * self._training_each, on_work) as done,
            FullTraining(
                state.space, self.training, state.data, train, validation, runtime, seed, folder, gives_up=False
            ) as evaluator,
        ):
            scores = evaluator.score(archs, lambda images: done(round(TRAINING_COST * images * state.images.larger)))
            self.flops += sum(evaluator.flops(arch) for arch in archs)
        accuracy: list[float] = scores.accuracy.tolist()
        return accuracy


@contextlib.contextmanager
def _counting(planned: int, on_work: OnWork) -> Iterator[OnWork]:
    """What hears of the parts of some planned work. In the end the rest is done too: it was known, the same, or
    failed."""
    heard = 0

    def done(units: int) -> None:
        nonlocal heard
        heard += units
        on_work(units)

    yield done
    on_work(planned - heard)


def spread_places(size: int, count: int) -> list[int]:
    """`count` different places of 0..size-1, spread evenly, the first ones the same for any larger count (van der
    Corput's sequence, from the middle)."""
    places: dict[int, None] = {}
    number = 1
    while len(places) < count:
        fraction, half = 0.0, 0.5
        for bit in bin(number)[:1:-1]:
            fraction += half * int(bit)
            half /= 2
        places.setdefault(int(fraction * size))
        number += 1
    return list(places)


def assess(proxy: ProxyScores, accuracy: Sequence[float], found: Sequence[float], epochs: int) -> dict[str, Any]:
    """What the numbers say: accuracies [N] of the architectures that `proxy` scored, and [R] of the found one's
    trainings, all of so many epochs; nan where one failed.

    The report has Kendall's tau of the reward, of the proxy's accuracy and loss, and of whatever else the search chose
    by; its sentence that of the figure that decided.
    """
    known = [i for i, value in enumerate(accuracy) if math.isfinite(value)]
    random, again = [accuracy[i] for i in known], [value for value in found if math.isfinite(value)]
    failed = len(accuracy) - len(random) + len(found) - len(again)
    report: dict[str, Any] = {"failed": failed}
    if len(known) < LEAST or len(again) < 2:
        few = (
            f"{failed} trainings failed, too many" if failed else f"there are {len(known)} different networks, too few"
        )
        return {**report, "verdict": "unknown", "sentence": f"{few} to tell anything"}
    scores = {"reward": proxy.reward, "accuracy": proxy.accuracy, "loss": [-loss for loss in proxy.loss]}
    scores |= {name: list(values) for name, values in proxy.others.items()}
    taus = {name: rank_correlation([_or_last(values[i]) for i in known], random) for name, values in scores.items()}
    gap = difference(again, random)
    verdict = f"{standing(gap.low, gap.high)} random"
    beaten = sum(value < sum(again) / len(again) for value in random)
    sentence = _sentence(verdict, gap, beaten, len(random), epochs, taus[proxy.criterion])
    return {
        **report,
        "verdict": verdict,
        "sentence": sentence + (f"; {counted(failed, 'training')} failed" if failed else ""),
        "found_minus_random": dataclasses.asdict(gap),
        "beaten": beaten,
        "tau": {name: dataclasses.asdict(tau) for name, tau in taus.items()},
    }


def _or_last(value: float) -> float:
    return value if math.isfinite(value) else -math.inf


def _sentence(verdict: str, gap: Difference, beaten: int, count: int, epochs: int, tau: Tau) -> str:
    ranks = "how the proxy ranks them cannot be told, as all have one proxy score or one accuracy"
    if tau.tau is not None:
        ranks = f"the proxy ranks them with Kendall's tau {tau.tau:.2f} ({tau.low:.2f} to {tau.high:.2f})"
    return (
        f"the found architecture is {verdict}: after {counted(epochs, 'epoch')} of its own {100 * gap.mean:+.2f} "
        f"points of validation accuracy from the mean of {count} uniform ones (95 % interval {100 * gap.low:+.2f} to "
        f"{100 * gap.high:+.2f}), ahead of {beaten} of them; {ranks}"
    )
