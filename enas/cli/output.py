"""Lines that commands print."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from enas.errors import UserError
from enas.report.words import duration

if TYPE_CHECKING:
    from enas.data import DataSet
    from enas.runtime import Runtime
    from enas.tables import TrueAccuracies


def data_line(data: DataSet | TrueAccuracies) -> str:
    """What judges architectures, or what a network is trained on."""
    from enas.tables import TrueAccuracies

    if isinstance(data, TrueAccuracies):
        return f"{data.name}: {len(data):,} architectures with known accuracies"
    channels, height, width = data.input_shape
    return (
        f"{data.name}: {len(data.train):,} training and {len(data.test):,} test images "
        f"{height}x{width}x{channels}, {data.num_classes} classes"
    )


def runtime_line(runtime: Runtime) -> str:
    threads = f", {runtime.threads} threads" if runtime.device.type == "cpu" else ""
    return f"{runtime.device}, {precision(runtime)}{threads}"


def precision(runtime: Runtime) -> str:
    return str(runtime.precision).removeprefix("torch.")


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what a malformed result file breaks into one line for the user."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise UserError(
            f"{path} must be an intact result of enas, but something in it is missing or wrong "
            f"({type(error).__name__}: {error}); restore the file"
        ) from None


def print_search_result(path: Path, result: dict[str, Any]) -> None:
    print_found(path, result)
    click.echo(f"result        {path / 'result.json'}")
    click.echo(f"next          enas show {path}")
    images = " --data NAME|DIR" if result["evaluator"] == "table" else ""
    click.echo(f"              enas retrain {path}{images}")


def print_found(path: Path, result: dict[str, Any]) -> None:
    """What a search found, and how far that is from chance."""
    with reading(path):
        best = result["finalists"][0]
        click.echo(f"architecture  {result['text']}")
        click.echo(f"costs         {best['params']:,} parameters, {best['macs']:,} MACs")
        if result.get("costs") is not None:
            click.echo(f"as wanted     {costs_line(result['costs'])}")
        if result["random_baseline"] is None:
            _print_judged(result, best)
        else:
            _print_proxy(result["random_baseline"], best)
        if result.get("audit") is not None:
            print_audit(result["audit"])
        click.echo(f"time          {duration(result['elapsed_s'])}")


def costs_line(report: dict[str, Any]) -> str:
    """What the found network costs beside the limits that it had to keep and the targets that it was pulled to."""
    sizes = [f"{name} {report[name]}" for name in ("width", "depth") if report[name] is not None]
    costs = []
    for name, each in report["costs"].items():
        wanted = [
            f"{word} {each[kind]:,.0f}" for kind, word in (("limit", "at most"), ("target", "target")) if each[kind]
        ]
        costs.append(f"{each['found']:,.0f} {name} ({', '.join(wanted)})")
    return ", ".join(costs) + (f", with {' and '.join(sizes)}" if sizes else "")


def print_audit(report: dict[str, Any]) -> None:
    """The trust report's sentence."""
    click.echo(f"audit         {report['sentence']}")


def _print_proxy(baseline: dict[str, Any], best: dict[str, Any]) -> None:
    """The scores of an architecture that was found by shared weights."""
    gap, standalone = baseline["controller_minus_random"], best["standalone_accuracy"]
    click.echo(
        f"proxy         {best['proxy_accuracy']:.4f} accuracy under shared weights"
        + (f"; {standalone:.4f} after a short training of its own" if standalone is not None else "")
        + " (validation; neither is the final accuracy)"
    )
    click.echo(
        f"from chance   controller minus random {gap['mean']:+.4f}, 95 % interval {gap['low']:+.4f} to "
        f"{gap['high']:+.4f} ({baseline['controller']['count']} and {baseline['random']['count']} architectures)"
    )


def _print_judged(result: dict[str, Any], best: dict[str, Any]) -> None:
    """The scores of an architecture that was judged by itself."""
    failed = f", of which {result['failed']:,} failed" if result["failed"] else ""
    click.echo(f"validation    {best['accuracy']:.4f} accuracy, the best of {result['evaluations']:,} networks{failed}")
    if "true_accuracy" in best:
        click.echo(
            f"truth         {best['true_accuracy']:.4f} test accuracy, "
            f"rank {best['true_rank']:,} of {best['ranked']:,} in the table"
        )


def print_networks(path: Path, results: dict[str, dict[str, Any]]) -> None:
    """Networks that were trained with one recipe, one a line; results: by the name of their folder below `path`."""
    rows = [("network", "test accuracy", "parameters", "MACs", "time", "folder")]
    with reading(path):
        for name, result in results.items():
            accuracy, costs = f"{result['test_accuracy']:.4f}", (f"{result['params']:,}", f"{result['macs']:,}")
            text = "derived" if name == "retrain" else name
            rows.append((text, accuracy, *costs, duration(result["elapsed_s"]), str(path / name)))
    print_table(rows)


def print_table(rows: Sequence[tuple[str, ...]]) -> None:
    """Columns, the first and the last to the left and those between to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for first, *middle, last in rows:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(middle, widths[1:], strict=True))]
        click.echo("  ".join([*cells, last]))


def print_retrain_result(path: Path, result: dict[str, Any]) -> None:
    with reading(path):
        click.echo(f"architecture  {result['text']}")
        click.echo(f"costs         {result['params']:,} parameters, {result['macs']:,} MACs")
        click.echo(f"test          {result['test_accuracy']:.4f} accuracy on {result['test_images']:,} images")
        click.echo(f"time          {duration(result['elapsed_s'])}")
        click.echo(f"result        {path / 'result.json'}, {path / 'model.safetensors'}")
        click.echo(f"next          enas show {path}")
        click.echo(f"              enas evaluate {path / 'model.safetensors'} --data NAME|DIR")
