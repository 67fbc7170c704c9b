"""Batch norm, pooling and every k-th pixel on a CPU, against torch's own kernels: outputs, gradients and layouts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from enas.kernels import (
    average_pool,
    average_pool_plain,
    batch_norm,
    batch_norm_plain,
    depthwise,
    even_and_odd_pixels,
    limits,
    maximum_pool,
    maximum_pool_plain,
    plain_kernels,
    relu,
    strided_pixels,
    total,
)
from enas.kernels import batchnorm as module
from tests.toys import seeded

# with 1, 7 and 36 channels rows of several pixels are needed; 5 * 3 * 1 and 3 * 31 * 5 pixels have few halves
SHAPES = [(4, 36, 8, 8), (5, 7, 3, 1), (2, 1, 6, 4), (3, 40, 31, 5), (8, 20, 4, 4)]
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-5, torch.bfloat16: 2**-6}  # of the largest number
pytestmark = pytest.mark.usefixtures("language")
Pooling = Callable[[Tensor, int], Tensor]


@pytest.fixture(autouse=True)
def nothing_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the kernels in Python run at any size, and for any number of channels."""
    monkeypatch.setattr(limits, "SMALL", 0)
    monkeypatch.setattr(limits, "EASY", 10**9)


def images(shape: tuple[int, ...], dtype: torch.dtype, scale: float = 2.0, shift: float = 1.0) -> Tensor:
    x = torch.randn(shape, generator=seeded(), dtype=torch.float64) * scale + shift
    return x.to(dtype).to(memory_format=torch.channels_last)


def close(a: Tensor, b: Tensor, dtype: torch.dtype) -> None:
    assert a.shape == b.shape
    a, b = a.double(), b.double()
    assert (a - b).abs().max() <= TOLERANCE[dtype] * b.abs().max().clamp(min=1e-30)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("shape", SHAPES)
def test_batch_norm_is_torchs(shape: tuple[int, ...], dtype: torch.dtype, relu: bool) -> None:
    """Output, three gradients and running statistics. In bfloat16 the exact result is torch's in float32, where the
    mask of the ReLU is that of the rounded output."""
    weights = torch.float64 if dtype == torch.float64 else torch.float32
    found, grad = [], torch.randn(shape, generator=seeded(1), dtype=torch.float64)
    exact = torch.float32 if dtype == torch.bfloat16 else dtype
    for run, kind in ((batch_norm, dtype), (batch_norm_plain, exact)):
        x = images(shape, dtype).to(kind).requires_grad_()
        weight = torch.linspace(0.5, 1.5, shape[1], dtype=weights).requires_grad_()
        bias = torch.linspace(-1, 1, shape[1], dtype=weights).requires_grad_()
        running = torch.zeros(shape[1], dtype=weights), torch.ones(shape[1], dtype=weights)
        y = run(x, weight, bias, running, 0.3, 1e-5, relu)
        gradients = torch.autograd.grad(y, (x, weight, bias), grad.to(kind))
        assert y.dtype == kind
        if shape[2] * shape[3] > 1:
            assert y.is_contiguous(memory_format=torch.channels_last)
        found.append((y, *gradients, *running))
    for ours, theirs in zip(*found, strict=True):
        close(ours, theirs, dtype)


def test_the_own_batch_norm_runs_where_it_pays(monkeypatch: pytest.MonkeyPatch, language: str) -> None:
    """In Python for many numbers whose channels fill no vector, without gradients too; compiled always."""
    if language == "C++":
        x = images((1, 32, 5, 5), torch.float32).requires_grad_()
        assert type(batch_norm(x, torch.ones(32), torch.zeros(32)).grad_fn).__name__ == "_CompiledBatchNormBackward"
        return
    monkeypatch.setattr(limits, "SMALL", 1000)
    monkeypatch.setattr(limits, "EASY", 16)
    ones, zeros = torch.ones(36), torch.zeros(36)
    for shape, own in (((4, 36, 8, 8), True), ((4, 32, 8, 8), False), ((1, 36, 5, 5), False)):
        x = images(shape, torch.float32).requires_grad_()
        y = batch_norm(x, ones[: shape[1]], zeros[: shape[1]])
        assert (type(y.grad_fn).__name__ == "_BatchNormBackward") == own
    called: list[int] = []
    original = module._normalised
    monkeypatch.setattr(module, "_normalised", lambda *args: called.append(args[1].numel()) or original(*args))
    with torch.inference_mode():
        for channels in (36, 48, 32):
            x, ones, zeros = images((4, channels, 8, 8), torch.float32), torch.ones(channels), torch.zeros(channels)
            close(batch_norm(x, ones, zeros), batch_norm_plain(x, ones, zeros), torch.float32)
    assert called == [36, 48]  # without gradients multiples of 32 alone are left to torch
    x = images((4, 48, 8, 8), torch.float32).requires_grad_()
    assert type(batch_norm(x, torch.ones(48), torch.zeros(48)).grad_fn).__name__ != "_BatchNormBackward"


