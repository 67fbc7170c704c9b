"""Single operations by hand: batch norm in groups, dropout masks, reductions, pools, initial weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from enas.kernels import limits
from enas.ops import AuxiliaryClassifier, BatchNorm, Context, Noise, build, initialise
from enas.ops.chain import MeanLinear, RectConv
from enas.ops.heads import _quadrants
from enas.ops.macro import FactorizedReduction, PaddedShortcut, Pool
from tests.toys import chain, macro, micro, nasbench201, nasbench_macro, random_archs, seeded


@pytest.mark.parametrize("running", [False, True])
def test_batch_norm_keeps_stacked_architectures_apart(running: bool) -> None:
    norm = BatchNorm(3, running)
    groups = [torch.randn(4, 3, 5, 5, generator=seeded(i)) * 10**i + 100 * i for i in range(3)]
    stacked = norm(torch.cat(groups), Context(3))
    for group, part in zip(groups, stacked.chunk(3), strict=True):
        torch.testing.assert_close(part, BatchNorm(3, False)(group, Context()), rtol=0, atol=1e-5)
        assert part.mean().abs() < 1e-4
    assert (norm(torch.cat(groups), Context(1)) - stacked).abs().max() > 0.5


def test_dropout_masks_differ_by_seed_and_key_and_keep_the_mean() -> None:
    def mask(seed: int, key: str = "classifier", count: int = 64) -> Tensor:
        return Noise(seed).mask(key, 0.25, (count,), torch.device("cpu"))

    assert torch.equal(mask(3), mask(3))
    # neighbours, and seeds that differ in high or low bits alone
    masks = [mask(seed) for seed in (0, 1, 2, 1 << 16, 1 << 30, (1 << 31) - 1)] + [mask(0, "other")]
    assert len({tuple(m.tolist()) for m in masks}) == len(masks)
    many = mask(3, count=4000)
    torch.testing.assert_close(many.unique(), torch.tensor([0, 1 / 0.75]))
    assert many.mean().item() == pytest.approx(1, abs=0.03)  # 3 standard errors


class Identity(nn.Module):
    """In place of a projection or a norm."""

    def forward(self, x: Tensor, context: Context, relu: bool = False, reuse: bool = False) -> Tensor:
        return F.relu(x) if relu else x


@pytest.mark.parametrize(
    ("side", "even", "odd"),
    [(3, [[1, 3], [7, 9]], [[5, 0], [0, 0]]), (4, [[1, 3], [9, 11]], [[6, 8], [14, 16]])],
)
def test_factorized_reduction_by_hand(side: int, even: list[list[int]], odd: list[list[int]]) -> None:
    reduction = FactorizedReduction([(1, side, side)], (3, 2, 2), running=False)
    reduction.norm = Identity()  # type: ignore[assignment]
    nn.init.ones_(reduction.halve.even.weight)
    reduction.halve.odd.weight.data = torch.tensor([1.0, 10.0])[:, None, None, None]
    x = torch.arange(1.0, side * side + 1).view(1, 1, side, side)  # 1 2 3 / 4 5 6 / 7 8 9
    shifted = torch.tensor(odd).float()
    expected = torch.stack([torch.tensor(even).float(), shifted, 10 * shifted])
    assert torch.equal(reduction(x, Context())[0], expected)


def test_pools_leave_the_padding_out() -> None:
    x = -torch.arange(1.0, 10).view(1, 1, 3, 3)
    pools = [Pool([(1, 3, 3)], (1, 3, 3), False, maximum=maximum) for maximum in (False, True)]
    for pool in pools:
        pool.project = Identity()  # type: ignore[assignment]
    mean, maximum = (pool(x, Context())[0, 0] for pool in pools)
    # corners see 4 pixels, edges 6, the centre all 9
    torch.testing.assert_close(mean, torch.tensor([[-3.0, -3.5, -4.0], [-4.5, -5.0, -5.5], [-6.0, -6.5, -7.0]]))
    assert maximum.tolist() == [[-1.0, -1.0, -2.0], [-1.0, -1.0, -2.0], [-4.0, -4.0, -5.0]]


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 2), (5, 4), (7, 8), (8, 8)])
def test_quadrants_are_adaptive_average_pooling(size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size, generator=seeded()).to(memory_format=torch.channels_last)
    torch.testing.assert_close(_quadrants(x), F.adaptive_avg_pool2d(x, 2))


def test_the_auxiliary_classifier_takes_any_size() -> None:
    for size in ((1, 1), (2, 3), (8, 8)):
        auxiliary = AuxiliaryClassifier((6, *size), 5)
        assert auxiliary(torch.randn(4, 6, *size, generator=seeded())).shape == (4, 5)


def test_padded_shortcut_by_hand() -> None:
    shortcut = PaddedShortcut([(2, 3, 3)], (5, 2, 2), running=False)
    x = torch.arange(1.0, 19).view(1, 2, 3, 3)
    out = shortcut(x, Context())[0]
    assert out[1:3].tolist() == [[[1, 3], [7, 9]], [[10, 12], [16, 18]]]
    assert not out[[0, 3, 4]].any()


def test_initial_weights_are_he_normal() -> None:
    module = nn.Sequential(nn.Conv2d(16, 64, 3), nn.Linear(25, 400))
    initialise(module, seeded())
    convolution, linear = module[0], module[1]
    assert convolution.weight.std().item() == pytest.approx((2 / (16 * 9)) ** 0.5, rel=0.05)  # He et al. 2015
    assert 0.19 < linear.weight.max() <= 0.2  # 1 / sqrt(25)
    assert not linear.bias.any()


def test_the_chain_begins_with_smaller_weights() -> None:
    convolution = RectConv([(16, 9, 9)], (64, 9, 9), False, 3, 5, 1)
    linear = MeanLinear([(25, 9, 9)], (400, 1, 1), running=False)
    initialise(nn.Sequential(convolution, linear), seeded())
    assert convolution.weight.std().item() == pytest.approx(0.3 * (2 / (16 * 15)) ** 0.5, rel=0.05)
    assert 0.019 < linear.weight.max() <= 0.02  # 0.1 / sqrt(25)


@pytest.mark.parametrize("space", [macro(4), micro(), nasbench201(), nasbench_macro(), chain()], ids=lambda s: s.name)
def test_no_operation_changes_its_inputs(space: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others may read them; without gradients batch norm may work in place, but on what nobody else has."""
    monkeypatch.setattr(limits, "SMALL", 0)
    nodes = {node for arch in random_archs(space, 12) for node in space.graph(arch).nodes[1:]}
    for node in sorted(nodes, key=repr):
        module = build(node, running=False)
        inputs = [torch.randn(2, *shape, generator=seeded(i)) for i, shape in enumerate(node.in_shapes)]
        inputs = [x.to(memory_format=torch.channels_last) for x in inputs]
        before = [x.clone() for x in inputs]
        with torch.inference_mode():
            module(*inputs, context=Context())
        assert all(torch.equal(x, y) for x, y in zip(inputs, before, strict=True)), node.op
