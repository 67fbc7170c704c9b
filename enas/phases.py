"""The state of a search and its two alternating phases (ENAS section 2.2)."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from enas import checkpoint, search_checkpoint, searchers, spaces
from enas.averaging import Average
from enas.config import FINALISTS_SIZE, SearchConfig
from enas.cost import cost
from enas.curriculum import Curriculum
from enas.data import DataSet, evaluation_batches, random_batch, split, training_batches
from enas.errors import UserError
from enas.evaluators import SharedWeights
from enas.interrupts import Keeper, StopRequest
from enas.limits import limited, objective_of
from enas.plan import Images, Work, weight_steps
from enas.records import EpochRecord, Record, collapse_warning, difference, mean
from enas.runs import RunFolder, identity
from enas.runtime import GIB, Runtime, generator
from enas.search_checkpoint import Within
from enas.seen import Seen, relative_cost, seen, shape_of
from enas.spaces import Architecture
from enas.standalone import Standalone
from enas.supernet import Supernet
from enas.training import UNTRAINED, Batch, EpochStats, sgd, train_epoch

OnWork = Callable[[int], None]


class Search:
    """All that changes during a search, in one place, so that a checkpoint can hold it.

    Draws follow from the seed, their purpose, the epoch and the step; the searcher alone has a
    generator that moves.
    """

    def __init__(
        self,
        run_config: SearchConfig,
        data: DataSet,
        folder: RunFolder,
        runtime: Runtime,
        on_work: OnWork = lambda units: None,
        on_resume: OnWork = lambda units: None,
        stop: StopRequest | None = None,
    ) -> None:
        seed = run_config.seed
        self.initial = run_config
        self.config = run_config  # with the present sizes: a time budget may change them on the way
        self.data, self.folder, self.runtime = data, folder, runtime
        self.on_work, self.on_resume = on_work, on_resume
        self.whole = spaces.build(run_config.space, data.input_shape, data.num_classes)
        self.objective = objective_of(self.whole, run_config.objective)
        self.space = limited(self.whole, self.objective)
        self.train, self.validation = split(
            data.train, run_config.data.validation_fraction, run_config.data.split_seed, classes=data.classes
        )
        self.seen = seen(data, self.train, self.validation, run_config.weights.image_size)
        self.finalist_shape = shape_of(data, run_config.derive.finalist_image_size, FINALISTS_SIZE)
        self.supernet = Supernet(self.whole, generator(seed, "supernet")).to(runtime.device)
        decay = run_config.weights.ema_decay
        self.average = Average(self.supernet, decay) if decay else None
        self.optimizer = sgd(self.supernet, run_config.weights)
        self.searcher = searchers.build(self.space, run_config, generator(seed, "searcher"))
        self.curriculum = Curriculum(self)
        self.evaluator = SharedWeights(
            self.shared,
            self.space,
            runtime,
            runtime.share_of_memory(run_config.weights.scoring_memory_gib),
            self.seen.shape,
        )
        self.chunk = run_config.weights.architectures_per_step  # architectures trained in one pass
        self.keeper = Keeper(self.save, 60 * run_config.checkpoint_minutes, stop)
        self.identity = identity(run_config, data.fingerprint(), data.augmentation)
        self.epoch = 0
        self.within = Within()
        self.num_records = 0
        self.done = Work()  # over all sessions
        self.training_macs = 0  # multiply-accumulates of all training, over all sessions
        self.derived: dict[str, Any] = {}  # what derive has found out so far
        self.finalist: tuple[int, Standalone] | None = None  # the one that is being trained, and its place among them
        self.paused: dict[int, dict[str, Any]] = {}  # where others stand that are to go on, by their place
        self.elapsed_before_s = 0.0
        self.overhead_s = 0.0  # of that and of this session: reading images and measuring, before any work
        self.started = time.perf_counter()

    def count_from(self, began: float) -> None:
        """Let this session's time count from an earlier time.perf_counter()."""
        self.overhead_s += self.started - began
        self.started = began

    @property
    def elapsed_s(self) -> float:
        """Seconds spent on this run, over all its sessions."""
        return self.elapsed_before_s + time.perf_counter() - self.started

    @property
    def flops(self) -> float:
        """Floating-point operations of all training and scoring so far: two for each multiply-accumulate."""
        return 2.0 * (self.training_macs + self.evaluator.macs)

    @property
    def shared(self) -> Supernet:
        """The weights that judge: those that are trained, or their average."""
        return self.supernet if self.average is None else self.average.module

    def split(self, decisions: Sequence[int]) -> None:
        """Give choices of these decisions shared weights of their own. Momentum starts anew."""
        for module in [self.supernet] if self.average is None else [self.supernet, self.average.module]:
            module.split(decisions)
        self.optimizer = sgd(self.supernet, self.config.weights)
        self.evaluator.graph.cache_clear()

    @functools.cached_property
    def images(self) -> Images:
        """How many images the search trains and judges on."""
        larger = relative_cost(self.whole, self.data.input_shape, self.seen.shape)
        finalist = relative_cost(self.whole, self.finalist_shape, self.data.input_shape, FINALISTS_SIZE) * larger
        return Images(len(self.train), len(self.validation), larger, finalist)

    def seen_by_finalists(self) -> Seen:
        """The images as finalists see them, made anew where those are smaller than others'."""
        size = self.finalist_shape[1]
        return self.seen if size == self.seen.shape[1] else seen(self.data, self.train, self.validation, size)

    @property
    def warmup(self) -> bool:
        """Whether this epoch's architectures are uniform and the controller rests."""
        return self.config.learns and self.epoch < self.config.controller.warmup_epochs

    @property
    def steps(self) -> int:
        """Training steps of the shared weights in an epoch."""
        return weight_steps(self.config, len(self.train))

    def draws(self, purpose: str) -> torch.Generator:
        """The generator for one purpose of this run."""
        return generator(self.config.seed, purpose)

    def macs(self, arch: Architecture) -> int:
        """Multiply-accumulates of one image as shared weights see it."""
        return cost(self.evaluator.graph(arch)).macs

    def train_shared_weights(self) -> EpochStats:
        """Phase 1: one epoch of the shared weights on the training images, new architectures each step."""
        if not self.steps:
            return UNTRAINED
        weights, data, first = self.config.weights, self.data, self.within.weights.step

        def after_step(child_images: int) -> None:
            if self.average is not None:
                self.average.update(self.supernet, self.epoch * self.steps + self.within.weights.step)
            self.report(Work(training=child_images))
            self.keeper.tick()

        def passes() -> Iterator[Batch]:  # over the training images, as many as the epoch has
            for number in itertools.count():
                draws = self.draws(f"images/{self.epoch}/{number}")
                yield from training_batches(
                    self.seen.train, weights.batch_size, self.seen.augmentation, data.mean, data.std, draws
                )

        return train_epoch(
            self.curriculum.model,
            self.optimizer,
            itertools.islice(passes(), first, self.steps),
            self.steps,
            weights,
            self.runtime,
            epoch=self.epoch,
            epochs=self.config.epochs,
            state=self.within.weights,
            on_step=after_step,
            on_out_of_memory=self.halve_chunk,
        )

    def train_searcher(self) -> None:
        """Phase 2: ask, score on validation images, tell; what was told is kept in `within`."""
        controller, within = self.config.controller, self.within
        updates = controller.updates if self.config.learns and not self.warmup else 0
        while len(within.told) < updates:
            batch = self.validation_batch(controller.batch_size, f"reward/{self.epoch}/{len(within.told)}")
            proposals = self.searcher.ask(controller.architectures_per_update)
            start = time.perf_counter()
            archs = [proposal.arch for proposal in proposals]
            scores = self.evaluator.score(archs, [batch])
            within.scoring_s += time.perf_counter() - start
            within.told.append(self.searcher.tell(proposals, self.objective.rewards(archs, scores)))
            self.report(Work(scoring=len(proposals) * len(batch[0]), updates=1))
            self.keeper.tick()

    def finish_epoch(self) -> EpochRecord:
        """Score a sample of the policy beside uniform architectures and put the epoch's record together."""
        weights, told, scoring_s = self.within.stats, self.within.told, self.within.scoring_s
        assert weights is not None, "an epoch ends after both its phases"
        n = self.config.derive.random_per_epoch
        draws = self.draws(f"comparison/{self.epoch}")
        spaces.allowed_share(self.space)
        policy = self.searcher.sample(n, draws)
        feasible = spaces.allowed_share(self.space)
        random = searchers.uniform(self.space, n, draws)
        batch = self.validation_batch(self.config.derive.images_per_epoch, f"comparison images/{self.epoch}")
        accuracy = self.evaluator.score(policy + random, [batch]).accuracy.tolist()
        self.report(Work(scoring=2 * n * len(batch[0])))
        best = max(range(n), key=accuracy.__getitem__)
        shares = spaces.choice_shares(self.space, policy)
        figures, uniform = self.searcher.policy(policy), spaces.uniform_entropies(self.space)
        entropy = sum(figures.entropies.values())
        return EpochRecord(
            epoch=self.epoch,
            epochs=self.config.epochs,
            warmup=self.warmup,
            learning_rate=weights.learning_rate,
            train_loss=weights.loss,
            train_accuracy=weights.accuracy,
            grad_norm=weights.grad_norm,
            skipped_steps=weights.skipped_steps,
            images_per_s=weights.images / weights.seconds if weights.images else 0.0,
            child_images_per_s=weights.child_images / weights.seconds if weights.images else 0.0,
            reward=mean([t.reward for t in told]),
            baseline=told[-1].baseline if told else None,
            advantage=mean([t.advantage for t in told]),
            controller_grad_norm=mean([t.grad_norm for t in told]),
            architectures_per_s=len(told) * self.config.controller.architectures_per_update / scoring_s
            if told
            else None,
            training_chunk=self.chunk,
            scoring_memory_gib=self.evaluator.memory / GIB,
            entropy=entropy,
            entropy_share=entropy / sum(uniform.values()),
            entropy_shares={group: figures.entropies[group] / nats for group, nats in uniform.items()},
            skip_rate=shares.get("skip", {}).get("yes"),
            controller_proxy_accuracy=sum(accuracy[:n]) / n,
            random_proxy_accuracy=sum(accuracy[n:]) / n,
            controller_minus_random=difference(accuracy[:n], accuracy[n:]),
            choice_shares=shares,
            probabilities=figures.probabilities,
            best_arch=spaces.to_text(self.space, policy[best]),
            best_proxy_accuracy=accuracy[best],
            warning=collapse_warning(shares),
            change=self.within.change,
            feasible_share=feasible,
            flops=self.flops,
            elapsed_s=self.elapsed_s,
        )

    def validation_batch(self, size: int, purpose: str) -> tuple[Tensor, Tensor]:
        """Random un-augmented validation images."""
        return random_batch(self.seen.validation, size, self.data.mean, self.data.std, self.draws(purpose))

    def validation_batches(self) -> list[Batch]:
        """The whole validation set, the same for everybody."""
        return list(
            evaluation_batches(self.seen.validation, self.config.derive.batch_size, self.data.mean, self.data.std)
        )

    def validation_part(self, size: int, purpose: str) -> list[Batch]:
        """Random validation images, in batches of about one size; all of them if there are fewer."""
        order = torch.randperm(len(self.validation), generator=self.draws(purpose))
        part = self.seen.validation.subset(order[:size])
        return list(evaluation_batches(part, self.config.derive.batch_size, self.data.mean, self.data.std))

    def advance(self, record: Record) -> None:
        """Store a record; whoever calls saves. After an epoch's record the next epoch begins."""
        self.folder.append(record)
        self.num_records += 1
        if isinstance(record, EpochRecord):
            self.epoch, self.within = self.epoch + 1, Within()

    def save(self) -> None:
        """Write the checkpoint."""
        self.keeper.saved()
        checkpoint.save(self.folder.checkpoint, search_checkpoint.state_of(self))

    def restore(self) -> None:
        """Continue from the folder's checkpoint; without one, from the beginning. Drops records beyond it."""
        if self.folder.checkpoint.exists():
            self.read_checkpoint()
        elif self.config.weights.source is not None:
            search_checkpoint.inherit(self, Path(self.config.weights.source))
        self.folder.truncate_records(self.num_records)
        self.on_resume(self.done.units)

    def read_checkpoint(self) -> None:
        """Take over what the folder's checkpoint holds; changes nothing on the disk."""
        search_checkpoint.take_over(self, checkpoint.load(self.folder.checkpoint))

    def report(self, work: Work) -> None:
        """Count what was done just now, and tell whoever listens."""
        self.done += work
        self.on_work(work.units)

    def halve_chunk(self) -> None:
        """Train fewer architectures in one pass from now on. Raises UserError where it is one already."""
        if self.chunk == 1:
            raise UserError(
                "the device must have memory for a training step of one architecture, but it ran out; the last "
                "checkpoint is intact; start a new run with a smaller --batch-size or --width"
            )
        self.chunk //= 2
