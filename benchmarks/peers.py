"""Weight-sharing search of other packages beside ours: training of shared weights and reward, in one run.

    python benchmarks/peers.py --output FOLDER --nni-examples CHECKOUT --autodl CHECKOUT --mengtianjian CHECKOUT

Every peer runs its own released code in a process of its own, on the CPU, on the same random images: NNI from
packages that this script installs into FOLDER/environments (two of several GiB), the others from checkouts that
you give. NNI's older example is in the sources of its release 2.6.1; AutoDL-Projects and MengTianjian/enas-pytorch
are to be taken as they are. All processes wait while one of them works; rounds alternate between them, so a drift
of the machine hits all alike, and the first one does not count. Run nothing else meanwhile.

Peers run as their users run them: in the default layout, in float32, with glibc's defaults for memory. MACs
are of the children that were sampled, counted outside the time that is measured.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import click
from peer_drivers.alternation import Side, Taken, alternated
from peer_drivers.comparison import OURS, notes, rows, table
from peer_drivers.environments import interpreter
from peer_drivers.processes import DriverError, DriverProcess
from peer_drivers.protocol import Setup

from enas.config import RunConfig
from enas.runtime import start, versions

TORCH = tuple(f"{name}=={metadata.version(name).partition('+')[0]}" for name in ("torch", "torchvision"))  # as we have
SPACES = ("macro", "micro", "nasbench201")
UPDATE = 20  # architectures of one update of every peer's controller


@dataclass(frozen=True)
class Peer:
    """One implementation.

    requirements: what its own environment holds; none: it runs in ours. needed: a file that its checkout must have.
    """

    module: str
    spaces: tuple[str, ...]
    requirements: tuple[str, ...] = ()
    needed: str | None = None


PEERS = {
    "nni-examples": Peer(
        "peer_drivers.nni_examples",
        ("macro", "micro"),
        ("nni==2.6.1", *TORCH),
        "examples/nas/oneshot/enas/macro.py",
    ),
    "nni": Peer(
        "peer_drivers.nni_release",
        ("micro", "nasbench201"),
        # its last release needs packages of its time
        ("nni==3.0", "pytorch-lightning==2.0.9", "tianshou==0.4.11", "gym", "numpy<2", "setuptools<81", *TORCH),
    ),
    "autodl": Peer("peer_drivers.autodl", ("nasbench201",), (), "exps/NAS-Bench-201-algos/ENAS.py"),
    "mengtianjian": Peer("peer_drivers.mengtianjian", ("micro",), (), "train_search.py"),
}
EVERYONE = {OURS: Peer("peer_drivers.ours", SPACES), **PEERS}


@click.command()
@click.option("--output", required=True, type=click.Path(path_type=Path), help="folder for environments and logs")
@click.option("--spaces", multiple=True, type=click.Choice(SPACES), help="default: all")
@click.option("--peers", multiple=True, type=click.Choice(list(PEERS)), help="default: nni and all with a checkout")
@click.option("--nni-examples", type=click.Path(path_type=Path), help="checkout of NNI at its tag v2.6.1")
@click.option("--autodl", type=click.Path(path_type=Path), help="checkout of AutoDL-Projects")
@click.option("--mengtianjian", type=click.Path(path_type=Path), help="checkout of MengTianjian/enas-pytorch")
@click.option("--batch-size", default=64, type=click.IntRange(2), help="images")
@click.option("--image-size", default=32, type=click.IntRange(8), help="side of the images")
@click.option("--steps", default=10, type=click.IntRange(1), help="training steps of a round, an architecture each")
@click.option("--architectures", default=64, type=click.IntRange(2), help="that we score in a round")
@click.option(
    "--peer-updates", default=1, type=click.IntRange(1), help=f"of their controllers in a round: {UPDATE} scored each"
)
@click.option("--rounds", default=7, type=click.IntRange(2), help="rounds that count")
@click.option("--threads", default=0, type=click.IntRange(0), help="CPU threads of each (default: all cores)")
@click.option("--seed", default=0, type=click.IntRange(0), help="seed of images, weights and controllers")
@click.option("--json", "path", type=click.Path(path_type=Path), help="write all figures to this file")
def main(
    output: Path,
    spaces: tuple[str, ...],
    peers: tuple[str, ...],
    nni_examples: Path | None,
    autodl: Path | None,
    mengtianjian: Path | None,
    batch_size: int,
    image_size: int,
    steps: int,
    architectures: int,
    peer_updates: int,
    rounds: int,
    threads: int,
    seed: int,
    path: Path | None,
) -> None:
    """Measure and print the table."""
    given = {"nni-examples": nni_examples, "autodl": autodl, "mengtianjian": mengtianjian}
    checkouts = {name: folder.resolve() for name, folder in given.items() if folder is not None}
    spaces = spaces or SPACES
    chosen = [name for name in chosen_peers(peers, checkouts) if set(spaces) & set(PEERS[name].spaces)]
    runtime = start(RunConfig(device="cpu", threads=threads))
    output, threads = output.resolve(), runtime.threads
    environment = {**versions(runtime), "threads": threads}
    print(" | ".join(f"{name} {value}" for name, value in environment.items()), flush=True)
    pythons, failed = prepared(output / "environments", chosen)
    pythons = {OURS: Path(sys.executable), **pythons}
    scored = {name: architectures if name == OURS else peer_updates * UPDATE for name in pythons}
    found: list[dict[str, Any]] = []
    measured: dict[str, Mapping[str, Taken]] = {}
    for space in spaces:
        setup = Setup(space, batch_size, image_size, threads, seed, steps, architectures)
        with ExitStack() as stack:
            sides = {}
            for name in (name for name in pythons if space in EVERYONE[name].spaces):
                process = DriverProcess(pythons[name], EVERYONE[name].module, output / "runs" / space / name)
                stack.callback(process.end)
                checkout = str(checkouts[name]) if name in checkouts else None
                sides[name] = Side(process, replace(setup, architectures=scored[name], checkout=checkout))
            measured[space], stopped = alternated(sides, rounds)
        if OURS in stopped:
            raise SystemExit(f"our own driver must work, but on space {space} it does not: {stopped[OURS]}")
        failed |= {f"{name}, {space}": reason for name, reason in stopped.items()}
        found += rows(space, measured[space])
    print("\n".join([*table(found), *notes(measured.values())]))
    for name, reason in failed.items():
        print(f"missing: {name}: {reason}")
    if path is not None:
        settings = {"batch_size": batch_size, "image_size": image_size, "steps": steps, "architectures": architectures}
        settings |= {"peer_architectures": peer_updates * UPDATE, "rounds": rounds, "seed": seed}
        everything = {space: {name: asdict(taken) for name, taken in all_.items()} for space, all_ in measured.items()}
        report = {"environment": environment, **settings, "rows": found, "failed": failed, "measured": everything}
        path.write_text(json.dumps(report, indent=2) + "\n")


def chosen_peers(names: tuple[str, ...], checkouts: Mapping[str, Path]) -> list[str]:
    """The peers to measure. Raises UsageError where a checkout is missing or is none of theirs."""
    for name, folder in checkouts.items():
        needed = PEERS[name].needed
        assert needed is not None
        if not (folder / needed).is_file():
            raise click.UsageError(
                f"--{name} must be a checkout with {needed} in it, but {folder} has none; give its topmost folder"
                + ("; that of NNI at its tag v2.6.1" if name == "nni-examples" else "")
            )
    for name in names:
        if PEERS[name].needed and name not in checkouts:
            raise click.UsageError(f"peer {name} must have a checkout to run from, but none is given; give --{name}")
    return list(names) or [name for name, peer in PEERS.items() if not peer.needed or name in checkouts]


def prepared(folder: Path, names: list[str]) -> tuple[dict[str, Path], dict[str, str]]:
    """The interpreters of the peers, and why there is none."""
    pythons, failed = {}, {}
    for name in names:
        try:
            requirements = PEERS[name].requirements
            pythons[name] = interpreter(folder / name, requirements) if requirements else Path(sys.executable)
        except DriverError as error:
            failed[name] = str(error)
            print(f"{name} cannot be measured: {error}", file=sys.stderr, flush=True)
    return pythons, failed


if __name__ == "__main__":
    main()
