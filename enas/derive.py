"""Choosing the final architecture, by code: sample many, score all on the same images, train the best few, and then
perhaps the best neighbours of the best.

Beside the policy's architectures stand as many uniform ones: a search says how far it got from chance.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import torch

from enas import checkpoint, finalists, searchers, spaces
from enas.data import random_batch
from enas.effects import Effects
from enas.graph import signature
from enas.network import Network
from enas.objective import Scores
from enas.phases import Search
from enas.plan import UNTRAINED_IMAGES, Work, untrained_images
from enas.records import DeriveRecord, Record, difference, spread
from enas.results import search_result
from enas.runtime import generator
from enas.scoring import ProxyScores
from enas.spaces import Architecture, LimitedSpace, SearchSpace
from enas.training import Batch
from enas.zero_cost import untrained, vote

SCORED_TOGETHER = 8  # architectures between two chances to save
EFFECTS_TOGETHER = 64  # the same on fewer images
KEPT = ("scores", "effects", "untrained")  # of what was found out to choose: an audit or a further round asks again


def derive(state: Search) -> Iterator[Record]:
    """Score, train the finalists, write the result. Continues where `state.derived` says it stopped."""
    if "finalists" not in state.derived:
        scored = _choose(state)
        state.advance(scored)
        state.save()
        yield scored
    yield from finalists.train(state)
    for number in range(finalists.last_round(state) + 1, state.config.derive.rounds + 1):
        if not _choose_near(state, number):
            break  # so would any further round
        state.save()
        yield from finalists.train(state)
    checkpoint.write_json(state.folder.result, _result(state))


def _choose(state: Search) -> DeriveRecord:
    """Score the policy's and uniform architectures on the whole validation set and pick the finalists."""
    settings = state.config.derive
    draws = state.draws("derive")
    policy = state.searcher.sample(settings.samples, draws)
    random = searchers.uniform(state.space, settings.random, draws)
    effects = _measured_effects(state) if settings.criterion == "effects" else None
    # the best by effects need not be among those that the policy happened to give
    extra = [] if effects is None else _best(state.space, effects, policy + random, settings.finalists)
    extra += [spaces.parse(state.space, text) for text in state.derived.get("known", ())]
    everyone = policy + random + extra
    found = _score(state, everyone)
    scores = ProxyScores(state, everyone, found, criteria(state, everyone, found, effects))
    by_policy, by_random = scores.accuracy[: len(policy)], scores.accuracy[len(policy) :][: len(random)]
    # the same network, whatever its weights are called, is worth one place
    candidates = [*range(len(policy)), *range(len(policy) + len(random), len(everyone))]
    networks = {signature(state.evaluator.graph(everyone[i])): i for i in reversed(candidates)}
    best = scores.ranked(networks.values())[: settings.finalists]
    gap = difference(by_policy, by_random)
    state.derived = {
        **{name: found for name, found in state.derived.items() if name in KEPT},
        "criterion": scores.criterion,
        "finalists": [scores.row(i) for i in best],
        "archive": scores.archive(range(len(policy), len(policy) + len(random))),
        "random_baseline": {
            "images": scores.images,
            "random": {"count": len(by_random), **spread(by_random)},
            "controller": {"count": len(by_policy), "distinct": _distinct(state, policy), **spread(by_policy)},
            "controller_minus_random": dataclasses.asdict(gap),
        },
    }
    return DeriveRecord(
        images=scores.images,
        scored=len(set(everyone)),
        controller_proxy_accuracy=sum(by_policy) / len(by_policy),
        random_proxy_accuracy=sum(by_random) / len(by_random),
        controller_minus_random=gap,
        flops=state.flops,
        elapsed_s=state.elapsed_s,
    )


def _choose_near(state: Search, number: int) -> int:
    """Add the finalists of a further round, and all that was scored for them; returns how many finalists.

    What they are ranked by is asked of them among all that were scored before; of those before nothing changes.
    """
    known, near = state.derived["archive"], finalists.neighbours(state)
    scored = [spaces.parse(state.space, row["text"]) for row in known]
    everyone = list(dict.fromkeys([*scored, *near]))
    found = _score(state, everyone)
    scores = ProxyScores(state, everyone, found, criteria(state, everyone, found))
    candidates = set(near)
    best = scores.ranked(i for i, arch in enumerate(everyone) if arch in candidates)[: state.config.derive.finalists]
    state.derived["finalists"] += [{**scores.row(i), "round": number} for i in best]
    state.derived["archive"] += scores.archive(range(0))[len(known) :]
    return len(best)


def _distinct(state: Search, archs: list[Architecture]) -> int:
    return len({signature(state.evaluator.graph(arch)) for arch in archs})


