"""Sections about one search: architecture, costs, finalists, random ones, fronts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from enas import draw
from enas.pareto import front
from enas.report.blocks import Block, Cell, Code, Lines, Picture, Pictures, Row, Section, Table, Text
from enas.report.what import Searched, Values
from enas.spaces import Architecture, SearchSpace
from enas.words import (
    NONE,
    SHORTLY,
    UNITS,
    cost_number,
    counted,
    deviation,
    duration,
    failed_finalists,
    finalist_training,
    interval,
    large,
    number,
    percent,
    points,
    whole,
)

# What a finalist may have been scored by, in this order: the head of its column, and how it is written.
SCORES: dict[str, tuple[str, Callable[[Any], str]]] = {
    "standalone_accuracy": ("validation accuracy, own training", percent),
    "training_loss": ("training loss", number),
    "round": ("round", lambda number: whole(number or 1)),
    "rungs": ("after epochs", lambda rungs: whole(rungs[-1]["epochs"] if rungs else None)),
    "accuracy": ("validation accuracy", percent),
    "true_accuracy": ("true test accuracy", percent),
    "true_rank": ("true rank", whole),
    "proxy_accuracy": ("proxy accuracy", percent),
    "proxy_loss": ("proxy loss", number),
    "loss": ("validation loss", number),
    "reward": ("reward", number),
    "naswot": ("naswot", number),
    "synflow": ("synflow", number),
    "vote": ("vote", number),
    "effects": ("effects", number),
}
TRUTHS = {"params": "parameters", "macs": "MACs"}
NO_SCORES = ("arch", "text", "costs", "ranked", *TRUTHS)
MEANINGS = {
    "standalone_accuracy": "own training: a short one, one seed",
    "training_loss": "training loss: mean of that training's last epoch",
    "proxy_loss": "proxy loss: mean cross-entropy in nats under shared weights",
    "naswot": "naswot: how differently the untrained network sees different images",
    "synflow": "synflow: how much of a signal reaches the untrained network's end",
    "vote": "vote: weighted mean of the ranks by loss, naswot and synflow",
    "effects": "effects: the fitted effects of its choices on the loss",
    "true_accuracy": "true: as the table has it, which the search did not see",
}
SAME_FIGURE = "true: the table has one accuracy of each network, so this is its validation accuracy too"


def architecture_section(space: SearchSpace | None, arch: Architecture | None, text: str | None) -> Section:
    """The architecture's picture, in words and as text."""
    if space is None or arch is None:
        far = Text("The best of the last record; not the answer, which comes at the end. Its picture needs the result.")
        return Section("The architecture so far", [far, Code(text, wrapped=True)] if text else [])
    sketches = space.sketches(arch)
    picture = Picture(
        draw.svg(draw.architecture_figure(sketches), "arch-", f"the architecture {text}"),
        "The network from the images to the classifier; colours stand for operations, the same in every picture. "
        "Only what was chosen is drawn: the other operations of the search space are not part of it.",
    )
    blocks: list[Block] = [
        Pictures([picture]),
        Lines(space.describe(arch)),
        Code(text or "", wrapped=True),
        Code(draw.architecture_text(sketches), "The same as plain text"),
        Code(json.dumps(arch.to_json()), "The same as JSON", wrapped=True),
    ]
    return Section("The architecture", blocks)


def costs_section(run: Searched) -> Section:
    """What the found network costs, and what the search has cost."""
    blocks: list[Block] = []
    if run.result is not None:
        blocks.append(_network_costs(run.result))
    last = run.records[-1] if run.records else {}
    spent = run.result or last
    rows = [("time", duration(spent["elapsed_s"]))] if "elapsed_s" in spent else []
    if spent.get("flops"):
        whose = "" if run.shares_weights else ", of all trainings, whoever made them"
        rows.append((f"floating-point operations{whose}", large(spent["flops"], "FLOP")))
    if run.result is not None:
        threads = f", {counted(run.result['threads'], 'thread')}" if run.result["device"] == "cpu" else ""
        rows.append(("device", f"{run.result['device']}, {run.result['precision']}{threads}"))
        audit = run.result.get("audit")
        if audit is not None:
            rows.append(("audit, on top", f"{duration(audit['elapsed_s'])}, {large(audit['flops'], 'FLOP')}"))
    if rows:
        blocks.append(Table(("the search", ""), rows))
    return Section("Costs", blocks)


