"""Learning curves of a search, and what it chose when."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from enas import draw
from enas.draw import Line
from enas.report.blocks import Block, Picture, Pictures, Section, Text
from enas.report.what import Searched, Values
from enas.spaces import SearchSpace
from enas.words import SHORTLY, counted

MOST_DECISIONS = 6  # whose probabilities are drawn one by one


def curve(
    name: str,
    lines: Sequence[Line],
    along: str,
    what: str,
    caption: str,
    *,
    zero: bool = False,
    percent: bool = False,
    shaded: float = 0.0,
) -> Picture:
    """One panel with what one sees on it. name: of the picture, unique on the page."""
    figure = draw.curves_figure(lines, along, what, zero=zero, percent=percent, shaded=shaded)
    return Picture(draw.svg(figure, name, f"{what} over {along}"), caption)


def curves_section(run: Searched) -> Section:
    """How the search went, epoch by epoch or generation by generation."""
    epochs, generations = run.of_kind("epoch"), run.of_kind("generation")
    panels = _of_epochs(epochs) if epochs else _of_generations(generations) if generations else []
    return Section("Learning curves", [Pictures(panels)] if panels else [])


def gaps_section(searches: Mapping[str, Searched]) -> Section:
    """The difference from random of several searches, over their epochs."""
    lines = [
        Line(name, _epochs(epochs), [record["controller_minus_random"]["mean"] for record in epochs])
        for name, search in searches.items()
        if (epochs := search.of_kind("epoch"))
    ]
    if not lines:
        return Section("Learning curves", [])
    caption = (
        "Mean proxy accuracy of a small sample of each search's architectures minus that of uniform ones, after each "
        f"epoch; above 0 the search is ahead of chance. {SHORTLY}"
    )
    return Section(
        "Learning curves",
        [Pictures([curve("gaps-", lines, "epoch", "difference from random", caption, zero=True, percent=True)])],
    )


def choices_section(run: Searched) -> Section:
    """What the search chose over time: by groups of decisions, and the decisions it is surest about."""
    records = run.of_kind("epoch", "generation")
    history = draw.choice_history(records)
    if not history:
        return Section("Choices over time", [])
    along = "epoch" if run.shares_weights else "generation"
    label = f"share of each choice after each {along}"
    pictures = [
        Picture(
            draw.svg(draw.choices_figure(history, along=along), "choices-", label),
            f"How often a sample of the searcher's architectures makes each choice, after each {along} from left to "
            "right; dark is often. Equal rows in a group mean that nothing is decided"
            + (", as in warm-up, where architectures are uniform." if run.shares_weights else "."),
        )
    ]
    decided = {} if run.space is None else _decided(records, run.space)
    if decided:
        single = [{name: shares[i] for name, shares in decided.items()} for i in range(len(records))]
        figure = draw.choices_figure(single, "mean probability", along)
        pictures.append(
            Picture(
                draw.svg(figure, "probabilities-", f"probabilities of single decisions after each {along}"),
                f"Probabilities of the {len(decided)} decisions that the searcher is surest about at the end, each "
                f"the mean over the same sample, after each {along}. They are the searcher's preferences under its "
                "rewards, no measure of how good a choice is.",
            )
        )
    blocks: list[Block] = [Text(f"Warning: {records[-1]['warning']}.", strong=True)] if records[-1]["warning"] else []
    blocks += [
        Text(f"At the beginning of epoch {record['epoch'] + 1}: {record['change']}.")
        for record in records
        if record.get("change")
    ]
    return Section("Choices over time", [*blocks, *(Pictures([picture]) for picture in pictures)])


def _decided(records: Sequence[Values], space: SearchSpace) -> dict[str, list[dict[str, float]]]:
    """The probabilities of a few decisions in each record: those with the least entropy in the last one.

    Decisions that a record has no probabilities of are left out.
    """
    labels = {decision.name: decision.labels for decision in space.decisions}
    known = {
        name: [record["probabilities"].get(name) for record in records] for name in labels if len(labels[name]) > 1
    }
    known = {
        name: history
        for name, history in known.items()
        if all(shares is not None and len(shares) == len(labels[name]) for shares in history)
    }

    def openness(name: str) -> float:
        shares: list[float] = known[name][-1]
        return -sum(p * math.log(p) for p in shares if p > 0) / math.log(len(shares))

    surest = sorted(known, key=openness)[:MOST_DECISIONS]
    order = [name for name in labels if name in surest]
    return {
        name: [dict(zip(labels[name], map(float, shares), strict=True)) for shares in known[name]] for name in order
    }


def _of_epochs(records: Sequence[Values]) -> list[Picture]:
    """A search with shared weights."""
    x = _epochs(records)
    warmup = max((record["epoch"] + 1 for record in records if record["warmup"]), default=0)
    rest = f" Grey: {counted(warmup, 'epoch')} of warm-up, in which the searcher rests." if warmup else ""

    def of(key: str) -> list[Any]:
        return [record[key] for record in records]

    gaps = of("controller_minus_random")
    gap = Line("", x, *([each[name] for each in gaps] for name in ("mean", "low", "high")))
    panels = []
    if any(value is not None for value in of("train_loss")):
        panels.append(
            curve(
                "loss-",
                [Line("", x, of("train_loss"))],
                "epoch",
                "training loss",
                "Mean cross-entropy in nats of the sampled architectures under the shared weights, on augmented "
                f"training images.{rest}",
                shaded=warmup,
            )
        )
    panels += [
        curve("proxy-",
              [Line("search", x, of("controller_proxy_accuracy")), Line("uniform", x, of("random_proxy_accuracy"))],
              "epoch", "proxy accuracy",
              f"Means of a small sample of the search's architectures and of a uniform one, on the same validation "
              f"images.{rest} {SHORTLY}", percent=True, shaded=warmup),
        curve("gap-", [gap], "epoch", "search minus uniform",
              "The difference of these two means with its 95 % interval in grey: where the interval includes 0, the "
              "epoch's sample is no better than random.", zero=True, percent=True, shaded=warmup),
        curve("entropy-", _entropies(records, x), "epoch", "entropy, share of uniform",
              "What the searcher leaves open: 100 % is the entropy of uniform choice, 0 % a single architecture.",
              percent=True, shaded=warmup),
    ]  # fmt: skip
    if any(value is not None for value in of("reward")):
        lines = [Line("reward", x, of("reward")), Line("baseline", x, of("baseline"))]
        panels.append(
            curve("reward-", lines, "epoch", "reward",
                  "Mean reward of the architectures that the searcher learned from in each epoch, and the baseline "
                  "that they were compared with. Rewards come from proxy scores and, with targets, from costs.",
                  shaded=warmup)
        )  # fmt: skip
    return panels


def _of_generations(records: Sequence[Values]) -> list[Picture]:
    """A search that judges each architecture by itself."""
    x = [record["evaluations"] for record in records]
    lines = [Line("mean of a generation", x, [record["reward"] for record in records])]
    lines.append(Line("best so far", x, [record["best_reward"] for record in records]))
    along = "networks judged"
    return [
        curve("reward-", lines, along, "reward",
              "Mean reward of each generation and the best reward so far. The best can only rise, with any searcher: "
              "that the mean rises says that the searcher learns."),
        curve("accuracy-", [Line("", x, [record["best_accuracy"] for record in records])], along,
              "validation accuracy of the best",
              "Validation accuracy of the network with the best reward so far: its own after a training of its own, "
              "or a table's; no proxy accuracy of shared weights.", percent=True),
        curve("entropy-", _entropies(records, x), along, "entropy, share of uniform",
              "What the searcher leaves open: 100 % is the entropy of uniform choice, 0 % a single architecture.",
              percent=True),
    ]  # fmt: skip


def _epochs(records: Sequence[Values]) -> list[int]:
    return [record["epoch"] + 1 for record in records]


def _entropies(records: Sequence[Values], x: Sequence[float]) -> list[Line]:
    """Of all decisions, and of each group where there are several."""
    groups = list(records[0]["entropy_shares"])
    lines = [Line("all" if len(groups) > 1 else "", x, [record["entropy_share"] for record in records])]
    if len(groups) > 1:
        for group in groups:
            lines.append(Line(group, x, [record["entropy_shares"].get(group) for record in records]))
    return lines
