"""Lines that commands print."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from enas.config import CustomOptions, SpaceOptions
from enas.jobs.lines import reading
from enas.jobs.targets import read_result
from enas.words import best_of_many, duration, failed_finalists, finalist_training, in_shell

CLASSES = 10  # that are named of many
UNBALANCED = 1.5  # from this ratio of the largest class to the smallest on the mean over classes is told too


def print_search_result(path: Path, result: dict[str, Any]) -> None:
    print_found(path, result)
    click.echo(f"result        {path / 'result.json'}")
    own = own_space(result)
    click.echo(f"next          enas show {in_shell(path)}{own}")
    images = " --data NAME|DIR" if result["evaluator"] == "table" else ""
    click.echo(f"              enas retrain {in_shell(path)}{images}{own}")


def own_space(result: dict[str, Any]) -> str:
    """What commands that read a run of a space of the user's have to be told, as typed."""
    options = result["space"]
    return space_option(CustomOptions(source=options["source"])) if options["name"] == CustomOptions.name else ""


def space_option(options: SpaceOptions) -> str:
    """The same of a run with these options; empty for a space of enas."""
    return f" --space {shlex.quote(options.source)}" if isinstance(options, CustomOptions) else ""


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
            _print_proxy(result["random_baseline"], best, finalist_training(result["config"]["derive"]))
            if failures := failed_finalists(result["finalists"]):
                click.echo(f"failures      {failures}")
        if result.get("audit") is not None:
            print_audit(result["audit"])
        click.echo(f"time          {duration(result['elapsed_s'])}")


def costs_line(report: dict[str, Any]) -> str:
    """What the found network costs beside the limits that it had to keep and the targets that it was pulled to."""
    from enas.objective import number

    sizes = [f"{name} {report[name]}" for name in ("width", "depth") if report[name] is not None]
    costs = []
    for name, each in report["costs"].items():
        wanted = [
            f"{word} {number(each[kind])}" for kind, word in (("limit", "at most"), ("target", "target")) if each[kind]
        ]
        costs.append(f"{number(each['found'])} {name} ({', '.join(wanted)})")
    return ", ".join(costs) + (f", with {' and '.join(sizes)}" if sizes else "")


def print_audit(report: dict[str, Any]) -> None:
    """The trust report's sentence."""
    click.echo(f"audit         {report['sentence']}")


def _print_proxy(baseline: dict[str, Any], best: dict[str, Any], training: str) -> None:
    """The scores of an architecture that was found by shared weights. training: how finalists had theirs."""
    gap, standalone = baseline["controller_minus_random"], best["standalone_accuracy"]
    click.echo(
        f"proxy         {best['proxy_accuracy']:.4f} accuracy under shared weights"
        + (f"; {standalone:.4f} after a short training of its own{training}" if standalone is not None else "")
        + " (validation; neither is the final accuracy)"
    )
    click.echo(
        f"from chance   controller minus random {gap['mean']:+.4f}, 95 % interval {gap['low']:+.4f} to "
        f"{gap['high']:+.4f} ({baseline['controller']['count']} and {baseline['random']['count']} architectures, "
        f"{baseline['images']:,} validation images)"
    )


def _print_judged(result: dict[str, Any], best: dict[str, Any]) -> None:
    """The scores of an architecture that was judged by itself."""
    failed = f", of which {result['failed']:,} failed" if result["failed"] else ""
    among = f"{best_of_many(result)} of {result['evaluations']:,} networks{failed}"
    click.echo(f"validation    {best['accuracy']:.4f} accuracy, {among}")
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


def print_classes(result: dict[str, Any]) -> None:
    """How well a network knows each class, the worst first; and the mean over classes where their sizes differ much."""
    known = [row for row in result["per_class"] if row["images"]]
    worst = sorted(known, key=lambda row: float(row["accuracy"]))
    named = ", ".join(f"{row['class']} {row['accuracy']:.4f} ({row['images']:,})" for row in worst[:CLASSES])
    more = f", and {len(worst) - CLASSES} better ones" if len(worst) > CLASSES else ""
    click.echo(f"by class      {named}{more}")
    sizes = [row["images"] for row in known]
    if max(sizes) > UNBALANCED * min(sizes):
        click.echo(
            f"balanced      {result['balanced_accuracy']:.4f} accuracy, the mean over classes, which have "
            f"{min(sizes):,} to {max(sizes):,} images"
        )


def print_retrain_result(path: Path, result: dict[str, Any]) -> None:
    with reading(path):
        click.echo(f"architecture  {result['text']}")
        click.echo(f"costs         {result['params']:,} parameters, {result['macs']:,} MACs")
        click.echo(f"test          {result['test_accuracy']:.4f} accuracy on {result['test_images']:,} images")
        if "per_class" in result:  # results of earlier versions have none
            print_classes(result)
        click.echo(f"time          {duration(result['elapsed_s'])}")
        click.echo(f"result        {path / 'result.json'}, {path / 'model.safetensors'}")
        own = own_space(result)
        click.echo(f"next          enas show {in_shell(path)}{own}")
        click.echo(f"              enas evaluate {in_shell(path / 'model.safetensors')} --data NAME|DIR{own}")
        click.echo(f"              enas export {in_shell(path)} --to {_exported_as(path) if own else 'python'}{own}")


def _exported_as(path: Path) -> str:
    """A format that `enas export` can write of the network in the folder, which is of a space of the user's."""
    from enas.export.operations import unwritable

    found = read_result(path)
    return "torch-export" if unwritable(found.space.graph(found.arch)) else "python"