def _network_costs(result: Values) -> Table:
    best, report = result["finalists"][0], result.get("costs")
    rows: list[list[str]] = []
    for name, unit in TRUTHS.items():
        rows.append([f"{unit}, as searched", whole(best[name]), NONE, NONE])
    sizes = {} if report is None else {n: report[n] for n in ("width", "depth") if report[n] is not None}
    for name, each in ({} if report is None else report["costs"]).items():
        unit, bounds = UNITS.get(name, name), [cost_number(each["limit"]), cost_number(each["target"])]
        if sizes or name not in TRUTHS:
            at = ", ".join(f"{key} {value}" for key, value in sizes.items())
            rows.append([f"{unit}{f', at {at}' if at else ''}", cost_number(each["found"]), *bounds])
        else:
            rows[list(TRUTHS).index(name)][2:] = bounds
    if report is None:
        return Table(("the found network, for one image", ""), [row[:2] for row in rows])
    return Table(("the found network, for one image", "found", "limit (at most)", "target"), rows)


def finalists_section(run: Searched) -> Section:
    """Every finalist with all its scores; of an unfinished search those that are trained."""
    if run.result is None:
        records = run.of_kind("finalist")
        rows: list[Row] = [
            [*map(whole, (record["rank"], record.get("round", 1))), percent(record["standalone_accuracy"]),
             number(record.get("training_loss")), percent(record["proxy_accuracy"]), Cell(record["arch"], code=True)]
            for record in records
        ]  # fmt: skip
        figures = [SCORES[name][0] for name in ("standalone_accuracy", "training_loss", "proxy_accuracy")]
        head = ("finalist", "round", *figures, "architecture")
        return Section("Finalists so far", [Table(head, rows), Text(SHORTLY)] if rows else [])
    finalists = run.result["finalists"]
    unknown = [key for key in finalists[0] if key not in SCORES and key not in NO_SCORES]
    keys = [key for key in [*SCORES, *unknown] if any(key in finalist for finalist in finalists)]
    columns = ["rank", *(SCORES.get(key, (key, number))[0] for key in keys), *TRUTHS.values(), "architecture"]
    table: list[Row] = [
        [
            "found" if rank == 0 else whole(rank + 1),
            *(_score(key, finalist.get(key)) for key in keys),
            *(whole(finalist[name]) for name in TRUTHS),
            Cell(finalist["text"], code=True),
        ]
        for rank, finalist in enumerate(finalists)
    ]
    meanings = {**MEANINGS, **({"true_accuracy": SAME_FIGURE} if run.sees_truth else {})}
    if "synflow" not in keys:  # as earlier versions voted
        meanings["vote"] = "vote: mean of the ranks by loss and naswot"
    notes = [meanings[key] for key in keys if key in meanings]
    notes = [f"In short: {'; '.join(notes)}."] if notes else []
    trained = any(finalist.get("standalone_accuracy") is not None for finalist in finalists)
    training = f" after its own training{finalist_training(run.result['config']['derive'])}" if trained else ""
    by = f"The best{training} comes first: it is the one that was found."
    if "proxy_accuracy" in keys:
        by += f" {SHORTLY}"
    if failures := failed_finalists(finalists):
        by += f" {failures}."
    return Section("Finalists", [Text(by), Table(columns, table), *map(Text, notes)])


def _score(key: str, value: Any) -> str:
    if key in SCORES:
        return SCORES[key][1](value)
    if value is not None and not isinstance(value, int | float):
        return str(value)
    return whole(value) if isinstance(value, int) else number(value)


