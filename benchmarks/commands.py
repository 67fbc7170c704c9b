"""What benchmarks share that run `enas` commands: a folder of runs that a second call continues."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any


def check_settings(output: Path, settings: dict[str, Any]) -> None:
    """Note the settings in the output folder; stop where it holds runs of others."""
    path = output / "settings.json"
    if path.exists() and json.loads(path.read_text()) != settings:
        raise SystemExit(f"{output} must hold runs of {settings}, but {path} says otherwise; give another --output")
    output.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(settings) + "\n")


def enas(command: str, folder: Path, arguments: list[str]) -> dict[str, Any]:
    """Run an `enas` command into `folder`, or continue it there, or leave it where it is finished; its result."""
    if not (folder / "result.json").exists():
        if (folder / "config.json").exists():
            arguments = ["--resume", str(folder)]
        else:
            arguments = [*arguments, "--output", str(folder)]
        print("$", shlex.join(["enas", command, *arguments]), flush=True)
        subprocess.run([sys.executable, "-m", "enas", command, *arguments], check=True)
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return result


def records(folder: Path, kind: str) -> list[dict[str, Any]]:
    """The records of one kind of a run, in order."""
    lines = (folder / "records.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == kind]
