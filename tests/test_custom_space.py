"""Spaces of users: derived from decisions and graph, run only when asked for, the same one as long as a run lasts."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from enas import config, spaces
from enas.config import SEARCHERS, CustomOptions, RetrainConfig, SearchConfig
from enas.cost import cost
from enas.errors import UserError
from enas.graph import Graph, GraphBuilder
from enas.network import Network, inherit
from enas.ops import build, maker, register_op
from enas.runs import identity
from enas.searchers import build as build_searcher
from enas.spaces import Architecture, CustomSpace, Decision, SearchSpace, source
from enas.spaces.collect import ALL
from enas.supernet import Supernet
from tests.test_cli import RETRAIN, TINY_OPTIONS, enas, fails
from tests.toys import random_archs, seeded

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "enas" / "examples" / "my_space.py"
OWN_OPS = ROOT / "tests" / "my_ops.py"
SHAPE = (3, 12, 12)
TINY = [text for text in TINY_OPTIONS if text != "--set" and "space.layers" not in text]
TINY_OWN = [part for text in (*TINY, "space.arguments.blocks=1", "epochs=2") for part in ("--set", text)]


@pytest.fixture
def unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a new process: no file of a user was run yet."""
    monkeypatch.setattr(source, "_known", {})
    for name in [name for name in sys.modules if name.startswith("enas_space_")]:
        monkeypatch.delitem(sys.modules, name)


def own(file: Path, name: str, **changes: Any) -> SearchSpace:
    options = dataclasses.replace(source.load(f"{file}:{name}"), **changes)
    return spaces.build(options, SHAPE, 4)


def made(decisions: list[Decision], graph: Any = None, **attributes: Any) -> type[CustomSpace]:
    """A class with these decisions and this graph, or a convolution for each decision."""

    def default(self: CustomSpace, arch: Architecture) -> Graph:
        builder, x = GraphBuilder(self.input_shape), 0
        for decision, choice in zip(self.decisions, arch.choices, strict=True):
            x = builder.add("conv_bn_3x3", (x,), (4, *self.input_shape[1:]), f"{decision.name}/{choice}")
        builder.add("classifier", (x,), (self.num_classes, 1, 1), "classifier")
        return builder.graph()

    return type("Made", (CustomSpace,), {"decisions": decisions, "graph": graph or default, **attributes})


def checked(made_by: type[CustomSpace], **options: Any) -> spaces.CheckedSpace:
    return spaces.CheckedSpace(made_by, CustomOptions(source="made.py:Made", **options), SHAPE, 4)


def of_layers(count: int, labels: tuple[str, ...] = ("a", "b")) -> list[Decision]:
    return [Decision(f"layer{i}", labels, "op", i) for i in range(count)]


def test_the_example_is_short_and_everything_else_follows() -> None:
    assert len(EXAMPLE.read_text().splitlines()) <= 40
    space = own(EXAMPLE, "MySpace", width=4)
    assert space.name == "my-space"
    assert spaces.size(space) == 10**6 > ALL
    arch = spaces.parse(space, "my-space:01-10-20-31-40-11")
    assert space.describe(arch)[0] == "stage1-block1: op conv_3x3, shortcut yes"
    (sketch,) = space.sketches(arch)
    assert {"conv_3x3", "max_pool_3x3", "sum"} <= set(sketch.operations())
    wide = space.scaled(width=8)
    assert cost(wide.graph(arch)).params > cost(space.graph(arch)).params
    assert isinstance(wide.options, CustomOptions) and wide.options.width == 8
    with pytest.raises(UserError, match="scales by width alone, but got depth"):
        space.scaled(depth=2)


@pytest.mark.parametrize(("file", "name"), [(EXAMPLE, "MySpace"), (OWN_OPS, "Branches")])
def test_supernet_plain_twin_and_network_agree(file: Path, name: str) -> None:
    space = own(file, name, width=4)
    supernet = Supernet(space, seeded(1))
    archs = random_archs(space, 12)
    graphs = [space.graph(arch) for arch in archs]
    images = torch.randn(6, *SHAPE, generator=seeded(2))
    together = supernet(images, graphs)
    torch.testing.assert_close(together, supernet.forward_plain(images, graphs), rtol=1e-4, atol=1e-5)
    for i, graph in enumerate(graphs):
        network = Network(graph, seeded(3))
        inherit(network, supernet)
        torch.testing.assert_close(network.train()(images), together[i], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SEARCHERS)
