"""What every search's result file says, whatever judged its architectures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from enas import config, spaces
from enas.config import SearchConfig
from enas.objective import Objective, Scores
from enas.records import finite
from enas.runtime import Runtime, versions
from enas.spaces import SearchSpace

SCHEMA = 1  # of the result file


def class_report(scores: Scores, classes: Sequence[str]) -> dict[str, Any]:
    """What scores [1] that were counted by class say of each class, as JSON; accuracy: None for a class without images.

    balanced_accuracy: the mean of the classes' accuracies, each counting alike however many images it has.
    """
    assert scores.by_class is not None, "the scores must have been counted by class"
    images, right = scores.by_class[:, 0].tolist()
    found = [
        {"class": name, "images": count, "accuracy": hits / count if count else None}
        for name, count, hits in zip(classes, images, right, strict=True)
    ]
    known = [row["accuracy"] for row in found if row["accuracy"] is not None]
    return {"per_class": found, "balanced_accuracy": sum(known) / len(known)}


def search_result(
    run_config: SearchConfig,
    objective: Objective,
    space: SearchSpace,
    classes: Sequence[str],
    images: str,
    finalists: Sequence[Mapping[str, Any]],
    random_baseline: Mapping[str, Any] | None,
    archive: Sequence[Mapping[str, Any]],
    runtime: Runtime,
    flops: float,
    elapsed_s: float,
) -> dict[str, Any]:
    """The result file of a search, as strict JSON.

    images: the fingerprint of what judged: images, or a table. finalists: the best first, each with its
    architecture as `arch` (JSON) and `text`. random_baseline: how far the search is from chance, if it says so.
    archive: everything that was scored alike.
    flops: floating-point operations of all training and scoring (two for each multiply-accumulate).
    """
    best = finalists[0]
    return finite(  # type: ignore[no-any-return]
        {
            "schema": SCHEMA,
            "kind": "search",
            "evaluator": run_config.evaluator,
            "arch": best["arch"],
            "text": best["text"],
            "description": space.describe(spaces.from_json(best["arch"])),
            "space": config.to_dict(space.options),
            "input_shape": list(space.input_shape),
            "classes": list(classes),
            "images": images,
            "finalists": list(finalists),
            "random_baseline": random_baseline,
            "archive": list(archive),
            "costs": objective.report(spaces.from_json(best["arch"])),
            "config": config.to_dict(run_config),
            "seed": run_config.seed,
            "device": str(runtime.device),
            "precision": str(runtime.precision).removeprefix("torch."),
            "threads": runtime.threads,
            "versions": versions(runtime),
            "flops": flops,
            "elapsed_s": elapsed_s,
        }
    )
