"""`enas show` and `enas evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from enas import config, spaces
from enas.cli.output import reading
from enas.cli.searches import show_searches
from enas.cli.targets import Result, existing, read_result
from enas.config import SearchConfig


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
def evaluate(model: Path, data: str, data_folder: str | None, device: str, precision: str, as_json: bool) -> None:
    """Score a saved model (model.safetensors, or the folder that holds it) on the test images of a data set."""
    from enas.data import load
    from enas.retrain import MODEL, evaluate_model, load_model
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
        "test_loss": scores.loss.item(),
    }
    if as_json:
        click.echo(json.dumps(result, indent=2))
    else:
        click.echo(
            f"{result['test_accuracy']:.4f} accuracy, {result['test_loss']:.4f} loss on {scores.images:,} test images"
        )


@click.command()
@click.argument("target")
@click.option("--image-size", default=32, type=click.IntRange(4, 1024), help="for an architecture: side of the images")
@click.option("--channels", default=3, type=click.IntRange(1, 4), help="for an architecture: channels of the images")
@click.option("--classes", default=10, type=click.IntRange(2), help="for an architecture: number of classes")
@click.option("--width", type=click.IntRange(2, 4096), help="channels of the first stage")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def show(target: str, image_size: int, channels: int, classes: int, width: int | None, as_json: bool) -> None:
    """Describe an architecture, or the result of a run: layers, skips, parameters, MACs."""
    from enas.cost import cost
    from enas.runs import RESULT, RunFolder

    path = existing(target)
    if path is not None and show_searches(path, as_json):
        return
    found: Result | None = None
    if path is not None and path.is_dir() and not (path / RESULT).exists():
        _show_unfinished(RunFolder(path))
        return
    if path is not None:
        found = read_result(path)
        space, arch = found.space, found.arch
    else:
        arch = spaces.from_text(target)
        options = spaces.options_for(arch, config.MacroOptions())
        space = spaces.build(options, (channels, image_size, image_size), classes)
        spaces.parse(space, target)
    if width is not None:
        space = space.scaled(width=width)
    counts = cost(space.graph(arch))
    if as_json:
        shown = found.values if found else {"arch": arch.to_json(), "text": spaces.to_text(space, arch)}
        description = {"description": space.describe(arch), "params": counts.params, "macs": counts.macs}
        click.echo(json.dumps({**shown, **description}, indent=2))
        return
    click.echo(spaces.to_text(space, arch))
    for line in space.describe(arch):
        click.echo(f"  {line}")
    size = "x".join(map(str, space.input_shape))
    click.echo(f"{counts.params:,} parameters, {counts.macs:,} MACs for images {size} (channels, height, width)")
    if found is not None:
        with reading(Path(target)):
            _show_scores(found.values)


def _show_scores(values: dict[str, Any]) -> None:
    """What a result file says of accuracies."""
    if "test_accuracy" in values:
        click.echo(f"test accuracy {values['test_accuracy']:.4f}")
    for finalist in values.get("finalists", ()):
        standalone = finalist["standalone_accuracy"]
        click.echo(
            f"finalist: proxy {finalist['proxy_accuracy']:.4f}  "
            f"standalone {'-' if standalone is None else f'{standalone:.4f}'}  "
            f"{finalist['params']:>9,} parameters  {finalist['text']}"
        )


def _show_unfinished(folder: Any) -> None:
    """What an unfinished run has reached."""
    run_config = folder.config(SearchConfig())
    epochs = [record for record in folder.records() if record["kind"] == "epoch"]
    click.echo(
        f"{folder.path} is not finished: {len(epochs)} of {run_config.epochs} epochs; "
        f"go on: enas search --resume {folder.path}"
    )
    if epochs:
        last = epochs[-1]
        click.echo(f"best of the last sample (proxy accuracy {last['best_proxy_accuracy']:.4f}): {last['best_arch']}")
