"""The command line: parse, call, print. Torch is imported when a command needs it, so `--help` is instant."""

from __future__ import annotations

import json
import math
import sys
import time
import warnings
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from enas import config, options, spaces
from enas.config import PRESETS, SEARCHABLE, RetrainConfig, SearchConfig
from enas.errors import UserError

if TYPE_CHECKING:
    from enas.data import DataSet
    from enas.runtime import Runtime


class Group(click.Group):
    """Prints UserError as one line and exits with 2; an interrupt says how to go on."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except UserError as error:
            click.echo(f"error: {error}", err=True)
            sys.exit(2)
        except KeyboardInterrupt:
            click.echo("interrupted: the last checkpoint is intact; go on with --resume and the run's folder", err=True)
            sys.exit(130)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(metadata.version("enas"), prog_name="enas")
def main() -> None:
    """Neural architecture search with shared weights: give it images, get back a network."""
    warnings.showwarning = lambda message, *rest, **more: click.echo(f"warning: {message}", err=True)
    warnings.filterwarnings("ignore", category=FutureWarning)


@main.command()
@options.settings(SearchConfig)
@click.option("--space", type=click.Choice(SEARCHABLE), help="search space (default: macro)")
@click.option("--output", type=click.Path(path_type=Path), help="run folder (default: runs/<date>-<space>)")
@click.option("--resume", type=click.Path(path_type=Path), metavar="RUN", help="continue the run in this folder")
def search(
    preset: str | None,
    config_file: Path | None,
    assignments: tuple[str, ...],
    print_config: bool,
    space: str | None,
    output: Path | None,
    resume: Path | None,
    **fields: Any,
) -> None:
    """Search an architecture: alternate between shared weights and controller, then choose.

    Without any option: the embedded digits with the quick preset, in a few minutes.
    """
    if resume is not None:
        if config_file or assignments or preset or space or output or any(v is not None for v in fields.values()):
            raise UserError("--resume takes all settings from the run and goes with no other option; leave them out")
        from enas.runs import RunFolder

        run_config = RunFolder(resume).config(SearchConfig())
    else:
        base = PRESETS[preset or "quick"]()[0]
        if space is not None:
            base = config.update(base, {"space": {"name": space}})
        run_config = options.apply(base, config_file, fields, assignments)
    if print_config:
        click.echo(options.to_toml(config.to_dict(run_config)))
        return
    if run_config.space.name not in SEARCHABLE:
        raise UserError(f"space must be one of {', '.join(SEARCHABLE)}, but {run_config.space.name} has no decisions")
    folder = resume or output or _default_folder(run_config.space.name)
    _search(run_config, folder, resume is not None)


def _search(run_config: SearchConfig, path: Path, resuming: bool) -> None:
    from enas import checkpoint
    from enas.plan import total_work
    from enas.records import EpochRecord, FinalistRecord, to_dict
    from enas.runs import RunFolder
    from enas.search import forecast_s
    from enas.search import search as run
    from enas.tracking import Progress, TensorBoard

    folder = RunFolder(path)
    if resuming and folder.result.exists():
        click.echo(f"{path} is finished.")
        _print_search_result(path, checkpoint.read_json(folder.result))
        return
    runtime, data = _start(run_config)
    space = spaces.build(run_config.space, data.input_shape, data.num_classes)
    validation = round(len(data.train) * run_config.data.validation_fraction)
    forecast = forecast_s(run_config, data, folder, runtime)
    if not resuming:
        folder.create(run_config)
    click.echo(
        f"{_data_line(data)} | {space.name}: {spaces.size(space):.2g} architectures | {_runtime_line(runtime)} | "
        f"about {_duration(forecast)}" + (" in all" if resuming else ""),
        err=True,
    )
    progress = Progress(total_work(run_config, len(data.train) - validation, validation).units, "search")
    with TensorBoard(path / "tensorboard", []) as board:
        records = run(run_config, data, folder, runtime, progress.work, progress.skip)
        for record in _replayed(folder, board, records):
            board.write(to_dict(record))
            if isinstance(record, EpochRecord):
                gap = record.controller_minus_random
                progress.show(
                    f"epoch {record.epoch + 1}/{run_config.epochs} loss {record.train_loss:.3f} "
                    f"proxy {record.controller_proxy_accuracy:.3f} minus random {gap.mean:+.3f} "
                    f"entropy {record.entropy_share:.0%}"
                )
                if record.warning:
                    progress.say(f"warning: epoch {record.epoch + 1}: {record.warning}")
            elif isinstance(record, FinalistRecord):
                progress.show(f"finalist {record.rank} standalone {record.standalone_accuracy or math.nan:.3f}")
    progress.finish()
    _print_search_result(path, checkpoint.read_json(folder.result))


def _print_search_result(path: Path, result: dict[str, Any]) -> None:
    best, baseline = result["finalists"][0], result["random_baseline"]
    gap = baseline["controller_minus_random"]
    standalone = best["standalone_accuracy"]
    click.echo(f"architecture  {result['text']}")
    click.echo(f"costs         {best['params']:,} parameters, {best['macs']:,} MACs")
    click.echo(
        f"proxy         {best['proxy_accuracy']:.4f} accuracy under shared weights"
        + (f"; {standalone:.4f} after a short training of its own" if standalone is not None else "")
        + " (validation; neither is the final accuracy)"
    )
    click.echo(
        f"from chance   controller minus random {gap['mean']:+.4f}, 95 % interval {gap['low']:+.4f} to "
        f"{gap['high']:+.4f} ({baseline['controller']['count']} and {baseline['random']['count']} architectures)"
    )
    click.echo(f"time          {_duration(result['elapsed_s'])}")
    click.echo(f"result        {path / 'result.json'}")
    click.echo(f"next          enas show {path}")
    click.echo(f"              enas retrain {path}")


@main.command()
@click.argument("target", required=False)
@options.settings(RetrainConfig)
@click.option("--reference", type=click.Choice(["resnet20"]), help="train this hand-drawn network instead")
@click.option("--output", type=click.Path(path_type=Path), help="folder (default: RUN/retrain, or runs/<date>-retrain)")
@click.option("--resume", type=click.Path(path_type=Path), metavar="FOLDER", help="continue the training in this folder")
def retrain(
    target: str | None,
    preset: str | None,
    config_file: Path | None,
    assignments: tuple[str, ...],
    print_config: bool,
    reference: str | None,
    output: Path | None,
    resume: Path | None,
    **fields: Any,
) -> None:
    """Train one architecture from scratch on all training images and test it once.

    TARGET is a search's run folder, its result.json, or an architecture such as macro:0-31-201.
    Settings start from the search's preset and data where there is one.
    """
    if resume is not None:
        others = (target, config_file, assignments, preset, reference, output, *fields.values())
        if any(other not in (None, ()) for other in others):
            raise UserError("--resume takes all settings from the folder and goes with no other option; leave them out")
        from enas.runs import RunFolder

        run_config, folder = RunFolder(resume).config(RetrainConfig()), resume
    else:
        base, default = _retrain_base(target, reference, preset)
        run_config = options.apply(base, config_file, fields, assignments)
        folder = output or default
    if print_config:
        click.echo(options.to_toml(config.to_dict(run_config)))
        return
    _retrain(run_config, folder, resume is not None)


def _retrain_base(target: str | None, reference: str | None, preset: str | None) -> tuple[RetrainConfig, Path]:
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
            raise UserError(f"{path} must be a finished search, but it has no {RESULT}; finish it: enas search --resume {path}")
        run_config, found = _read_result(result_path, checkpoint.read_json(result_path))
        base = PRESETS[preset or (run_config.preset if run_config.preset in PRESETS else "quick")]()[1]
        base = config.update(base, {"data": config.to_dict(run_config.data), "space": config.to_dict(run_config.space)})
        default = result_path.parent / ("retrain" if reference is None else reference)
        return config.update(base, {"arch": arch or found}), default
    if target is not None and arch is None:
        parsed = spaces.from_text(target) if ":" in target else None
        if parsed is None:
            raise UserError(f"there must be a run folder, a result.json or an architecture, but {target!r} is none; check it")
        spaces.options_for(parsed, config.MacroOptions())
        arch = target
    base = PRESETS[preset or "quick"]()[1]
    return config.update(base, {"arch": arch}), _default_folder("retrain")


def _read_result(path: Path, result: Any) -> tuple[SearchConfig, str]:
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


def _retrain(run_config: RetrainConfig, path: Path, resuming: bool) -> None:
    from enas import checkpoint
    from enas.cost import cost
    from enas.records import to_dict
    from enas.retrain import network_space
    from enas.retrain import retrain as run
    from enas.runs import RunFolder
    from enas.tracking import Progress, TensorBoard

    folder = RunFolder(path)
    if resuming and folder.result.exists():
        click.echo(f"{path} is finished.")
        _print_retrain_result(path, checkpoint.read_json(folder.result))
        return
    runtime, data = _start(run_config)
    space, arch = network_space(run_config, data)
    counts = cost(space.graph(arch))
    if not resuming:
        folder.create(run_config)
    click.echo(
        f"{_data_line(data)} | {run_config.arch[:60]}: {counts.params:,} parameters, {counts.macs:,} MACs | "
        f"{_runtime_line(runtime)} | {run_config.epochs} epochs",
        err=True,
    )
    steps = max(1, len(data.train) // run_config.sgd.batch_size)
    progress = Progress(run_config.epochs * steps * min(len(data.train), run_config.sgd.batch_size), "retrain")
    with TensorBoard(path / "tensorboard", []) as board:
        for record in _replayed(folder, board, run(run_config, data, folder, runtime, progress.work, progress.skip)):
            board.write(to_dict(record))
            progress.show(
                f"epoch {record.epoch + 1}/{run_config.epochs} loss {record.train_loss:.3f} "
                f"training accuracy {record.train_accuracy:.3f}"
            )
    progress.finish()
    _print_retrain_result(path, checkpoint.read_json(folder.result))


def _print_retrain_result(path: Path, result: dict[str, Any]) -> None:
    click.echo(f"architecture  {result['text']}")
    click.echo(f"costs         {result['params']:,} parameters, {result['macs']:,} MACs")
    click.echo(f"test          {result['test_accuracy']:.4f} accuracy on {result['test_images']:,} images")
    click.echo(f"time          {_duration(result['elapsed_s'])}")
    click.echo(f"result        {path / 'result.json'}, {path / 'model.safetensors'}")
    click.echo(f"next          enas evaluate {path / 'model.safetensors'} --data NAME|DIR")


@main.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--data", required=True, help="digits, or a folder whose test images are scored")
@click.option("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def evaluate(model: Path, data: str, device: str, as_json: bool) -> None:
    """Score a saved model (model.safetensors, or the folder that holds it) on the test images of a data set."""
    from enas.data import load
    from enas.retrain import MODEL, evaluate_model, load_model
    from enas.runtime import start

    path = model / MODEL if model.is_dir() else model
    network, header = load_model(path)
    runtime = start(config.RunConfig(device=device))
    images = load(config.DataConfig(name=data, image_size=header["input_shape"][1]), runtime.device)
    scores = evaluate_model(network, header, images, runtime)
    result = {
        "arch": header["arch"],
        "data": data,
        "test_images": scores.images,
        "test_accuracy": scores.accuracy.item(),
        "test_loss": scores.loss.item(),
    }
    if as_json:
        click.echo(json.dumps(result, indent=2))
    else:
        click.echo(f"{result['test_accuracy']:.4f} accuracy, {result['test_loss']:.4f} loss on {scores.images:,} test images")


@main.command()
@click.argument("target")
@click.option("--image-size", default=32, type=click.IntRange(4, 1024), help="for an architecture: side of the images")
@click.option("--channels", default=3, type=click.IntRange(1, 4), help="for an architecture: channels of the images")
@click.option("--classes", default=10, type=click.IntRange(2), help="for an architecture: number of classes")
@click.option("--width", type=click.IntRange(2, 4096), help="channels of the first stage")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def show(target: str, image_size: int, channels: int, classes: int, width: int | None, as_json: bool) -> None:
    """Describe an architecture, or the result of a run: layers, skips, parameters, MACs."""
    from enas import checkpoint
    from enas.cost import cost
    from enas.runs import RESULT, RunFolder

    path = Path(target)
    result: dict[str, Any] | None = None
    shape, space_options = (channels, image_size, image_size), config.MacroOptions()
    if path.exists():
        result_path = path / RESULT if path.is_dir() else path
        if path.is_dir() and not result_path.exists():
            _show_unfinished(RunFolder(path))
            return
        result = checkpoint.read_json(result_path)
        run_config, text = _read_result(result_path, result)
        assert result is not None
        arch, space_options = spaces.from_text(text), run_config.space
        shape, classes = tuple(result["input_shape"]), len(result["classes"])
    else:
        arch = spaces.from_text(target)
    space = spaces.build(spaces.options_for(arch, space_options), shape, classes)
    spaces.validate(space, arch)
    if width is not None:
        space = space.scaled(width=width)
    counts = cost(space.graph(arch))
    if as_json:
        shown = result if result is not None else {"arch": arch.to_json(), "text": spaces.to_text(space, arch)}
        description = {"description": space.describe(arch), "params": counts.params, "macs": counts.macs}
        click.echo(json.dumps({**shown, **description}, indent=2))
        return
    click.echo(spaces.to_text(space, arch))
    for line in space.describe(arch):
        click.echo(f"  {line}")
    click.echo(f"{counts.params:,} parameters, {counts.macs:,} MACs for images {shape[0]}x{shape[1]}x{shape[2]}")
    if result is not None:
        click.echo("finalists (accuracies on validation images):")
        for finalist in result["finalists"]:
            standalone = finalist["standalone_accuracy"]
            click.echo(
                f"  proxy {finalist['proxy_accuracy']:.4f}  "
                f"standalone {'-' if standalone is None else f'{standalone:.4f}'}  "
                f"{finalist['params']:>9,} parameters  {finalist['text']}"
            )


def _show_unfinished(folder: Any) -> None:
    """What an unfinished run has reached."""
    run_config = folder.config(SearchConfig())
    epochs = [record for record in folder.records() if record["kind"] == "epoch"]
    click.echo(f"{folder.path} is not finished: {len(epochs)} of {run_config.epochs} epochs; enas search --resume {folder.path}")
    if epochs:
        last = epochs[-1]
        click.echo(f"best of the last sample (proxy accuracy {last['best_proxy_accuracy']:.4f}): {last['best_arch']}")


def _start(run_config: SearchConfig | RetrainConfig) -> tuple[Runtime, DataSet]:
    from enas.data import load
    from enas.runtime import start

    runtime = start(run_config)
    return runtime, load(run_config.data, runtime.device)


def _replayed(folder: Any, board: Any, records: Any) -> Any:
    """The records still to come, after those of an earlier session went to TensorBoard.

    The earlier ones are read when the first new one has arrived, because the run itself first drops
    records that its checkpoint does not know.
    """
    first = next(records, None)
    past = folder.records()
    for record in past[: len(past) - (first is not None)]:
        board.write(record)
    if first is not None:
        yield first
    yield from records


def _default_folder(name: str) -> Path:
    return Path("runs") / f"{time.strftime('%Y%m%d-%H%M%S')}-{name}"


def _data_line(data: DataSet) -> str:
    channels, height, width = data.input_shape
    return (
        f"{data.name}: {len(data.train):,} training and {len(data.test):,} test images "
        f"{height}x{width}x{channels}, {data.num_classes} classes"
    )


def _runtime_line(runtime: Runtime) -> str:
    precision = str(runtime.precision).removeprefix("torch.")
    threads = f", {runtime.threads} threads" if runtime.device.type == "cpu" else ""
    return f"{runtime.device}, {precision}{threads}"


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    return f"{seconds:.0f} s" if minutes < 2 else f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
