"""A search that judges each architecture by itself: ask, evaluate, tell, generation by generation.

With full training as evaluator this is the system of Zoph & Le (2017), which ENAS replaced; with a table of
trained networks it is how searchers are compared. The counterpart with shared weights is searching.py.
Yields a record after every generation; whoever iterates decides what to do with them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from enas import checkpoint, searchers, spaces
from enas.config import SearchConfig
from enas.cost import cost
from enas.errors import UserError
from enas.evaluators import Evaluator, OnWork
from enas.interrupts import Keeper, StopRequest
from enas.limits import limited, objective_of
from enas.objective import Scores
from enas.pareto import kept
from enas.records import Child, GenerationRecord, collapse_warning, mean
from enas.results import search_result
from enas.runs import RunFolder, check_identity
from enas.runtime import Runtime, generator
from enas.searchers import Told
from enas.spaces import Architecture, SearchSpace

SCHEMA = 1  # of the checkpoint
POLICY_SAMPLE = 20  # architectures over which a record looks at the searcher
IDLE = 200  # generations without a new network after which a search has nothing more to say
FINALISTS = 5  # in the result


@dataclass(frozen=True)
class Judged:
    """A network's first evaluation. reward: NaN where it failed."""

    arch: Architecture
    accuracy: float
    loss: float | None
    reward: float


class Generations:
    """All that changes during such a search, in one place, so that a checkpoint can hold it.

    Within a generation it is saved as of the generation's beginning: what its evaluator found out since then the
    evaluator keeps itself, so the same proposals, asked for again, cost nothing.
    """

    def __init__(
        self,
        run_config: SearchConfig,
        space: SearchSpace,
        evaluator: Evaluator,
        folder: RunFolder,
        runtime: Runtime,
        identity: dict[str, str],
        stop: StopRequest | None = None,
    ) -> None:
        self.config, self.evaluator = run_config, evaluator
        self.objective = objective_of(space, run_config.objective)
        self.space = space = limited(space, self.objective)
        self.folder, self.runtime, self.identity = folder, runtime, identity
        self.searcher = searchers.build(space, run_config, generator(run_config.seed, "searcher"), evaluator.network)
        self.judged: dict[str | int, Judged] = {}  # by network, in the order of evaluation
        self.costs: dict[str | int, float] = {}  # floating-point operations of these evaluations, whoever made them
        self.keeper = Keeper(self.save, 60 * run_config.checkpoint_minutes, stop)
        self.before: dict[str, Any] | None = None  # within a generation, the searcher's state at its beginning
        self.number = 0  # generations done
        self.idle = 0  # the last so many of them without a new network
        self.elapsed_before_s = 0.0
        self.started = time.perf_counter()

    @property
    def elapsed_s(self) -> float:
        """Seconds spent on this run, over all its sessions."""
        return self.elapsed_before_s + time.perf_counter() - self.started

    @property
    def flops(self) -> float:
        """Floating-point operations of all evaluations so far, whoever made them and when."""
        return sum(self.costs.values())

    @property
    def done(self) -> bool:
        """Whether the search has had its evaluations, or its searcher no longer finds anything new."""
        return len(self.judged) >= self.config.evaluations or self.idle >= IDLE

    def advance(self, on_work: OnWork) -> GenerationRecord:
        """One generation: ask, evaluate, tell."""
        self.before = self.searcher.state_dict()
        # each proposal is one new network at most, so the evaluations can be kept to exactly
        proposals = self.searcher.ask(min(self.config.generation, self.config.evaluations - len(self.judged)))
        archs = [proposal.arch for proposal in proposals]
        scores = self.evaluator.score(archs, on_work)
        values = self.objective.rewards(archs, scores)
        self.before = None
        told = self.searcher.tell(proposals, values)
        children = self._note(archs, scores, values.tolist())
        new = sum(child.new for child in children)
        self.idle = 0 if new else self.idle + 1
        self.number += 1
        return self._record(children, told)

    @property
    def best(self) -> Judged | None:
        """Of the highest reward, the first of equals; None where all failed."""
        known = [judged for judged in self.judged.values() if not math.isnan(judged.reward)]
        return max(known, key=lambda judged: judged.reward, default=None)

    def save(self) -> None:
        """Write the checkpoint."""
        self.keeper.saved()
        checkpoint.save(
            self.folder.checkpoint,
            {
                "schema": SCHEMA,
                "identity": self.identity,
                "searcher": self.searcher.state_dict() if self.before is None else self.before,
                "judged": [
                    (network, list(found.arch.choices), found.accuracy, found.loss, found.reward, self.costs[network])
                    for network, found in self.judged.items()
                ],
                "number": self.number,
                "idle": self.idle,
                "elapsed_s": self.elapsed_s,
            },
        )

    def restore(self) -> None:
        """Continue from the folder's checkpoint; without one, from the beginning. Drops records beyond it."""
        if self.folder.checkpoint.exists():
            self._read_checkpoint()
        self.folder.truncate_records(self.number)

    def result(self) -> dict[str, Any]:
        """What the result file holds. Raises UserError where every child of the search failed."""
        known = sorted(
            (judged for judged in self.judged.values() if not math.isnan(judged.reward)),
            key=lambda judged: -judged.reward,
        )
        if not known:
            raise UserError(
                f"at least one network must be judged, but all {len(self.judged)} failed; see {self.folder.path} for "
                "the reasons, and start a new run with other settings"
            )
        finalists = [self._row(judged) for judged in known[:FINALISTS]]
        result = search_result(
            self.config,
            self.objective,
            self.space,
            self.evaluator.classes,
            self.evaluator.fingerprint,
            finalists,
            None,
            [kept(self._row(judged)) for judged in known],
            self.runtime,
            self.flops,
            self.elapsed_s,
        )
        failed = len(self.judged) - len(known)
        return {**result, "evaluations": len(self.judged), "failed": failed, "generations": self.number}

    def _row(self, judged: Judged) -> dict[str, Any]:
        """One finalist, as JSON."""
        counts = cost(self.space.graph(judged.arch))
        return {
            "arch": judged.arch.to_json(),
            "text": spaces.to_text(self.space, judged.arch),
            "accuracy": judged.accuracy,
            "loss": judged.loss,
            "reward": judged.reward,
            "params": counts.params,
            "macs": counts.macs,
            "costs": self.objective.costs(judged.arch),
            **self.evaluator.facts(judged.arch),
        }

    def _note(self, archs: list[Architecture], scores: Scores, values: list[float]) -> list[Child]:
        """Keep what was judged for the first time, and put the records of the children together."""
        accuracies = scores.accuracy.tolist()
        losses: list[float | None] = [None] * len(archs) if scores.loss is None else scores.loss.tolist()
        children = []
        for arch, accuracy, loss, reward in zip(archs, accuracies, losses, values, strict=True):
            network = self.evaluator.network(arch)
            new = network not in self.judged
            if new:
                self.judged[network] = Judged(arch, accuracy, loss, reward)
            self.costs[network] = self.evaluator.flops(arch)  # also of a known one: it may have been trained further
            text = spaces.to_text(self.space, arch)
            children.append(Child(arch=text, accuracy=accuracy, loss=loss, reward=reward, new=new))
        return children

    def _record(self, children: list[Child], told: Told) -> GenerationRecord:
        best = self.best
        draws = generator(self.config.seed, f"policy/{self.number}")
        spaces.allowed_share(self.space)
        policy = self.searcher.sample(POLICY_SAMPLE, draws)
        figures, uniform = self.searcher.policy(policy), spaces.uniform_entropies(self.space)
        shares = spaces.choice_shares(self.space, policy)
        entropy = sum(figures.entropies.values())
        values = [child.reward for child in children if child.reward is not None]
        return GenerationRecord(
            generation=self.number - 1,
            evaluations=len(self.judged),
            planned=self.config.evaluations,
            children=children,
            failed=sum(math.isnan(value) for value in values),
            reward=mean(values),
            baseline=told.baseline,
            advantage=told.advantage,
            controller_grad_norm=told.grad_norm,
            best_arch=None if best is None else spaces.to_text(self.space, best.arch),
            best_reward=None if best is None else best.reward,
            best_accuracy=None if best is None else best.accuracy,
            entropy=entropy,
            entropy_share=entropy / sum(uniform.values()),
            entropy_shares={group: figures.entropies[group] / nats for group, nats in uniform.items()},
            choice_shares=shares,
            probabilities=figures.probabilities,
            warning=collapse_warning(shares),
            feasible_share=spaces.allowed_share(self.space),
            flops=self.flops,
            elapsed_s=self.elapsed_s,
        )

    def _read_checkpoint(self) -> None:
        state = checkpoint.load(self.folder.checkpoint)
        check_identity(self.folder.checkpoint, state, self.identity)
        with checkpoint.taking_over(self.folder.checkpoint):
            if state["schema"] != SCHEMA:
                raise ValueError("schema")
            self.searcher.load_state_dict(state["searcher"])
            self.judged = {
                network: Judged(Architecture(self.space.name, tuple(choices)), accuracy, loss, reward)
                for network, choices, accuracy, loss, reward, _ in state["judged"]
            }
            self.costs = {network: float(flops) for network, *_, flops in state["judged"]}
            self.number, self.idle = int(state["number"]), int(state["idle"])
            self.elapsed_before_s = float(state["elapsed_s"])


