"""`enas search --seeds`: several searches that differ in their seed alone, and what they have in common."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click

from enas import config
from enas.cli.output import print_table
from enas.config import SearchConfig
from enas.errors import UserError
from enas.jobs.auditing import with_audit
from enas.jobs.doing import begun, check_images, work
from enas.jobs.lines import reading
from enas.jobs.targets import start
from enas.jobs.training import searching
from enas.words import duration, in_shell

KIND = "searches"
SHORT = {  # what a search's own line says, and in what words
    "controller_minus_random": "controller minus random",
    "standalone_accuracy": "standalone",
    "audit_gap": "audit: minus random",
    "accuracy": "validation",
    "true_accuracy": "true test",
}


def begun_seeds(path: Path) -> int | None:
    """With how many seeds the folder was begun; None where it is the folder of one search."""
    from enas.runs import STEPS, RunFolder

    steps = RunFolder(path).steps(KIND)
    if steps is None:
        return None
    seeds = steps.get("seeds")
    if type(seeds) is not int or seeds < 1 or not isinstance(steps.get("images"), str):
        raise UserError(f"{path / STEPS} must hold a number of seeds and the images, but it does not; restore the file")
    return seeds


def search_seeds(run_config: SearchConfig, seeds: int, path: Path, *, resuming: bool) -> None:
    """Do or continue the searches with seeds run_config.seed and the next ones, one after the other.

    Each is an ordinary run in its own folder. Writes and prints the aggregate at the end.
    """
    from enas.aggregate import aggregate
    from enas.checkpoint import write_json
    from enas.records import finite
    from enas.runs import STEPS, STEPS_SCHEMA, RunFolder

    folder = RunFolder(path)
    if resuming and folder.result.exists():
        click.echo(f"{path} is finished.")
        show_searches(path)
        return
    config.update(run_config, {"seed": run_config.seed + seeds - 1})  # the last one is possible too
    if not resuming:
        folder.check_new()
    with folder.working():
        run_config, _, data = start(run_config)
        if resuming:
            check_images(data, (folder.steps(KIND) or {})["images"], path)
            folder.store(run_config)  # the images may have moved
        else:
            steps = {"schema": STEPS_SCHEMA, "kind": KIND, "seeds": seeds, "images": data.fingerprint()}
            folder.create(run_config, {STEPS: steps})
        del data  # each search loads its own
        if run_config.budget is not None:
            click.echo(f"{seeds} searches, each with the whole budget of {run_config.budget}", err=True)
        results = {}
        for seed in range(run_config.seed, run_config.seed + seeds):
            child = path / f"seed-{seed}"
            click.echo(f"seed {seed}, {seed - run_config.seed + 1} of {seeds}: {child}", err=True)
            stored = begun(SearchConfig(), child, run_config)
            one = stored or config.update(run_config, {"seed": seed})
            results[child.name] = with_audit(child, work(searching, one, child, resuming=stored is not None))
        with reading(path):
            write_json(folder.result, finite(aggregate(results)))
    show_searches(path)


def show_searches(target: Path, as_json: bool = False, for_one: Mapping[str, Any] = MappingProxyType({})) -> bool:
    """Print what several searches, of which this is the folder or result, have in common; False where it is no such.

    for_one: options that apply to one run. Raises UserError where one of them was given.
    """
    from enas.checkpoint import read_json
    from enas.runs import RESULT

    path = target / RESULT if target.is_dir() else target
    seeds = None if path.exists() else begun_seeds(target)
    values = read_json(path) if path.exists() else _unfinished(target, seeds) if seeds is not None else None
    if not isinstance(values, dict) or values.get("kind") != KIND:
        return False
    for option, value in for_one.items():
        if value is not None:
            raise UserError(f"{option} applies to one run, but {target} holds several; give one of its folders")
    if as_json:
        click.echo(json.dumps(values, indent=2))
    elif seeds is not None:
        _show_unfinished(target, values)
    else:
        _show_finished(path, values)
    return True


def _show_finished(path: Path, values: dict[str, Any]) -> None:
    """The aggregate in the result file at `path`."""
    with reading(path):
        _show_table(values)
        click.echo(f"time          {duration(values['elapsed_s'])} in all")
        click.echo(f"result        {path}")
        click.echo(f"next          enas retrain {in_shell(path.parent / values['runs'][0]['folder'])}")


def _unfinished(path: Path, seeds: int) -> dict[str, Any]:
    """How far each search of an unfinished folder is, as JSON; planned: None where it has not begun.

    Done and planned count what `unit` says.
    """
    from enas.runs import RunFolder

    run_config = RunFolder(path).config(SearchConfig())
    runs = []
    for seed in range(run_config.seed, run_config.seed + seeds):
        child = RunFolder(path / f"seed-{seed}")
        done, planned = 0, None
        if run_config.evaluator == "shared-weights":
            done = sum(record["kind"] == "epoch" for record in child.records())
            planned = child.planned_epochs(run_config.epochs) if child.begun else None
        else:
            done = max((record["evaluations"] for record in child.records()), default=0)
            planned = run_config.evaluations if child.begun else None
        runs.append({"seed": seed, "finished": child.result.exists(), "done": done, "planned": planned})
    unit = "epochs" if run_config.evaluator == "shared-weights" else "networks"
    return {"kind": KIND, "finished": False, "unit": unit, "runs": runs}


def _show_unfinished(path: Path, values: dict[str, Any]) -> None:
    click.echo(f"{path} is not finished; go on: enas search --resume {in_shell(path)}")
    for run in values["runs"]:
        far = "not begun" if run["planned"] is None else f"{run['done']} of {run['planned']} {values['unit']}"
        click.echo(f"  seed {run['seed']}: {'finished' if run['finished'] else far}")


def _show_table(values: dict[str, Any]) -> None:
    """One line a search, then one line a measure."""
    from enas.aggregate import MEASURES

    for run in values["runs"]:
        figures = [
            f"{words} {'-' if run[key] is None else format(run[key], MEASURES[key].form)}  "
            for key, words in SHORT.items()
            if key in values["statistics"]
        ]
        click.echo(f"seed {run['seed']:<9}{''.join(figures)}{run['params']:>9,} parameters  {run['text']}")
    rows = [("over the seeds", "mean", "sd", "95 % interval of the mean")]
    for key, found in values["statistics"].items():
        form = MEASURES[key].form
        mean, sd, low, high = (
            "-" if found[name] is None else format(found[name], form if name != "sd" else form.lstrip("+"))
            for name in ("mean", "sd", "low", "high")
        )
        missing = len(values["runs"]) - found["count"]
        rows.append((found["words"], mean, sd, f"{low} to {high}" + (f"  ({missing} without)" if missing else "")))
    print_table(rows)
    if "relative_gain_percent" not in values["statistics"]:
        return
    click.echo(
        "Proxy accuracy is accuracy under shared weights and no network's own. The relative gain is\n"
        "100 (controller - random) / random of mean proxy accuracies; Yang et al. 2020, who define it,\n"
        "take accuracies of trained networks."
    )
