"""Compiling the kernels in C++, and what happens where that is not possible."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from enas.kernels import batch_norm, batch_norm_plain, compiled
from tests.toys import seeded


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Nothing is compiled yet, and the cache is empty."""
    monkeypatch.setenv("ENAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.delenv("ENAS_COMPILER", raising=False)
    monkeypatch.setattr(compiled, "_library", compiled.functools.cache(compiled._library.__wrapped__))
    yield tmp_path / "cache"


@pytest.fixture
def compiler(fresh: Path) -> str:
    found = compiled._compiler()
    if found is None:
        pytest.skip("no C++ compiler, or not on Linux")
    return found


def still_right() -> None:
    x = torch.randn(4, 36, 8, 8, generator=seeded()).to(memory_format=torch.channels_last)
    ones, zeros = torch.ones(36), torch.zeros(36)
    torch.testing.assert_close(batch_norm(x, ones, zeros), batch_norm_plain(x, ones, zeros))


def test_it_is_compiled_once(fresh: Path, compiler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert compiled.kind() == "Python"  # so far nothing was needed
    still_right()
    assert compiled.kind() == "C++"
    (made,) = fresh.iterdir()
    time_ns = made.stat().st_mtime_ns
    again = f"from enas.kernels import compiled; print(compiled.library() is not None, {str(fresh)!r})"
    done = subprocess.run([sys.executable, "-c", again], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("True")
    assert [path.stat().st_mtime_ns for path in fresh.iterdir()] == [time_ns]


@pytest.mark.parametrize("damage", ["none", "missing", "broken", "silent"])
def test_without_a_compiler_python_does_it(
    damage: str, fresh: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """None wanted; one that is not there; one that fails; one that makes nothing."""
    script = fresh.parent / "compiler"
    script.write_text("#!/bin/sh\necho no such machine >&2\nexit 1\n" if damage == "broken" else "#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.setenv("ENAS_COMPILER", {"none": "none", "missing": "/nowhere/c++"}.get(damage, str(script)))
    with caplog.at_level(logging.INFO, logger="enas"):
        still_right()
    assert compiled.library() is None and compiled.kind() == "Python"
    assert ("no such machine" in caplog.text) == (damage == "broken")
    assert "kernels in Python" in caplog.text
    assert not fresh.exists() or list(fresh.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_no_failure(
    fresh: Path, compiler: str, caplog: pytest.LogCaptureFixture
) -> None:
    fresh.write_text("")
    still_right()
    assert compiled.library() is None and "kernels in Python" in caplog.text


def test_a_damaged_library_is_made_again(fresh: Path, compiler: str) -> None:
    path = compiled._built(compiler)
    path.write_bytes(b"")
    still_right()
    assert compiled.kind() == "C++" and path.stat().st_size > 0


def test_results_do_not_depend_on_the_number_of_threads(compiler: str) -> None:
    """Unlike torch's: sums are taken over parts that are the same for any number."""
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            x = torch.randn(8, 20, 16, 16, generator=seeded()).to(memory_format=torch.channels_last).requires_grad_()
            weight = torch.ones(20, requires_grad=True)
            y = batch_norm(x, weight, torch.zeros(20), relu=True)
            results.append((y, *torch.autograd.grad(y.square().sum(), (x, weight))))
    finally:
        torch.set_num_threads(before)
    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(result, results[0], strict=True))
