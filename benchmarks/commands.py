"""What benchmarks share that run `enas` commands: a folder of runs that a second call continues."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from enas import spaces
from enas.checkpoint import write_json
from enas.spaces import Architecture, SearchSpace

SCORED_TOGETHER = 2000  # architectures, after which their scores are kept


def check_settings(output: Path, settings: dict[str, Any]) -> None:
    """Note the settings in the output folder; stop where it holds runs of others."""
    path = output / "settings.json"
    if path.exists() and json.loads(path.read_text()) != settings:
        raise SystemExit(f"{output} must hold runs of {settings}, but {path} says otherwise; give another --output")
    output.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(settings) + "\n")


def enas(command: str, folder: Path, arguments: list[str], run: Path | None = None) -> dict[str, Any]:
    """Run an `enas` command into `folder`, or continue it there, or leave it where it is finished; its result.

    run: the folder that `enas derive` takes shared weights from.
    """
    if not (folder / "result.json").exists():
        if (folder / "config.json").exists():
            command, arguments = command if run is None else "search", ["--resume", str(folder)]
        else:
            arguments = [*([] if run is None else [str(run)]), *arguments, "--output", str(folder)]
        print("$", shlex.join(["enas", command, *arguments]), flush=True)
        subprocess.run([sys.executable, "-m", "enas", command, *arguments], check=True)
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return result


def records(folder: Path, kind: str) -> list[dict[str, Any]]:
    """The records of one kind of a run, in order."""
    lines = (folder / "records.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == kind]


def scored(folder: Path, space: SearchSpace, archs: Sequence[Architecture]) -> dict[str, NDArray[np.float64]]:
    """Proxy scores of architectures under a finished search's shared weights, in their order; kept beside them."""
    path = folder / "scores.json"
    texts = [spaces.to_text(space, arch) for arch in archs]
    known = json.loads(path.read_text()) if path.exists() else {}
    todo = [text for text in texts if text not in known]
    for first in range(0, len(todo), SCORED_TOGETHER):
        lines = "\n".join(todo[first : first + SCORED_TOGETHER])
        command = [sys.executable, "-m", "enas", "score", str(folder), "--file", "-", "--json"]
        done = subprocess.run(command, input=lines, stdout=subprocess.PIPE, text=True, check=True)
        known |= {row["text"]: row for row in json.loads(done.stdout)["architectures"]}
        write_json(path, known)
    names = ("proxy_accuracy", "proxy_loss")
    return {name: np.array([known[text][name] for text in texts], dtype=float) for name in names}
