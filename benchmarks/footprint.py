"""What the command line takes before it works, and how much memory: start-up times and peak resident memory.

    python benchmarks/footprint.py --data FOLDER

`enas --help`; from the start of `enas search` to the end of its first training step, with images that are read and
cached already; and the peak memory of a search of space macro (36 filters, 12 layers, 128 images a step) over some
training steps and an update of the controller (64 architectures on 128 images). Run nothing else meanwhile.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from enas.config import RunConfig
from enas.runtime import start, versions

SEARCH = (
    "--space macro --width 36 --set space.layers=12 --set weights.batch_size=128 --set weights.steps=8 "
    "--set controller.batch_size=128 --set controller.architectures_per_update=64 --set controller.updates=1 "
    "--set controller.warmup_epochs=0"
)
FIRST_STEP, FIRST_UPDATE = "step", "update"


@click.command()
@click.option("--data", default="digits", help="images of `enas search`: a folder or a name")
@click.option("--repeats", default=5, type=click.IntRange(1), help="starts that count, after one that does not")
@click.option("--json", "path", type=click.Path(path_type=Path), help="write all figures to this file")
def main(data: str, repeats: int, path: Path | None) -> None:
    """Measure and print the table."""
    runtime = start(RunConfig(device="cpu"))
    figures: dict[str, Any] = {**versions(runtime), "threads": runtime.threads}
    print(" | ".join(f"{name} {value}" for name, value in figures.items()), flush=True)
    figures["help_s"] = [_timed([sys.executable, "-m", "enas", "--help"]) for _ in range(repeats + 1)][1:]
    searches = [_search(data, FIRST_STEP) for _ in range(repeats + 1)][1:]
    figures["first_step_s"] = [seconds for seconds, _ in searches]
    figures["peak_bytes"] = _search(data, FIRST_UPDATE)[1]
    print("| what | median | smallest | largest | n |\n|---|--:|--:|--:|--:|")
    for name, words in (("help_s", "`enas --help`, s"), ("first_step_s", "start to first training step, s")):
        times = figures[name]
        print(f"| {words} | {statistics.median(times):.2f} | {min(times):.2f} | {max(times):.2f} | {len(times)} |")
    print(f"| peak memory of a macro search, 128 images, GB | {figures['peak_bytes'] / 1e9:.2f} | | | 1 |")
    if path is not None:
        path.write_text(json.dumps(figures, indent=2) + "\n")


def _timed(command: Sequence[str]) -> float:
    start_s = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start_s


def _search(data: str, until: str) -> tuple[float, int]:
    """Start a search and end it after its first step or update: seconds since the start, and its peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["search", "--data", data, "--device", "cpu", "--output", f"{folder}/run", *SEARCH.split()]
        began = time.time()
        found = subprocess.run([sys.executable, __file__, "--until", until, *arguments], capture_output=True, text=True)
        if found.returncode:
            raise SystemExit(f"`enas search` must run with --data {data}, but says: {found.stderr.strip()[-500:]}")
        ended, peak = found.stdout.split()[-2:]
        return float(ended) - began, int(peak)


def observed(until: str, arguments: Sequence[str]) -> None:
    """Be `enas` with these arguments up to a point; print the time and the peak memory, and leave."""
    from enas.cli import main as command
    from enas.phases import Search
    from enas.plan import Work

    report = Search.report

    def reported(self: Search, work: Work) -> None:
        report(self, work)
        if until == FIRST_STEP or work.updates:
            kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            print(time.time(), kib * 1024, flush=True)
            os._exit(0)

    Search.report = reported  # type: ignore[method-assign]
    command(list(arguments))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--until"]:
        observed(sys.argv[2], sys.argv[3:])
    else:
        main()