def test_every_searcher_learns_there(name: str) -> None:
    space = own(OWN_OPS, "Branches")
    settings = config.update(SearchConfig(searcher=name), {"controller": {"hidden": 8}, "evolution": {"population": 4}})
    searcher = build_searcher(space, settings, seeded(0))
    for _ in range(3):
        proposals = searcher.ask(4)
        for proposal in proposals:
            spaces.validate(space, proposal.arch)
        searcher.tell(proposals, torch.tensor([float(p.arch.choices[0]) for p in proposals], dtype=torch.float64))
    assert len(searcher.sample(5, seeded(1))) == 5


def test_candidates_of_a_large_space_hold_what_any_architecture_uses() -> None:
    space = checked(made(of_layers(14, ("a", "b", "c"))))
    keys = {node.key for node in space.candidates()}
    assert keys == {f"layer{i}/{choice}" for i in range(14) for choice in range(3)} | {"classifier"}


def test_weights_that_were_not_found_are_an_error_that_says_what_to_do() -> None:
    def rare(self: CustomSpace, arch: Architecture) -> Graph:
        builder = GraphBuilder(self.input_shape)
        key = "rare" if sum(arch.choices) == 30 else "usual"
        x = builder.add("conv_bn_3x3", (0,), (4, *self.input_shape[1:]), key)
        builder.add("classifier", (x,), (self.num_classes, 1, 1), "classifier")
        return builder.graph()

    space = checked(made(of_layers(15, ("a", "b", "c")), rare))
    every = Architecture("made", (2,) * 15)
    assert "rare" in {node.key for node in space.graph(every).nodes}  # nothing was collected yet
    space.candidates()
    with pytest.raises(UserError, match=r"weights 'rare' .* let the class have a method candidates\(\)"):
        space.graph(every)

    def candidates(self: CustomSpace) -> list[Any]:
        first = Architecture("made", (0,) * 15)
        return [node for arch in (first, every) for node in self.graph(arch).nodes]

    mended = checked(made(of_layers(15, ("a", "b", "c")), rare, candidates=candidates))
    mended.candidates()
    assert mended.graph(every).nodes[1].key == "rare"


def graph_of(*nodes: tuple[str, tuple[int, ...], tuple[int, int, int], str]) -> Any:
    def graph(self: CustomSpace, arch: Architecture) -> Graph:
        builder = GraphBuilder(self.input_shape)
        for op, inputs, shape, key in nodes:
            builder.add(op, inputs, shape, key)
        return builder.graph()

    return graph


LOGITS = (4, 1, 1)


