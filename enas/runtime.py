"""What is set once per process: device, number format, threads, allocator, determinism."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import logging
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import Any, TypeVar

import torch

from enas.config import RetrainConfig, RunConfig
from enas.errors import UserError
from enas.kernels import compiled

T = TypeVar("T")
GIB = 1 << 30
MOST_PASSES = 8  # as one thread at a time can be in Python; measured were two
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Runtime:
    """device: where images and weights are. precision: torch dtype of convolutions. threads: CPU threads."""

    device: torch.device
    precision: torch.dtype
    threads: int

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Context in which operations that allow it compute in `precision`."""
        return torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32)

    @property
    def passes(self) -> int:
        """How many passes should run at a time, each on a share of the threads: a GPU has work enough with one."""
        return min(self.threads, MOST_PASSES) if self.device.type == "cpu" else 1

    def wait(self) -> None:
        """Wait until the device has done what it was told: for taking times."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()

    def attempt(self, run: Callable[[], T]) -> T | None:
        """What `run` returns, or None where the device's memory was not enough for it.

        The failed run's tensors live as long as its exception is handled, so memory is released after that.
        """
        with contextlib.suppress(torch.OutOfMemoryError):
            return run()
        self.release_memory()
        return None

    def share_of_memory(self, gib: float | None) -> int:
        """Bytes for one purpose: as many GiB, or 2, or a quarter of a GPU's memory, free or not."""
        if gib is None and self.device.type == "cuda":
            return int(torch.cuda.get_device_properties(self.device).total_memory // 4)
        return int((2 if gib is None else gib) * GIB)

    def release_memory(self) -> None:
        """Hand back what the allocator keeps for later: after memory ran out."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def start(config: RunConfig) -> Runtime:
    """Apply the process-wide settings of a run. Raises UserError where the device is not to be had."""
    device = _device(config.device)
    keep_freed_memory()
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.use_deterministic_algorithms(config.deterministic)
    # One network's shapes repeat. Those of shared weights hardly do, and to try out algorithms for each new one took
    # 45 s in the first 10 steps on an H200.
    torch.backends.cudnn.benchmark = isinstance(config, RetrainConfig) and not config.deterministic
    torch.backends.cudnn.deterministic = config.deterministic
    if config.deterministic:
        # cuBLAS reads this when its first handle is made
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    precision = torch.bfloat16 if config.precision == "bfloat16" else torch.float32
    if config.precision == "auto":
        precision = _faster_precision(device)
    if device.type == "cpu":
        compiled.library()  # compiled now, if need be, and not in the middle of the first step
    return Runtime(device, precision, torch.get_num_threads())


def keep_freed_memory() -> None:
    """Tell glibc to keep freed memory instead of handing it back to the kernel.

    By default every tensor above 32 MB is mapped anew, and the page faults of its first use cost more
    than the computation. Users of the library can get the same with the environment variables
    MALLOC_MMAP_MAX_=0 and MALLOC_TRIM_THRESHOLD_=68719476736 (read when a process starts). Other C
    libraries are left alone.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    m_trim_threshold, m_mmap_max = -1, -4
    libc = ctypes.CDLL(None)
    done = libc.mallopt(m_mmap_max, 0) and libc.mallopt(m_trim_threshold, 2**31 - 1)
    logger.debug("glibc keeps freed memory: %s", "yes" if done else "no, mallopt refused")


def versions(runtime: Runtime | None = None) -> dict[str, str]:
    """Versions and hardware that a result depends on; and the language of the kernels, where it is known on what the
    process computes."""
    names = ("torch", "torchvision", "numpy")
    return {
        "enas": metadata.version("enas"),
        "python": sys.version.split()[0],
        **{name: metadata.version(name) for name in names},
        "processor": _processor(),
        **({"kernels": compiled.language()} if runtime is not None and runtime.device.type == "cpu" else {}),
        **({"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}),
    }


def _processor() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _device(name: str) -> torch.device:
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda", "mps"):
        raise UserError(f"device must be auto, cpu, cuda, cuda:N or mps, but got {name!r}")
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            raise UserError(f"device {name} must exist, but torch finds {count} CUDA devices; use --device auto or cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError("device mps must exist, but torch finds none; use --device auto or cpu")
    return device


def _faster_precision(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware has instructions for it."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    if device.type == "cpu":
        return torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32
    return torch.float32


def generator(seed: int, purpose: str, device: torch.device | None = None) -> torch.Generator:
    """An explicit generator for one purpose; equal arguments give equal draws, different ones independent ones."""
    return torch.Generator(device or "cpu").manual_seed(derived_seed(seed, purpose))


def derived_seed(seed: int, purpose: str) -> int:
    """A seed below 2^31 for one purpose of a run."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{purpose}".encode()).digest()[:4], "big") >> 1
