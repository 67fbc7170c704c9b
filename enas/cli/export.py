"""`enas export`."""

from __future__ import annotations

import json
import keyword
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from enas import config
from enas.cli import options
from enas.cli.output import space_option
from enas.cli.run import KIND as RUN
from enas.cli.searches import KIND as SEARCHES
from enas.config import RetrainConfig, SearchConfig
from enas.errors import UserError
from enas.export.formats import CHECKS, SUFFIXES
from enas.words import in_shell

if TYPE_CHECKING:
    from enas.export.files import Exported
    from enas.export.module import Facts
    from enas.runs import RunFolder

FOLDER, NAME = "export", "network"  # below the model's folder, by default


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--to",
    "formats",
    type=click.Choice(tuple(SUFFIXES)),
    multiple=True,
    required=True,
    help="format; may be given repeatedly",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=f"file; other formats' lie beside it (default: {FOLDER}/{NAME} in the model's folder)",
)
@click.option("--data", help="images to compare on (default: the run's, or random ones where they cannot be read)")
@click.option("--data-folder", help="where the data set lies now, as for search")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@options.own_space
def export(
    run: Path, formats: tuple[str, ...], output: Path | None, data: str | None, data_folder: str | None, as_json: bool
) -> None:
    """Write a retrained network for use without enas, and compare what was written with the original.

    RUN is a folder of enas retrain, or one of enas run or a search that holds one, or a model.safetensors. python: one
    readable module that needs nothing but torch, and its weights; onnx: checked with onnxruntime; torch-export: a
    program of torch.export (.pt2); safetensors: the module's weights alone. Of a network with operations of your own
    there are onnx and torch-export. Every export must give the network's logits on the same images, or nothing is
    written.
    """
    from enas.export.files import export as export_network
    from enas.export.files import paths_of
    from enas.export.images import images_at_hand, real_images
    from enas.retraining import load_model

    model = _model(run)
    paths = paths_of(tuple(dict.fromkeys(formats)), _stem(output, formats, model))
    network, header = load_model(model)
    trained = _trained(model.parent)
    facts = _facts(model, header, trained)
    places = {name: value for name, value in (("name", data), ("folder", data_folder)) if value is not None}
    side = {"image_size": header["input_shape"][1]}
    stored = trained.data if trained is not None else config.DataConfig()
    wanted = config.update(stored, places | side)
    images, what = real_images(header, wanted) if data is not None else images_at_hand(header, wanted)
    exported = export_network(network, facts, paths, images)
    _print(exported, facts, what, as_json)


def _model(run: Path) -> Path:
    """The model's file. Raises UserError where RUN has none."""
    from enas.retraining import MODEL
    from enas.runs import RunFolder

    if run.is_file():
        return run
    found = [path for path in (run / MODEL, run / "retrain" / MODEL) if path.is_file()]
    if found:
        return found[0]
    if not run.exists():
        raise UserError(f"RUN must be a folder of enas retrain or a {MODEL}, but there is no {run}; check the path")
    way = _way(RunFolder(run), RunFolder(run / "retrain"))
    raise UserError(f"{run} must hold a retrained network, {MODEL} or retrain/{MODEL}, but it has none; {way}")


def _way(folder: RunFolder, below: RunFolder) -> str:
    """How to come to a network in the folder, which has none. below: its `retrain`."""
    if folder.kind == "retrain":
        if folder.result.exists():
            return "its training is finished, so restore the file or train it again"
        own = space_option(folder.config(RetrainConfig()).space)
        return f"finish it: enas retrain --resume {in_shell(folder.path)}{own}"
    if folder.kind is None:
        return "check the path"
    own = space_option(folder.config(SearchConfig()).space)
    if folder.steps(SEARCHES) is not None:
        return f"give one of its searches, {folder.path}/seed-..."
    if folder.steps(RUN) is not None:
        return f"finish it: enas run --resume {in_shell(folder.path)}{own}"
    if not folder.result.exists():
        return f"finish the search first: enas search --resume {in_shell(folder.path)}{own}"
    if below.kind == "retrain":
        return f"finish it: enas retrain --resume {in_shell(below.path)}{own}"
    return f"train it first: enas retrain {in_shell(folder.path)}{own}"


