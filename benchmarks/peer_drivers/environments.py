"""Virtual environments with a peer's released package in it, made once."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

from peer_drivers.processes import DriverError, last_line

INSTALLED = "installed.json"  # the last file that is written: what the environment holds


def interpreter(folder: Path, requirements: Sequence[str]) -> Path:
    """The interpreter of an environment with these requirements; made, or made anew, where there is none.

    Raises DriverError where pip fails.
    """
    python = folder / "bin" / "python"
    done = folder / INSTALLED
    if done.exists() and json.loads(done.read_text()) == list(requirements):
        return python
    print(f"installing into {folder}: {' '.join(requirements)}", flush=True)
    venv.EnvBuilder(clear=True, with_pip=True, symlinks=True).create(folder)
    log = folder / "install.txt"
    with open(log, "w") as file:
        status = subprocess.run(
            [str(python), "-m", "pip", "install", *requirements], stdout=file, stderr=file
        ).returncode
    if status:
        raise DriverError(
            f"pip must install {' '.join(requirements)} with Python {sys.version.split()[0]}, but failed: "
            f"{last_line(log)} (see {log})"
        )
    done.write_text(json.dumps(list(requirements)) + "\n")
    return python