@pytest.mark.parametrize("reuse", [False, True])
def test_without_gradient_the_result_may_take_the_place_of_the_images(reuse: bool) -> None:
    x = images((4, 36, 8, 8), torch.float32)
    before = x.clone()
    with torch.inference_mode():
        y = batch_norm(x, torch.ones(36), torch.zeros(36), relu=True, reuse=reuse)
    close(y, batch_norm_plain(before, torch.ones(36), torch.zeros(36), relu=True), torch.float32)
    assert torch.equal(x, y if reuse else before) and (x.data_ptr() == y.data_ptr()) == reuse
    x = before.clone().requires_grad_()
    batch_norm(x, torch.ones(36), torch.zeros(36), reuse=reuse)
    assert torch.equal(x, before)


def test_a_constant_channel_stays_finite() -> None:
    x = torch.full((4, 36, 8, 8), 3.0).to(memory_format=torch.channels_last).requires_grad_()
    y = batch_norm(x, torch.ones(36), torch.zeros(36))
    y.sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert torch.equal(y, torch.zeros_like(y)) and bool(x.grad.isfinite().all())


POOLS = [(average_pool, average_pool_plain), (maximum_pool, maximum_pool_plain)]
SIZES = [(8, 8), (9, 7), (7, 10), (2, 2), (5, 3), (1, 1), (3, 1), (1, 4)]


@pytest.mark.parametrize(("ours", "plain"), POOLS)
@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", SIZES)
def test_pooling_is_torchs(
    ours: Pooling, plain: Pooling, dtype: torch.dtype, stride: int, size: tuple[int, int]
) -> None:
    """ReLU beforehand makes many equal numbers: the first one takes the gradient, as in torch."""
    x = images((4, 6, *size), dtype).relu().requires_grad_()
    y, expected = ours(x, stride), plain(x, stride)
    grad = torch.randn(y.shape, generator=seeded(1)).to(dtype).to(memory_format=torch.channels_last)
    close(y, expected, dtype)
    (by_ours,), (by_plain,) = torch.autograd.grad(y, x, grad), torch.autograd.grad(expected, x, grad)
    close(by_ours, by_plain, dtype)
    if ours is maximum_pool:  # whole numbers: nothing is rounded, so each takes exactly its share
        whole = grad.round()
        assert torch.equal(*(torch.autograd.grad(run(x, stride), x, whole)[0] for run in (ours, plain)))
    with torch.inference_mode():
        close(ours(x, stride), expected, dtype)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("ours", "plain"), POOLS)
def test_autocast_leaves_pooling_alone(ours: Pooling, plain: Pooling, stride: int) -> None:
    x = images((4, 6, 8, 8), torch.float32).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y, expected = ours(x, stride), plain(x, stride)
    assert y.dtype == expected.dtype == torch.float32
    grad = torch.randn(y.shape, generator=seeded(1))
    for a, b in zip(torch.autograd.grad(y, x, grad), torch.autograd.grad(expected, x, grad), strict=True):
        close(a, b, torch.float32)


