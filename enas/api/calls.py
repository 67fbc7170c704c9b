"""The functions of the public interface."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from enas import config, spaces
from enas.api.given import Data, Space, data_of, flat, objective_of, own_space, space_of
from enas.api.run import Run, retrained, searched
from enas.config import PRESETS, SearchConfig
from enas.errors import UserError
from enas.jobs.doing import in_places_of
from enas.jobs.settings import composed, costs_of_retrained, folder_name
from enas.jobs.targets import default_folder, recipe
from enas.runs import RunFolder
from enas.spaces import Architecture

# what a budget decides
BUDGETED = {
    *("epochs", "controller.warmup_epochs", "controller.updates", "weights.steps", "weights.schedule"),
    *("derive.samples", "derive.random", "derive.random_per_epoch", "derive.effects_from"),
    *("derive.finalists", "derive.finalist_epochs", "derive.finalist_rounds"),
}
SETTLED = ("device", "precision", "threads")  # by circumstances when a run begins


def search(
    data: Data = None,
    space: Space | None = None,
    *,
    preset: str = "quick",
    output: str | os.PathLike[str] | None = None,
    limit: Mapping[str, float] | None = None,
    target: Mapping[str, float] | None = None,
    resume: bool = False,
    progress: bool = True,
    **settings: Any,
) -> Run:
    """Search an architecture, as `enas search` does; returns the finished run.

    data: the name of a data set or a folder with train/<class>/*; arrays (images, labels) or (images, labels, test
        images, test labels) of numpy or torch, images uint8 [N, C, H, W] or [N, H, W, C], labels whole numbers from 0;
        or a table of settings such as {"name": "photos", "image_size": 48}. Default: the preset's.
    space: a name; a space of your own, as its class or as "path/to/file.py:MySpace"; or a table of its settings such
        as {"name": "macro", "layers": 8} or {"source": MySpace, "arguments": {"blocks": 3}}.
    preset: sizes and budgets to start from. output: the run folder (default: runs/<date>-<space>).
    limit, target: most that a network may cost, or what it should cost, by params, macs or (by a profile) latency_ms.
    resume: where there is a run with these settings in `output`, go on with it, or return it if it is finished.
    progress: whether standard error, or the notebook, shows a line on the run and a progress bar.
    settings: any setting, by its name as `enas search --print-config` prints it: epochs=20, budget="40m",
        weights={"batch_size": 64}.

    Raises UserError for what cannot be, and KeyboardInterrupt where it is interrupted: what was done is saved.
    """
    if preset not in PRESETS:
        raise UserError(f"preset must be one of {', '.join(PRESETS)}, but got {preset!r}")
    name, own, of_space = space_of(space)
    given = {"data": data_of(data), "objective": objective_of(limit, target), "space": of_space}

    def changed(base: SearchConfig) -> SearchConfig:
        return config.update(config.update(base, settings), given)  # type: ignore[no-any-return]

    run_config = composed(preset, name, own, changed, {path: path for path in (*flat(settings), *flat(given))})
    run_config = costs_of_retrained(run_config, recipe(run_config))
    config.check(run_config)
    path = Path(output) if output is not None else default_folder(folder_name(run_config.space))
    if resume and output is None:
        raise UserError("resume=True needs output, the folder of the run to go on with, but got none; give it")
    begun = resume and RunFolder(path).begun
    if begun:
        run_config = _as_begun(run_config, RunFolder(path).config(SearchConfig()), path)
    return searched(run_config, path, begun, progress)


def retrain(
    what: Run | Architecture | str | os.PathLike[str],
    data: Data = None,
    space: Space | None = None,
    *,
    preset: str | None = None,
    output: str | os.PathLike[str] | None = None,
    progress: bool = True,
    **settings: Any,
) -> Run:
    """Train one architecture from scratch and test it once, as `enas retrain` does; returns the finished run.

    what: a finished search, its folder, or an architecture (its text form, or an Architecture of a space whose sizes
    are the defaults). data: as for `search` (default: the search's). space: needed for a space of your own that this
    session has not used. output: default RUN/retrain. settings: epochs=60, width=32, sgd={"lr_max": 0.1}.

    Raises UserError and KeyboardInterrupt as `search`.
    """
    own_space(space)
    if isinstance(what, Architecture):
        options = spaces.options_for(what, config.MacroOptions())
        what = spaces.to_text(spaces.build(options, (3, 64, 64), 2), what)
    return retrained(what.path if isinstance(what, Run) else what, data_of(data), preset, output, progress, settings)


def load(path: str | os.PathLike[str], space: Space | None = None) -> Run:
    """The run in a folder, finished or not. Raises UserError where there is none.

    space: the file or class of a space of your own, which is not run because a folder says so.
    """
    own_space(space)
    return Run(Path(path))


def _as_begun(wanted: SearchConfig, stored: SearchConfig, path: Path) -> SearchConfig:
    """The configuration of the run in the folder, its images where they are now. Raises UserError unless it is the
    wanted one; sizes that a budget decided are the run's own."""
    moved = in_places_of(wanted, stored)
    settled = {name: getattr(moved, name) for name in SETTLED}
    ours, theirs = (flat(config.to_dict(config.update(one, settled))) for one in (wanted, moved))
    ours["space.source"] = theirs.get("space.source")  # a file is told by its content
    decided = BUDGETED if wanted.budget is not None and wanted.budget == stored.budget else ()
    other = [name for name in ours if ours[name] != theirs.get(name) and name not in decided]
    if other:
        raise UserError(
            f"{path} must hold a run with these settings to go on with, but its {other[0]} is "
            f"{theirs.get(other[0])!r} instead of {ours[other[0]]!r}; call enas.load({str(path)!r}).resume(), or "
            "give another output"
        )
    return moved
