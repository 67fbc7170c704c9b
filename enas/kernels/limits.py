"""Which kernels run: switches, and where torch's own channels-last kernels are as fast as those in Python on a CPU
(torch 2.14, AVX-512 with bfloat16)."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor

VECTOR = 32  # bfloat16 numbers in the widest vector register
SMALL = 1 << 18  # numbers in an input below which torch's kernels win, as they are fewer
EASY = 16  # of a multiple of so many channels torch's kernels make good use in training; without gradients of VECTOR
_off = False  # whether torch's kernels run everywhere
_uncompiled = False  # whether those in Python run where there are compiled ones


def are_uncompiled() -> bool:
    """Whether compiled kernels are switched off."""
    return _uncompiled


def are_off() -> bool:
    """Whether our kernels are switched off."""
    return _off


def is_foreign(x: Tensor) -> bool:
    """Whether that is so, or x on another device."""
    return _off or x.device.type != "cpu"


def is_left_to_torch(x: Tensor) -> bool:
    """Whether x is that, or too small to gain."""
    return is_foreign(x) or x.numel() < SMALL


def is_easy(x: Tensor) -> bool:
    """Whether the channels of x [N, C, H, W] are as many as torch likes."""
    return x.shape[1] % (EASY if torch.is_grad_enabled() else VECTOR) == 0


@contextlib.contextmanager
def python_kernels() -> Iterator[None]:
    """The kernels in Python, as where there is no compiler, in all threads: for comparisons. To be entered by one
    thread at a time."""
    global _uncompiled
    before, _uncompiled = _uncompiled, True
    try:
        yield
    finally:
        _uncompiled = before


@contextlib.contextmanager
def plain_kernels() -> Iterator[None]:
    """torch's own kernels for everything, in all threads: for comparisons. To be entered by one thread at a time."""
    global _off
    before, _off = _off, True
    try:
        yield
    finally:
        _off = before
