"""`enas show` and `enas evaluate`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from enas import config, spaces
from enas.cli import options
from enas.cli.output import costs_line, print_classes, space_option
from enas.cli.profile import costs
from enas.cli.searches import show_searches
from enas.config import RetrainConfig, SearchConfig
from enas.errors import UserError
from enas.jobs.lines import reading
from enas.jobs.targets import Result, existing, read_result
from enas.spaces import Architecture, SearchSpace
from enas.words import counted, finalist_rounds, finalist_training, in_shell


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--data", required=True, help="name of a data set, or a folder; its test images are scored")
@click.option("--data-folder", help="where data sets lie or are downloaded to, as for search and retrain")
@click.option("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
@click.option(
    "--precision",
    default="auto",
    type=click.Choice(["auto", "float32", "bfloat16"]),
    help="number format, as in training",
)
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@options.own_space
def evaluate(model: Path, data: str, data_folder: str | None, device: str, precision: str, as_json: bool) -> None:
    """Score a saved model (model.safetensors, or the folder that holds it) on the test images of a data set."""
    from enas.data import load
    from enas.records import finite
    from enas.results import class_report
    from enas.retraining import MODEL, evaluate_model, load_model
    from enas.runtime import start

    path = model / MODEL if model.is_dir() else model
    network, header = load_model(path)
    runtime = start(config.RunConfig(device=device, precision=precision))
    data_config = config.DataConfig(name=data, folder=data_folder, image_size=header["input_shape"][1])
    images = load(config.update(data_config, header["split"]), runtime.device)
    scores = evaluate_model(network, header, images, runtime)
    result = {
        "arch": header["arch"],
        "data": data,
        "test_images": scores.images,
        "test_accuracy": scores.accuracy.item(),
        "test_loss": scores.known_loss.item(),
        **class_report(scores, images.classes),
    }
    if as_json:
        click.echo(json.dumps(finite(result), indent=2, allow_nan=False))
    else:
        click.echo(
            f"{result['test_accuracy']:.4f} accuracy, {result['test_loss']:.4f} loss on {scores.images:,} test images"
        )
        print_classes(result)


@click.command()
@click.argument("target")
@click.option(
    "--image-size", type=click.IntRange(4, 1024), help="for an architecture: side of the images (default: 32)"
)
@click.option("--channels", type=click.IntRange(1, 4), help="for an architecture: channels of the images (default: 3)")
@click.option("--classes", type=click.IntRange(2), help="for an architecture: number of classes (default: 10)")
@click.option("--width", type=click.IntRange(2, 4096), help="channels of the first stage")
@click.option("--depth", type=click.IntRange(1, 32), help="micro: normal cells in each stage")
@click.option("--batch-size", type=click.IntRange(1, 4096), help="of the activations' memory (default: 1)")
@click.option(
    "--profile",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="predict the latency by what enas profile measured, here or on another machine",
)
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE", help="draw it: .svg, .png or .txt")
@click.option(
    "--fronts",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="for a finished search: draw accuracy over each cost of all that was scored: .svg or .png",
)
@click.option(
    "--choices",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="for a search: draw how often it made each choice, epoch by epoch: .svg or .png",
)
@options.own_space
def show(
    target: str,
    image_size: int | None,
    channels: int | None,
    classes: int | None,
    width: int | None,
    depth: int | None,
    batch_size: int | None,
    profile: Path | None,
    as_json: bool,
    output: Path | None,
    fronts: Path | None,
    choices: Path | None,
) -> None:
    """Describe and draw an architecture, or what a run has found: layers, skips, parameters, MACs, memory, latency.

    TARGET is a run folder, its result.json, or an architecture such as macro:0-31-201.
    """
    from enas import draw
    from enas.runs import RESULT

    if output is not None:
        draw.check_drawing(output)
    for picture in (fronts, choices):
        if picture is not None:
            draw.check_path(picture)
    scale = {name: value for name, value in (("width", width), ("depth", depth)) if value is not None}
    path = existing(target) if target.strip() else None
    if path is None and ":" not in target:
        raise UserError(
            f"there must be a run folder, a result.json or an architecture such as macro:0-31, but {target!r} is none; "
            "check it"
        )
    if path is not None:
        _check_run(path, {"--image-size": image_size, "--channels": channels, "--classes": classes})
        given = {"--width": width, "--depth": depth, "--batch-size": batch_size, "--profile": profile}
        pictures = {"--output": output, "--fronts": fronts, "--choices": choices}
        if show_searches(path, as_json, {**given, **pictures}):
            return
    else:
        for option, picture in (("--choices", choices), ("--fronts", fronts)):
            if picture is not None:
                raise UserError(f"{option} applies to searches only, but {target} is an architecture; leave it out")
    if path is not None and path.is_dir() and not (path / RESULT).exists():
        if scale or any(option is not None for option in (output, fronts, batch_size, profile)):
            raise UserError(
                "--output, --fronts, --width, --depth, --batch-size and --profile need a finished run, but "
                f"{path} is not finished; leave them out"
            )
        values, lines = _unfinished(path)
    else:
        found, space, arch = _found(target, path, (channels or 3, image_size or 32), classes or 10, scale)
        spent, cost_lines = costs(space.graph(arch), profile, batch_size)
        values, lines = _described(target, found, space, arch, cost_lines)
        values |= spent
        if output is not None:
            draw.draw_architecture(space.sketches(arch), output)
    if output is not None:
        values, lines = {**values, "output": str(output)}, [*lines, f"picture of the architecture: {output}"]
    if fronts is not None and path is not None:
        if not values.get("archive"):
            raise UserError(f"--fronts needs a search's result, but {path} has no archive of scores; leave it out")
        with reading(path):
            draw.draw_fronts(values["archive"], [values["text"]], fronts)
        values, lines = {**values, "fronts": str(fronts)}, [*lines, f"picture of the fronts: {fronts}"]
    if choices is not None and path is not None:
        draw.draw_choices(_history(path if path.is_dir() else path.parent), choices)
        values, lines = {**values, "choices": str(choices)}, [*lines, f"picture of the choices: {choices}"]
    click.echo(json.dumps(values, indent=2) if as_json else "\n".join(lines))


def _check_run(path: Path, for_architectures: dict[str, int | None]) -> None:
    """Raise UserError for a file that cannot be a result, and for options that a run would ignore."""
    if path.is_file() and path.suffix != ".json":
        raise UserError(
            f"show reads a run folder, its result.json or an architecture, but {path} is another file; "
            f"try: enas show {in_shell(path.parent)}"
        )
    for option, value in for_architectures.items():
        if value is not None:
            raise UserError(f"{option} applies to architectures only, but {path} is a run; leave it out")


def _found(
    target: str, path: Path | None, images: tuple[int, int], classes: int, scale: dict[str, int]
) -> tuple[Result | None, SearchSpace, Architecture]:
    """What is to be described. images: channels and side, where there is no result."""
    found: Result | None = None
    if path is not None:
        found = read_result(path)
        space, arch = found.space, found.arch
    else:
        arch = spaces.from_text(target)
        channels, side = images
        space = spaces.build(spaces.options_for(arch, config.MacroOptions()), (channels, side, side), classes)
        spaces.parse(space, target)
    return found, space.scaled(**scale) if scale else space, arch


def _described(
    target: str, found: Result | None, space: SearchSpace, arch: Architecture, costs: list[str]
) -> tuple[dict[str, Any], list[str]]:
    """An architecture or a result as JSON and as lines, those about its costs among them."""
    text, description = spaces.to_text(space, arch), space.describe(arch)
    lines = [text, *(f"  {line}" for line in description), *costs]
    values: dict[str, Any] = {"arch": arch.to_json(), "text": text}
    if found is not None:
        values = {"finished": True, **found.values}
        with reading(Path(target)):
            lines += _scores(found.values)
    return {**values, "description": description}, lines


def _scores(values: dict[str, Any]) -> list[str]:
    """What a result file says of accuracies."""
    lines = []
    if "test_accuracy" in values:
        lines.append(f"test accuracy {values['test_accuracy']:.4f}")
    finalists = values.get("finalists", ())
    if any(rung["epochs"] for finalist in finalists for rung in finalist.get("rungs", ())):
        how = finalist_rounds(finalists) + finalist_training(values.get("config", {}).get("derive", {}))
        lines += [f"finalists: trained{how}"] if how else []
    for finalist in finalists:
        if "proxy_accuracy" in finalist:
            scores = f"proxy {finalist['proxy_accuracy']:.4f}  standalone {_standalone(finalist)}"
        else:
            scores = f"validation {finalist['accuracy']:.4f}"
            scores += f"  true test {finalist['true_accuracy']:.4f}" if "true_accuracy" in finalist else ""
        lines.append(f"finalist: {scores}  {finalist['params']:>9,} parameters  {finalist['text']}")
    if values.get("costs") is not None:
        lines.append(f"as wanted: {costs_line(values['costs'])}")
    if "audit" in values:
        lines.append(f"audit: {values['audit']['sentence']}")
    return lines


def _standalone(finalist: dict[str, Any]) -> str:
    """A finalist's accuracy on its own, after how many epochs, and its training loss; results of older versions do not
    say all of that."""
    rungs = finalist.get("rungs", ())
    after = f" after {counted(rungs[-1]['epochs'], 'epoch')}" if rungs and rungs[-1]["epochs"] else ""
    loss = finalist.get("training_loss")
    return _number(finalist["standalone_accuracy"]) + after + ("" if loss is None else f", training loss {loss:.4f}")


def _unfinished(path: Path) -> tuple[dict[str, Any], list[str]]:
    """What an unfinished search or retraining has reached, as JSON and as lines."""
    from enas.runs import RECORDS, RunFolder

    folder = RunFolder(path)
    retraining = folder.kind == "retrain"
    run_config = folder.config(RetrainConfig()) if retraining else folder.config(SearchConfig())
    kind = "retrain" if isinstance(run_config, RetrainConfig) else "search"
    records, go_on = folder.records(), f"enas {kind} --resume {in_shell(path)}{space_option(run_config.space)}"
    if isinstance(run_config, SearchConfig) and run_config.evaluator != "shared-weights":
        return _unfinished_generations(path, run_config, records, go_on)
    records = [record for record in records if record["kind"] == ("retrain" if retraining else "epoch")]
    epochs = folder.planned_epochs(run_config.epochs)
    values: dict[str, Any] = {"kind": kind, "finished": False, "epochs_done": len(records), "epochs": epochs}
    values |= {"resume": go_on, "config": config.to_dict(run_config)}
    lines = [f"{path} is not finished: {len(records):,} of {counted(epochs, 'epoch')}; go on: {go_on}"]
    with reading(path / RECORDS):
        if isinstance(run_config, RetrainConfig):
            values["text"] = run_config.arch
            lines.append(f"trains {run_config.arch}")
            if records:
                values |= {name: records[-1][name] for name in ("train_loss", "train_accuracy")}
                loss, accuracy = _number(values["train_loss"]), _number(values["train_accuracy"])
                lines.append(f"last epoch: loss {loss}, training accuracy {accuracy}")
        elif records:
            values |= {name: records[-1][name] for name in ("best_arch", "best_proxy_accuracy")}
            proxy = _number(values["best_proxy_accuracy"])
            lines.append(f"best of the last sample (proxy accuracy {proxy}): {values['best_arch']}")
    return values, lines


def _unfinished_generations(
    path: Path, run_config: SearchConfig, records: list[dict[str, Any]], go_on: str
) -> tuple[dict[str, Any], list[str]]:
    """What an unfinished search has reached that judges each architecture by itself."""
    from enas.runs import RECORDS

    values: dict[str, Any] = {"kind": "search", "finished": False, "evaluations": 0, "planned": run_config.evaluations}
    values |= {"resume": go_on, "config": config.to_dict(run_config)}
    best = []
    with reading(path / RECORDS):
        if records:
            values |= {name: records[-1][name] for name in ("evaluations", "best_arch", "best_accuracy")}
        if records and values["best_arch"] is not None:
            best = [f"best so far (validation accuracy {_number(values['best_accuracy'])}): {values['best_arch']}"]
    far = f"{values['evaluations']} of {run_config.evaluations} networks"
    return values, [f"{path} is not finished: {far}; go on: {go_on}", *best]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _history(path: Path) -> list[Mapping[str, Mapping[str, float]]]:
    """The shares of choices after each epoch of the search in a folder: group -> choice -> share."""
    from enas.draw import choice_history
    from enas.runs import RECORDS, RunFolder

    with reading(path / RECORDS):
        history = choice_history(RunFolder(path).records())
    if not history:
        raise UserError(f"--choices needs a search with an epoch done, but {path} holds none; leave it out")
    return history
