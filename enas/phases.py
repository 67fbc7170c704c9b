"""The state of a search and its two alternating phases (ENAS section 2.2)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from torch import Tensor

from enas import checkpoint, config, searchers, spaces
from enas.config import SearchConfig
from enas.data import DataSet, evaluation_batches, random_batch, split, training_batches, training_steps
from enas.errors import UserError
from enas.evaluators import SharedWeights
from enas.objective import rewards
from enas.ops import Noise
from enas.plan import TRAINING_COST, work_before_epoch
from enas.records import EpochRecord, Record, difference, mean
from enas.runs import RunFolder
from enas.runtime import Runtime, derived_seed, generator
from enas.searchers import Told
from enas.spaces import Architecture
from enas.supernet import Supernet
from enas.training import EpochStats, sgd, train_epoch

SCHEMA = 1
COLLAPSED = 0.8  # an operation with a larger share of the choices is worth a warning
OnWork = Callable[[int], None]


class Search:
    """All that changes during a search, in one place, so that a checkpoint can hold it."""

    def __init__(
        self,
        run_config: SearchConfig,
        data: DataSet,
        folder: RunFolder,
        runtime: Runtime,
        on_work: OnWork = lambda units: None,
        on_resume: OnWork = lambda units: None,
    ) -> None:
        seed = run_config.seed
        self.config, self.data, self.folder, self.runtime = run_config, data, folder, runtime
        self.on_work, self.on_resume = on_work, on_resume
        self.space = spaces.build(run_config.space, data.input_shape, data.num_classes)
        self.train, self.validation = split(
            data.train, run_config.data.validation_fraction, run_config.data.split_seed, classes=data.classes
        )
        self.supernet = Supernet(self.space, generator(seed, "supernet")).to(runtime.device)
        self.optimizer = sgd(self.supernet, run_config.weights)
        self.searcher = searchers.build(self.space, run_config, generator(seed, "searcher"))
        self.evaluator = SharedWeights(self.supernet, self.space, runtime)
        self.draws = {name: generator(seed, name) for name in ("images", "architectures", "validation")}
        # what a checkpoint must agree with: the configuration and the images
        self.identity = f"{config.to_dict(run_config)} {data.fingerprint()}"
        self.epoch = 0
        self.weights_stats: EpochStats | None = None  # of this epoch's first phase, once it is done
        self.num_records = 0
        self.derived: dict[str, Any] = {}  # what derive has found out so far
        self.elapsed_before_s = 0.0
        self.started = time.perf_counter()

    @property
    def elapsed_s(self) -> float:
        """Seconds spent on this run, over all its sessions."""
        return self.elapsed_before_s + time.perf_counter() - self.started

    @property
    def warmup(self) -> bool:
        """Whether this epoch's architectures are uniform and the controller rests."""
        return self.config.searcher == "reinforce" and self.epoch < self.config.controller.warmup_epochs

    def sample(self, n: int) -> list[Architecture]:
        """Architectures to train weights on."""
        if self.warmup:
            return searchers.uniform(self.space, n, self.draws["architectures"])
        return self.searcher.sample(n, self.draws["architectures"])

    def train_shared_weights(self) -> EpochStats:
        """Phase 1: one epoch of the shared weights on the training images, new architectures each step."""
        weights, data = self.config.weights, self.data
        steps = training_steps(len(self.train), weights.batch_size)
        first_step = self.epoch * steps

        def model(images: Tensor, step: int) -> Tensor:
            graphs = [self.evaluator.graph(arch) for arch in self.sample(weights.architectures_per_step)]
            seed = derived_seed(self.config.seed, f"dropout/{first_step + step}")
            return self.supernet(images, graphs, Noise(weights.dropout, seed) if weights.dropout else None)  # type: ignore[no-any-return]

        return train_epoch(
            model,
            self.optimizer,
            training_batches(
                self.train, weights.batch_size, data.augmentation, data.mean, data.std, self.draws["images"]
            ),
            steps,
            weights,
            self.runtime,
            epoch=self.epoch,
            epochs=self.config.epochs,
            on_step=lambda child_images: self.on_work(TRAINING_COST * child_images),
        )

    def train_searcher(self) -> tuple[list[Told], float]:
        """Phase 2: ask, score on validation images, tell. Returns the updates and the seconds of scoring."""
        told: list[Told] = []
        scoring_s = 0.0
        controller = self.config.controller
        for _ in range(0 if self.warmup else controller.updates):
            proposals = self.searcher.ask(controller.architectures_per_update)
            start = time.perf_counter()
            batch = self.validation_batch(controller.batch_size)
            scores = self.evaluator.score([proposal.arch for proposal in proposals], [batch])
            scoring_s += time.perf_counter() - start
            told.append(self.searcher.tell(proposals, rewards(scores, self.config.objective)))
            self.on_work(len(proposals) * len(batch[0]))
        return told, scoring_s

    def finish_epoch(self, weights: EpochStats, searcher_phase: tuple[list[Told], float]) -> EpochRecord:
        """Score a sample of the policy beside uniform architectures and put the epoch's record together."""
        told, scoring_s = searcher_phase
        n = self.config.derive.random_per_epoch
        policy = self.searcher.sample(n, self.draws["validation"])
        random = searchers.uniform(self.space, n, self.draws["validation"])
        batch = self.validation_batch(self.config.derive.images_per_epoch)
        accuracy = self.evaluator.score(policy + random, [batch]).accuracy.tolist()
        self.on_work(2 * n * len(batch[0]))
        best = max(range(n), key=accuracy.__getitem__)
        shares = spaces.choice_shares(self.space, policy)
        entropy = self.searcher.entropy(policy)
        return EpochRecord(
            epoch=self.epoch,
            warmup=self.warmup,
            learning_rate=weights.learning_rate,
            train_loss=weights.loss,
            train_accuracy=weights.accuracy,
            grad_norm=weights.grad_norm,
            skipped_steps=weights.skipped_steps,
            images_per_s=weights.images / weights.seconds,
            child_images_per_s=weights.child_images / weights.seconds,
            reward=mean([t.reward for t in told]),
            baseline=told[-1].baseline if told else None,
            advantage=mean([t.advantage for t in told]),
            controller_grad_norm=mean([t.grad_norm for t in told]),
            architectures_per_s=len(told) * self.config.controller.architectures_per_update / scoring_s
            if told
            else None,
            entropy=entropy,
            entropy_share=entropy / spaces.uniform_entropy(self.space),
            skip_rate=shares["skip"]["yes"] if "skip" in shares else None,
            controller_proxy_accuracy=sum(accuracy[:n]) / n,
            random_proxy_accuracy=sum(accuracy[n:]) / n,
            controller_minus_random=difference(accuracy[:n], accuracy[n:]),
            choice_shares=shares,
            best_arch=spaces.to_text(self.space, policy[best]),
            best_proxy_accuracy=accuracy[best],
            warning=collapse_warning(shares),
            elapsed_s=self.elapsed_s,
        )

    def validation_batch(self, size: int) -> tuple[Tensor, Tensor]:
        """Random un-augmented validation images, the next ones of this run."""
        return random_batch(self.validation, size, self.data.mean, self.data.std, self.draws["validation"])

    def validation_batches(self) -> list[tuple[Tensor, Tensor]]:
        """The whole validation set, the same for everybody."""
        return list(evaluation_batches(self.validation, self.config.derive.batch_size, self.data.mean, self.data.std))

    def advance(self, record: Record) -> None:
        """Store a record, then the state that comes after it. After an epoch's record the next epoch begins."""
        self.folder.append(record)
        self.num_records += 1
        if isinstance(record, EpochRecord):
            self.epoch, self.weights_stats = self.epoch + 1, None
        self.save()

    def save(self) -> None:
        checkpoint.save(
            self.folder.checkpoint,
            {
                "schema": SCHEMA,
                "identity": self.identity,
                "epoch": self.epoch,
                "weights_stats": asdict(self.weights_stats) if self.weights_stats else None,
                "num_records": self.num_records,
                "derived": self.derived,
                "elapsed_s": self.elapsed_s,
                "supernet": self.supernet.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "searcher": self.searcher.state_dict(),
                "draws": {name: draws.get_state() for name, draws in self.draws.items()},
            },
        )

    def restore(self) -> None:
        """Continue from the folder's checkpoint; without one, from the beginning."""
        if not self.folder.checkpoint.exists():
            self.folder.truncate_records(0)
            return
        state = checkpoint.load(self.folder.checkpoint)
        if state.get("identity") != self.identity:
            raise UserError(
                f"{self.folder.checkpoint} must belong to this run's configuration and images, but it does not; "
                "bring back the images and config.json that the run began with, or start a new run"
            )
        try:
            self.supernet.load_state_dict(state["supernet"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.searcher.load_state_dict(state["searcher"])
            for name, draws in self.draws.items():
                draws.set_state(state["draws"][name])
            self.epoch, self.derived = state["epoch"], state["derived"]
            self.weights_stats = EpochStats(**state["weights_stats"]) if state["weights_stats"] else None
            self.num_records, self.elapsed_before_s = state["num_records"], state["elapsed_s"]
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise UserError(
                f"{self.folder.checkpoint} must be a checkpoint of this version of enas, but it lacks or breaks "
                f"something ({type(error).__name__}); start a new run"
            ) from None
        self.folder.truncate_records(self.num_records)
        self.on_resume(work_before_epoch(self.config, self.epoch, len(self.train)).units)


def collapse_warning(shares: dict[str, dict[str, float]]) -> str | None:
    """A sentence where one operation makes up more than 80 % of the choices of the controller."""
    for label, share in shares.get("op", {}).items():
        if share > COLLAPSED:
            return f"{label} makes up {share:.0%} of the sampled operations: the search may have collapsed"
    return None
