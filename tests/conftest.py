"""One thread, no GPU, a cache of its own, no deadlines, for every test; benchmarks as modules, for those that ask.

And less work for the garbage collector.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from enas.kernels import compiled, python_kernels

settings.register_profile("enas", deadline=None, print_blob=True, max_examples=50)
settings.load_profile("enas")
MANY = 300  # tests for which that pays


def pytest_collection_finish(session: pytest.Session) -> None:
    """What is imported stays: where many tests run, the collector need not look at its objects again and again.

    Before that, what most tests will import anyway: drawing, logging, and what torch loads with the first optimiser.
    """
    if len(session.items) < MANY or session.config.option.collectonly:
        return
    for name in ("matplotlib.backends.backend_agg", "enas.tracking", "torch._dynamo"):
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def one_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests never use more than one core, nor the user's cache."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENAS_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("OMP_NUM_THREADS", "1")  # of the processes that tests start
        yield


@pytest.fixture(autouse=True)
def on_the_cpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless it is marked `gpu`: tests ask for equal bits, which a GPU gives only where determinism is asked for."""
    if request.node.get_closest_marker("gpu") is None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # of the processes that tests start


@pytest.fixture(params=["C++", "Python"])
def language(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every test twice: with the compiled kernels, where there is a compiler, and with those in Python."""
    if request.param == "C++" and compiled.library() is None:
        pytest.skip("no compiled kernels: no C++ compiler, or not on Linux")
    with contextlib.nullcontext() if request.param == "C++" else python_kernels():
        yield request.param


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The modules of the benchmarks' folder can be imported meanwhile, and are forgotten again."""
    folder = Path(__file__).parents[1] / "benchmarks"
    monkeypatch.syspath_prepend(str(folder))
    yield
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(str(folder)):
            del sys.modules[name]