@pytest.mark.parametrize(
    ("made_by", "match"),
    [
        (made([]), "at least one decision"),
        (made([Decision("a", ("x",), "g", 0)] * 2), "a is there twice"),
        (made([Decision("a", ("x", "x"), "g", 0)]), "different labels"),
        (made([Decision("a", ("x",), "g.h", 0)]), "groups must be of letters"),
        (made([Decision("a", ("x",), "g", 1), Decision("b", ("x",), "g", 0)]), "parts must be in order"),
        (made([Decision("a", ("x",), "g", 0), Decision("b", ("y",), "g", 0)]), "must have the same labels"),
        (made([Decision("a", ("x", "y"), "g", 0, (), 0, (1,))]), "the parent of a must be the position of an earlier"),
        (made(["a"]), "must be Decision objects, but got str"),  # type: ignore[list-item]
        (
            made([Decision("filters", (4, 8), "g", 0)]),  # type: ignore[arg-type]
            r"labels of decision 'filters' must be strings in a tuple, as \(\"4\", \"8\"\), but got \(4, 8\)",
        ),
        (made([Decision("a", 3, "g", 0)]), "labels of decision 'a' must be strings"),  # type: ignore[arg-type]
        (made([Decision("a", "xy", "g", 0)]), "labels of decision 'a' must be strings"),  # type: ignore[arg-type]
        (made([Decision(5, ("x",), "g", 0)]), "name of decision 5 must be a string"),  # type: ignore[arg-type]
        (made([Decision("a", ("x",), 7, 0)]), "group of decision 'a' must be a string"),  # type: ignore[arg-type]
        (made([Decision("a", ("x",), "g", 0.5)]), "part of decision 'a' must be a whole number"),  # type: ignore[arg-type]
        (made([Decision("a", ("x",), "g", 0, (), "b")]), "parent of decision 'a' must be"),  # type: ignore[arg-type]
        (made([Decision("a", ("x", "y"), "g", 1, ("0",))]), "sources of decision 'a' must be whole"),  # type: ignore[arg-type]
        (made([Decision("a", ("x", "y"), "g", 1, (5,))]), "sources of a must be parts before its own, 1, but got"),
        (made([Decision("a", ("x", "y"), "g", 1, (1,))]), "sources of a must be parts before its own"),
        (made(of_layers(1), lambda self, arch: None), "graph must return a Graph, but got NoneType"),
        (made(of_layers(1), lambda self, arch: 1 / 0), r"graph of made:0: ZeroDivisionError: division by zero \(line"),
        (made(of_layers(1), graph_of(("classifier", (0,), (5, 1, 1), "c"))), "must lead from images"),
        (made(of_layers(1), name="Made Up"), "lower-case words"),
        (made(of_layers(1), name="macro"), "none of macro"),
    ],
)
def test_a_class_that_cannot_be_a_space(made_by: type[CustomSpace], match: str) -> None:
    with pytest.raises(UserError, match=match) as caught:
        checked(made_by)
    assert "\n" not in str(caught.value)


def test_weights_that_cannot_be_shared() -> None:
    def two_ops(self: CustomSpace, arch: Architecture) -> Graph:
        return graph_of((("conv_3x3", "conv_5x5")[arch.choices[0]], (0,), (4, 12, 12), "same"), CLASSIFIER)(self, arch)  # type: ignore[no-any-return]

    def neither(self: CustomSpace, arch: Architecture) -> Graph:
        middle, out = ((4, 8), (8, 4))[arch.choices[0]]
        first = ("conv_bn_3x3", (0,), (middle, 12, 12), f"first{middle}")
        return graph_of(first, ("conv_bn_3x3", (1,), (out, 12, 12), "same"), ("classifier", (2,), LOGITS, f"c{out}"))(  # type: ignore[no-any-return]
            self, arch
        )

    twice = graph_of(
        ("conv_bn_3x3", (0,), (4, 12, 12), "k"),
        ("conv_bn_3x3", (1,), (4, 12, 12), "k"),
        ("classifier", (2,), LOGITS, "c"),
    )
    for graph, match in ((two_ops, "one operation, but same"), (neither, "must hold all others, but same")):
        with pytest.raises(UserError, match=match):
            checked(made(of_layers(1), graph)).candidates()
    with pytest.raises(UserError, match="that share a weight key must be alike, but k"):
        checked(made(of_layers(1), twice))
    reserved = checked(made(of_layers(1), graph_of(("conv_bn_3x3", (0,), (4, 12, 12), "type"), CLASSIFIER)))
    with pytest.raises(UserError, match="a weight key must not be called 'type'"):
        Supernet(reserved, seeded(0))


CLASSIFIER = ("classifier", (1,), LOGITS, "classifier")


def test_operations_that_cannot_be() -> None:
    with pytest.raises(UserError, match="none of enas' own"):
        register_op("conv_3x3", torch.nn.Identity)
    with pytest.raises(UserError, match="must be callable"):
        register_op("mine", None)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="'atlas' is not; register it"):
        maker("atlas")
    register_op("plain_norm", lambda in_shapes, shape, running: torch.nn.BatchNorm2d(shape[0]))
    register_op("shrinks", lambda in_shapes, shape, running: Shrinks())
    register_op("fails", lambda in_shapes, shape, running: 1 / 0)
    for op, match in (
        ("plain_norm", "must use enas.ops.BatchNorm"),
        ("shrinks", r"must give \[3, 12, 12\]"),
        ("fails", "its factory raised ZeroDivisionError"),
    ):
        with pytest.raises(UserError, match=match):
            cost(graph_of((op, (0,), SHAPE, "k"), CLASSIFIER)(checked(made(of_layers(1))), None))
    with pytest.raises(UserError, match="has weights, so its node must have a key"):
        space = checked(made(of_layers(1), graph_of(("conv_bn_3x3", (0,), (4, 12, 12), ""), CLASSIFIER)))
        Supernet(space, seeded(0))(torch.zeros(2, *SHAPE), [space.graph(Architecture("made", (0,)))])


