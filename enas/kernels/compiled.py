"""Kernels in C++ (folder cpp), compiled when they are first needed, where a compiler is installed.

The library that comes of it is kept in the cache folder, under a name that stands for sources, compiler and processor.
ENAS_COMPILER names another compiler than the first of $CXX, c++, g++ and clang++ that is there; "none" means none.
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
import shutil
import subprocess
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from ctypes import c_float, c_int, c_int64, c_void_p
from importlib import resources
from pathlib import Path

import torch
from torch import Tensor

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
}
logger = logging.getLogger(__name__)
_lock = threading.Lock()


def serves(x: Tensor) -> bool:
    """Whether there are compiled kernels for such images."""
    if are_uncompiled() or is_foreign(x) or x.dtype not in FORMATS:
        return False
    return x.numel() > 0 and library() is not None


def call(name: str, x: Tensor, *arguments: Tensor | float | None) -> None:
    """Run the kernel `name` for the number format of x, its first argument, on torch's number of threads. Tensors must
    be dense, images channels last."""
    run = getattr(library(), f"{name}_{FORMATS[x.dtype]}")
    run(x.data_ptr(), *[a.data_ptr() if isinstance(a, Tensor) else a for a in arguments], torch.get_num_threads())


def library() -> ctypes.CDLL | None:
    """The compiled kernels, if there are any. The first call takes seconds where they have to be compiled."""
    with _lock:  # the second thread waits for the first one's compiler
        return _library()


def kind() -> str:
    """In what the kernels are written that this process has used, for records of runs."""
    with _lock:
        used = _library.cache_info().currsize and _library() is not None
    return "C++" if used else "Python"


@functools.cache
def _library() -> ctypes.CDLL | None:
    compiler = _compiler()
    if compiler is None:
        logger.info("no C++ compiler: kernels in Python, by which training takes longer on a CPU")
        return None
    try:
        loaded = _loaded(compiler)
    except (OSError, subprocess.SubprocessError) as error:
        reason = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else error
        logger.warning("kernels in Python, as %s does not compile those in C++: %s", compiler, reason)
        return None
    for name, arguments in SIGNATURES.items():
        for kind in FORMATS.values():
            function = getattr(loaded, f"{name}_{kind}")
            function.argtypes, function.restype = arguments, None
    return loaded


def _compiler() -> str | None:
    """Path of the compiler to use. OpenMP comes with compilers of Linux alone."""
    if platform.system() != "Linux":
        return None
    wanted = os.environ.get("ENAS_COMPILER") or os.environ.get("CXX")
    names = (wanted,) if wanted else COMPILERS
    return next((path for path in map(shutil.which, names) if path), None)


def _loaded(compiler: str) -> ctypes.CDLL:
    """Raises OSError or SubprocessError where the library cannot be made."""
    path = _built(compiler)
    try:
        return ctypes.CDLL(str(path))
    except OSError:  # damaged
        path.unlink()
        return ctypes.CDLL(str(_built(compiler)))


def _built(compiler: str) -> Path:
    """The library's file. Raises OSError or SubprocessError where it cannot be made."""
    folder = Path(str(resources.files("enas.kernels") / "cpp"))
    sources = sorted(folder.iterdir())
    x86 = platform.machine() in ("x86_64", "AMD64")
    command = [compiler, *FLAGS, *(X86_FLAGS if x86 else ())]
    parts = [
        " ".join(command),
        _run([compiler, "--version"]),
        _processor(),
        *[source.read_text() for source in sources],
    ]
    name = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    path = cache_folder().absolute() / f"kernels-{name}.so"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="kernels-") as temporary:
        files = {str(source): f"{temporary}/{source.stem}.o" for source in sources if source.suffix == ".cpp"}
        with ThreadPoolExecutor(len(files)) as pool:
            list(pool.map(_run, [[*command, "-c", source, "-o", made] for source, made in files.items()]))
        _run([*command, "-shared", *files.values(), "-o", f"{temporary}/{path.name}"])
        os.replace(f"{temporary}/{path.name}", path)
    return path


def _run(command: list[str]) -> str:
    """What a command prints. Raises OSError or SubprocessError where it fails."""
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=COMPILATION_S).stdout


def _processor() -> str:
    """What decides on the instructions: a home directory may be shared by different machines."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        lines = [line for line in file if line.startswith(("model name", "flags", "Features"))]
        return "".join(sorted(set(lines)))
    return platform.machine()
