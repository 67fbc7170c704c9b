"""Latency: what is measured, and what is predicted from it. No test looks at a real clock."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from enas import latency
from enas.config import RunConfig
from enas.errors import UserError
from enas.graph import COMMUTATIVE, Node, signature
from enas.latency import Calibration, Clock, Latency, Measured, Meter, NodeShape, Task, Timing, node_shapes
from enas.latency import measure as measuring
from enas.runtime import start
from enas.spaces import SearchSpace
from tests.profiles import CPU, MACHINE, MADE, OVERHEAD_MS, ms_of, pretend, profiled
from tests.toys import chain, macro, micro, nasbench201, nasbench_macro, random_archs, seeded

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


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return pretend(monkeypatch)


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
