"""Is a further round of finalists worth it, and whose neighbours should it try? Played through with a table.

    python benchmarks/rounds.py --table nas-bench-macro_cifar10.json --runs OUT/sandwich-3 --cap 50 --output FOLDER

--runs: a recipe's folder that benchmarks/ranking.py wrote; its supernets' losses choose the finalists. What a short
training says is played: the true accuracy and a normal error of --error points, drawn for each network once. The first
round has the best --finalists by loss of --samples networks; a further one the best of up to as many neighbours, which
are at most --changes choices away from one of the --parents that seem best so far (enas/finalists.py has one number of
each). "more" has no neighbours, but as many samples and finalists in a single round. A line of the table says how much
more accurate the last round's pick truly is than the first one's, in points: the mean over --repeats, and its standard
error. No label does anything but play the trainings. Writes FOLDER/rounds.json.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from commands import scored
from correlation import Floats, tau
from finalist_curves import found as finished

from enas import searchers
from enas.checkpoint import write_json
from enas.errors import UserError
from enas.finalists import TRIES
from enas.jobs.targets import read_result
from enas.tables import TrueAccuracies, load_table


@dataclass(frozen=True)
class Variant:
    """How it goes on after the first round. parents: 0: more finalists in that one instead."""

    rounds: int
    parents: int = 0
    changes: int = 0

    def __str__(self) -> str:
        if not self.parents:
            return f"more, {self.rounds} times as many"
        return f"{self.rounds} rounds, parents: {self.parents}, changes: {self.changes}"


class Game:
    """The different networks of a table by number, and what a supernet says of them.

    allowed: [n], which of them a limit allows; truth: [n], percent; proxy: [n], the greater the better.
    """

    def __init__(self, table: TrueAccuracies, run: Path, most_macs: float) -> None:
        self.table, self.positions = table, np.unique(table.network)
        self.allowed = table.macs[self.positions] <= most_macs
        self.truth: Floats = 100 * table.test[self.positions]
        archs = [table.arch(int(position)) for position in self.positions]
        self.proxy: Floats = -scored(run, table.space, archs)["proxy_loss"]
        self.changed = functools.cache(self._changed)

    def check(self, finalists: int) -> None:
        """Raise UserError where so many are all that is allowed: nothing would be left to find."""
        if (there := int(self.allowed.sum())) <= finalists:
            raise UserError(
                f"the limit must allow more networks than the {finalists} of --finalists, but allows {there}; give a "
                "higher --cap or fewer --finalists"
            )

    def play(
        self, variant: Variant, samples: int, finalists: int, error: float, seed: int
    ) -> tuple[float, float, float]:
        """True accuracies of the first and of the last pick, and Kendall's tau of the first finalists' trainings."""
        generator = np.random.default_rng(seed)
        seen = self.truth + error * generator.standard_normal(len(self.truth))
        order = generator.permutation(np.flatnonzero(self.allowed))
        trained = self._best(order[:samples], finalists)
        first, ranks = max(trained, key=seen.__getitem__), tau(seen[trained], self.truth[trained])
        if not variant.parents:
            trained = self._best(order[: variant.rounds * samples], variant.rounds * finalists)
        for _ in range(variant.rounds - 1 if variant.parents else 0):
            parents = sorted(trained, key=lambda network: -seen[network])[: variant.parents]
            near = self._near(parents, variant.changes, samples, set(trained), generator)
            trained += self._best(near, finalists)
        return float(self.truth[first]), float(self.truth[max(trained, key=seen.__getitem__)]), ranks

    def _best(self, networks: Any, count: int) -> list[int]:
        """The first ones by proxy."""
        return sorted(map(int, networks), key=lambda network: -self.proxy[network])[:count]

    def _near(
        self, parents: list[int], changes: int, samples: int, known: set[int], generator: np.random.Generator
    ) -> list[int]:
        """As many different networks near the parents, or fewer, drawn as in enas/finalists.py."""
        found: dict[int, None] = {}
        for parent, draws in zip(
            generator.choice(parents, TRIES * samples).tolist(),
            generator.random((TRIES * samples, changes + 1)).tolist(),
            strict=True,
        ):
            network = parent
            for draw in draws[: 1 + int(changes * draws[-1])]:
                options = self.changed(network)
                network = options[int(draw * len(options))]
            if network not in known and self.allowed[network]:
                found[network] = None
            if len(found) == samples:
                break
        return list(found)

    def _changed(self, network: int) -> list[int]:
        """What a change of one choice makes of a network; each decision has as many choices as any other."""
        arch = self.table.arch(int(self.positions[network]))
        positions = self.table.network[self.table.positions(list(searchers.near(self.table.space, arch, 1)))]
        found: list[int] = np.searchsorted(self.positions, positions).tolist()
        return found


@click.command()
@click.option("--table", "path", required=True, type=click.Path(path_type=Path), help="the table's file")
@click.option("--runs", "made", required=True, type=click.Path(path_type=Path), help="a recipe's folder of ranking.py")
@click.option("--cap", type=click.FloatRange(1), help="million MACs that a network may take (default: no limit)")
@click.option("--samples", default=250, type=click.IntRange(2), help="networks that a round chooses from")
@click.option("--finalists", default=25, type=click.IntRange(2), help="networks that a round trains")
@click.option("--parents", multiple=True, default=(1, 3, 5, 8), type=click.IntRange(1), help="whose neighbours to try")
@click.option("--changes", multiple=True, default=(1, 2), type=click.IntRange(1, 3), help="choices that may differ")
@click.option("--rounds", "numbers", multiple=True, default=(2, 3), type=click.IntRange(2), help="rounds in all")
@click.option("--error", "errors", multiple=True, default=(0.3, 0.5), type=click.FloatRange(0), help="points, sd")
@click.option("--repeats", default=300, type=click.IntRange(2), help="draws of samples and errors, for each supernet")
@click.option("--output", required=True, type=click.Path(path_type=Path), help="folder for the result")
def main(
    path: Path,
    made: Path,
    cap: float | None,
    samples: int,
    finalists: int,
    parents: tuple[int, ...],
    changes: tuple[int, ...],
    numbers: tuple[int, ...],
    errors: tuple[float, ...],
    repeats: int,
    output: Path,
) -> None:
    """Play all of them."""
    try:
        table, folders = load_table(path), finished(made, None)
        names = {read_result(folder).space.name for folder in folders}
        if names != {table.name}:
            raise UserError(f"--runs must be in the table's space {table.name}, but are in {', '.join(names)}")
        games = [Game(table, folder, np.inf if cap is None else 1e6 * cap) for folder in folders]
        games[0].check(finalists)
    except UserError as error:
        raise click.UsageError(str(error)) from None
    variants = [Variant(*values) for values in itertools.product(numbers, parents, changes)]
    variants += [Variant(rounds) for rounds in numbers]
    found = {
        str(variant): {f"{each:g}": played(games, variant, samples, finalists, each, repeats) for each in errors}
        for variant in variants
    }
    settings = {"table": path.name, "runs": made.name, "supernets": len(games), "cap": cap, "samples": samples}
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / "rounds.json", {**settings, "finalists": finalists, "repeats": repeats, "variants": found})
    print("\n".join(rows(found)))


def played(
    games: list[Game], variant: Variant, samples: int, finalists: int, error: float, repeats: int
) -> dict[str, float]:
    """A variant's gain in points with its standard error, beside the first round's pick and tau, means over all plays.

    All variants see the same samples and errors.
    """
    plays = [[game.play(variant, samples, finalists, error, seed) for game in games] for seed in range(repeats)]
    first, last, ranks = np.array(plays).mean(1).T  # supernets that see the same samples and errors are one witness
    gains = last - first
    return {
        "gain": gains.mean().item(),
        "gain_error": (gains.std(ddof=1) / len(gains) ** 0.5).item(),
        "first": first.mean().item(),
        "tau": ranks.mean().item(),
    }


def rows(found: dict[str, dict[str, dict[str, float]]]) -> list[str]:
    """For docs/results.md."""
    of_errors = next(iter(found.values()))
    heads = [
        f"error {error}: tau {each['tau']:.2f}, first pick {each['first']:.2f}" for error, each in of_errors.items()
    ]
    lines = [f"| after the first round | {' | '.join(heads)} |", f"|---|{'--:|' * len(heads)}"]
    for name, by_error in found.items():
        cells = [f"{each['gain']:+.2f} ({each['gain_error']:.2f})" for each in by_error.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()
