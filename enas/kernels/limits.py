"""Where torch's own channels-last kernels are as fast on a CPU (torch 2.14, AVX-512 with bfloat16)."""

from torch import Tensor

VECTOR = 32  # bfloat16 numbers in the widest vector register
SMALL = 1 << 18  # numbers in an input below which torch's kernels win, as they are fewer
EASY = 16  # of a multiple of so many channels torch's kernels make good use


def is_small(x: Tensor) -> bool:
    """Whether x is too small, or on another device."""
    return x.device.type != "cpu" or x.numel() < SMALL


def is_easy(x: Tensor) -> bool:
    """Whether the channels of x [N, C, H, W] fill vectors."""
    return x.shape[1] % EASY == 0
