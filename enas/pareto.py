"""The archive of what a search scored on all of its validation images, and the front of it: what nothing else beats in
both accuracy and a cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from enas import checkpoint, spaces
from enas.config import SearchConfig
from enas.errors import UserError
from enas.runs import RunFolder
from enas.spaces import Architecture, SearchSpace


def kept(row: Mapping[str, Any]) -> dict[str, Any]:
    """Of what is known of an architecture, as JSON, what an archive holds: not what follows from the rest."""
    return {name: value for name, value in row.items() if name not in ("arch", "params", "macs")}


def front(rows: Sequence[Mapping[str, Any]], cost: str, value: str = "proxy_accuracy") -> list[int]:
    """The positions of the rows that no cheaper or equally cheap one reaches in value, the cheapest first."""
    order = sorted(range(len(rows)), key=lambda i: (rows[i]["costs"][cost], -rows[i][value]))
    found: list[int] = []
    for i in order:
        if not found or rows[i][value] > rows[found[-1]][value]:
            found.append(i)
    return found


def best_known(space: SearchSpace, source: Path) -> list[Architecture]:
    """The architectures that this space allows on the fronts of a finished search, and of those whose shared weights it
    had in turn, as far as they are still there.

    Raises UserError where a result file is damaged.
    """
    found = _on_fronts(space, RunFolder(source).result)
    seen, before = {source}, _source(source)
    while before is not None and before not in seen:
        seen.add(before)
        try:
            found |= _on_fronts(space, RunFolder(before).result)
            before = _source(before)
        except UserError:  # by now there is something else
            break
    texts = {spaces.to_text(space, arch): arch for arch in found if spaces.allows(space, arch)}
    return [texts[text] for text in sorted(texts)]


def _source(run: Path) -> Path | None:
    """The folder of the run whose shared weights this one had, if it had another's."""
    folder = RunFolder(run)
    source = folder.config(SearchConfig()).weights.source if folder.begun else None
    return None if source is None else Path(source)


def _on_fronts(space: SearchSpace, result: Path) -> set[Architecture]:
    """The architectures on the fronts of a result's archive; none where there is no result."""
    rows = (checkpoint.read_json(result).get("archive") or []) if result.exists() else []
    try:
        texts = {rows[i]["text"] for cost in (rows[0]["costs"] if rows else ()) for i in front(rows, cost)}
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{result} must hold an archive of scores, but something in it is missing ({error}); restore the file"
        ) from None
    return {spaces.parse(space, text) for text in texts}
