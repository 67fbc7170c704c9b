"""The policy as a probability distribution: everything is compared with an enumeration of a tiny space."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import nn

from enas.config import ControllerConfig
from enas.controller import Controller
from enas.spaces import SearchSpace, size
from tests.toys import Toy, all_archs, as_tensor, chain, macro, micro, random_archs, seeded

# depth 1 or 2; two heights and widths; the second layer may be a pooling or read the first one
TINY = chain(min_layers=1, max_layers=2, kernels=(1, 3), filters=(2,), strides=(1,))
SPACES: dict[str, SearchSpace] = {
    "toy": Toy(),
    "macro1": macro(1),
    "macro2": macro(2),
    "micro1": micro(1),
    "chain2": TINY,
}


def policy(space: SearchSpace, scale: float = 8, seed: int = 1, **changes: object) -> Controller:
    """A controller far from uniform: its initial weights times `scale`. In float64."""
    config = dataclasses.replace(ControllerConfig(hidden=8), **changes)  # type: ignore[arg-type]
    controller = Controller(space, config, seeded(seed)).double()
    with torch.no_grad():
        for parameter in controller.parameters():
            parameter *= scale
    return controller


@pytest.mark.parametrize("recurrence", ["lstm", "gru"])
@pytest.mark.parametrize("space", [macro(1), macro(2), macro(6), micro(3), chain(), chain(skips=False)])
def test_read_gives_what_sample_gave(space: SearchSpace, recurrence: str) -> None:
    controller = policy(space, recurrence=recurrence).float()
    sampled = controller.sample(32, seeded())
    read = controller.read(sampled.choices)
    assert sampled.log_probs.std() > 0.1 or len(space.decisions) == 1
    torch.testing.assert_close(read.log_probs, sampled.log_probs, rtol=0, atol=1e-6)
    torch.testing.assert_close(read.entropies, sampled.entropies, rtol=0, atol=1e-6)
    assert read.log_probs.requires_grad
    assert not sampled.log_probs.requires_grad


@pytest.mark.parametrize("recurrence", ["lstm", "gru"])
@pytest.mark.parametrize("space", [macro(6), micro(3), chain(max_layers=6), chain(skips=False)])
def test_batched_equals_one_by_one(space: SearchSpace, recurrence: str) -> None:
    controller = policy(space, recurrence=recurrence)
    choices = as_tensor(random_archs(space, 12))
    batched = controller.read(choices)
    single = [controller.read(row[None]) for row in choices]
    for field in ("log_probs", "entropies", "skip_rates", "active"):
        alone = torch.cat([getattr(rollout, field) for rollout in single])
        torch.testing.assert_close(
            getattr(batched, field), alone, rtol=0, atol=1e-12, equal_nan=True
        )  # micro: no skips
    assert batched.log_probs.std() > 0.1


@pytest.mark.parametrize("name", SPACES)
def test_probabilities_of_all_architectures_sum_to_one(name: str) -> None:
    space = SPACES[name]
    rollout = policy(space).read(as_tensor(all_archs(space)))
    p = rollout.log_probs.exp()
    assert len(p) == size(space)
    assert p.sum().item() == pytest.approx(1, abs=1e-9)
    assert p.max() > 1.5 * p.min()


@pytest.mark.parametrize("name", SPACES)
def test_entropies_add_up_to_the_exact_entropy(name: str) -> None:
    space = SPACES[name]
    rollout = policy(space).read(as_tensor(all_archs(space)))
    p = rollout.log_probs.exp()
    exact = -(p * rollout.log_probs).sum()
    # each rollout sums the entropies given its own earlier choices; their mean is the chain rule
    torch.testing.assert_close((p * rollout.entropies.sum(1)).sum(), exact, rtol=0, atol=1e-9)
    assert exact < math.log(size(space)) - 0.01


def test_probabilities_of_decisions_give_log_probability_and_entropy() -> None:
    space = macro(4)
    choices = as_tensor(random_archs(space, 10))
    rollout = policy(space).read(choices)
    product = torch.ones(10, dtype=torch.float64)
    for d, probabilities in enumerate(rollout.probabilities):
        assert probabilities.shape == (10, len(space.decisions[d].labels))
        torch.testing.assert_close(probabilities.sum(1), torch.ones(10, dtype=torch.float64))
        product *= probabilities.gather(1, choices[:, d : d + 1]).squeeze(1)
    torch.testing.assert_close(rollout.log_probs.exp(), product)
    # not the surprise -log p, whose mean is the same
    entropies = torch.stack([-(p * p.log()).sum(1) for p in rollout.probabilities], dim=1)
    torch.testing.assert_close(rollout.entropies, entropies)


def test_later_decisions_depend_on_earlier_choices() -> None:
    rollout = policy(macro(2)).read(torch.tensor([[0, 0, 0], [5, 0, 0]]))
    assert torch.equal(rollout.probabilities[0][0], rollout.probabilities[0][1])
    for d in (1, 2):
        assert not torch.allclose(rollout.probabilities[d][0], rollout.probabilities[d][1], atol=1e-4)
    with_skip = policy(macro(3)).read(torch.tensor([[0, 0, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0]]))
    assert not torch.allclose(with_skip.probabilities[3][0], with_skip.probabilities[3][1], atol=1e-4)


def test_samples_follow_the_probabilities() -> None:
    space, n = macro(2), 20_000
    controller = policy(space)
    index = {arch.choices: i for i, arch in enumerate(all_archs(space))}
    expected = controller.read(as_tensor(all_archs(space))).log_probs.exp().detach() * n
    sampled = controller.sample(n, seeded(4)).choices
    positions = torch.tensor([index[tuple(row)] for row in sampled.tolist()])
    observed = torch.bincount(positions, minlength=len(index))
    statistic = ((observed - expected) ** 2 / expected).sum().item()
    # chi-square with 71 degrees of freedom: mean 71, standard deviation 12
    assert statistic < 71 + 4 * 12
    uniform = n / len(index)
    assert ((observed - uniform) ** 2 / uniform).sum().item() > 10 * statistic


@pytest.mark.parametrize("constant", [1.5, 2.5])
def test_the_tanh_constant_bounds_every_probability(constant: float) -> None:
    space = macro(4)
    controller = policy(space, scale=1000, tanh_constant=constant)
    rollout = controller.sample(50, seeded())
    for d, probabilities in enumerate(rollout.probabilities):
        others = len(space.decisions[d].labels) - 1
        largest = 1 / (1 + others * math.exp(-2 * constant))  # one logit at +constant, the others at -constant
        assert probabilities.max() <= largest + 1e-9
        assert probabilities.min() >= 1 / (1 + others * math.exp(2 * constant)) - 1e-9
    skips = torch.cat([p for d, p in enumerate(rollout.probabilities) if space.decisions[d].group == "skip"])
    assert skips.max() > 0.98 / (1 + math.exp(-2 * constant))  # the bound is reached


def test_a_high_temperature_flattens_the_policy() -> None:
    space = macro(3)
    cold, hot = (policy(space, temperature=t).sample(20, seeded()).entropies.sum(1).mean() for t in (1.0, 100.0))
    assert cold < hot - 0.01
    assert hot.item() == pytest.approx(math.log(size(space)), abs=0.01)


def test_a_choice_of_an_input_is_by_attention_to_what_the_inputs_were() -> None:
    """In micro the choice changes what follows, and scores that are all shifted alike change nothing."""
    space = micro(2)
    controller = policy(space)
    second = next(d for d, decision in enumerate(space.decisions) if decision.name == "normal/node2/x/input")
    choices = torch.zeros(3, len(space.decisions), dtype=torch.long)
    choices[:, second] = torch.arange(3)
    rollout = controller.read(choices)
    assert torch.equal(rollout.probabilities[second][0], rollout.probabilities[second][1])
    later = rollout.probabilities[second + 1]
    assert min((later[i] - later[j]).abs().max().item() for i, j in ((0, 1), (0, 2), (1, 2))) > 1e-4
    # with all scores far beyond tanh's range they would be equal, and no gradient could tell them apart again
    shifted = policy(space)
    shifted.attention_value = nn.Linear(8, 1).double()
    with torch.no_grad():
        shifted.attention_value.weight.copy_(controller.attention_value.weight)
        shifted.attention_value.bias.fill_(50.0)
    torch.testing.assert_close(shifted.read(choices).log_probs, rollout.log_probs)
    assert rollout.probabilities[second].std() > 0.05


def test_same_generator_same_samples() -> None:
    controller = policy(macro(4))
    assert torch.equal(controller.sample(20, seeded(3)).choices, controller.sample(20, seeded(3)).choices)
    assert not torch.equal(controller.sample(20, seeded(3)).choices, controller.sample(20, seeded(4)).choices)
    assert not torch.equal(policy(macro(2), seed=1).start, policy(macro(2), seed=2).start)


def test_skip_rates_are_the_mean_probability_of_yes() -> None:
    space = macro(4)
    rollout = policy(space).sample(30, seeded())
    yes = [p[:, 1] for d, p in enumerate(rollout.probabilities) if space.decisions[d].group == "skip"]
    assert len(yes) == 6
    torch.testing.assert_close(rollout.skip_rates, torch.stack(yes).mean(0))
    assert rollout.skip_rates.std() > 0.001
    for without in (Toy(), macro(1)):
        assert policy(without).sample(3, seeded()).skip_rates.isnan().all()


@pytest.mark.parametrize("recurrence", ["lstm", "gru"])
@pytest.mark.parametrize(
    ("space", "given"),  # anchors of what nothing is decided about: the inputs of both cells; the first layer
    [(macro(3), 0), (micro(3), 4), (chain(), 0), (chain(kernels=(3,), filters=(2,), strides=(1,), pooling=False), 1)],
)
def test_every_parameter_gets_a_gradient(space: SearchSpace, given: int, recurrence: str) -> None:
    controller = policy(space, recurrence=recurrence)
    controller.read(as_tensor(random_archs(space, 4))).log_probs.sum().backward()  # type: ignore[no-untyped-call]
    for name, parameter in controller.named_parameters():
        if name == "given_anchors":
            assert parameter.shape == (given, 8)
            if not parameter.numel():
                continue
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
