"""Settings of judging architectures by training each of them (Zoph & Le 2017)."""

from __future__ import annotations

from dataclasses import dataclass, field

from enas import halving
from enas.config.checked import Checked, setting
from enas.config.training import StandaloneConfig


@dataclass(frozen=True, kw_only=True)
class FullTrainingConfig(Checked):
    """Every child from scratch: how long, on how many workers, and which ones may stop early."""

    epochs: int = setting(50, "epochs of each child (Zoph & Le: 50)", option="--child-epochs", low=1, high=10**6)
    last: int = setting(
        5, "a child's validation accuracy is its highest of so many last epochs (Zoph & Le: 5)", low=1, high=10**6
    )
    workers: int = setting(
        1,
        "children trained at the same time, each by a process of its own",
        option="--workers",
        low=1,
        high=1024,
    )
    threads: int = setting(
        0,
        "CPU threads of a worker (0: those of the run, shared out); results depend on them to the last bits",
        low=0,
        high=1024,
    )
    child_timeout_minutes: float = setting(
        120.0, "minutes after which a child's process is ended and the child counts as failed", above=0, high=10**6
    )
    halving_eta: int = setting(
        0,
        "successive halving: at each of some epochs only one in so many children of a batch goes on, the others are "
        "judged by what they have (0: all are trained to the end)",
        low=0,
        high=1000,
    )
    halving_first: int = setting(2, "successive halving: epochs before the first selection, at least", low=1)
    executor: str = setting(
        "local",
        "where the workers run: processes on this machine, or a Ray cluster",
        choices=("local", "ray"),
        option="--executor",
    )
    ray_address: str | None = setting(
        None,
        "executor ray: the cluster's address, or auto (default: Ray is started on this machine)",
        option="--ray-address",
    )
    sgd: StandaloneConfig = field(default_factory=StandaloneConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        halving.check_eta(self.halving_eta, "child")

    @property
    def rungs(self) -> tuple[int, ...]:
        """Epochs after which children are compared, the last one being the end."""
        return halving.rungs(self.epochs, self.halving_eta, self.halving_first)

    @property
    def epochs_each(self) -> float:
        """Epochs of a child on average, in large batches: fewer than all where some are stopped early."""
        shares = (float(max(1, self.halving_eta)) ** -i for i in range(len(self.rungs)))
        return sum(span * share for span, share in zip(halving.spans(self.rungs), shares, strict=True))