class Shrinks(torch.nn.Module):
    def forward(self, x: torch.Tensor, context: Any) -> torch.Tensor:
        return x[:, :, ::2]


def test_an_operation_registered_anew_is_counted_anew() -> None:
    graph = graph_of(("grows", (0,), SHAPE, "k"), CLASSIFIER)(checked(made(of_layers(1))), None)
    costs = []
    for layers in (1, 2):
        register_op("grows", lambda in_shapes, shape, running, n=layers: Convolutions(shape[0], n))
        costs.append(cost(graph).params)
    assert costs[1] - costs[0] == 9
    assert len(list(build(graph.nodes[1], True).parameters())) == 2


class Convolutions(torch.nn.Module):
    def __init__(self, channels: int, count: int) -> None:
        super().__init__()
        self.convs = torch.nn.Sequential(*(torch.nn.Conv2d(channels, channels, 1, bias=False) for _ in range(count)))

    def forward(self, x: torch.Tensor, context: Any) -> torch.Tensor:
        return self.convs(x)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("text", "spec", "match"),
    [
        ("class A: pass", "space.py", "path/to/file.py:MySpace"),
        ("class A: pass", "space.py:A", "derives from enas.CustomSpace, but it has another thing"),
        ("class A: pass", "space.py:B", "but it has none of that name"),
        ("x = 1\nraise ValueError('no')", "space.py:A", r"ValueError: no \(line 2"),
        ("def (", "space.py:A", r"SyntaxError: .* \(line 1"),
        ("", "missing.py:A", "must be a readable Python file, but: No such file"),
    ],
)
def test_files_that_have_no_space(tmp_path: Path, text: str, spec: str, match: str) -> None:
    (tmp_path / "space.py").write_text(text)
    with pytest.raises(UserError, match=match):
        source.load(f"{tmp_path}/{spec}")


def test_arguments_that_the_class_does_not_take() -> None:
    with pytest.raises(UserError, match="must take the argument depth to be given it, but it takes width, blocks"):
        own(EXAMPLE, "MySpace", arguments={"depth": 3})
    assert len(own(EXAMPLE, "MySpace", arguments={"blocks": 3}).decisions) == 18


def test_a_file_is_told_by_its_content_and_not_by_its_place() -> None:
    options = source.load(f"{EXAMPLE}:MySpace")
    assert options.sha256 == hashlib.sha256(EXAMPLE.read_bytes()).hexdigest()
    here, there = (
        RetrainConfig(space=dataclasses.replace(options, source=f"{folder}/my_space.py:MySpace")) for folder in "ab"
    )
    assert identity(here, "") == identity(there, "")
    other = RetrainConfig(space=dataclasses.replace(options, sha256="0"))
    assert identity(here, "") != identity(other, "")


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search in the example's space within a limit, with everything that follows."""
    path = tmp_path_factory.mktemp("own") / "run"
    result = enas("search", "--space", f"{EXAMPLE}:MySpace", *TINY_OWN, "--limit", "params=3000", "--output", path)
    assert result.exit_code == 0, result.output
    assert f"enas retrain {path} --space {EXAMPLE}:MySpace" in result.output
    return path


