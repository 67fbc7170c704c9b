"""What a checkpoint of a search with shared weights holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from enas import checkpoint, spaces
from enas.errors import UserError
from enas.pareto import best_known
from enas.plan import Work, sizes, with_sizes
from enas.runs import NEWER, RunFolder, check_identity
from enas.searchers import Told
from enas.training import EpochState, EpochStats

if TYPE_CHECKING:
    from enas.phases import Search

SCHEMA = 7
READABLE = (6, 7)  # of 6, scores that a choice had so far are lost: they are made again
PARTIAL = ("scores", "effects", "naswot")  # what those were
JUDGING = ("image_size", "ema_decay", "splits")  # settings of the shared weights that say how they judge
SPLIT = ("validation_fraction", "test_fraction", "split_seed", "skip_unreadable")  # settings of the data


@dataclass
class Within:
    """What the epoch at hand has done so far. stats: of its first phase, once that is done; change: in words, what it
    did to the shared weights before."""

    weights: EpochState = field(default_factory=EpochState)
    stats: EpochStats | None = None
    told: list[Told] = field(default_factory=list)
    scoring_s: float = 0.0
    change: str | None = None

    def note(self, change: str | None) -> None:
        """Add a change to the shared weights, if there is one."""
        self.change = "; ".join(filter(None, (self.change, change))) or None

    def state_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def restored(cls, state: dict[str, Any]) -> Self:
        return cls(
            EpochState(**state["weights"]),
            EpochStats(**state["stats"]) if state["stats"] else None,
            [Told(**told) for told in state["told"]],
            state["scoring_s"],
            state.get("change"),  # earlier versions know none
        )


def state_of(search: Search) -> dict[str, Any]:
    """Tensors and plain values from which the search can go on as if it had never stopped."""
    return {
        "schema": SCHEMA,
        "identity": search.identity,
        "epoch": search.epoch,
        "sizes": sizes(search.config),
        "within": search.within.state_dict(),
        "limits": [search.chunk, search.evaluator.memory],
        "num_records": search.num_records,
        "done": asdict(search.done),
        "macs": [search.training_macs, search.evaluator.macs],
        "derived": search.derived,
        "finalists": _finalists(search),
        "elapsed_s": search.elapsed_s,
        "overhead_s": search.overhead_s,
        "splits": None if search.supernet.splits is None else list(search.supernet.splits),
        "shrunk": [search.curriculum.shrunk, search.curriculum.kept],
        "supernet": search.supernet.state_dict(),
        "average": None if search.average is None else search.average.module.state_dict(),
        "optimizer": search.optimizer.state_dict(),
        "searcher": search.searcher.state_dict(),
    }


def _finalists(search: Search) -> dict[int, dict[str, Any]]:
    """Where each finalist stands that is being trained or is to go on, by its place."""
    states = dict(search.paused)
    if search.finalist is not None:
        place, training = search.finalist
        states[place] = training.state_dict()
    return states


def take_over(search: Search, state: Mapping[str, Any]) -> None:
    """Bring the search to the state. Raises UserError where it is another search's or another version's."""
    path = search.folder.checkpoint
    check_identity(path, state, search.identity)
    with checkpoint.taking_over(path):
        if state["schema"] not in READABLE:
            raise ValueError("schema")
        _take_weights(search, state)
        search.optimizer.load_state_dict(state["optimizer"])
        search.searcher.load_state_dict(state["searcher"])
        if "shrunk" in state:  # earlier versions know none
            search.curriculum.shrunk, search.curriculum.kept = state["shrunk"]
        search.epoch, search.derived = state["epoch"], dict(state["derived"])
        if state["schema"] < SCHEMA:
            search.derived = {name: found for name, found in search.derived.items() if name not in PARTIAL}
            if search.config.weights.source is not None:  # which earlier versions asked later
                search.derived["known"] = _known(search, Path(search.config.weights.source))
        search.config = with_sizes(search.initial, state["sizes"])
        search.within, search.paused = Within.restored(state["within"]), state["finalists"]
        search.chunk, search.evaluator.memory = state["limits"]
        search.training_macs, search.evaluator.macs = state["macs"]
        search.num_records, search.elapsed_before_s = state["num_records"], state["elapsed_s"]
        search.overhead_s, search.done = state["overhead_s"], Work(**state["done"])


def _take_weights(search: Search, state: Mapping[str, Any]) -> None:
    if state.get("splits") is not None:  # earlier versions know none
        search.split(state["splits"])
    search.supernet.load_state_dict(state["supernet"])
    if search.average is not None:
        search.average.module.load_state_dict(state["average"])


def inherit(search: Search, source: Path) -> None:
    """Take over the shared weights of the search in the folder `source`, and what it found to be best for its cost.

    Raises UserError unless it searched the same space with the same images, split alike.
    """
    path = RunFolder(source).checkpoint
    if not path.exists():
        raise UserError(f"{source} must be a search with shared weights, but it has no checkpoint; check the path")
    state = checkpoint.load(path)
    with checkpoint.taking_over(path):
        if state["schema"] not in READABLE:
            raise ValueError("schema")
        if state["identity"]["images"] != search.identity["images"]:
            raise UserError(f"{source} must have searched with the same images, but it had others; give --data")
        theirs, ours = _inherited(state["identity"]), _inherited(search.identity)
        different = [name for name, value in ours.items() if theirs[name] != value]
        if different:
            raise UserError(
                f"{source} must have searched the same space with the same split of the images, but its settings of "
                f"{' and '.join(different)} are others; use enas derive, which takes them over"
            )
        _take_weights(search, state)
    # noted here, so that a run that goes on when its source is gone judges the same ones
    search.derived["known"] = _known(search, source)


def _known(search: Search, source: Path) -> list[str]:
    """The texts of what was known to be best for its cost before."""
    return [spaces.to_text(search.space, arch) for arch in best_known(search.space, source)]


def _inherited(identity: Mapping[str, str]) -> dict[str, Any]:
    """The settings that shared weights depend on after their training."""
    settings, _ = json.JSONDecoder().raw_decode(identity["settings"])  # what follows says how images are augmented
    split = {name: settings["data"][name] for name in SPLIT}
    return {
        "data": {**split, "image_size": settings["data"]["image_size"]},
        **{f"weights.{name}": settings["weights"].get(name, NEWER["weights"][name]) for name in JUDGING},
        "space": settings["space"],
    }
