"""What a command works on: runs, results, architectures, devices and images, all checked."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from enas import config, spaces
from enas.cli.output import precision
from enas.config import PRESETS, RetrainConfig, SearchConfig
from enas.errors import UserError

if TYPE_CHECKING:
    from enas.data import DataSet
    from enas.runtime import Runtime

Config = TypeVar("Config", SearchConfig, RetrainConfig)


def retrain_base(target: str | None, reference: str | None, preset: str | None) -> tuple[RetrainConfig, Path]:
    """The configuration before options, and the default folder, from what is to be trained."""
    from enas import checkpoint
    from enas.runs import RESULT, RunFolder

    if target is None and reference is None:
        raise UserError("retrain needs a run folder, a result.json, an architecture such as macro:0-31, or --reference")
    path = Path(target) if target is not None else None
    arch = f"{reference}:" if reference else None
    if path is not None and path.exists():
        result_path = path / RESULT if path.is_dir() else path
        if path.is_dir() and not result_path.exists():
            RunFolder(path).config(SearchConfig())  # says so where it is no run at all
            raise UserError(
                f"{path} must be a finished search, but it has no {RESULT}; finish it: enas search --resume {path}"
            )
        run_config, found = read_result(result_path, checkpoint.read_json(result_path))
        base = PRESETS[preset or (run_config.preset if run_config.preset in PRESETS else "quick")]()[1]
        base = config.update(base, {"data": config.to_dict(run_config.data), "space": config.to_dict(run_config.space)})
        default = result_path.parent / ("retrain" if reference is None else reference)
        return config.update(base, {"arch": arch or found}), default
    if target is not None and arch is None:
        parsed = spaces.from_text(target) if ":" in target else None
        if parsed is None:
            raise UserError(
                f"there must be a run folder, a result.json or an architecture, but {target!r} is none; check it"
            )
        spaces.options_for(parsed, config.MacroOptions())
        arch = target
    base = PRESETS[preset or "quick"]()[1]
    return config.update(base, {"arch": arch}), default_folder("retrain")


def read_result(path: Path, result: Any) -> tuple[SearchConfig, str]:
    """The search's configuration and the architecture's text from a result file, checked."""
    if not isinstance(result, dict) or result.get("kind") != "search" or result.get("schema") != 1:
        raise UserError(f"{path} must be the result of a search (kind search, schema 1), but it is not; check the path")
    run_config = config.update(SearchConfig(), result.get("config"))
    arch = spaces.from_json(result.get("arch"))
    options_of_arch = spaces.options_for(arch, run_config.space)
    shape = result.get("input_shape")
    if not isinstance(shape, list) or len(shape) != 3 or not all(type(s) is int and s > 0 for s in shape):
        raise UserError(f"{path} must hold an input_shape of three whole numbers, but got {shape!r}; restore the file")
    space = spaces.build(options_of_arch, (shape[0], shape[1], shape[2]), max(2, len(result.get("classes") or ())))
    spaces.validate(space, arch)
    return run_config, spaces.to_text(space, arch)


def start(run_config: Config) -> tuple[Config, Runtime, DataSet]:
    """Device and images of a run, and its configuration with nothing left to be decided by circumstances."""
    from enas.data import load
    from enas.runtime import start

    runtime = start(run_config)
    data = load(run_config.data, runtime.device)
    resolved = {"device": str(runtime.device), "precision": precision(runtime), "threads": runtime.threads}
    name = run_config.data.name
    if name is not None and Path(name).is_dir():
        resolved["data"] = {"name": str(Path(name).resolve())}  # the run can then be resumed from anywhere
    return config.update(run_config, resolved), runtime, data


def default_folder(name: str) -> Path:
    return Path("runs") / f"{time.strftime('%Y%m%d-%H%M%S')}-{name}"
