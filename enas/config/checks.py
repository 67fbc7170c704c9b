"""Settings that are possible alone but not together."""

from __future__ import annotations

import dataclasses

from enas.config.budget import parse_budget
from enas.config.deriving import OF_FINALISTS
from enas.config.settings import RetrainConfig, SearchConfig
from enas.config.spaces import ChainOptions
from enas.config.training import SgdConfig, WeightsConfig
from enas.errors import UserError

WEIGHTS_SIZE, FINALISTS_SIZE = "weights.image_size", "derive.finalist_image_size"


def check(config: SearchConfig | RetrainConfig) -> None:
    """Raise UserError for settings that are possible alone but not together."""
    sections: dict[str, SgdConfig] = (
        {"weights": config.weights, "full_training.sgd": config.full_training.sgd}
        if isinstance(config, SearchConfig)
        else {"sgd": config.sgd}
    )
    for section, sgd in sections.items():
        if sgd.lr_min <= sgd.lr_max:
            continue
        raise UserError(
            f"the lowest learning rate must not be above the highest, but got lr_min {sgd.lr_min:g} and lr_max "
            f"{sgd.lr_max:g}; give --set {section}.lr_min=... too"
        )
    if isinstance(config.space, ChainOptions):
        config.space.check()
    if isinstance(config, SearchConfig):
        _check_evaluator(config)
        _check_costs(config)
        _check_source(config)
        _check_sampling(config)
        _check_splits(config)
        check_image_size(config.weights.image_size, config.data.image_size)
        check_image_size(config.derive.finalist_image_size, config.data.image_size, FINALISTS_SIZE)
        _check_audit(config)
        _check_finalists(config)
    if isinstance(config, SearchConfig) and config.budget is not None:
        parse_budget(config.budget)
    elif isinstance(config, SearchConfig) and config.evaluator == "shared-weights" and config.learns:
        warmup = config.controller.warmup_epochs
        if warmup >= config.epochs:
            raise UserError(
                f"the controller must have epochs to learn in, but all {config.epochs} are warm-up "
                f"(controller.warmup_epochs is {warmup}); give more --epochs or --set controller.warmup_epochs=..."
            )


def _check_evaluator(config: SearchConfig) -> None:
    """Raise UserError where settings do not suit what judges the architectures."""
    if (config.evaluator == "table") != (config.table is not None):
        raise UserError(
            f"--table FILE goes with --evaluator table and with no other, but got evaluator {config.evaluator} and "
            f"table {config.table or 'none'}; give both or neither"
        )
    if config.evaluator == "table" and config.objective.metric == "loss":
        raise UserError("--reward must be accuracy with --evaluator table, because a table holds no losses")
    alone = config.searcher == "reinforce" and config.controller.advantage == "leave-one-out"
    if config.evaluator != "shared-weights" and config.generation == 1 and alone:
        raise UserError(
            "--generation must be at least 2 with searcher reinforce, which compares the architectures of a generation "
            "with each other, but got 1; give more, or --set controller.advantage=moving-average"
        )
    if config.full_training.ray_address is not None and config.full_training.executor != "ray":
        raise UserError(
            f"--ray-address goes with --executor ray, but got {config.full_training.ray_address} with executor "
            f"{config.full_training.executor}; give --executor ray too"
        )
    if config.evaluator != "shared-weights" and config.budget is not None:
        raise UserError(
            f"--budget sizes the search with shared weights only, but got evaluator {config.evaluator}; "
            "give --evaluations instead"
        )


def _check_costs(config: SearchConfig) -> None:
    """Raise UserError where a size is given for costs that nothing heeds."""
    objective = config.objective
    if "latency_ms" in {*objective.limits, *objective.targets} and objective.profile is None:
        raise UserError(
            "a limit or target of latency_ms needs the times of a machine, but there is no profile; make one with enas "
            "profile and give --profile FILE"
        )
    for name in ("width", "depth"):
        if getattr(objective, name) is not None and not objective.heeds_costs:
            raise UserError(
                f"objective.{name} is about the networks whose costs count, but there is no limit, target or profile; "
                "give --limit, --target or --profile too, or leave it out"
            )


def _check_source(config: SearchConfig) -> None:
    """Raise UserError for settings of a training of shared weights that does not happen."""
    if config.weights.source is None:
        return
    if config.evaluator != "shared-weights":
        raise UserError(
            f"weights.source has shared weights, but evaluator {config.evaluator} uses none; leave one of them out"
        )
    if config.learns and config.controller.warmup_epochs:
        raise UserError(
            "the shared weights of weights.source are trained already, so there must be no warm-up, but "
            f"controller.warmup_epochs is {config.controller.warmup_epochs}; set it to 0"
        )
    if config.weights.sampling != "independent":
        raise UserError(
            "the shared weights of weights.source are trained already, so nothing is left to sample for, but "
            f"weights.sampling is {config.weights.sampling}; leave it out"
        )
    if config.weights.shrinks:
        raise UserError(
            "the shared weights of weights.source are trained already, so no choice is left to be given up meanwhile, "
            f"but weights.shrinks is {config.weights.shrinks}; leave it out"
        )


