"""Latency: what is measured, what is predicted from it, and profiles as files. No test looks at a real clock."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from enas import latency
from enas.config import RunConfig
from enas.cost import activation_memory
from enas.errors import UserError
from enas.graph import COMMUTATIVE, Node, signature
from enas.latency import (
    Calibration,
    Clock,
    Latency,
    Machine,
    Measured,
    Meter,
    NodeShape,
    Profile,
    Task,
    Timing,
    node_shapes,
    profile_for,
    read_profile,
    write_profile,
)
from enas.latency import measure as measuring
from enas.latency.files import from_json, to_json
from enas.network import Network
from enas.runtime import Runtime, start
from enas.spaces import SearchSpace, build, from_text, source
from tests.test_cli import TINY_OPTIONS, enas, fails
from tests.toys import chain, macro, micro, nasbench201, nasbench_macro, random_archs, seeded

EXAMPLE = Path(__file__).parents[1] / "enas" / "examples" / "my_space.py"
CPU = Runtime(torch.device("cpu"), torch.float32, 1)
SPACES: dict[str, SearchSpace] = {
    "macro": macro(4),
    "macro, doubled": macro(5, double=True),
    "micro": micro(3),
    "micro, deep": micro(2).scaled(depth=2, width=6),
    "chain": chain(),
    "chain, hidden": chain(hidden=3, pooling=False),
    "nasbench201": nasbench201(),
    "nasbench-macro": nasbench_macro(),
}
OVERHEAD_MS = 3.0
MACHINE = Machine("cpu", "Some Processor", 1, "float32", "2.6.0", "C++")
MADE = Profile(
    MACHINE,
    {"torch": "2.6.0"},
    2,
    macro(1),
    {NodeShape("conv_3x3", ((4, 8, 8),), (4, 8, 8)): Timing(0.5, 0.4, 0.7, 30)},
    Calibration(1.5, 0.25, (Measured("macro:0", 2.0, 3.25),)),
)


def ms_of(node: Node | NodeShape) -> float:
    """A time that tells all nodes apart, for a stopwatch that does not run."""
    return 0.25 + sum(map(len, node.op.split("_"))) + sum(math.prod(shape) for shape in node.in_shapes) / 64


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Time stands still but for what nodes take by `ms_of`, twice that within a network, and an overhead for each
    network. Returns a log of the nodes that ran."""
    passed_s, log = 0.0, []
    original, forward = measuring.run_node, Network.forward

    def node(node: Node, modules: Any, inputs: Any, noise: Any = None) -> Tensor:
        nonlocal passed_s
        passed_s += ms_of(node) / 1e3
        log.append(str(NodeShape.of(node)))
        return original(node, modules, inputs, noise)

    def network(self: Network, x: Tensor, noise: Any = None) -> Tensor:
        nonlocal passed_s
        passed_s += (2 * sum(map(ms_of, self.graph.nodes[1:])) + OVERHEAD_MS) / 1e3
        return forward(self, x, noise)

    monkeypatch.setattr(measuring, "run_node", node)
    monkeypatch.setattr(Network, "forward", network)
    monkeypatch.setattr(measuring, "Clock", lambda wait: Clock(wait, lambda: passed_s))
    for name, value in (("LEAST", 1), ("MOST", 1), ("NETWORK_LEAST", 2), ("NETWORK_MOST", 2), ("WARMUP", 1)):
        monkeypatch.setattr(measuring, name, value)
    return log


def profiled(space: SearchSpace, batch_size: int = 2, **more: Any) -> Profile:
    return profile_for(space, Meter(CPU, batch_size), **more)


@pytest.mark.parametrize("name", ["macro", "micro", "chain", "nasbench201", "nasbench-macro"])
def test_a_prediction_is_the_calibrated_sum_along_the_graph(name: str, pretended: list[str]) -> None:
    space = SPACES[name]
    profile = profiled(space)
    assert profile.calibration is not None
    assert profile.calibration.slope == pytest.approx(2) and profile.calibration.intercept_ms == pytest.approx(3)
    for arch in random_archs(space, 50, seed=3):
        graph = space.graph(arch)
        assert profile.missing([graph]) == []
        total = sum(map(ms_of, graph.nodes[1:]))
        assert profile.total(graph) == pytest.approx(total, rel=1e-3)
        assert profile.latency(graph) == pytest.approx(2 * total + OVERHEAD_MS, rel=1e-3)
    assert latency.prediction_errors(profile) == pytest.approx([0] * len(profile.calibration.networks), abs=1e-9)


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_a_space_s_nodes_are_found(space: SearchSpace) -> None:
    shapes, examples = latency.nodes_of(space, seeded())
    assert len(shapes) == len(set(shapes))
    wanted = {shape for arch in random_archs(space, 300, seed=1) for shape in node_shapes(space.graph(arch))}
    rare = [shape for shape in wanted - set(shapes) if shape.op not in COMMUTATIVE]  # others follow from their likes
    assert rare == []
    inputs = {kind for graph in examples for shape in node_shapes(graph) for kind in shape.inputs}
    assert {kind for shape in shapes for kind in shape.inputs} == inputs
    if space.name != "chain":  # whose candidates stand for weights of several sizes: no network has such nodes
        assert {NodeShape.of(node) for node in space.candidates()} <= set(shapes)


