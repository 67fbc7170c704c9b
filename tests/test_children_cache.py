"""The cache of trained children: cut short, damaged, hostile, not writable."""

from __future__ import annotations

import contextlib
import json
import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enas.errors import UserError
from enas.evaluators.cache import Cache, Curve, parse
from enas.evaluators.child import Failure

KEY = ("net", 0, "settings")


def filled(path: Path, count: int = 3) -> Cache:
    cache = Cache(path)
    for i in range(count):
        cache.add((f"net{i}", 0, "settings"), Curve((0.5, 0.25), (0.1, math.nan)), arch=f"macro:{i}")
    return cache


def test_a_cache_that_was_cut_short_anywhere_is_read_and_written_on(tmp_path: Path) -> None:
    filled(tmp_path / "whole")
    whole = (tmp_path / "whole").read_bytes()
    ends = [i for i, byte in enumerate(whole) if byte == ord("\n")]
    path = tmp_path / "cut"
    for cut in (*range(0, len(whole), 29), *ends, *(end + 1 for end in ends)):
        path.write_bytes(whole[:cut])
        complete = sum(end <= cut for end in ends)  # a line may lack its end and nothing else
        damaged = cut not in (0, *ends, *(end + 1 for end in ends))
        with warned(damaged):
            cache = Cache(path)
        assert [cache.get((f"net{i}", 0, "settings")).epochs for i in range(3)] == [
            2 * (i < complete) for i in range(3)
        ]
        cache.add(KEY, Curve((1.0,), (0.0,)))
        cache.add(("last", 0, "settings"), Curve((0.5,), (0.0,)))
        with warned(damaged):
            again = Cache(path)
        assert again.get(KEY) == Curve((1.0,), (0.0,)) and again.get(("last", 0, "settings")).epochs == 1
        assert again.get(("net0", 0, "settings")).epochs == 2 * (complete > 0)


@contextlib.contextmanager
def warned(expected: bool) -> Iterator[None]:
    """Within this there is a warning, or there is none."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        yield
    assert len(found) == expected
    assert all("1 damaged lines were skipped" in str(warning.message) for warning in found)


GOOD: dict[str, Any] = {
    "schema": 1,
    "signature": "net",
    "seed": 0,
    "settings": "settings",
    "epochs": 1,
    "accuracy": [0.5],
    "loss": [1.0],
    "failure": None,
}


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"signature": 1},
        {"seed": True},
        {"seed": 0.0},
        {"settings": None},
        {"epochs": 2},
        {"accuracy": []},
        {"accuracy": [1.5]},
        {"accuracy": [True]},
        {"accuracy": ["0.5"]},
        {"accuracy": 0.5},
        {"accuracy": [None]},
        {"loss": [1.0, 1.0]},
        {"loss": [10**400]},
        {"failure": "killed"},
        {"failure": {"kind": "diverged"}},
        {"failure": {"kind": 1, "reason": "r"}},
    ],
    ids=str,
)
def test_a_line_that_makes_no_sense_is_skipped(tmp_path: Path, change: dict[str, Any]) -> None:
    assert parse(json.dumps(GOOD).encode()) == (KEY, Curve((0.5,), (1.0,)))
    path = tmp_path / "children.jsonl"
    path.write_text(json.dumps({**GOOD, **change}) + "\n" + json.dumps({**GOOD, "signature": "other"}) + "\n")
    with pytest.warns(UserWarning, match="1 damaged lines were skipped .the first is line 1."):
        cache = Cache(path)
    assert cache.get(KEY) == Curve() and cache.get(("other", 0, "settings")).epochs == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*GOOD, "kind"]), inner, max_size=8),
    max_leaves=10,
)


@settings(max_examples=60)
@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()) | st.just(b"[" * 10**5))
def test_any_line_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, line: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_bytes(line + b"\n" + json.dumps({**GOOD, "signature": "good"}).encode() + b"\n")
    with warnings.catch_warnings(action="ignore"):
        assert Cache(path).get(("good", 0, "settings")).epochs == 1


def test_a_cache_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "gone" / "children.jsonl")
    with pytest.raises(UserError, match="must be writable, but: No such file or directory; free some space"):
        cache.add(KEY, Curve())
    with pytest.raises(UserError, match="must be a readable file, but: Is a directory"):
        Cache(tmp_path)


def test_settled_failures_are_kept_and_circumstances_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "children.jsonl"
    short, longer = Curve((0.5,), (1.0,)), Curve((0.5, 0.6), (1.0, 0.9))
    for name, curves in {
        "diverged": [Curve((), (), Failure("diverged", "r"))],
        "killed": [short, Curve((0.5,), (1.0,), Failure("killed", "r"))],
        "mended": [Curve((), (), Failure("memory", "r")), longer],
        "grown": [short, longer, short],
    }.items():
        cache = Cache(path)
        for curve in curves:
            cache.add((name, 0, "settings"), curve)
            assert cache.get((name, 0, "settings")) == curve  # in this session whatever happened last counts
    found = {name: Cache(path).get((name, 0, "settings")) for name in ("diverged", "killed", "mended", "grown")}
    assert found == {
        "diverged": Curve((), (), Failure("diverged", "r")),
        "killed": short,
        "mended": longer,
        "grown": longer,
    }
