"""The other side of the protocol: a driver's process as `peers.py` sees it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from peer_drivers.protocol import About, Measure, Setup

BENCHMARKS = Path(__file__).parents[1]
Round = dict[str, Measure]


class DriverError(Exception):
    """A driver did not do what it was asked; the message is one line and says why."""


class DriverProcess:
    """One driver module, running under some interpreter, with a folder for what it writes. It sees no GPU."""

    def __init__(self, python: Path, module: str, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "log.txt"
        paths = [str(BENCHMARKS)]
        if python == Path(sys.executable):  # other interpreters find nothing of ours
            paths += [str(Path(entry).resolve()) for entry in sys.path if entry]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "CUDA_VISIBLE_DEVICES": ""}
        with open(self.log, "w") as log:
            self._process = subprocess.Popen(
                [str(python), "-m", module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=folder,
                env=environment,
            )

    def setup(self, setup: Setup) -> About:
        """Let it build what it measures."""
        answer = self._ask({"do": "setup", "setup": asdict(setup)})
        return About(answer["name"], answer["versions"], answer["parameters"], tuple(answer["notes"]))

    def round(self) -> Round:
        """Let it train and score once."""
        return {kind: Measure(**figures) for kind, figures in self._ask({"do": "round"}).items()}

    def quit(self) -> int:
        """Its peak resident memory in bytes; it ends."""
        peak: int = self._ask({"do": "quit"})["peak_rss_bytes"]
        self.end()
        return peak

    def end(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):  # it ended before it had read all
                stream.close()

    def _ask(self, command: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it ended; there may still be an answer that says why
            print(json.dumps(command), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise DriverError(f"it ended with status {self._process.wait()}: {last_line(self.log)} (see {self.log})")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise DriverError(f"{answer['error']} (see {self.log})")
        return answer


def last_line(path: Path) -> str:
    """The last line of a text file that is not empty."""
    lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it printed nothing"