def test_every_node_is_measured_once_as_deployed(monkeypatch: pytest.MonkeyPatch) -> None:
    space, seen = macro(3), []
    graph = space.graph(random_archs(space, 1)[0])
    original = measuring.run_node

    def noting(node: Node, modules: Any, inputs: Sequence[Tensor], noise: Any = None) -> Tensor:
        module = modules(node)
        assert isinstance(module, nn.Module) and not module.training and torch.is_inference_mode_enabled()
        seen.append((NodeShape.of(node), [tuple(x.shape) for x in inputs], id(module)))
        assert all(x.is_contiguous(memory_format=torch.channels_last) or x.dim() == 2 for x in inputs)
        y = original(node, modules, inputs, noise)
        assert y.shape[0] == 3 and y.dtype == torch.float32
        return y

    monkeypatch.setattr(measuring, "run_node", noting)
    monkeypatch.setattr(measuring, "MOST", 1)
    monkeypatch.setattr(measuring, "LEAST", 1)
    shapes = list(dict.fromkeys(node_shapes(graph)))
    (part,) = Meter(CPU, 3, lambda tasks, rounds: [[float(task.run() is not None)] * rounds for task in tasks]).nodes(
        shapes, [graph]
    )
    assert list(part) == shapes
    for shape in shapes:
        calls = [inputs for other, inputs, _ in seen if other == shape]
        assert calls and all(inputs == [(3, *in_shape) for in_shape in shape.in_shapes] for inputs in calls)


def test_bfloat16_nodes_get_what_networks_give_them() -> None:
    space = nasbench_macro()
    graph = space.graph(random_archs(space, 1)[0])
    meter = Meter(dataclasses.replace(CPU, precision=torch.bfloat16), 2)
    kinds = meter._kinds([graph])
    first, *others = (kind for shape in node_shapes(graph) for kind in [kinds[shape.inputs[0]]])
    assert first.dtype == torch.float32  # the images
    assert others and all(kind.dtype == torch.bfloat16 for kind in others)


def test_tasks_take_turns_and_preparations_do_not_count() -> None:
    passed, log = 0.0, []

    def task(name: str, seconds: float, calls: int) -> Task:
        def run() -> None:
            nonlocal passed
            passed += seconds
            log.append(name)

        def prepare() -> None:
            nonlocal passed
            passed += 100

        return Task(run, prepare, calls)

    waits: list[None] = []
    clock = Clock(lambda: waits.append(None), lambda: passed)
    samples = clock([task("a", 0.5, 1), task("b", 0.002, 4), task("c", 7, 1)], 20)
    assert [len(times) for times in samples] == [20, 20, 20] and len(waits) == 2 * 3 * 20
    assert [times[5] for times in samples] == pytest.approx([500, 2, 7000])
    rounds = ["".join(dict.fromkeys(log[i : i + 6])) for i in range(0, len(log), 6)]
    assert {"".join(sorted(each)) for each in rounds} == {"abc"} and len(set(rounds)) > 2


def test_timings_are_medians_with_quartiles() -> None:
    assert Timing.of([5.0, 1.0, 2.0, 3.0, 900.0]) == Timing(3.0, 2.0, 5.0, 5)


def measured(*pairs: tuple[float, float]) -> list[Measured]:
    return [Measured(f"network {i}", sum_ms, ms) for i, (sum_ms, ms) in enumerate(pairs)]


def test_calibration() -> None:
    exact = Calibration.fit(measured((1, 3.5), (2, 5), (10, 17)))
    assert (exact.slope, exact.intercept_ms) == pytest.approx((1.5, 2)) and exact.predict(4) == pytest.approx(8)
    below = Calibration.fit(measured((1, 0.9), (2, 2), (10, 11)))  # on a line whose overhead is negative
    assert below.intercept_ms == 0 and 0.9 < below.slope < 1.1
    same = Calibration.fit(measured((2, 4), (2, 4.4), (2, 3.6)))
    assert same.intercept_ms == 0 and same.predict(2) == pytest.approx(4, rel=0.02)
    assert Calibration.fit(measured((2, 5))).predict(4) == pytest.approx(10)


