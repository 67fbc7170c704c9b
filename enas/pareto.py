"""The archive of what a search scored on all of its validation images, and the front of it: what nothing else beats in
both accuracy and a cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from enas import checkpoint, spaces
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
    """The architectures on the fronts of a finished search that this space allows; none where it is not finished.

    Raises UserError where its result file is damaged.
    """
    path = RunFolder(source).result
    rows = checkpoint.read_json(path).get("archive") if path.exists() else None
    if not rows:
        return []
    try:
        texts = {rows[i]["text"] for cost in rows[0]["costs"] for i in front(rows, cost)}
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} must hold an archive of scores, but something in it is missing ({error}); restore the file"
        ) from None
    archs = [spaces.parse(space, text) for text in sorted(texts)]
    return [arch for arch in archs if spaces.allows(space, arch)]
