"""What is worked on: runs, results, architectures, devices and images, all checked."""

from __future__ import annotations

import math
import os
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from enas import config, spaces
from enas.config import PRESETS, CustomOptions, RetrainConfig, SearchConfig
from enas.errors import UserError
from enas.jobs.lines import precision
from enas.spaces import Architecture, SearchSpace, source
from enas.words import in_shell

if TYPE_CHECKING:
    from enas.data import DataSet
    from enas.interrupts import StopRequest
    from enas.phases import Search
    from enas.runs import RunFolder
    from enas.runtime import Runtime
    from enas.tables import TrueAccuracies

Config = TypeVar("Config", SearchConfig, RetrainConfig)
REFERENCES = ("resnet20",)  # hand-drawn networks that are trained beside what a search finds


def retrain_base(target: str | None, reference: str | None, preset: str | None) -> tuple[RetrainConfig, Path]:
    """The configuration before options, and the default folder, from what is to be trained."""
    from enas.runs import RESULT, RunFolder

    if target is None and reference is None:
        raise UserError("retrain needs a run folder, a result.json, an architecture such as macro:0-31, or --reference")
    path = existing(target)
    if path is not None:
        result_path = path / RESULT if path.is_dir() else path
        if path.is_dir() and not result_path.exists():
            RunFolder(path).config(SearchConfig())  # says so where it is no run at all
            raise UserError(
                f"{path} must be a finished search, but it has no {RESULT}; finish it: enas search --resume "
                f"{in_shell(path)}"
            )
        result = read_result(result_path)
        run_config, found = result.config, spaces.to_text(result.space, result.arch)
        if not isinstance(run_config, SearchConfig):
            raise UserError(f"{path} must be the result of a search, but it is a retraining's; give its architecture")
        default = result_path.parent / ("retrain" if reference is None else reference)
        return for_network(recipe(run_config, preset, result.space.input_shape[1]), found, reference), default
    if target is not None and reference is not None:
        raise UserError(f"retrain takes a run or result beside --reference, but {target!r} is neither; leave one out")
    if target is None:
        return for_network(PRESETS[preset or "quick"](None)[1], None, reference), default_folder("retrain")
    return base_for_text(target, preset), default_folder("retrain")


def base_for_text(text: str, preset: str | None = None) -> RetrainConfig:
    """The configuration before options of the training of an architecture that is given as text."""
    parsed = spaces.from_text(text) if ":" in text else None
    if parsed is None:
        raise UserError(f"there must be a run folder, a result.json or an architecture, but {text!r} is none; check it")
    options = spaces.options_for(parsed, config.MacroOptions())
    base = PRESETS[preset or "quick"](options.name)[1]
    if isinstance(options, CustomOptions):
        base = config.update(base, {"space": config.to_dict(options)})
    return for_network(base, text, None)


def recipe(run_config: SearchConfig, preset: str | None = None, side: int | None = None) -> RetrainConfig:
    """How networks are trained after a search: its preset's settings, or another's, on its images and in its space.

    side: of the images in pixels, where it is known. A preset's cutout that leaves nothing of them is left
    out, with a warning; a cutout of the user's stays.
    """
    own = run_config.preset if run_config.preset in PRESETS else "quick"
    base = PRESETS[preset or own](run_config.space.name)[1]
    images, cutout = config.to_dict(run_config.data), base.data.cutout
    usual = PRESETS[own](run_config.space.name)[0].data.cutout
    if cutout and run_config.data.cutout == usual:  # the preset's retraining augments more than its search
        if side is None or cutout < side:
            images["cutout"] = cutout
        else:
            text = f"retraining goes without the preset's cutout of {cutout}: the images have {side} pixels"
            warnings.warn(text, stacklevel=2)
    # what was searched within limits is retrained at the size that they are about
    sizes = {name: size for name in ("width", "depth") if (size := getattr(run_config.objective, name)) is not None}
    return config.update(  # type: ignore[no-any-return]
        base, {"data": images, "space": config.to_dict(run_config.space), **sizes}
    )


def for_network(base: RetrainConfig, arch: str | None, reference: str | None) -> RetrainConfig:
    """The recipe for an architecture, or for the reference at its own size (a preset's is meant for searched ones)."""
    values = {"arch": arch} if reference is None else {"arch": f"{reference}:", "width": None, "depth": None}
    return config.update(base, values)  # type: ignore[no-any-return]


def existing(target: str | None) -> Path | None:
    """The file or folder of that name, if there is one; architectures may be longer than a name can be."""
    if target is None:
        return None
    try:
        return Path(target) if Path(target).exists() else None
    except (OSError, ValueError):
        return None


