"""Decisions that matter under some choices of others alone: the space, the policy over it, and searchers."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from enas import spaces
from enas.config import ControllerConfig, SearchConfig
from enas.controller import Controller, Rollout
from enas.errors import UserError
from enas.searchers import Random, Reinforce, build, reinforce_loss, skip_penalty, uniform
from enas.spaces import Architecture, Decision
from tests.toys import Branching, Toy, all_archs, as_tensor, seeded

SPACE = Branching()
ARCHS = all_archs(SPACE)
CHOICES = as_tensor(ARCHS)
ACTIVE = torch.tensor([spaces.active(SPACE, arch.choices) for arch in ARCHS])
POSITION = {decision.name: d for d, decision in enumerate(SPACE.decisions)}
RECURRENCES = ("lstm", "gru")
each_recurrence = pytest.mark.parametrize("recurrence", RECURRENCES)


def policy(recurrence: str, seed: int = 1) -> Controller:
    """A controller far from uniform, in float64."""
    controller = Controller(SPACE, ControllerConfig(hidden=8, recurrence=recurrence), seeded(seed)).double()
    with torch.no_grad():
        for parameter in controller.parameters():
            parameter.mul_(8)
    return controller


def kind(choice: int) -> Tensor:
    """bool [n]: which architectures are of this kind."""
    return CHOICES[:, 0] == choice


# ---- the space


def test_size_is_the_number_of_architectures() -> None:
    assert [int(kind(choice).sum()) for choice in range(3)] == [12, 20, 60]  # by hand, in the class's docstring
    assert spaces.size(SPACE) == len(ARCHS) == len(set(ARCHS)) == 92


def test_activity_by_hand() -> None:
    #                                      kind mode detail from link link end
    assert spaces.active(SPACE, (0, 0, 0, 2, 1, 0, 1)) == [True, False, False, True, True, False, True]
    assert spaces.active(SPACE, (1, 0, 0, 0, 1, 0, 1)) == [True, True, False, False, True, False, True]
    assert spaces.active(SPACE, (2, 1, 1, 2, 1, 0, 1)) == [True, True, True, True, True, False, True]
    assert spaces.active(SPACE, (2, 1, 2, 2, 1, 1, 1)) == [True] * 7
    # the grandchild sleeps although its own parent has the right choice, because that one is asleep
    assert spaces.active(SPACE, (0, 1, 2, 2, 1, 1, 1)) == [True, False, False, True, True, False, True]
    assert spaces.settled(SPACE, (0, 1, 2, 2, 1, 1, 1)).choices == (0, 0, 0, 2, 1, 0, 1)


def test_inactive_choices_must_be_zero() -> None:
    for arch in ARCHS:
        spaces.validate(SPACE, arch)
        assert spaces.settled(SPACE, arch.choices) == arch
        assert spaces.parse(SPACE, spaces.to_text(SPACE, arch)) == arch
        for d, on in enumerate(spaces.active(SPACE, arch.choices)):
            changed = Architecture("toy", (*arch.choices[:d], 1, *arch.choices[d + 1 :]))
            if not on:
                with pytest.raises(UserError, match=f"{SPACE.decisions[d].name} must be 0, because it plays no part"):
                    spaces.validate(SPACE, changed)


def test_choice_shares_count_active_decisions_alone() -> None:
    archs = [Architecture("toy", choices) for choices in ((0, 0, 0, 2, 1, 0, 1), (1, 1, 0, 0, 0, 0, 0))]
    shares = spaces.choice_shares(SPACE, archs)
    assert shares["mode"] == {"m": 0, "n": 1}  # of the second one alone
    assert shares["from"] == {"images": 0, "kind": 0, "detail": 1}
    assert shares["link"] == {"no": 0.5, "yes": 0.5}
    assert spaces.choice_shares(SPACE, archs[:1])["detail"] == {"s": 0, "t": 0, "u": 0}


def test_uniform_entropies_are_exact() -> None:
    exact = dict.fromkeys(("kind", "mode", "detail", "from", "link", "end"), 0.0)
    for arch in ARCHS:
        on = spaces.active(SPACE, arch.choices)
        nats = [math.log(len(d.labels)) * is_on for d, is_on in zip(SPACE.decisions, on, strict=True)]
        for decision, value in zip(SPACE.decisions, nats, strict=True):
            exact[decision.group] += math.exp(-sum(nats)) * value
    assert spaces.uniform_entropies(SPACE) == pytest.approx(exact)
    assert exact["detail"] == pytest.approx(math.log(3) * 2 / 3 / 2)


def test_uniform_is_uniform_in_every_active_decision() -> None:
    choices = as_tensor(uniform(SPACE, 6000, seeded()))
    on = torch.tensor([spaces.active(SPACE, row) for row in choices.tolist()])
    assert not choices[~on].any()
    for d, decision in enumerate(SPACE.decisions):
        k, n = len(decision.labels), int(on[:, d].sum())
        counts = torch.bincount(choices[on[:, d], d], minlength=k)
        assert len(counts) == k and n > 500
        assert ((counts - n / k) ** 2 / (n / k)).sum() < (k - 1) + 4 * (2 * (k - 1)) ** 0.5


# ---- the policy


@each_recurrence
def test_probabilities_sum_to_one_and_entropies_to_the_exact_entropy(recurrence: str) -> None:
    rollout = policy(recurrence).read(CHOICES)
    p = rollout.log_probs.exp()
    assert p.sum().item() == pytest.approx(1, abs=1e-9)
    exact = -(p * rollout.log_probs).sum()
    torch.testing.assert_close((p * rollout.entropies.sum(1)).sum(), exact, rtol=0, atol=1e-9)
    uniform_entropy = sum(spaces.uniform_entropies(SPACE).values())
    assert abs(exact.item() - uniform_entropy) > 0.1  # far from uniform, else any mask would do


@each_recurrence
def test_an_inactive_decision_adds_nothing(recurrence: str) -> None:
    rollout = policy(recurrence).read(CHOICES)
    assert torch.equal(rollout.active, ACTIVE)
    assert not rollout.entropies[~ACTIVE].any()
    assert (rollout.entropies[ACTIVE] > 0).all()
    chosen = torch.stack([p.gather(1, CHOICES[:, [d]])[:, 0] for d, p in enumerate(rollout.probabilities)], dim=1)
    torch.testing.assert_close(rollout.log_probs, (chosen.log() * ACTIVE).sum(1))


@each_recurrence
def test_an_inactive_decision_leaves_the_state_alone(recurrence: str) -> None:
    """What `from` alone reads, and what choosing `detail` alone feeds in, is felt only where these are active."""
    controller = policy(recurrence)
    before = controller.read(CHOICES)
    for name, decision in (("given_anchors", "from"), ("embeddings.detail.weight", "detail")):
        changed = policy(recurrence)
        with torch.no_grad():
            changed.get_parameter(name).add_(1.0)
        after = changed.read(CHOICES)
        on = ACTIVE[:, POSITION[decision]]
        assert torch.equal(after.log_probs[~on], before.log_probs[~on])
        end = POSITION["end"]
        assert torch.equal(after.probabilities[end][~on], before.probabilities[end][~on])
        assert (after.probabilities[end][on] - before.probabilities[end][on]).abs().max() > 1e-3, name


@each_recurrence
@pytest.mark.parametrize("figure", ["log_probs", "entropies"])
def test_an_inactive_decision_gets_no_gradient(recurrence: str, figure: str) -> None:
    controller = policy(recurrence)

    def gradients(rows: Tensor) -> dict[str, Tensor]:
        controller.zero_grad()
        getattr(controller.read(CHOICES[rows]), figure).sum().backward()
        return {name: p.grad for name, p in controller.named_parameters() if p.grad is not None}

    own = {"from": ["given_anchors"], "mode": ["softmaxes.mode.weight", "embeddings.mode.weight"]}
    own["detail"] = ["softmaxes.detail.weight", "embeddings.detail.weight"]
    for decision, names in own.items():
        on = ACTIVE[:, POSITION[decision]]
        asleep, awake = gradients(~on), gradients(on)
        for name in names:
            assert not asleep[name].any(), name
            assert awake[name].any(), name


@each_recurrence
def test_sampled_equals_read(recurrence: str) -> None:
    controller = policy(recurrence).float()
    sampled = controller.sample(200, seeded())
    for arch in (Architecture("toy", tuple(row)) for row in sampled.choices.tolist()):
        spaces.validate(SPACE, arch)
    read = controller.read(sampled.choices)
    assert torch.equal(read.active, sampled.active)
    for name in ("log_probs", "entropies", "skip_rates"):
        torch.testing.assert_close(getattr(read, name), getattr(sampled, name), rtol=0, atol=1e-6)
    assert sampled.log_probs.std() > 0.1 and 0.1 < sampled.active.float().mean() < 0.9


@each_recurrence
def test_a_mixed_batch_equals_one_by_one(recurrence: str) -> None:
    controller = policy(recurrence)
    together = controller.read(CHOICES)
    alone = [controller.read(row[None]) for row in CHOICES]
    for name in ("log_probs", "entropies", "skip_rates", "active"):
        torch.testing.assert_close(getattr(together, name), torch.cat([getattr(r, name) for r in alone]))
    for d, p in enumerate(together.probabilities):
        on = ACTIVE[:, d]
        torch.testing.assert_close(p[on], torch.cat([r.probabilities[d] for r in alone])[on])


@each_recurrence
def test_samples_follow_the_probabilities(recurrence: str) -> None:
    controller, n = policy(recurrence), 10_000
    expected = controller.read(CHOICES).log_probs.exp().detach() * n
    index = {arch.choices: i for i, arch in enumerate(ARCHS)}
    sampled = controller.sample(n, seeded(4)).choices.tolist()
    observed = torch.bincount(torch.tensor([index[tuple(row)] for row in sampled]), minlength=len(ARCHS))
    often = expected > 5  # the usual condition for the chi-square test; the others count as one cell
    cells = [torch.cat([t[often], t[~often].sum()[None]]) for t in (observed, expected)]
    statistic = ((cells[0] - cells[1]) ** 2 / cells[1]).sum().item()
    freedom = len(cells[0]) - 1
    assert freedom > 20 and statistic < freedom + 4 * (2 * freedom) ** 0.5


@each_recurrence
def test_a_part_without_an_active_decision_is_as_if_it_were_not_there(recurrence: str) -> None:
    """Its state is that of the part before it, for what attends to it and for what comes after it."""

    def space(parts: tuple[int, int], *between: Decision) -> Toy:
        links = [Decision(f"link{i}", ("no", "yes"), "link", 3, (part,)) for i, part in enumerate(parts)]
        first = Decision("kind", ("a", "b"), "kind", 0), Decision("early", ("no", "yes"), "link", 1, (0,))
        return Toy(decisions=(*first, *between, *links, Decision("end", ("x", "y", "z"), "end", 4)))

    without = space((0, 1))
    with_mode = space((0, 2), Decision("mode", ("m", "n"), "mode", 2, parent=0, parent_choices=(1,)))
    controllers = []
    for each in (without, with_mode):
        controller = Controller(each, ControllerConfig(hidden=8, recurrence=recurrence), seeded()).double()
        with torch.no_grad():
            for name, parameter in sorted(controller.named_parameters()):
                parameter.copy_(torch.randn(parameter.shape, generator=seeded(len(name)), dtype=torch.float64))
        controllers.append(controller)
    smaller = as_tensor(all_archs(without))
    larger = torch.cat([smaller[:, :2], torch.zeros(len(smaller), 1, dtype=torch.long), smaller[:, 2:]], dim=1)
    expected, found = (c.read(choices).log_probs for c, choices in zip(controllers, (smaller, larger), strict=True))
    asleep = smaller[:, 0] == 0
    torch.testing.assert_close(found[asleep], expected[asleep])
    assert (found[~asleep] - expected[~asleep]).abs().min() > 1e-3


def test_the_skip_penalty_is_of_architectures_with_a_skip_decision() -> None:
    config = ControllerConfig(skip_weight=0.5, skip_target=0.3)
    rates = torch.tensor([0.2, math.nan, 0.6], requires_grad=True)
    log_probs = torch.zeros(3)
    rollout = Rollout(torch.zeros(3, 1), log_probs, torch.zeros(3, 1), rates, (), torch.ones(3, 1).bool())
    loss = reinforce_loss(rollout, log_probs, torch.zeros(3), config)
    known = torch.tensor([0.2, 0.6])
    assert loss.item() == pytest.approx(0.5 * skip_penalty(known, 0.3).mean().item())
    loss.backward()  # type: ignore[no-untyped-call]
    assert rates.grad is not None and rates.grad[1] == 0 and rates.grad[0] < 0 < rates.grad[2]
    none = dataclasses.replace(rollout, skip_rates=torch.full((3,), math.nan))
    assert reinforce_loss(none, log_probs, torch.zeros(3), config) == 0


def test_skip_rates_are_over_active_links() -> None:
    rollout = policy("lstm").read(CHOICES)
    links = [POSITION["link/kind"], POSITION["link/mode"]]
    yes = torch.stack([rollout.probabilities[d][:, 1] for d in links], dim=1)
    both = ACTIVE[:, links[1]]
    torch.testing.assert_close(rollout.skip_rates[both], yes[both].mean(1))
    torch.testing.assert_close(rollout.skip_rates[~both], yes[~both, 0])


def test_attention_chooses_among_the_states_at_its_sources() -> None:
    """The choice changes what the next decision sees."""
    rollout = policy("lstm").read(torch.tensor([[2, 1, 1, choice, 0, 0, 0] for choice in range(3)]))
    after = rollout.probabilities[POSITION["link/kind"]]
    assert min((after[i] - after[j]).abs().max().item() for i, j in ((0, 1), (0, 2), (1, 2))) > 1e-4


def test_lstm_and_gru_differ_and_an_unused_parameter_is_none() -> None:
    lstm, gru = policy("lstm"), policy("gru")
    assert not torch.allclose(lstm.read(CHOICES).log_probs, gru.read(CHOICES).log_probs, atol=1e-3)
    for controller in (lstm, gru):
        controller.read(CHOICES).log_probs.square().sum().backward()  # type: ignore[no-untyped-call]
        for name, parameter in controller.named_parameters():
            if name != "embeddings.end.weight":  # nothing follows the last decision
                assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


# ---- searchers

BANDIT = ControllerConfig(hidden=16, entropy_weight=0.0, skip_weight=0.0, lr=0.02, adam_eps=1e-8)


@each_recurrence
@pytest.mark.parametrize("best", [(2, 1, 2, 1, 1, 1, 1), (1, 0, 0, 0, 1, 0, 0)])
def test_reinforce_solves_a_bandit(recurrence: str, best: tuple[int, ...]) -> None:
    """The reward is the share of choices that are the best architecture's."""
    searcher = Reinforce(SPACE, dataclasses.replace(BANDIT, recurrence=recurrence), seeded())
    target = torch.tensor(best)

    def probability() -> float:
        with torch.no_grad():
            return searcher.controller.read(target[None]).log_probs.exp().item()

    before = probability()
    for _ in range(60):
        proposals = searcher.ask(12)
        searcher.tell(proposals, (as_tensor([p.arch for p in proposals]) == target).float().mean(1))
    assert before < 0.05 and probability() > 0.5


