"""What benchmarks share that let searchers look networks up in a table instead of training them.

A run asks the searcher, looks its proposals up and tells it. Its pick is the network with the best validation
accuracy so far; what counts is that network's true test accuracy. Runs are told apart by their seed alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from enas import searchers
from enas.config import SearchConfig, from_text, judged_alone, update
from enas.evaluators import Table
from enas.limits import limited, objective_of
from enas.runtime import generator, keep_freed_memory
from enas.tables import load_table

IDLE = 200  # generations without a new network after which a searcher is done
# Searchers that learn from every network by itself are told after each, as their authors have it.
GENERATIONS = {"evolution": 1, "local-search": 1, "tpe": 1}
PROCESSES = os.cpu_count() or 1

Measure = Callable[["Play"], Any]
_measured: Callable[[int], Any]  # of a process: by seed, what is measured of the run


@dataclass(frozen=True)
class Look:
    """A run after one more network. networks: different ones so far; truth: the pick's test accuracy, in 0..1."""

    networks: int
    position: int  # of the network, in the table
    truth: float


class Play:
    """One run of one searcher on a table. assignments: settings, as `--set` has them."""

    def __init__(self, table: Table, name: str, assignments: Sequence[str], seed: int) -> None:
        self.table = table
        changes = {"searcher": name, "generation": GENERATIONS.get(name, 10), "evolution": {"population": 50}}
        base = update(judged_alone(SearchConfig(), "table"), changes)
        self.config: SearchConfig = from_text(base, assignments)
        draws = generator(seed, "searcher")
        self.objective = objective_of(table.space, self.config.objective)
        space = limited(table.space, self.objective)
        self.searcher = searchers.build(space, self.config, draws, table.network)

    def looks(self, networks: int) -> Iterator[Look]:
        """Every new network, in the order of asking, until there were so many; fewer where no more are found."""
        seen: set[int] = set()
        best, truth, idle = float("-inf"), float("nan"), 0
        true, generation = self.table.accuracies.test, self.config.generation
        while len(seen) < networks and idle < IDLE:
            # each proposal is one new network at most, so that the end is not overrun
            proposals = self.searcher.ask(min(generation, networks - len(seen)))
            archs = [proposal.arch for proposal in proposals]
            values = self.objective.rewards(archs, self.table.score(archs))
            self.searcher.tell(proposals, values)
            idle += 1
            positions = self.table.accuracies.positions(archs).tolist()
            for arch, position, value in zip(archs, positions, values.tolist(), strict=True):
                if value > best:
                    best, truth = value, float(true[position])
                if (network := self.table.network(arch)) not in seen:
                    seen.add(network)
                    idle = 0
                    yield Look(len(seen), position, truth)


def runs(
    path: Path, name: str, assignments: Sequence[str], seeds: int, measure: Measure, processes: int, store: Path
) -> list[Any]:
    """What `measure` says of one run for each seed; what is in the file `store` already is read."""
    done: dict[int, Any] = {}
    if store.exists():
        lines = store.read_text().splitlines(keepends=True)
        if lines and not lines[-1].endswith("\n"):  # cut off by a kill
            store.write_text("".join(lines[:-1]))
            del lines[-1]
        for line in lines:
            entry = json.loads(line)
            if entry["settings"] != list(assignments):
                raise SystemExit(f"{store} must hold runs of {list(assignments)}, but it holds others; give --output")
            done[entry["seed"]] = entry["measured"]
    todo = [seed for seed in range(seeds) if seed not in done]
    with ProcessPoolExecutor(processes, initializer=_begin, initargs=(path, name, assignments, measure)) as pool:
        for seed, measured in zip(todo, tqdm(pool.map(_one, todo), f"{path.stem} {name}", len(todo)), strict=True):
            done[seed] = measured
            with open(store, "a", encoding="utf-8") as file:
                file.write(json.dumps({"settings": list(assignments), "seed": seed, "measured": measured}) + "\n")
    return [done[seed] for seed in range(seeds)]


def _begin(path: Path, name: str, assignments: Sequence[str], measure: Measure) -> None:
    """Prepare a process: one thread, and the table."""
    global _measured
    torch.set_num_threads(1)
    keep_freed_memory()
    table = Table(load_table(path))
    _measured = lambda seed: measure(Play(table, name, assignments, seed))  # noqa: E731


def _one(seed: int) -> Any:
    return _measured(seed)