def generations(
    run_config: SearchConfig,
    space: SearchSpace,
    evaluator: Evaluator,
    folder: RunFolder,
    runtime: Runtime,
    identity: dict[str, str],
    on_work: OnWork = lambda units: None,
    on_resume: OnWork = lambda units: None,
    stop: StopRequest | None = None,
) -> Iterator[GenerationRecord]:
    """Run or continue the search in `folder`; yields each record after it is on the disk.

    Continues after the last generation that the folder's checkpoint knows; when this call returns, the folder's
    records are those. Ends by writing the result file. `on_work` hears of finished work and `on_resume` of what
    an earlier session did, both in the evaluator's units. Raises UserError where the checkpoint does not belong
    to this configuration, images or table; Stopped where `stop` asks for it.
    """
    state = Generations(run_config, space, evaluator, folder, runtime, identity, stop)
    state.restore()
    on_resume(evaluator.work_units(len(state.judged)))
    return _generations(state, on_work)


def _generations(state: Generations, on_work: OnWork) -> Iterator[GenerationRecord]:
    def work(units: int) -> None:
        on_work(units)
        state.keeper.tick()

    with state.evaluator:
        while not state.done:
            state.keeper.tick()
            record = state.advance(work)
            state.folder.append(record)
            state.save()
            yield record
    checkpoint.write_json(state.folder.result, state.result())