def _stem(output: Path | None, formats: tuple[str, ...], model: Path) -> Path:
    """Where files go, without their endings. Raises UserError for an --output that cannot be."""
    if output is None:
        return model.parent / FOLDER / NAME
    endings = [SUFFIXES[name] for name in formats]
    if output.is_dir() or not output.name:
        raise UserError(f"--output must be a file, but {output} is a folder; give {output / (NAME + endings[0])}")
    if output.suffix in SUFFIXES.values() and output.suffix not in endings:
        raise UserError(
            f"--output must end with {' or '.join(endings)} for --to {', '.join(formats)}, but got {output.name}"
        )
    stem = output.with_suffix("") if output.suffix in endings else output
    taken = keyword.iskeyword(stem.name) or stem.name in sys.stdlib_module_names or stem.name in ("torch", "numpy")
    if "python" in formats and (taken or not stem.name.isidentifier()):
        raise UserError(
            f"--output must be a name that Python can import and that is no other module's, but got {stem.name!r}; "
            f"give letters, digits and underscores, such as {NAME}.py"
        )
    return stem


def _trained(folder: Path) -> RetrainConfig | None:
    """How the model in the folder was trained, if that is known."""
    from enas.runs import RunFolder

    stored = RunFolder(folder)
    return stored.config(RetrainConfig()) if stored.kind == "retrain" else None


def _facts(model: Path, header: dict[str, Any], trained: RetrainConfig | None) -> Facts:
    """What the export says of the network. Raises UserError where the header holds something else."""
    from enas.export.module import Facts
    from enas.retraining import model_space

    space, arch = model_space(header)
    classes, mean, std = (header[name] for name in ("classes", "mean", "std"))
    channels = header["input_shape"][0]
    named = isinstance(classes, list) and all(isinstance(name, str) for name in classes)
    if not named or not (_are_numbers(mean, channels) and _are_numbers(std, channels) and min(std) > 0):
        raise UserError(
            f"{model} must hold the names of its classes, and {channels} means and positive deviations of its "
            "channels, but they are others; train it again"
        )
    return Facts(
        text=header["arch"],
        description=tuple(space.describe(arch)),
        input_shape=space.input_shape,
        classes=tuple(classes),
        mean=tuple(map(float, mean)),
        std=tuple(map(float, std)),
        dropout=trained.sgd.dropout if trained is not None else 0.0,
        drop_path=trained.sgd.drop_path if trained is not None else 0.0,
    )


def _are_numbers(values: Any, count: int) -> bool:
    return (
        isinstance(values, list)
        and len(values) == count
        and all(isinstance(v, int | float) and math.isfinite(v) for v in values)
    )


def _print(exported: list[Exported], facts: Facts, images: str, as_json: bool) -> None:
    if as_json:
        values = [
            {
                "format": one.format,
                "files": [str(path) for path in one.paths],
                "largest_difference": one.agreement.difference,
                "tolerance": one.agreement.tolerance,
                "same_class": one.agreement.same,
                "images": one.agreement.images,
                "checked": CHECKS[one.format],
            }
            for one in exported
        ]
        click.echo(json.dumps({"arch": facts.text, "compared_on": images, "exports": values}, indent=2))
        return
    click.echo(f"network       {facts.text}")
    click.echo(f"images        {images}; less mean {_numbers(facts.mean)}, divided by std {_numbers(facts.std)}")
    for one in exported:
        found = one.agreement
        click.echo(f"{one.format:13} {', '.join(map(str, one.paths))}")
        click.echo(
            f"              {CHECKS[one.format]}: logits differ by at most {found.difference:.1e} "
            f"(tolerance {found.tolerance:.1e}), same class for {found.same} of {found.images} images"
        )


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.4f}" for value in values)