def _check_splits(config: SearchConfig) -> None:
    """Raise UserError where it is said when to split shared weights that are not split."""
    weights = config.weights
    if not weights.splits and weights.split_after != WeightsConfig().split_after:
        raise UserError(
            f"weights.split_after says when shared weights are split, here {weights.split_after:g}, but weights.splits "
            "is 0; give --splits too, or leave it out"
        )


def check_image_size(seen: int | None, own: int | None, setting: str = WEIGHTS_SIZE) -> None:
    """Raise UserError where larger images are to be seen than there are. None: not known. setting: that says so."""
    if seen is not None and own is not None and seen > own:
        raise UserError(
            f"{setting} must be at most the images' {own} pixels, but got {seen}; give a smaller number, or a larger "
            "--image-size"
        )


def _check_sampling(config: SearchConfig) -> None:
    """Raise UserError for a way to draw uniform architectures that cannot be had, or that nothing would use."""
    sampling, together = config.weights.sampling, config.weights.architectures_per_step
    if config.weights.distillation and sampling != "sandwich":
        raise UserError(
            "--distillation lets the others of a step learn from the largest architecture, which only --sampling "
            f"sandwich has in every step, but got {sampling}; give --sampling sandwich, or leave it out"
        )
    uniform = config.controller.warmup_epochs if config.learns else config.epochs
    if config.weights.shrinks and (uniform == 0 or config.budget is None and uniform <= config.weights.shrinks):
        raise UserError(
            f"--shrinks {config.weights.shrinks} needs more epochs with uniform architectures than that, which are "
            f"those of warm-up and of searcher random, but there are {uniform}; give more, or leave --shrinks out"
        )
    if sampling == "independent" or config.evaluator != "shared-weights":
        return
    if sampling == "sandwich" and together < 2:
        raise UserError(
            "--sampling sandwich needs at least two architectures in a step, the largest one being always the first, "
            f"but got {together}; give --architectures-per-step"
        )
    if uniform == 0:
        raise UserError(
            f"--sampling {sampling} is about uniform architectures, which only warm-up and searcher random train on, "
            "but controller.warmup_epochs is 0; give it more, or leave --sampling out"
        )


def _check_audit(config: SearchConfig) -> None:
    """Raise UserError for an audit of a search that can have none."""
    if config.audit.networks == 0:
        return
    if config.evaluator != "shared-weights":
        raise UserError(
            f"--audit is about a proxy, so it goes with shared weights, but got --evaluator {config.evaluator}; leave "
            "it out"
        )
    if config.full_training.halving_eta:
        raise UserError(
            "an audit trains all its networks to the end, but full_training.halving_eta is "
            f"{config.full_training.halving_eta}; set it to 0"
        )


def _check_finalists(config: SearchConfig) -> None:
    """Raise UserError for settings of the finalists' training that cannot be, or that nothing would use; a budget may
    shorten it later."""
    derive = config.derive
    if derive.finalist_lr_max is not None and derive.finalist_lr_max < config.weights.lr_min:
        raise UserError(
            f"derive.finalist_lr_max must not be below weights.lr_min, where that training ends, but they are "
            f"{derive.finalist_lr_max:g} and {config.weights.lr_min:g}; give a higher one"
        )
    if config.evaluator != "shared-weights" or config.budget is not None:
        return
    fields = {field.name: field for field in dataclasses.fields(derive)}
    for field in (fields[name] for name in OF_FINALISTS):
        name, value = field.metadata["option"] or f"derive.{field.name}", getattr(derive, field.name)
        if derive.finalist_epochs == 0 and value != field.default:
            raise UserError(
                f"{name} {value} is about the finalists' training, but derive.finalist_epochs is 0; give it more, or "
                f"leave {name} out"
            )
    if derive.halving_eta and (len(derive.rungs) == 1 or derive.finalists == 1):
        raise UserError(
            f"derive.halving_eta must leave a selection among finalists before their last epoch, but with "
            f"{derive.finalists} finalists, {derive.finalist_epochs} epochs and halving_first {derive.halving_first} "
            f"it is {derive.halving_eta} and leaves none; give more derive.finalist_epochs, or set it to 0"
        )