def test_calibrating_networks_differ_from_others() -> None:
    space = micro(1)
    first = latency.calibration_archs(space)
    others = latency.different(space, 30, seeded(), first)
    codes = [signature(space.graph(arch)) for arch in [*first, *others]]
    assert len(first) == 10 and len(others) == 30 and len(set(codes)) == 40
    tiny = macro(1)
    assert len(latency.calibration_archs(tiny)) == 6  # all that there are


def test_sums_of_other_numbers_of_inputs_follow() -> None:
    space, shape = macro(6), (4, 8, 8)
    times = {NodeShape("sum_norm", (shape,) * k, shape): Timing(ms, ms, ms, 3) for k, ms in ((1, 2.0), (3, 4.0))}
    profile = dataclasses.replace(MADE, nodes=times, space=space)

    def known(op: str, count: int) -> float | None:
        return profile._known_ms(NodeShape(op, (shape,) * count, shape))

    assert [known("sum_norm", k) for k in (1, 2, 3, 5)] == pytest.approx([2, 3, 4, 6])
    assert known("sum", 2) is None and known("conv_3x3", 2) is None
    one = dataclasses.replace(profile, nodes=dict(list(times.items())[:1]))
    assert one._known_ms(NodeShape("sum_norm", (shape,) * 2, shape)) is None


def test_missing_nodes_and_unfinished_profiles_are_errors(pretended: list[str]) -> None:
    space = macro(1)
    graph = space.graph(random_archs(space, 1)[0])
    with pytest.raises(UserError, match=r"lacks conv_bn_3x3 from 3x8x8 to 4x8x8 and \d more.*enas profile") as error:
        MADE.latency(graph)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="must be finished"):
        dataclasses.replace(profiled(space), calibration=None).latency(graph)


def test_missing_nodes_are_measured_on_the_same_machine_alone(pretended: list[str]) -> None:
    space, larger = macro(2), macro(2, width=6)
    profile, kept = profiled(space), []
    known = Latency(profile, Meter(CPU, 2), kept.append)
    graphs = [larger.graph(arch) for arch in random_archs(larger, 3)]
    pretended.clear()
    predicted = [known(graph) for graph in graphs]
    assert predicted == pytest.approx([2 * sum(map(ms_of, graph.nodes[1:])) + 3 for graph in graphs], rel=1e-3)
    count = len(pretended)
    assert count > 0 and [known(graph) for graph in graphs] == predicted and len(pretended) == count
    assert kept[-1] is known.profile and len(kept[-1].nodes) > len(profile.nodes)
    with pytest.raises(UserError, match="lacks"):
        Latency(profile)(graphs[0])
    with pytest.raises(UserError, match="batch size 2 and 4"):
        Latency(profile, Meter(CPU, 4))
    with pytest.raises(UserError, match="processor Some Processor and"):
        Latency(MADE, Meter(CPU, 2))
    assert latency.meter_like(MADE) is None
    assert latency.meter_like(dataclasses.replace(MADE, machine=dataclasses.replace(MACHINE, device="cuda"))) is None
    here = latency.meter_like(dataclasses.replace(profile, machine=latency.machine(start(RunConfig(device="cpu")))))
    assert here is not None and here.batch_size == 2


def test_a_stranger_s_profile_does_not_change_the_threads() -> None:
    before, ours = torch.get_num_threads(), latency.machine(start(RunConfig(device="cpu")))
    for changes in ({"processor": "another"}, {"torch": "1.0"}, {"kernels": "another"}):
        theirs = dataclasses.replace(ours, threads=before + 3, **changes)
        assert latency.meter_like(dataclasses.replace(MADE, machine=theirs)) is None
        assert torch.get_num_threads() == before


def test_a_begun_profile_goes_on(pretended: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "CHUNK", 8)
    monkeypatch.setattr(measuring, "GROUP", 4)
    space, kept, shares = macro(3), [], []
    whole = profiled(space, keep=kept.append, progress=shares.append)
    assert len(kept) > 2 and kept[0].calibration is None and kept[-1] == whole and sum(shares) == pytest.approx(1)
    pretended.clear()
    again = profiled(space, begun=kept[0])
    assert not {str(shape) for shape in kept[0].nodes} & set(pretended)
    assert again.nodes.keys() == whole.nodes.keys() and again.calibration is not None
    pretended.clear()
    assert profiled(space, begun=whole) == whole and pretended == []


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
