"""The page of a run: its sections in order, and the template that makes HTML of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from enas.config import RetrainConfig, SearchConfig
from enas.report import answer, search, searches
from enas.report.blocks import Block, Code, Page, Section, Table, Text
from enas.report.curves import choices_section, curves_section, gaps_section
from enas.report.networks import networks_section
from enas.report.what import Repeat, Searched, Several, Trained, Values
from enas.words import whole

MARK = '<meta name="generator" content="enas report">'  # by which a page is known again


def html(run: Searched | Several | Trained) -> str:
    """The page as HTML that needs no other file. Raises KeyError, TypeError, ValueError or AttributeError where a
    result or a record is damaged."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("enas.report", ""), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    # no line may end between a number and its unit
    environment.filters["tied"] = lambda text: text.replace(" %", "\u00a0%").replace(" points", "\u00a0points")
    return environment.get_template("page.html").render(page=page(run))


def page(run: Searched | Several | Trained) -> Page:
    """What the page says."""
    status = answer.status(run)
    if isinstance(run, Several):
        return Page(
            title=f"Search with {run.planned} seeds: {run.config.space.name}",
            subtitle=_subtitle(run.name, run.config, run.result, ()),
            answer=answer.of_several(run),
            status=status,
            sections=[
                searches.statistics_section(run),
                searches.seeds_section(run),
                gaps_section(run.searches),
                _repeat_section(run.repeat, run.result),
            ],
        )
    if isinstance(run, Trained):
        return Page(
            title=f"Training of one network: {run.config.arch}",
            subtitle=_subtitle(run.name, run.config, run.result, run.records),
            answer=answer.of_training(run),
            status=status,
            sections=[
                search.architecture_section(run.space, run.arch, run.config.arch),
                networks_section([run]),
                _repeat_section(run.repeat, run.result),
            ],
        )
    text = _last_best(run) if run.result is None else run.result["text"]
    return Page(
        title=f"Architecture search: {run.config.space.name}",
        subtitle=_subtitle(run.name, run.config, run.result, run.records),
        answer=answer.of_search(run),
        status=status,
        sections=[
            search.architecture_section(run.space, run.arch, text),
            search.costs_section(run),
            search.finalists_section(run),
            search.random_section(run),
            networks_section(run.trained),
            curves_section(run),
            choices_section(run),
            search.fronts_section(run),
            _repeat_section(run.repeat, run.result),
        ],
    )


def _subtitle(
    name: str, run_config: SearchConfig | RetrainConfig, result: Values | None, records: Sequence[Values]
) -> str:
    """Where it lies, on what it was done, and when."""
    parts = [name]
    if isinstance(run_config, SearchConfig):
        parts.append(f"evaluator {run_config.evaluator}, searcher {run_config.searcher}")
    if run_config.data.name is not None:
        parts.append(f"images {run_config.data.name}")
    if result is not None and result.get("classes"):
        channels, height, width = result["input_shape"]
        parts.append(f"{height}x{width}x{channels}, {len(result['classes'])} classes")
    parts.append(f"seed {run_config.seed}")
    if records:
        when = datetime.fromtimestamp(records[-1]["time_s"], UTC)
        parts.append(f"last record {when:%Y-%m-%d %H:%M} UTC")
    return " · ".join(parts)


def _last_best(run: Searched) -> str | None:
    """The best architecture that an unfinished search knows of."""
    records = run.of_kind("epoch", "generation")
    return records[-1]["best_arch"] if records else None


def _repeat_section(repeat: Repeat, result: Values | None) -> Section:
    """The command, its settings, and with what it was done."""
    blocks: list[Block] = [
        Text(f"The command, with the settings below saved as {repeat.file}; NEW is a folder that does not exist yet:"),
        Code(repeat.command, wrapped=True),
        *map(Text, repeat.notes),
        Code(repeat.settings, "The full configuration as TOML", repeat.file),
    ]
    if result is not None:
        classes = result.get("classes")
        if classes:
            blocks.append(Code("\n".join(map(str, classes)), f"The {whole(len(classes))} classes"))
        rows = [[name, str(version)] for name, version in result["versions"].items()]
        blocks.append(Table(("made with", "version"), rows))
        if "images" in result:
            blocks.append(Text(f"Fingerprint of the images, or of the table: {result['images']}"))
    return Section("To repeat it", blocks)