def random_section(run: Searched) -> Section:
    """The search beside chance: proxy scores of both, and the audit."""
    blocks: list[Block] = []
    baseline = (run.result or {}).get("random_baseline")
    if baseline is not None:
        rows = [
            [words, *(whole(each.get(key)) for key in ("count", "distinct")),
             percent(each["mean"]), deviation(each["sd"]), percent(each["best"])]
            for words, each in (("the search's", baseline["controller"]), ("uniform", baseline["random"]))
        ]  # fmt: skip
        gap = baseline["controller_minus_random"]
        blocks += [
            Table(("architectures", "number", "different networks", "mean proxy accuracy", "sd", "best"), rows),
            Text(
                f"Difference of the means {points(gap['mean'])}, 95 % interval {interval(gap)} (Welch), on "
                f"{whole(baseline['images'], 'validation images')}. {SHORTLY}"
            ),
        ]
    report = (run.result or {}).get("audit")
    if report is not None:
        blocks += _audit(report)
    return Section("Beside random architectures", blocks)


def _audit(report: Values) -> list[Block]:
    """Networks that were trained on their own."""
    blocks: list[Block] = [Text(f"Audit: {report['sentence']}.", strong=True)]
    again = report["found"]["standalone_accuracy"]
    rows: list[Row] = [["found", percent(value), NONE, Cell(report["found"]["text"], code=True)] for value in again]
    rows += [
        ["uniform", percent(row["standalone_accuracy"]), percent(row["proxy_accuracy"]), Cell(row["text"], code=True)]
        for row in report["random"]
    ]
    known = [value for value in again if value is not None]
    figure = draw.scatter_figure(
        [
            (row["proxy_accuracy"], row["standalone_accuracy"])
            for row in report["random"]
            if None not in (row["proxy_accuracy"], row["standalone_accuracy"])
        ],
        sum(known) / len(known) if known else None,
        "proxy accuracy",
        "accuracy, own training",
    )
    caption = (
        f"Each point is a uniform architecture after {counted(report['epochs'], 'epoch')} of its own, over its proxy "
        "accuracy; the dashed line is the mean of the found one's trainings. Points that rise to the right mean that "
        "the proxy ranks them well; its scale says nothing about trained networks."
    )
    blocks.append(Pictures([Picture(draw.svg(figure, "audit-", "proxy accuracy and own training"), caption)]))
    if "tau" in report:
        taus = [
            [name + (" (the search chose by it)" if name == report["criterion"] else ""), number(tau["tau"], 2),
             f"{number(tau['low'], 2)} to {number(tau['high'], 2)}"]
            for name, tau in report["tau"].items()
        ]  # fmt: skip
        blocks.append(Table(("proxy", "Kendall's tau", "95 % interval"), taus, "How well each figure ranks them"))
    head = ("", "validation accuracy, own training", "proxy accuracy", "architecture")
    images = whole(report["validation_images"], "validation images")
    caption = f"Each trained for {counted(report['epochs'], 'epoch')} and judged by {images}"
    return [*blocks, Table(head, rows, caption)]


def fronts_section(run: Searched) -> Section:
    """Everything that was scored alike, over each cost."""
    rows: Sequence[Mapping[str, Any]] = (run.result or {}).get("archive") or ()
    if run.result is None or not rows:
        return Section("Accuracy over costs", [])
    value = "proxy_accuracy" if "proxy_accuracy" in rows[0] else "accuracy"
    what = draw.NAMES[value]
    scored = "looked up in the table" if run.looks_up else "scored on all validation images"
    pictures, tables = [], []
    for name in rows[0]["costs"]:
        alone = [{**row, "costs": {name: row["costs"][name]}} for row in rows]
        unit = UNITS.get(name, name)
        pictures.append(
            Picture(
                draw.svg(draw.fronts_figure(alone, [run.result["text"]]), f"front-{name}-", f"{what} over {unit}"),
                f"{what.capitalize()} of everything that was {scored}, over {unit}. The front "
                "are those that nothing cheaper reaches; the circle is what was found"
                + (", which was chosen after a training of its own." if value == "proxy_accuracy" else "."),
            )
        )
        best = [rows[i] for i in front(rows, name, value)]
        table: list[Row] = [
            [cost_number(row["costs"][name]), percent(row[value]), Cell(row["text"], code=True)] for row in best
        ]
        tables.append(Table((unit, what, "architecture"), table, f"The front over {unit}"))
    notes = [Text(SHORTLY)] if value == "proxy_accuracy" else []
    return Section("Accuracy over costs (Pareto)", [Pictures(pictures), *notes, *tables])
