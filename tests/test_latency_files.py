"""Profiles of latency as files and on the command line."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enas.cost import activation_memory
from enas.errors import UserError
from enas.latency import read_profile, write_profile
from enas.latency.files import from_json, to_json
from enas.spaces import build, from_text, source
from tests.profiles import MACHINE, MADE, pretend, profiled
from tests.test_cli import TINY_OPTIONS, enas, fails
from tests.toys import macro, nasbench_macro, random_archs

EXAMPLE = Path(__file__).parents[1] / "enas" / "examples" / "my_space.py"


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return pretend(monkeypatch)


def test_profiles_survive_the_file(pretended: list[str], tmp_path: Path) -> None:
    for space in (macro(2), nasbench_macro()):
        profile = profiled(space)
        write_profile(tmp_path / "p.json", profile)
        found = read_profile(tmp_path / "p.json")
        assert found == profile
        assert found.source == str(tmp_path / "p.json")
        graph = space.graph(random_archs(space, 1)[0])
        assert found.latency(graph) == profile.latency(graph)


def test_files_keep_the_seed_and_may_lack_it(tmp_path: Path) -> None:
    values = to_json(dataclasses.replace(MADE, seed=7))
    assert from_json(json.loads(json.dumps(values))).seed == 7
    del values["seed"]
    assert from_json(json.loads(json.dumps(values))).seed is None


def test_a_profile_of_an_own_space_asks_for_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = source.load(f"{EXAMPLE}:MySpace")
    write_profile(tmp_path / "p.json", dataclasses.replace(MADE, space=build(options, (3, 8, 8), 10)))
    monkeypatch.setattr(source, "_known", {})
    with pytest.raises(UserError, match=rf"if you trust that file give --space {EXAMPLE}:MySpace") as error:
        read_profile(tmp_path / "p.json")
    assert "intact" not in str(error.value) and "anew" not in str(error.value)


def changed(path: Sequence[str | int], value: Any) -> Any:
    values = json.loads(json.dumps(to_json(MADE)))
    at = values
    for part in path[:-1]:
        at = at[part]
    at[path[-1]] = value
    return values


@pytest.mark.parametrize(
    ("path", "value", "match"),
    [
        (["schema"], 2, "schema must be 1, but got 2"),
        (["kind"], "profile", "kind must be 'latency profile'"),
        (["machine"], [], "machine must be a JSON object"),
        (["machine", "device"], "abacus", "machine.device must be one of cpu, cuda, mps"),
        (["machine", "precision"], "float8", "machine.precision must be one of"),
        (["machine", "threads"], 1025, "machine.threads must be a whole number from 1 to 1,024"),
        (["machine", "processor"], "two\nlines", "machine.processor must be one line"),
        (["versions"], {"torch": 3}, "versions.torch must be one line"),
        (["versions"], {"\n": "3"}, "versions must have names of one line of text, but got '.n'"),
        (["versions"], {"": "3"}, "versions must have names of one line of text, but got ''"),
        (["batch_size"], True, "batch_size must be a whole number"),
        (["batch_size"], 0, "batch_size must be a whole number"),
        (["space"], {"name": "maze"}, "space must be one of"),
        (["space", "layers"], 10**6, "space.layers must be at most 64"),
        (["input_shape"], [3, 8], "input_shape must be three whole numbers"),
        (["input_shape"], [3, 2, 2], "images must be at least"),
        (["num_classes"], "10", "num_classes must be a whole number"),
        (["nodes"], {}, "nodes must be a list"),
        (["nodes", 0], None, "nodes\\[0\\] must be a JSON object"),
        (["nodes", 0, "op"], "import os", "nodes\\[0\\].op must be an operation"),
        (["nodes", 0, "op"], ["conv_3x3"], "nodes\\[0\\].op must be one line"),
        (["nodes", 0, "in_shapes"], [], "nodes\\[0\\] must have inputs"),
        (["nodes", 0, "in_shapes"], [[4, 8, -8]], "nodes\\[0\\].in_shapes\\[0\\] must be a whole number"),
        (["nodes", 0, "shape"], [4, 8, 8.0], "nodes\\[0\\].shape must be a whole number"),
        (["nodes", 0, "ms"], float("nan"), "nodes\\[0\\].ms must be a number"),
        (["nodes", 0, "ms"], 10**400, "nodes\\[0\\].ms must be a number"),
        (["nodes", 0, "ms"], 0.1, "nodes\\[0\\] must have 0 < low_ms <= ms <= high_ms"),
        (["nodes", 0, "calls"], None, "nodes\\[0\\].calls must be"),
        (["calibration"], 3, "calibration must be a JSON object"),
        (["calibration", "slope"], -1, "calibration.slope must be a number"),
        (["calibration", "intercept_ms"], "0", "calibration.intercept_ms must be"),
        (["calibration", "networks"], [[]], "calibration.networks\\[0\\] must be a JSON object"),
        (["calibration", "networks"], [], "calibration.networks must be at least one, but got \\[\\]"),
        (["calibration", "networks", 0, "ms"], 0, "calibration.networks\\[0\\].ms must be greater than 0"),
        (["seed"], -1, "seed must be a whole number from 0"),
    ],
)
def test_damaged_profiles(tmp_path: Path, path: Sequence[str | int], value: Any, match: str) -> None:
    (tmp_path / "p.json").write_text(json.dumps(changed(path, value)))
    with pytest.raises(UserError, match=f"must be an intact latency profile: {match}") as error:
        read_profile(tmp_path / "p.json")
    assert "\n" not in str(error.value)


def test_files_that_are_no_profiles(tmp_path: Path) -> None:
    twice = to_json(MADE)
    twice["nodes"] *= 2
    texts = {
        "[": "readable JSON",
        "3": "must be a JSON object",
        "[" * 10**5: "JSON",
        json.dumps(twice): "be there once",
    }
    for text, match in texts.items():
        (tmp_path / "p.json").write_text(text)
        with pytest.raises(UserError, match=match):
            read_profile(tmp_path / "p.json")
    for path in (tmp_path, tmp_path / "missing.json"):
        with pytest.raises(UserError, match="must be"):
            read_profile(path)


TINY = (
    "--space",
    "macro",
    "--set",
    "space.layers=2",
    "--set",
    "space.width=4",
    "--image-size",
    "8",
    "--batch-size",
    "2",
)


def test_profiles_on_the_command_line(pretended: list[str], tmp_path: Path) -> None:
    file = tmp_path / "p.json"
    command = ["profile", *TINY, "--device", "cpu", "--threads", "1", "--output", file]
    result = enas(*command)
    assert result.exit_code == 0, result.output
    profile = read_profile(file)
    graph = profile.space.graph(from_text("macro:0-31"))
    for part in (f"{len(profile.nodes)} nodes at batch size 2", "(cpu, 1 thread, float32, torch", f"--profile {file}"):
        assert part in result.output
    show = ["show", "macro:0-31", "--width", "4", "--image-size", "8"]
    values = json.loads(enas(*show, "--profile", file, "--json").output)
    assert values["latency_ms"] == pytest.approx(profile.latency(graph)) and values["batch_size"] == 2
    assert values["activation_bytes"] == activation_memory(graph, 2) and values["profile"] == str(file)
    text = enas(*show, "--profile", file).output
    assert f"{profile.latency(graph):.3g} ms latency at batch size 2, predicted for {profile.machine}" in text
    assert "MiB of activations at most, at batch size 2 without gradients" in text
    assert "latency" not in enas(*show).output and "at batch size 5 " in enas(*show, "--batch-size", "5").output
    fails(*show, "--profile", file, "--batch-size", "5", match="--batch-size must be the profile's, 2")
    pretended.clear()
    assert enas(*command).exit_code == 0 and pretended == [], "a finished profile has nothing left to measure"
    wider = enas("show", "macro:0-31", "--width", "6", "--image-size", "8", "--profile", file)
    assert "they are measured now" in wider.output and " ms latency" in wider.output and pretended
    before = file.read_bytes()
    fails(*command, "--width", "6", match="must be a profile of this space to go on with")
    fails(*command, "--batch-size", "3", match="batch size 2 and 3")
    fails(*command, "--seed", "99", match="of --seed 99 to go on with, but was begun with --seed 0; give that one, or")
    fails(*command, "--precision", "bfloat16", match="precision float32 and bfloat16")
    stranger = json.loads(before) | {"machine": dataclasses.asdict(MACHINE)}
    (tmp_path / "other.json").write_text(json.dumps(stranger))
    assert "predicted for Some Processor" in enas(*show, "--profile", tmp_path / "other.json").output
    fails(
        *show[:3], "6", *show[4:], "--profile", tmp_path / "other.json", match="lacks conv_bn_3x3 from 3x8x8 to 6x8x8"
    )
    (tmp_path / "notes.json").write_text("[1]")
    fails(*command[:-1], tmp_path / "notes.json", match="must be an intact latency profile")
    fails(*command[:-1], tmp_path / "notes.json", match="; remove it or give another --output")
    assert file.read_bytes() == before and (tmp_path / "notes.json").read_text() == "[1]"


@pytest.mark.slow
def test_a_run_s_space_is_profiled(pretended: list[str], tmp_path: Path) -> None:
    run, file = tmp_path / "run", tmp_path / "p.json"
    assert enas("search", *TINY_OPTIONS, "--output", run).exit_code == 0
    result = enas("profile", run, "--device", "cpu", "--output", file)
    assert result.exit_code == 0, result.output
    values = json.loads(enas("show", run, "--profile", file, "--json").output)
    found = read_profile(file)
    assert values["finished"] and values["params"] == values["finalists"][0]["params"]
    assert values["latency_ms"] == found.latency(found.space.graph(from_text(values["text"])))
    assert enas("profile", run, "--width", "6", "--device", "cpu", "--output", tmp_path / "w.json").exit_code == 0
    wide = enas("show", run, "--width", "6", "--profile", tmp_path / "w.json")
    assert " ms latency at batch size 1" in wide.output and "measured now" not in wide.output
    fails("profile", run, "--space", "micro", "--output", file, match="--space must be left out beside a run")
    (run / "result.json").unlink()
    fails("show", run, "--profile", file, match="need a finished run")
    fails("profile", run, "--output", file, match="must be")


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--set", "weights.batch_size=3"], "--set must change the space here"),
        (["--set", "space.layers=999"], "layers must be at most 64"),
        (["--data", "digits", "--classes", "3"], "--classes must be left out with --data"),
        (["--image-size", "8", "--data-folder", "x"], "--data-folder must go with --data"),
        (["--preset", "quick", "--data-folder", "x"], "--data-folder must go with --data"),
        (["--depth", "2"], "space macro scales by width alone"),
        (["--device", "abacus"], "device must be auto, cpu"),
        (["no-such-run"], "there must be a run folder or a result.json"),
    ],
)
def test_profiles_that_cannot_be(tmp_path: Path, arguments: list[str], match: str) -> None:
    fails("profile", *arguments, "--output", tmp_path / "p.json", match=match)
    assert not list(tmp_path.iterdir())


def test_where_a_profile_cannot_be_written(tmp_path: Path) -> None:
    for output in (tmp_path, tmp_path / "missing" / "p.json"):
        fails("profile", *TINY, "--output", output, match="--output must be a file in a folder that exists")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=5), values, max_size=3),
    max_leaves=5,
)


@given(st.data())
@settings(max_examples=100)
def test_any_json_is_a_profile_or_one_line_of_error(data: st.DataObject) -> None:
    values = json.loads(json.dumps(to_json(MADE)))
    at: Any = values
    while True:  # to any place in it
        key = data.draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
        if not at[key] or not isinstance(at[key], dict | list) or data.draw(st.booleans()):
            break
        at = at[key]
    at[key] = data.draw(JSON)
    try:
        profile = from_json(values)
    except UserError as error:
        assert "\n" not in str(error) and len(str(error)) < 400
    else:
        assert all(math.isfinite(timing.ms) for timing in profile.nodes.values())
