"""Kernels in C++ (folder cpp), compiled when they are first needed, where a compiler is installed.

The library that comes of it is kept in the cache folder, under a name that stands for sources, compiler and processor.
ENAS_COMPILER names another compiler than the first that works of $CXX, c++, g++ and clang++; "none" means none.
Without one, or where compilation fails, all goes on with the kernels in Python: a log line says so.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from ctypes import c_float, c_int, c_int64, c_void_p
from importlib import resources
from pathlib import Path

import torch
from torch import Tensor, nn

from enas.cache import cache_folder
from enas.kernels.limits import are_uncompiled, is_foreign

COMPILERS = ("c++", "g++", "clang++")
FLAGS = (
    *("-std=c++17", "-O3", "-march=native", "-fopenmp", "-fPIC", "-fvisibility=hidden", "-Wno-psabi"),
    *("-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros"),  # without these few loops become vectors
)
X86_FLAGS = ("-mprefer-vector-width=512",)  # compilers take half of what there is, for the sake of other programs
COMPILATION_S = 120
FORMATS = {torch.float32: "float", torch.bfloat16: "bfloat16"}
STRIDES = (1, 2)  # that the kernels know
SIGNATURES = {
    "batch_norm": [*[c_void_p] * 8, c_int64, c_int64, c_float, c_float, c_int, c_int],
    "batch_norm_backward": [*[c_void_p] * 9, c_int64, c_int64, c_int, c_int],
    "relu_depthwise": [*[c_void_p] * 3, *[c_int64] * 5, c_int],
    "depthwise_backward": [*[c_void_p] * 5, *[c_int64] * 6, c_int, c_int],
    "average_pool": [*[c_void_p] * 2, *[c_int64] * 5, c_int],
    "average_pool_backward": [*[c_void_p] * 2, *[c_int64] * 5, c_int],
    "maximum_pool": [*[c_void_p] * 2, *[c_int64] * 5, c_int],
    "maximum_pool_backward": [*[c_void_p] * 3, *[c_int64] * 5, c_int],
    "pixels": [*[c_void_p] * 2, *[c_int64] * 6, c_int],
    "pixels_backward": [*[c_void_p] * 3, *[c_int64] * 5, c_int],
    "total": [*[c_void_p] * 2, c_int64, c_int64, c_int],
    "relu": [*[c_void_p] * 2, c_int64, c_int],
    "relu_backward": [*[c_void_p] * 3, c_int64, c_int],
}
logger = logging.getLogger(__name__)
_lock = threading.Lock()


def serves(x: Tensor, stride: int = 1) -> bool:
    """Whether there are compiled kernels for such images [N, C, H, W] at this stride. Not for tensors without numbers
    of their own, as tracing and exporting have them."""
    if are_uncompiled() or is_foreign(x) or x.dtype not in FORMATS or stride not in STRIDES or x.numel() == 0:
        return False
    real = type(x) in (Tensor, nn.Parameter) and not torch.compiler.is_compiling()
    return real and not torch.jit.is_tracing() and library() is not None  # type: ignore[attr-defined,no-untyped-call]


def are_floats(shape: Sequence[int], *tensors: Tensor) -> bool:
    """Whether all are of this shape, float32, on the CPU, and one number after the other in memory."""
    return all(
        t.shape == shape and t.dtype == torch.float32 and t.device.type == "cpu" and t.is_contiguous() for t in tensors
    )


def call(name: str, x: Tensor, *arguments: Tensor | float | None) -> None:
    """Run the kernel `name` for the number format of x, its first argument, on torch's number of threads. Tensors must
    be dense, images channels last: nothing is checked here."""
    run = getattr(library(), f"{name}_{FORMATS[x.dtype]}")
    run(x.data_ptr(), *[a.data_ptr() if isinstance(a, Tensor) else a for a in arguments], torch.get_num_threads())


def library() -> ctypes.CDLL | None:
    """The compiled kernels, if there are any. The first call takes seconds where they have to be compiled."""
    with _lock:  # the second thread waits for the first one's compiler
        return _library()


def language() -> str:
    """In what the kernels for CPUs are written here, for records of runs."""
    return "Python" if library() is None else "C++"


@functools.cache
def _library() -> ctypes.CDLL | None:
    wanted = os.environ.get("ENAS_COMPILER") or os.environ.get("CXX")
    failures = []
    # OpenMP comes with compilers of Linux alone
    for command in _compilers(wanted) if platform.system() == "Linux" else []:
        try:
            return _loaded(command)
        except (OSError, ValueError, AttributeError, subprocess.SubprocessError) as error:
            reason = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else str(error)
            failures.append(f"with {' '.join(command)}: {reason}")
    # to miss what was asked for, or to fail, is worth a warning
    level = logging.WARNING if failures or wanted not in (None, "none") else logging.INFO
    nothing = "no C++ compiler was found" if wanted in (None, "none") else f"the C++ compiler {wanted} was not found"
    reason = "; ".join(failures) or nothing
    logger.log(level, "kernels in Python, by which training takes longer on a CPU: %s", reason)
    return None


def _compilers(wanted: str | None) -> list[list[str]]:
    """The commands to try, with their full paths."""
    names = [shlex.split(wanted)] if wanted else [[name] for name in COMPILERS]
    found = [[path, *name[1:]] for name in names if (path := shutil.which(name[0]))]
    return [command for i, command in enumerate(found) if command not in found[:i]]


def _loaded(compiler: Sequence[str]) -> ctypes.CDLL:
    """The library made by a compiler, now or before. Raises OSError, AttributeError or SubprocessError where that is
    not possible."""
    sources = sorted(p for p in _source_folder().iterdir() if p.suffix in (".cpp", ".h"))
    command = [*compiler, *FLAGS, *(X86_FLAGS if platform.machine() in ("x86_64", "AMD64") else ())]
    parts = [" ".join(command), _run([*compiler, "--version"]), _processor(), *[p.read_text("utf-8") for p in sources]]
    name = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    path = cache_folder().absolute() / f"kernels-{name}.so"
    if path.exists():
        _check_owner(path)
        with contextlib.suppress(OSError, AttributeError):  # a damaged file is made again
            return _opened(path)
    failed = path.with_suffix(".failed")
    if failed.exists():
        raise OSError(f"it failed before: {failed.read_text('utf-8').strip()[:1000]} (delete {failed} to try again)")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return _built(command, [p for p in sources if p.suffix == ".cpp"], path)
    except subprocess.CalledProcessError as error:
        failed.write_text(error.stderr, "utf-8")  # every process of a search would fail again, and that takes long
        raise


def _built(command: list[str], sources: Sequence[Path], path: Path) -> ctypes.CDLL:
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="kernels-") as temporary:
        objects = {str(source): f"{temporary}/{source.stem}.o" for source in sources}
        with ThreadPoolExecutor(len(objects)) as pool:
            list(pool.map(_run, [[*command, "-c", source, "-o", made] for source, made in objects.items()]))
        made = Path(temporary) / path.name
        _run([*command, "-shared", *objects.values(), "-o", str(made)])
        made.chmod(0o755)
        loaded = _opened(made)
        os.replace(made, path)
    return loaded


def _opened(path: Path) -> ctypes.CDLL:
    loaded = ctypes.CDLL(str(path))
    for name, arguments in SIGNATURES.items():
        for kind in FORMATS.values():
            function = getattr(loaded, f"{name}_{kind}")
            function.argtypes, function.restype = arguments, None
    return loaded


def _check_owner(path: Path) -> None:
    """Raises OSError where somebody else could have written the file, which will run as this user."""
    status = path.stat()
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o022:
        raise OSError(f"{path} must belong to this user and be writable by nobody else; delete it, or set ENAS_CACHE")


def _run(command: list[str]) -> str:
    """What a command prints. Raises OSError or SubprocessError where it fails."""
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=COMPILATION_S).stdout


def _source_folder() -> Path:
    return Path(str(resources.files("enas.kernels") / "cpp"))


def _processor() -> str:
    """What decides on the instructions: a home directory may be shared by different machines."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        lines = [line for line in file if line.startswith(("model name", "flags", "Features"))]
        return "".join(sorted(set(lines)))
    return platform.machine()