def test_maxima_pass_on_what_is_no_number() -> None:
    x = images((1, 6, 8, 8), torch.float32)
    x[0, 0, 3, 3] = torch.nan
    with torch.inference_mode():
        assert torch.equal(maximum_pool(x).isnan(), maximum_pool_plain(x).isnan())


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("shape", [(2, 7, 5, 3), (64, 36, 9, 8), (5,)])
def test_relu_is_torchs(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = torch.randn(shape, generator=seeded(), dtype=torch.float64).to(dtype)
    x.view(-1)[:4] = torch.tensor([0.0, -0.0, torch.nan, torch.inf])
    x.requires_grad_()
    y, expected = relu(x), torch.relu(x)
    assert torch.equal(y.nan_to_num(7), expected.nan_to_num(7))
    grad = torch.randn(shape, generator=seeded(1)).to(dtype)
    ours, theirs = (torch.autograd.grad(result, x, grad)[0] for result in (y, expected))
    assert torch.equal(ours, theirs)
    with torch.inference_mode():
        assert torch.equal(relu(x).nan_to_num(7), expected.nan_to_num(7))


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_totals_are_sums(count: int, dtype: torch.dtype) -> None:
    """Of tensors in either layout, some of them without a gradient; nothing that was given changes."""
    tensors = [images((3, 7, 5, 3), dtype) + i for i in range(count)]
    tensors[-1] = tensors[-1].contiguous()
    before = [tensor.clone() for tensor in tensors]
    for tensor in tensors[::2]:
        tensor.requires_grad_()
    y, expected = total(tensors), torch.stack(tensors).double().sum(0)
    close(y, expected, dtype)
    assert all(torch.equal(a, b) for a, b in zip(tensors, before, strict=True)) and (y is tensors[0]) == (count == 1)
    grad = torch.randn(y.shape, generator=seeded(1)).to(dtype)
    assert all(torch.equal(found, grad) for found in torch.autograd.grad(y, tensors[::2], grad))
    with torch.inference_mode():
        close(total(tensors), expected, dtype)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_pixels_and_their_gradient(size: tuple[int, int], layout: torch.memory_format) -> None:
    x = images((2, 3, *size), torch.float32).contiguous(memory_format=layout).requires_grad_()
    for stride in (1, 2, 3):
        y, expected = strided_pixels(x, stride), x[:, :, ::stride, ::stride]
        grad = torch.randn(y.shape, generator=seeded(1))
        assert torch.equal(y, expected)
        assert torch.equal(torch.autograd.grad(y, x, grad)[0], torch.autograd.grad(expected, x, grad)[0])
    even, odd = even_and_odd_pixels(x)
    assert torch.equal(even, x[:, :, ::2, ::2]) and torch.equal(odd, x[:, :, 1::2, 1::2])
    (by_ours,) = torch.autograd.grad(2 * even.sum() + 3 * odd.sum(), x)
    (by_slices,) = torch.autograd.grad(2 * x[:, :, ::2, ::2].sum() + 3 * x[:, :, 1::2, 1::2].sum(), x)
    assert torch.equal(by_ours, by_slices)
    if size[0] > 1 and size[1] > 1:
        assert by_ours.is_contiguous(memory_format=layout)
    (by_one,) = torch.autograd.grad(even_and_odd_pixels(x)[0].sum(), x)
    assert torch.equal(by_one, torch.autograd.grad(x[:, :, ::2, ::2].sum(), x)[0])


def test_all_can_be_switched_off(language: str) -> None:
    def names() -> set[str]:
        x = images((4, 36, 8, 8), torch.float32).requires_grad_()
        values = [batch_norm(x, torch.ones(36), torch.zeros(36)), average_pool(x), strided_pixels(x, 2)]
        values += [*even_and_odd_pixels(x), depthwise(x, torch.ones(36, 1, 3, 3).requires_grad_()), maximum_pool(x)]
        return {type(value.grad_fn).__name__.removesuffix("Backward") for value in values}

    with plain_kernels():
        assert not any(name.startswith("_") for name in names())
    own = {"C++": {"_CompiledBatchNorm", "_CompiledPool", "_Pixels", "_CompiledDepthwise"}}
    own["Python"] = {"_BatchNorm", "_Average", "_Pixels", "_Depthwise", "MaxPool2DWithIndicesBackward0"}
    assert names() == own[language]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("dense", [False, True])
def test_images_and_gradients_of_any_layout(dtype: torch.dtype, dense: bool) -> None:
    """In torch's default layout, cut out of larger images, and a gradient that is one number for all pixels."""
    x = images((4, 6, 9, 8), dtype)
    x = x.contiguous() if dense else x[:, 1:, :, 2:]
    assert not x.is_contiguous(memory_format=torch.channels_last)
    channels = x.shape[1]
    weight, bias = torch.linspace(0.5, 1.5, channels), torch.linspace(-1, 1, channels)
    kernel = torch.randn(channels, 1, 5, 5, generator=seeded(3))
    for run in (
        lambda x: batch_norm(x, weight, bias, relu=True),
        lambda x: depthwise(x, kernel, relu=True),
        average_pool,
        maximum_pool,
        lambda x: strided_pixels(x, 2),
        relu,
        lambda x: total([x, x * 2, x + 1, x.contiguous()]),
    ):
        found = []
        for way in (contextlib.nullcontext, plain_kernels):
            leaf = x.detach().requires_grad_()
            with way():
                y = run(leaf)
                grad = torch.ones((), dtype=dtype).expand(y.shape)
                found.append((y, torch.autograd.grad(y, leaf, grad)[0]))
        for ours, theirs in zip(*found, strict=True):
            close(ours, theirs, dtype)
