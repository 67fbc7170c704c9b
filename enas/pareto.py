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
    texts: set[str] = set()
    before: Path | None = source
    seen: set[Path] = set()
    while before is not None and before not in seen and RunFolder(before).result.exists():
        texts |= _on_fronts(RunFolder(before).result)
        seen.add(before)
        earlier = RunFolder(before).config(SearchConfig()).weights.source if RunFolder(before).begun else None
        before = None if earlier is None else Path(earlier)
    archs = [spaces.parse(space, text) for text in sorted(texts)]
    return [arch for arch in archs if spaces.allows(space, arch)]


def _on_fronts(result: Path) -> set[str]:
    """The texts of the architectures on the fronts of a result's archive."""
    rows = checkpoint.read_json(result).get("archive") or []
    try:
        return {rows[i]["text"] for cost in (rows[0]["costs"] if rows else ()) for i in front(rows, cost)}
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{result} must hold an archive of scores, but something in it is missing ({error}); restore the file"
        ) from None