@dataclass(frozen=True)
class Result:
    """A result file of a search or a retraining, checked. values: the file as it is."""

    config: SearchConfig | RetrainConfig
    space: SearchSpace
    arch: Architecture
    values: dict[str, Any]


def read_result(path: Path) -> Result:
    """Read `result.json` (or the run folder that holds it). Raises UserError for anything else."""
    from enas import checkpoint
    from enas.runs import RESULT

    path = path / RESULT if path.is_dir() else path
    values = checkpoint.read_json(path)
    if isinstance(values, dict) and values.get("kind") == "searches":
        raise UserError(f"{path} must be one run's result, but it is several searches'; give one of its folders")
    kinds: dict[Any, SearchConfig | RetrainConfig] = {"search": SearchConfig(), "retrain": RetrainConfig()}
    if not isinstance(values, dict) or values.get("schema") != 1 or str(values.get("kind")) not in kinds:
        raise UserError(f"{path} must be a result of enas search or retrain (schema 1), but it is not; check the path")
    shape, classes = values.get("input_shape"), values.get("classes")
    if not isinstance(shape, list) or len(shape) != 3 or not all(type(s) is int and 0 < s <= 4096 for s in shape):
        raise UserError(f"{path} must hold an input_shape of three whole numbers, but got {shape!r}; restore the file")
    if not isinstance(classes, list) or len(classes) < 2:
        raise UserError(f"{path} must hold a list of at least two classes, but got {classes!r}; restore the file")
    arch = spaces.from_json(values.get("arch"))
    run_config = config.update(kinds[values["kind"]], values.get("config") or {})
    space_options = config.update(spaces.options_for(arch, run_config.space), values.get("space") or {})
    space = spaces.build(space_options, (shape[0], shape[1], shape[2]), len(classes))
    spaces.validate(space, arch)
    return Result(run_config, space, arch, values)


def start(run_config: Config) -> tuple[Config, Runtime, DataSet | TrueAccuracies]:
    """Device and images (or table) of a run, and its configuration with nothing left to be decided by circumstances."""
    from enas.data import load, places
    from enas.runtime import start
    from enas.tables import load_table

    config.check(run_config)
    source.check(run_config.space)
    runtime = start(run_config)
    resolved: dict[str, Any] = {
        "device": str(runtime.device),
        "precision": precision(runtime),
        "threads": runtime.threads,
    }
    # the run can then be resumed from anywhere
    if isinstance(run_config, SearchConfig) and run_config.objective.profile is not None:
        resolved["objective"] = {"profile": os.path.abspath(run_config.objective.profile)}
    if isinstance(run_config, SearchConfig) and run_config.evaluator == "table":
        resolved["table"] = os.path.abspath(run_config.table or "")
        return config.update(run_config, resolved), runtime, load_table(Path(resolved["table"]))
    resolved["data"] = places(run_config.data)
    return config.update(run_config, resolved), runtime, load(run_config.data, runtime.device)


def with_shared_weights(run: Path, data: str | None, data_folder: str | None) -> SearchConfig:
    """The configuration of a search with shared weights, with its images where they are now.

    Raises UserError for any other folder, and for a search that has no shared weights yet.
    """
    from enas.runs import RunFolder

    folder = RunFolder(run)
    run_config = folder.config(SearchConfig())
    if folder.steps("searches") is not None:
        raise UserError(f"{run} must hold one search, but it holds several; give one of its folders, {run}/seed-...")
    if run_config.evaluator != "shared-weights":
        raise UserError(f"{run} must be a search with shared weights, but its evaluator is {run_config.evaluator}")
    source.check(run_config.space)
    if not folder.checkpoint.exists():
        raise UserError(f"{run} must have trained for an epoch, but it has no checkpoint yet; wait or resume it")
    places = {"name": data or run_config.data.name, "folder": data_folder or run_config.data.folder}
    return config.update(run_config, {"data": places})  # type: ignore[no-any-return]


def restored(
    run_config: SearchConfig, folder: RunFolder, device: str | None = None, stop: StopRequest | None = None
) -> Search:
    """The search in the folder as its checkpoint left it; nothing on the disk changes, whatever is done with it.

    device: where to, if not the run's: it is no part of what is compared with the checkpoint. stop: what ends its work.
    """
    from enas.data import load
    from enas.interrupts import Keeper
    from enas.phases import Search
    from enas.runtime import start

    runtime = start(run_config if device is None else config.update(run_config, {"device": device}))
    state = Search(run_config, load(run_config.data, runtime.device), folder, runtime)
    state.read_checkpoint()
    state.keeper = Keeper(lambda: None, math.inf, stop)  # its checkpoint is the finished search's
    return state


def default_folder(name: str) -> Path:
    return Path("runs") / f"{time.strftime('%Y%m%d-%H%M%S')}-{name}"