@pytest.mark.usefixtures("unasked")
def test_nothing_that_a_run_names_is_run_unasked(searched: Path, tmp_path: Path) -> None:
    """A folder of a stranger names a file, which would leave a trace."""
    trace, run = tmp_path / "trace", tmp_path / "run"
    shutil.copytree(searched, run)
    evil = tmp_path / "evil.py"
    evil.write_text(f"open({str(trace)!r}, 'w')\nfrom enas.examples.my_space import MySpace\n")
    options = {"source": f"{evil}:MySpace", "sha256": hashlib.sha256(evil.read_bytes()).hexdigest()}
    for name in ("config.json", "result.json"):
        values = json.loads((run / name).read_text())
        for holder in (values, values.get("config", {})):
            if "space" in holder:
                holder["space"] |= options
        (run / name).write_text(json.dumps(values))
    asked = f"give --space {evil}:MySpace"
    for command in (("show", run), ("retrain", run), ("score", run, "--random", "2"), ("audit", run), ("derive", run)):
        fails(*command, match=asked)
    (run / "result.json").unlink()
    fails("search", "--resume", run, match=asked)
    assert not trace.exists()


@pytest.mark.usefixtures("unasked")
def test_another_content_is_refused(searched: Path, tmp_path: Path) -> None:
    changed, moved = tmp_path / "my_space.py", tmp_path / "moved.py"
    changed.write_text(EXAMPLE.read_text() + "# changed\n")
    moved.write_text(EXAMPLE.read_text())
    fails("show", searched, "--space", f"{changed}:MySpace", match="but it has changed; bring back that file")
    shown = enas("show", searched, "--space", f"{moved}:MySpace", "--output", tmp_path / "picture.svg")
    assert shown.exit_code == 0, shown.output
    assert "<svg" in (tmp_path / "picture.svg").read_text()


def test_a_run_goes_all_the_way(searched: Path) -> None:
    space = ("--space", f"{EXAMPLE}:MySpace")
    result = enas("retrain", searched, *space, *RETRAIN, "--epochs", "1", "--width", "6")
    assert result.exit_code == 0, result.output
    evaluated = enas("evaluate", searched / "retrain", *space, "--data", "digits", "--json")
    values = json.loads((searched / "retrain" / "result.json").read_text())
    assert json.loads(evaluated.output)["test_accuracy"] == pytest.approx(values["test_accuracy"], abs=0.01)
    scored = enas("score", searched, *space, values["text"], "--json")
    assert values["text"] in scored.output
    shown = enas("show", "my-space:01-10-20-31-40-11", *space, "--image-size", "8", "--channels", "1")
    assert shown.exit_code == 0, shown.output
    assert json.loads((searched / "result.json").read_text())["finalists"][0]["params"] <= 3000


def test_children_in_processes_know_operations_of_the_file(tmp_path: Path) -> None:
    options = ["--set", "full_training.epochs=1", "--set", "full_training.last=1", "--set", "space.width=4"]
    options += [
        "--evaluator",
        "full-training",
        "--evaluations",
        "2",
        "--generation",
        "2",
        "--set",
        "device=cpu",
        "--set",
        "threads=1",
    ]
    result = enas(
        "search",
        "--space",
        f"{OWN_OPS}:Branches",
        "--evaluator",
        "full-training",
        *options,
        "--output",
        tmp_path / "run",
    )
    assert result.exit_code == 0, result.output
    children = [json.loads(line) for line in (tmp_path / "run" / "children.jsonl").read_text().splitlines()]
    assert len(children) == 2
    assert json.loads((tmp_path / "run" / "result.json").read_text())["failed"] == 0


def test_the_space_of_a_file_of_settings(tmp_path: Path) -> None:
    """What --print-config prints is a search in that space again; a typed file beats the file's."""
    printed = enas(
        "search", "--space", f"{EXAMPLE}:MySpace", "--set", "space.arguments.blocks=1", "--print-config"
    ).output
    (tmp_path / "c.toml").write_text(printed)
    assert enas("search", "--config", tmp_path / "c.toml", "--print-config").output == printed
    other = enas("search", "--config", tmp_path / "c.toml", "--space", f"{OWN_OPS}:Branches", "--print-config").output
    assert "my_ops.py:Branches" in other and "my_space" not in other
    (tmp_path / "c.toml").write_text(printed.replace("sha256 = ", "sha256 = 'old' #"))
    source._known.clear()
    fails("search", "--config", tmp_path / "c.toml", match="has changed")
