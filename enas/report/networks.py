"""Networks that were trained from scratch, beside each other."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from enas.config import RetrainConfig
from enas.draw import Line
from enas.records import NORMAL, standing
from enas.report.blocks import Block, Cell, Pictures, Row, Section, Table, Text
from enas.report.curves import curve
from enas.report.what import Trained
from enas.words import NONE, duration, interval, listed, percent, points, whole

FOUND = "retrain"  # the folder of what the search found


def compared(trained: Sequence[Trained]) -> list[str]:
    """What finished trainings say of the found network (in `retrain`) and of the others."""
    done = [run for run in trained if run.result is not None]
    if not done:
        return []
    figures = listed([f"{called(run.name)} {percent(run.result['test_accuracy'])}" for run in done if run.result])
    images = whole(done[0].result["test_images"], "test images") if done[0].result else ""
    sentence = f"Trained from scratch and tested once on {images}: {figures} test accuracy."
    first, others = done[0], done[1:]
    if first.name != FOUND or not others:
        return [f"{sentence} One training each (n = 1)."]
    gaps = [_gap(first, other) for other in others]
    same = all(recipe(first.config) == recipe(other.config) for other in others)
    return [
        f"{sentence} {' '.join(gaps)} One training each (n = 1), "
        + ("with one recipe" if same else "with recipes that differ, see the configurations in their folders")
        + ": the intervals are about the test images alone, and another seed would move the figures further."
    ]


def recipe(config: RetrainConfig) -> RetrainConfig:
    """The configuration without what makes a network another one, and without where its images lie."""
    data = dataclasses.replace(config.data, name=None, folder=None)
    plain = RetrainConfig()
    return dataclasses.replace(config, arch=plain.arch, space=plain.space, width=None, depth=None, data=data)


def called(name: str) -> str:
    """What a training's folder stands for."""
    return "the found network" if name == FOUND else name


def _gap(found: Trained, other: Trained) -> str:
    """The difference of two test accuracies, and how far the number of images alone makes it uncertain."""
    assert found.result is not None and other.result is not None
    accuracies = [result["test_accuracy"] for result in (found.result, other.result)]
    if None in accuracies:
        return ""
    images = min(found.result["test_images"], other.result["test_images"])
    gap = accuracies[0] - accuracies[1]
    half = NORMAL * math.sqrt(sum(p * (1 - p) / images for p in accuracies))
    low, high = gap - half, gap + half
    words = standing(low, high, between="not shown to be better or worse than")
    bounds = interval({"low": low, "high": high})
    return f"The found network is {words} {other.name}: {points(gap)}, 95 % interval {bounds}."


def networks_section(trained: Sequence[Trained]) -> Section:
    """Their figures in a table, and how they learned."""
    if not trained:
        return Section("Trained networks", ())
    head = ("network", "architecture", "test accuracy", "test loss", "parameters", "MACs", "epochs", "time")
    blocks: list[Block] = [
        Text("Each network was trained from scratch on all training images; its test images were read once."),
        Table(head, [_row(run) for run in trained]),
        *training_curves(trained),
    ]
    return Section("Trained networks", blocks)


def _row(run: Trained) -> Row:
    arch, epochs = Cell(run.config.arch, code=True), whole(run.config.epochs)
    if run.result is None:
        return [called(run.name), arch, "not finished", NONE, NONE, NONE, f"{len(run.records)} of {epochs}", NONE]
    result = run.result
    loss = NONE if result["test_loss"] is None else f"{result['test_loss']:.4f}"
    accuracy, counts = percent(result["test_accuracy"]), (whole(result["params"]), whole(result["macs"]))
    return [called(run.name), arch, accuracy, loss, *counts, epochs, duration(result["elapsed_s"])]


def training_curves(trained: Sequence[Trained]) -> list[Block]:
    """Loss and accuracy on training images, over epochs."""
    known = [run for run in trained if run.records]
    if not known:
        return []
    panels = []
    for name, what, caption in (
        ("train_loss", "training loss", "Mean cross-entropy in nats on augmented training images"),
        ("train_accuracy", "training accuracy", "Share of right answers on augmented training images"),
    ):
        lines = [
            Line(
                called(run.name) if len(known) > 1 else "",
                [record["epoch"] + 1 for record in run.records],
                [record[name] for record in run.records],
            )
            for run in known
        ]
        text = f"{caption}, after each epoch; not on the test images, which are read once at the end."
        panels.append(curve(f"{name}-", lines, "epoch", what, text, percent=name == "train_accuracy"))
    return [Pictures(panels)]
