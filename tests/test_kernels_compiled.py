"""Compiling the kernels in C++, what happens where that is not possible, and what they are not used for."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from enas import kernels
from enas.cache import cache_folder
from enas.kernels import batch_norm, batch_norm_plain, compiled
from tests.toys import seeded

Run = Callable[[Tensor], Tensor]


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing is compiled yet, and the cache is empty."""
    monkeypatch.setenv("ENAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.delenv("ENAS_COMPILER", raising=False)
    forget(monkeypatch)
    return tmp_path / "cache"


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "_library", compiled.functools.cache(compiled._library.__wrapped__))


@pytest.fixture(scope="module")
def made() -> Path:
    """The library that the other tests use, compiled here and now if they have not needed it yet."""
    if compiled.library() is None:
        pytest.skip("no C++ compiler, or not on Linux")
    (path,) = cache_folder().glob("kernels-*.so")
    return path


@pytest.fixture
def copied(made: Path, fresh: Path) -> Path:
    """The same in the empty cache, not used yet."""
    fresh.mkdir()
    return Path(shutil.copy2(made, fresh))


def images(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=seeded()).to(dtype).to(memory_format=torch.channels_last)


def still_right() -> None:
    x, ones, zeros = images(4, 36, 8, 8), torch.ones(36), torch.zeros(36)
    torch.testing.assert_close(batch_norm(x, ones, zeros), batch_norm_plain(x, ones, zeros))


def test_a_damaged_library_is_made_again_once(copied: Path, fresh: Path) -> None:
    copied.write_bytes(b"")
    still_right()
    assert compiled.language() == "C++" and list(fresh.iterdir()) == [copied] and copied.stat().st_size > 0
    before = {path: path.stat().st_mtime_ns for path in fresh.iterdir()}
    again = "from enas.kernels import compiled; print(compiled.language())"
    done = subprocess.run([sys.executable, "-c", again], capture_output=True, text=True, check=True)
    assert done.stdout == "C++\n"
    assert {path: path.stat().st_mtime_ns for path in fresh.iterdir()} == before


@pytest.mark.parametrize("damage", ["none", "missing", "broken", "silent"])
def test_without_a_compiler_python_does_it(
    damage: str, fresh: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """None wanted; one that is not there; one that has a version and then fails; one that makes nothing."""
    fails = 'case "$1" in --version) echo 1.0;; *) echo no such machine >&2; exit 1;; esac'
    script = fresh.parent / "compiler"
    script.write_text(f"#!/bin/sh\n{fails if damage == 'broken' else ''}\n")
    script.chmod(0o755)
    monkeypatch.setenv("ENAS_COMPILER", {"none": "none", "missing": "/nowhere/c++"}.get(damage, str(script)))
    with caplog.at_level(logging.INFO, logger="enas"):
        still_right()
    assert compiled.language() == "Python" and "kernels in Python" in caplog.text
    assert {record.levelno for record in caplog.records} == {logging.INFO if damage == "none" else logging.WARNING}
    assert ("no such machine" in caplog.text) == (damage == "broken")
    if damage != "broken":
        assert not fresh.exists() or list(fresh.iterdir()) == []
        return
    script.write_text(script.read_text().replace("exit 1", "echo called >> $0; exit 1"))
    caplog.clear()
    forget(monkeypatch)
    still_right()  # the script has changed, but says the same version: it is not tried again
    assert "it failed before: no such machine" in caplog.text and "called" not in script.read_text().split("esac")[1]


def test_a_cache_that_cannot_be_written_is_no_failure(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ENAS_CACHE", str(tmp_path / "file" / "below"))
    forget(monkeypatch)
    still_right()
    assert compiled.language() == "Python" and "kernels in Python" in caplog.text


def test_what_others_could_have_written_is_not_run(
    copied: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    copied.chmod(0o777)
    monkeypatch.setenv("ENAS_COMPILER", compiled._compilers(None)[0][0])  # and no other one
    still_right()
    assert compiled.language() == "Python" and "writable by nobody else" in caplog.text


def test_the_compiler_may_have_options(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "sh -c true")
    found = compiled._compilers("sh -c true")
    assert [command[1:] for command in found] == [["-c", "true"]] and Path(found[0][0]).is_absolute()


KERNELS: dict[str, Run] = {
    "batch norm": lambda x: batch_norm(x, torch.ones(20), torch.zeros(20), relu=True),
    "depthwise": lambda x: kernels.depthwise(x, torch.randn(20, 1, 5, 5, generator=seeded(1)), relu=True),
    "average": kernels.average_pool,
    "maximum": kernels.maximum_pool,
    "pixels": lambda x: kernels.strided_pixels(x, 2),
    "relu": kernels.relu,
}


@pytest.mark.parametrize("name", list(KERNELS))
@pytest.mark.parametrize("count", [1, 7, 40])
def test_results_do_not_depend_on_the_number_of_threads(made: Path, name: str, count: int) -> None:
    """Unlike torch's: sums are taken over parts that are the same for any number."""
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            x = images(count, 20, 9, 8).requires_grad_()
            y = KERNELS[name](x)
            results.append((y, *torch.autograd.grad(y.square().sum(), x)))
    finally:
        torch.set_num_threads(before)
    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(result, results[0], strict=True))


def test_moments_of_many_images_that_differ(made: Path) -> None:
    """Means of parts of a block differ by more than the numbers within one."""
    x = images(64, 36, 16, 16) + 100 * torch.arange(64.0).view(-1, 1, 1, 1)
    weight, bias = torch.ones(36), torch.zeros(36)
    expected = batch_norm_plain(x.double(), weight.double(), bias.double())
    torch.testing.assert_close(batch_norm(x, weight, bias).double(), expected, rtol=1e-4, atol=1e-4)


def test_wrong_sizes_are_refused_as_by_torch(made: Path) -> None:
    x = images(4, 36, 8, 8)
    ones, zeros = torch.ones(36), torch.zeros(36)
    for arguments in ((ones[:20], zeros[:20]), (ones, zeros, (zeros[:18], ones[:18]))):
        with pytest.raises(RuntimeError):
            batch_norm(x, *arguments)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError):
        kernels.depthwise(x, torch.ones(20, 1, 3, 3), relu=True)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        batch_norm(images(1, 36, 1, 1), ones, zeros)
    spread = torch.ones(1).expand(36)  # one number in memory
    torch.testing.assert_close(batch_norm(x, spread, zeros), batch_norm_plain(x, ones, zeros))


@pytest.mark.parametrize("run", [kernels.average_pool, kernels.maximum_pool])
def test_other_strides_are_left_to_torch(made: Path, run: Callable[[Tensor, int], Tensor]) -> None:
    x = images(2, 8, 9, 9)
    with kernels.plain_kernels():
        expected = run(x, 3)
    torch.testing.assert_close(run(x, 3), expected)


@pytest.mark.filterwarnings("ignore")
def test_traces_hold_torchs_operations(made: Path) -> None:
    """A traced network computes, whatever images it is given then."""

    def run(x: Tensor) -> Tensor:
        weight = torch.ones(20, 1, 3, 3)
        return kernels.average_pool(kernels.maximum_pool(kernels.depthwise(x, weight, relu=True)))

    with torch.no_grad():
        traced = torch.jit.trace(run, images(2, 20, 8, 8))  # type: ignore[no-untyped-call]
        other = images(2, 20, 8, 8) + 1
        torch.testing.assert_close(traced(other), run(other))
