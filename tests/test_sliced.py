"""Weights in several sizes: joining blocks, and the supernet of the chain space against networks of its own graphs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from enas import sliced
from enas import supernet as supernet_module
from enas.config import SgdConfig
from enas.graph import Node
from enas.network import Network, inherit
from enas.ops import Noise, build, initialise
from enas.sliced import Sliced
from enas.spaces import Architecture, ChainSpace
from enas.supernet import Supernet
from enas.training import sgd
from tests.test_supernet import check_inherits
from tests.toys import chain, check_merged, images, random_archs, seeded

HUGE = 1 << 40
SMALL, MIDDLE, LARGE = (  # of one key, in three sizes
    Node(f"rect_conv:{height},{width},1", (0,), "it", ((channels, 9, 9),), (filters, 9, 9))
    for height, width, channels, filters in ((1, 3, 2, 2), (3, 3, 3, 5), (7, 5, 4, 6))
)


def make_supernet(space: ChainSpace) -> Supernet:
    """A supernet in float64 whose batch norms and biases differ from the identity, so that mixing them up shows."""
    supernet, generator = Supernet(space, seeded(1)).double(), seeded(7)
    with torch.no_grad():
        for name, parameter in supernet.named_parameters():
            if "norm" in name or "bias" in name:
                parameter.uniform_(0.5, 1.5, generator=generator)
    return supernet


# ---- joining


def taps(borders: tuple[int, ...], i: int) -> list[int]:
    """Distances from the middle of a kernel that block i holds."""
    inner = borders[i - 1] // 2 if i else -1
    return [t for t in range(-(borders[i] // 2), borders[i] // 2 + 1) if abs(t) > inner]


def blocks(module: Sliced, name: str) -> Iterator[tuple[tuple[int, ...], list[list[int]], nn.Parameter]]:
    """Every block of a weight: its position, its places in every dimension (in a kernel from the middle), itself."""
    borders = module.borders[name]
    for position in itertools.product(*(range(len(numbers)) for numbers in borders)):
        places = [
            taps(numbers, i) if d >= 2 else list(range(numbers[i - 1] if i else 0, numbers[i]))
            for d, (numbers, i) in enumerate(zip(borders, position, strict=True))
        ]
        block = module.get_parameter(f"{name.replace('.', '_')}/{'-'.join(map(str, position))}")
        yield position, places, block


def plainly_joined(module: Sliced, name: str, size: tuple[int, ...]) -> Tensor:
    """A weight of this size, number by number."""
    weight = torch.zeros(size, dtype=torch.float64)
    for _, places, block in blocks(module, name):
        for place, number in zip(itertools.product(*places), block.flatten(), strict=True):
            index = [p if d < 2 else p + size[d] // 2 for d, p in enumerate(place)]
            if all(0 <= i < n for i, n in zip(index, size, strict=True)):
                weight[tuple(index)] = number
    return weight


@settings(max_examples=30)
@given(st.data())
def test_joined_weights_and_their_gradients_equal_the_plain_twin(data: st.DataObject) -> None:
    module = Sliced([SMALL, MIDDLE, LARGE], seeded()).double()
    assert module.borders == {"weight": ((2, 5, 6), (2, 3, 4), (1, 3, 7), (3, 5))}
    filters, channels, height, width = size = tuple(data.draw(st.sampled_from(b)) for b in module.borders["weight"])
    node = Node(f"rect_conv:{height},{width},2", (0,), "it", ((channels, 9, 9),), (filters, 5, 5))
    weight = module.tensors(node)["weight"]
    assert weight.shape == size
    assert height * width == 1 or channels == 1 or weight.is_contiguous(memory_format=torch.channels_last)
    factors = torch.randn(size, generator=seeded(3), dtype=torch.float64)
    grads = []
    for joined in (weight, plainly_joined(module, "weight", size)):
        module.zero_grad(set_to_none=True)
        (joined * factors).sum().backward()  # type: ignore[no-untyped-call]
        grads.append([None if p.grad is None else p.grad.clone() for p in module.parameters()])
        torch.testing.assert_close(joined, weight, rtol=0, atol=0)
    used = 0
    for (position, _, _), ours, theirs in zip(blocks(module, "weight"), *grads, strict=True):
        needed = all(b[i] <= n for b, i, n in zip(module.borders["weight"], position, size, strict=True))
        assert (ours is not None) == needed == (theirs is not None and bool(theirs.any()))
        if ours is not None:
            torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
            used += ours.numel()
    assert used == weight.numel()


def test_vectors_and_matrices_are_cut_too() -> None:
    shapes = [(channels, 3, 3) for channels in (2, 4, 7)]
    norm = Sliced([Node("sum_norm_relu", (0,), "n", (s, s), s) for s in shapes], seeded())
    linear = Sliced([Node("mean_linear", (0,), "l", (s,), (3, 1, 1)) for s in shapes], seeded())
    assert norm.borders == {"norm.weight": ((2, 4, 7),), "norm.bias": ((2, 4, 7),)}
    assert linear.borders == {"weight": ((3,), (2, 4, 7))}
    with torch.no_grad():
        for i, block in enumerate(norm.parameters()):
            block.fill_(i)
    tensors = norm.tensors(Node("sum_norm_relu", (0,), "n", (shapes[1],), shapes[1]))
    assert {name: tensor.tolist() for name, tensor in tensors.items()} == {
        "norm.weight": [0, 0, 1, 1],
        "norm.bias": [3, 3, 4, 4],
    }
    matrix = linear.tensors(Node("mean_linear", (0,), "l", (shapes[2],), (3, 1, 1)))["weight"]
    assert torch.equal(matrix, torch.cat(list(linear.parameters()), dim=1)) and matrix.shape == (3, 7)


def test_every_size_begins_as_a_part_of_the_largest() -> None:
    module, same, other = (Sliced([SMALL, MIDDLE, LARGE], seeded(seed)) for seed in (1, 1, 2))
    whole = build(LARGE, running=False)
    initialise(whole, seeded(1))
    assert torch.equal(module.tensors(LARGE)["weight"], whole.weight)  # type: ignore[arg-type]
    assert torch.equal(module.tensors(MIDDLE)["weight"], whole.weight[:5, :3, 2:5, 1:4])  # type: ignore[index]
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), same.parameters(), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(module.parameters(), other.parameters(), strict=True))
    shapes = [(channels, 3, 3) for channels in (4, 16)]
    norm = Sliced([Node("sum_norm_relu", (0,), "n", (s,), s) for s in shapes], seeded())
    assert [block.unique().tolist() for block in norm.parameters()] == [[1], [1], [0], [0]]


def test_another_size_is_refused() -> None:
    module = Sliced([SMALL, MIDDLE, LARGE], seeded())
    for op, channels, filters in (("rect_conv:5,3,1", 2, 2), ("rect_conv:1,3,1", 1, 2), ("rect_conv:1,3,1", 2, 4)):
        with pytest.raises(RuntimeError, match="must have one of the shared sizes"):
            module.tensors(Node(op, (0,), "it", ((channels, 9, 9),), (filters, 9, 9)))
    space = chain()
    supernet, arch = Supernet(space, seeded()), random_archs(space, 1)[0]
    with pytest.raises(RuntimeError, match="must have one of the shared sizes"):
        inherit(Network(space.scaled(width=7).graph(arch), seeded()), supernet)


def test_what_has_one_size_is_one_module() -> None:
    space = chain(kernels=(3,), filters=(4,), strides=(1,))
    assert not any(isinstance(module, Sliced) for module in Supernet(space, seeded()).modules())
    # the classifier's bias always is; of the images, there is one number of channels
    weights = Supernet(chain(), seeded()).weights
    assert isinstance(weights["classifier"], nn.Module) and not isinstance(weights["classifier"], Sliced)
    source = weights["layer1/from0"]
    assert isinstance(source, Sliced) and source.borders["weight"][1] == (3,)
    strides = Supernet(chain(kernels=(3,), filters=(4,)), seeded()).weights["layer1/from0"]  # two strides, one size
    assert isinstance(strides, Sliced) and len(list(strides.parameters())) == 1


# ---- the supernet of a space


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 9, 5)])
@pytest.mark.parametrize("changes", [{}, {"skips": False}, {"hidden": 6, "strides": (1, 2, 3)}, {"kernels": (3,)}])
def test_networks_of_random_chains_equal_the_supernet(shape: tuple[int, int, int], changes: dict[str, Any]) -> None:
    space = chain(shape, max_layers=5, **changes)
    supernet = make_supernet(space)
    for arch in random_archs(space, 6, seed=shape[1]):
        network = Network(space.graph(arch), seeded(2)).double()
        check_inherits(network, supernet, images(16, shape).double(), 1e-9)


@pytest.mark.parametrize("noise", [None, Noise(5, 0.4)])
@pytest.mark.parametrize("concat_below", [0, HUGE])
@pytest.mark.parametrize("changes", [{}, {"skips": False}, {"hidden": 4, "filters": (2, 3), "kernels": (1, 3)}])
def test_merged_equals_plain(
    noise: Noise | None, concat_below: int, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(supernet_module.CONCAT_BELOW, "cpu", concat_below)
    space = chain((3, 9, 7), **changes)
    supernet = make_supernet(space)
    archs = random_archs(space, 5)
    # the same layers but the first one's width, and once more the first architecture
    archs += [Architecture("chain", (*archs[0].choices[:2], (archs[0].choices[2] + 1) % 2, *archs[0].choices[3:]))]
    graphs, x = [space.graph(arch) for arch in [*archs, archs[0]]], images(5, (3, 9, 7)).double()
    merged, plain_grads = check_merged(supernet, graphs, x, noise)
    assert any(gradient is None for gradient in plain_grads)
    if noise is not None:
        assert (supernet(x, graphs) - merged).abs().max() > 0.01
    for graph, logits in zip(graphs, merged, strict=True):  # a network of its own has the same gradients, and noise
        network = Network(graph, seeded(1)).double()
        inherit(network, supernet)
        torch.testing.assert_close(network.train()(x, noise).detach(), logits, rtol=0, atol=1e-9)


def used_blocks(space: ChainSpace, arch: Architecture) -> set[str]:
    """The names of the parameters that an architecture uses, from its layers alone."""
    options, layers = space.options, space.layers(arch)
    ranks: dict[int, int] = {}  # of each layer: which number of filters its output has, through poolings too
    used = {"weights.classifier.bias"}

    def add(key: str, *ranks: int) -> None:
        for position in itertools.product(*(range(rank + 1) for rank in ranks)):
            used.add(f"weights.{key}/{'-'.join(map(str, position))}")

    for i, layer in enumerate(layers, start=1):
        if layer.type != "conv":
            ranks[i] = ranks[i - 1]
            continue
        ranks[i] = options.filters.index(layer.filters)
        kernel = options.kernels.index(layer.height), options.kernels.index(layer.width)
        for source in layer.sources:
            add(f"layer{i}/from{source}.weight", ranks[i], ranks.get(source, 0), *kernel)
        for name in ("weight", "bias"):
            add(f"layer{i}/norm.norm_{name}", ranks[i])
    read = {source for layer in layers for source in layer.sources}
    for i in set(range(1, len(layers) + 1)) - read:
        add(f"classifier/from{i}.weight", 0, ranks[i])
    return used


@pytest.mark.parametrize("skips", [True, False])
def test_a_step_leaves_unsampled_blocks_alone(skips: bool) -> None:
    space = chain(skips=skips)
    supernet = Supernet(space, seeded())
    optimizer = sgd(supernet, SgdConfig(weight_decay=0.1, momentum=0.9))
    seen: set[str] = set()
    for step, arch in enumerate(random_archs(space, 6)):
        before = {name: p.detach().clone() for name, p in supernet.named_parameters()}
        momenta = {p: optimizer.state[p]["momentum_buffer"].clone() for p in supernet.parameters()}
        optimizer.zero_grad(set_to_none=True)
        supernet(images(8, (3, 8, 8), seed=step), [space.graph(arch)]).square().mean().backward()
        with_gradient = {name for name, p in supernet.named_parameters() if p.grad is not None}
        optimizer.step()
        assert with_gradient == used_blocks(space, arch)
        for name, p in supernet.named_parameters():
            if name not in with_gradient:
                assert torch.equal(p, before[name]), name
                assert torch.equal(optimizer.state[p]["momentum_buffer"], momenta[p]), name
        moved = {name for name, p in supernet.named_parameters() if not torch.equal(p, before[name])}
        assert len(moved) > 0.8 * len(with_gradient)  # of one pixel the outer rings see padding alone
        seen |= with_gradient
    assert len(seen) < len(list(supernet.parameters()))


def test_training_after_scoring() -> None:
    """What is kept between passes was first made while scoring, without gradients."""
    for kept in (sliced._moves, sliced._sizes, sliced._used):
        kept.cache_clear()
    sliced._own.modules.clear()
    space = chain()
    supernet, x = Supernet(space, seeded()), images(4, (3, 8, 8))
    graphs = [space.graph(arch) for arch in random_archs(space, 4)]
    with torch.inference_mode():
        scored = supernet(x, graphs)
    trained = supernet(x, graphs)
    torch.testing.assert_close(trained, scored.clone())
    trained.square().mean().backward()
    assert any(p.grad is not None and p.grad.any() for p in supernet.parameters())


def test_a_weight_is_joined_once_for_all_that_use_it_together(monkeypatch: pytest.MonkeyPatch) -> None:
    joined: list[str] = []
    join = Sliced._joined

    def counted(self: Sliced, name: str, size: tuple[int, ...]) -> Tensor:
        joined.append(name)
        return join(self, name, size)

    monkeypatch.setattr(Sliced, "_joined", counted)
    space = chain(skips=False, min_layers=2, max_layers=2, strides=(1,))
    # first layers of three widths, and the same second layer
    graphs = [space.graph(Architecture("chain", (0, width, 1, 0, 1, 1, 1))) for width in range(3)]
    Supernet(space, seeded())(images(2, (3, 8, 8)), graphs)
    # of the first layer three weights, of its norm one; of the second and its norm one each; the classifier's
    assert joined.count("weight") == 3 + 1 + 1
    assert joined.count("norm.weight") == joined.count("norm.bias") == 2
