"""ReLU of images, which torch computes on a CPU in several times the time of a copy; and sums of several tensors, for
which it reads and writes once for every two of them."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from ctypes import c_void_p
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from enas.kernels import compiled


def total(tensors: Sequence[Tensor]) -> Tensor:
    """The sum of tensors of one shape and type: of one tensor that tensor itself, else a new one."""
    first, *rest = tensors
    if not rest:
        return first
    if len(rest) == 1 or not compiled.serves(first) or any(not _alike(first, other) for other in rest):
        return functools.reduce(Tensor.add_, rest[1:], first + rest[0])
    if torch.is_grad_enabled():
        return _CompiledTotal.apply(*tensors)  # type: ignore[no-any-return]
    return _compiled_total(tensors)


def _alike(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and type(b) is Tensor


def _compiled_total(tensors: Sequence[Tensor]) -> Tensor:
    y = torch.empty_like(tensors[0])
    dense = [_in_order_of(y, tensor) for tensor in tensors]
    addresses = (c_void_p * len(dense))(*[tensor.data_ptr() for tensor in dense])
    compiled.call("total", y, ctypes.addressof(addresses), len(dense), y.numel())
    return y


def _in_order_of(y: Tensor, x: Tensor) -> Tensor:
    """x, its numbers one after the other in memory as those of y, which is dense."""
    return x if x.stride() == y.stride() else torch.empty_like(y).copy_(x)


class _CompiledTotal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> Tensor:
        ctx.count = len(tensors)
        return _compiled_total(tensors)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        return (grad,) * ctx.count  # type: ignore[no-any-return]


def relu(x: Tensor) -> Tensor:
    """The ReLU of x, of any shape. A NaN stays one."""
    if not compiled.serves(x):
        return F.relu(x)
    if torch.is_grad_enabled():
        return _CompiledRelu.apply(x)  # type: ignore[no-any-return]
    return _compiled_relu(x)


def _compiled_relu(x: Tensor) -> Tensor:
    y = torch.empty_like(x)  # dense, in the order of x where that is dense
    compiled.call("relu", _in_order_of(y, x), y, x.numel())
    return y


class _CompiledRelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = _compiled_relu(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        grad_x = torch.empty_like(y)
        compiled.call("relu_backward", _in_order_of(y, grad), y, grad_x, y.numel())
        return grad_x