def criteria(
    state: Search, archs: list[Architecture], scores: Scores, effects: Effects | None = None
) -> dict[str, list[float]]:
    """What a search ranks architectures by beside their own rewards, the deciding figure last; empty where it does not.

    effects: those of the search, where they are at hand. What is found out is kept in `state.derived`.
    """
    criterion = state.config.derive.criterion
    if criterion == "effects":
        return {"effects": (effects or _measured_effects(state)).predict(archs).tolist()}
    if criterion == "vote":
        free = _untrained(state, archs)
        return {**free, "vote": vote(scores.known_loss.numpy(), free["naswot"], free["synflow"]).tolist()}
    return {}


def _measured_effects(state: Search) -> Effects:
    """The effects of choices on the loss, from uniform architectures on some validation images."""
    settings = state.config.derive
    archs = searchers.uniform(state.space, settings.effects_from, state.draws("effects"))
    batches = state.validation_part(settings.effects_images, "effects images")
    scores = _scored(state, "effects", archs, batches, EFFECTS_TOGETHER)
    return Effects(state.space, archs, -scores.known_loss.log())


def _best(space: SearchSpace, effects: Effects, archs: list[Architecture], count: int) -> list[Architecture]:
    """The best networks by effects around the best that climbing from the best of `archs` finds, the best one first.

    That is the best of all where every decision is active and there is no limit. Within limits one choice has to be
    cheaper before another can be dearer: two change at once.
    """
    start = archs[int(effects.predict(archs).argmax())]
    at_once = 2 if isinstance(space, LimitedSpace) else 1
    best = searchers.climbed(space, start, lambda archs: effects.predict(archs).tolist(), at_once)
    near = list(dict.fromkeys([best, *searchers.near(space, best, 2)]))
    networks: dict[str, Architecture] = {}
    for i in effects.predict(near).argsort(descending=True, stable=True).tolist():
        if len(networks) < count and spaces.allows(space, near[i]):
            networks.setdefault(signature(space.graph(near[i])), near[i])
    return list(networks.values())


def _untrained(state: Search, archs: list[Architecture]) -> dict[str, list[float]]:
    """What zero-cost proxies say of each architecture: of weights that follow from the run's seed and its text."""
    done: dict[str, dict[str, float]] = state.derived.setdefault("untrained", {})
    images, _ = random_batch(
        state.seen.train, UNTRAINED_IMAGES, state.data.mean, state.data.std, state.draws("naswot images")
    )
    texts, worth = [spaces.to_text(state.space, arch) for arch in archs], untrained_images(len(state.train))
    for text, arch in zip(texts, archs, strict=True):
        if text in done:
            continue
        graph = state.evaluator.graph(arch)
        network = Network(graph, generator(state.config.seed, f"untrained/{text}")).to(state.runtime.device)
        done[text] = untrained(network, images)
        state.evaluator.macs += worth * state.macs(arch)
        state.report(Work(scoring=worth))
        state.keeper.tick()
    return {name: [done[text][name] for text in texts] for name in ("naswot", "synflow")}


def _score(state: Search, archs: list[Architecture]) -> Scores:
    """Proxy scores on the whole validation set."""
    return _scored(state, "scores", archs, state.validation_batches(), SCORED_TOGETHER)


def _scored(state: Search, name: str, archs: list[Architecture], batches: list[Batch], together: int) -> Scores:
    """Proxy scores, some architectures at a time: what is done is kept under `name`."""
    done: dict[str, tuple[float, float]] = state.derived.setdefault(name, {})
    texts = {arch: spaces.to_text(state.space, arch) for arch in archs}
    todo = [arch for arch, text in texts.items() if text not in done]
    for first in range(0, len(todo), together):
        part = todo[first : first + together]
        scores = state.evaluator.score(part, batches, lambda images: state.report(Work(scoring=images)))
        found = zip(scores.accuracy.tolist(), scores.known_loss.tolist(), strict=True)
        done.update(zip((texts[arch] for arch in part), found, strict=True))
        state.keeper.tick()
    accuracy, loss = torch.tensor([done[texts[arch]] for arch in archs]).T
    return Scores(accuracy, loss, sum(len(labels) for _, labels in batches))


def _result(state: Search) -> dict[str, Any]:
    by = state.derived["criterion"], state.config.derive.finalist_criterion
    return search_result(
        state.config,
        state.objective,
        state.space,
        state.data.classes,
        state.identity["images"],
        sorted(state.derived["finalists"], key=lambda finalist: finalists.standing(finalist, *by), reverse=True),
        state.derived["random_baseline"],
        state.derived["archive"],
        state.runtime,
        state.flops,
        state.elapsed_s,
    )
