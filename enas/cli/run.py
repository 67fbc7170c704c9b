"""`enas run`: search, retraining and reference in one command and one folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from enas import config, spaces
from enas.cli import options
from enas.cli.output import print_found, print_networks
from enas.cli.search import search_options, search_settings
from enas.cli.stopping import interruptible
from enas.config import RetrainConfig, RunConfig, SearchConfig
from enas.errors import UserError
from enas.jobs.auditing import with_audit
from enas.jobs.doing import Job, Place, Ready, begun, in_places_of, work
from enas.jobs.settings import costs_of_retrained
from enas.jobs.targets import REFERENCES, for_network, recipe
from enas.jobs.training import retraining, searching

if TYPE_CHECKING:
    from enas.data import DataSet

KIND = "run"
DERIVED = "retrain"  # folder of what the search found; a reference's has the reference's name
AUGMENTATION = (
    "crop_padding",
    "flip",
    "cutout",
    "trivial_augment",
)  # what of `data` may differ here


@click.command()
@search_options
@click.option("--reference", type=click.Choice(REFERENCES), help="also train this hand-drawn network the same way")
@click.option("--retrain-epochs", type=int, help="epochs of the retraining (default: the preset's)")
@click.option("--retrain-set", multiple=True, metavar="KEY=VALUE", help="any other setting of the retraining")
def run(
    print_config: bool,
    reference: str | None,
    retrain_epochs: int | None,
    retrain_set: tuple[str, ...],
    resume: Path | None,
    **given: Any,
) -> None:
    """Search, then retrain the result and, with --reference, a hand-drawn network with the same recipe.

    RUN holds the search, RUN/retrain what it found, RUN/resnet20 the reference. Settings are the search's, except
    --retrain-epochs and --retrain-set; seed, device and number format go for all.
    """
    others = (reference, retrain_epochs, retrain_set)
    assignments = (() if retrain_epochs is None else (f"epochs={retrain_epochs}",)) + retrain_set
    run_config, path = search_settings(resume=resume, others=others, **given)
    if run_config.evaluator == "table":
        raise UserError(
            "enas run must have images to retrain on, but --evaluator table has none; give enas search --evaluator "
            "table, then enas retrain RUN --data"
        )
    if resume is not None:
        retrain_config, reference = begun_run(path)
    else:
        retrain_config = planned_retraining(run_config, assignments)
        run_config = costs_of_retrained(run_config, retrain_config)
    if print_config:
        click.echo(options.to_toml(config.to_dict(run_config)))
        click.echo("# the retraining (--retrain-set):")
        click.echo("\n".join(f"# {line}" for line in options.to_toml(config.to_dict(retrain_config)).splitlines()))
        return
    config.check(run_config)  # before anything is written

    def job(place: Place[SearchConfig]) -> Ready[SearchConfig]:
        """The search, begun once it is known that what comes after it can be done."""
        from enas.runs import STEPS, STEPS_SCHEMA

        if place.resuming:
            return searching(place)
        planned = planned_retraining(run_config, assignments, place.images.input_shape[1])
        for name in filter(None, (DERIVED, reference)):
            _check_network(planned, reference if name == reference else None, place.images)
        steps = {"schema": STEPS_SCHEMA, "kind": KIND, "reference": reference, "retrain": config.to_dict(planned)}
        return dataclasses.replace(searching(place), beside={STEPS: steps})

    with interruptible(path, path / (reference or DERIVED)):
        _run(job, run_config, path, resuming=resume is not None)


def planned_retraining(
    run_config: SearchConfig, assignments: tuple[str, ...], side: int | None = None
) -> RetrainConfig:
    """The recipe for all networks, with everything about it checked that can be without images.

    side: of the images in pixels, where it is known.
    """
    shared = {field.name: getattr(run_config, field.name) for field in dataclasses.fields(RunConfig)}
    base = config.update(recipe(run_config, side=side), shared)
    try:
        found: RetrainConfig = config.from_text(base, assignments)
        config.check(found)
    except UserError as error:
        raise UserError(f"--retrain-set: {error}") from None
    augmentation = {name: getattr(base.data, name) for name in AUGMENTATION}
    if found.arch != base.arch or dataclasses.replace(found.data, **augmentation) != base.data:
        raise UserError(
            "--retrain-set must leave the architecture and the images to the search (of data, "
            f"{', '.join(AUGMENTATION)} may change), but got {' '.join(assignments)}"
        )
    return found


def begun_run(path: Path) -> tuple[RetrainConfig, str | None]:
    """Recipe and reference that the folder was begun with. Raises UserError where `enas run` did not begin it."""
    from enas.runs import STEPS, RunFolder

    steps = RunFolder(path).steps(KIND)
    if steps is None:
        raise UserError(f"{path} must be a folder of enas run, but it has no {STEPS} of one; try enas search --resume")
    reference = steps.get("reference")
    if reference is not None and reference not in REFERENCES:
        raise UserError(f"{path / STEPS} must name a reference of {', '.join(REFERENCES)}, but got {reference!r}")
    return config.update(RetrainConfig(), steps.get("retrain") or {}), reference


def _check_network(planned: RetrainConfig, reference: str | None, data: DataSet) -> None:
    """Raise UserError where no network can be trained as planned, whichever architecture the search finds."""
    from enas.data import augmentation
    from enas.retraining import network_space

    # how large a network is and where it has stages does not depend on the architecture, so any one will do
    space = spaces.build(planned.space, data.input_shape, data.num_classes)
    first = spaces.to_text(space, spaces.settled(space, [0] * len(space.decisions)))
    try:
        augmentation(planned.data, data.input_shape[1], data.augmentation.flip)
        scaled, arch = network_space(for_network(planned, first, reference), data)
        if planned.sgd.auxiliary_weight and scaled.graph(arch).auxiliary is None:
            raise UserError(
                "an auxiliary classifier needs a network of three stages, but this one has fewer; "
                "set sgd.auxiliary_weight=0"
            )
    except UserError as error:
        raise UserError(f"--retrain-set: {error}") from None


def _run(job: Job[SearchConfig], run_config: SearchConfig, path: Path, *, resuming: bool) -> None:
    from enas.runs import RunFolder

    found = with_audit(path, work(job, run_config, path, resuming=resuming))
    retrain_config, reference = begun_run(path)
    searched = RunFolder(path).config(SearchConfig())
    results = {}
    for name in filter(None, (DERIVED, reference)):
        one = for_network(retrain_config, found["text"], reference if name == reference else None)
        one = in_places_of(searched, one)
        stored = begun(RetrainConfig(), path / name, searched)
        if stored is not None:
            one = _asbegun_run(one, stored, path / name)
        results[name] = work(retraining, one, path / name, resuming=stored is not None, images=found["images"])
    print_found(path, found)
    print_networks(path, results)


def _asbegun_run(planned: RetrainConfig, stored: RetrainConfig, path: Path) -> RetrainConfig:
    """The configuration that a training was begun with. Raises UserError where it is not the planned one."""
    settled = {name: getattr(stored, name) for name in ("device", "precision", "threads")}  # by circumstances
    if config.update(planned, settled) != stored:
        raise UserError(
            f"{path} must hold the training that {path.parent} planned, but its settings are others; move it away"
        )
    return stored