@pytest.mark.parametrize("name", ["random", "reinforce"])
def test_searchers_propose_valid_architectures_with_their_log_probability(name: str) -> None:
    searcher = build(SPACE, SearchConfig(searcher=name), seeded())
    proposals = searcher.ask(50)
    for arch in [p.arch for p in proposals] + searcher.sample(50, seeded(1)):
        spaces.validate(SPACE, arch)
    if isinstance(searcher, Random):
        sizes = torch.tensor([len(d.labels) for d in SPACE.decisions]).log()
        expected = [-(sizes * torch.tensor(spaces.active(SPACE, p.arch.choices))).sum().item() for p in proposals]
    else:
        assert isinstance(searcher, Reinforce)
        expected = searcher.controller.read(as_tensor([p.arch for p in proposals])).log_probs.tolist()
    assert [p.log_prob for p in proposals] == pytest.approx(expected, abs=1e-5)


def test_the_policy_is_reported_where_it_is_active() -> None:
    searcher = Reinforce(SPACE, BANDIT, seeded())
    archs = [Architecture("toy", choices) for choices in ((1, 1, 2, 0, 1, 1, 1), (1, 0, 0, 0, 0, 0, 0))]
    reported, rollout = searcher.policy(archs), searcher.controller.read(as_tensor(archs))
    assert set(reported.probabilities) == set(POSITION) - {"from"}
    # the second one takes no part in the mean of `detail`
    assert reported.probabilities["detail"] == pytest.approx(rollout.probabilities[POSITION["detail"]][0].tolist())
    kinds = rollout.probabilities[0].mean(0).tolist()
    assert reported.probabilities["kind"] == pytest.approx(kinds)
    assert reported.entropies["from"] == 0
    assert sum(reported.entropies.values()) == pytest.approx(rollout.entropies.sum(1).mean().item(), rel=1e-5)
