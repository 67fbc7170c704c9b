"""Exported modules: the same function and gradients as the network, in readable code that nothing can break."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from enas import checkpoint
from enas.config import ResNet20Options
from enas.errors import UserError
from enas.export.check import agreement, run_apart
from enas.export.module import Facts, module_source
from enas.export.operations import CODES
from enas.export.outline import outline
from enas.export.text import WIDTH, docstring, literal
from enas.export.weights import header, weights
from enas.graph import Graph, GraphBuilder, Node
from enas.network import Network
from enas.ops import BUILT_IN
from enas.spaces import Architecture, ResNet20Space, SearchSpace
from tests.exported import exported, facts, graph_facts, module, trained
from tests.toys import (
    chain,
    chain_cases,
    images,
    macro,
    macro_cases,
    micro,
    micro_cases,
    nasbench201,
    nasbench_macro,
    random_archs,
    seeded,
)

SPACES: dict[str, SearchSpace] = {
    "macro": macro(6),
    "macro, doubling": macro(4, double=True),
    "micro": micro(3),
    "micro, deeper": micro(2, cells_per_stage=2),
    "micro, large images": micro(3, (1, 67, 67)),
    "chain": chain(max_layers=6),
    "chain, hidden units": chain(hidden=7),
    "chain, odd sides": chain((1, 7, 9), pooling=True, strides=(1, 2, 3)),
    "nasbench201": nasbench201(cells_per_stage=2),
    "nasbench-macro": nasbench_macro(),
    "resnet20": ResNet20Space(ResNet20Options(width=4), (3, 8, 8), 5),
}


def archs_of(space: SearchSpace, count: int) -> list[Architecture]:
    return random_archs(space, count, seed=5) if space.decisions else [Architecture(space.name, ())]


def check_same(network: Network, known: Facts, x: Tensor) -> nn.Module:
    """In double precision, in evaluation and in training: logits, gradients of weights, running statistics."""
    network, plain, x = network.double(), exported(network, known).double(), x.double()
    scale = max(1.0, network(x).abs().max().item())
    torch.testing.assert_close(plain(x), network(x), rtol=0, atol=1e-10 * scale)
    labels = torch.arange(len(x)) % network.graph.nodes[-1].shape[0]
    plan, losses = outline(network.graph), []
    for part in (network.train(), plain.train()):
        part.zero_grad()
        losses.append(F.cross_entropy(part(x), labels))
        losses[-1].backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(losses[0], losses[1], rtol=0, atol=1e-9)
    ours = dict(plain.named_parameters())
    grads = {name: p.grad for name, p in network.named_parameters()}
    for path, source in plan.weights().items():
        for name in dict(plain.get_submodule(path).named_parameters()):
            theirs, own = grads[f"{source}.{name}"], ours[f"{path}.{name}"].grad
            assert (theirs is None) == (own is None)
            if theirs is not None:
                torch.testing.assert_close(own, theirs, rtol=1e-6, atol=1e-8)
    after, wanted = plain.state_dict(), weights(plan, network)
    assert after.keys() == wanted.keys()
    for name, tensor in after.items():
        if "running" in name:
            torch.testing.assert_close(tensor, wanted[name].double(), rtol=1e-9, atol=1e-9)
    return plain


def test_every_operation_can_be_written() -> None:
    assert CODES.keys() == BUILT_IN


@pytest.mark.parametrize("name", SPACES)
def test_exported_network_is_the_same_function(name: str) -> None:
    space = SPACES[name]
    for arch in archs_of(space, 3):
        check_same(trained(space.graph(arch)), facts(space, arch), images(4, space.input_shape))


@settings(max_examples=12)
@given(case=st.one_of(macro_cases(max_archs=1), micro_cases(max_archs=1), chain_cases(max_archs=1)))
def test_any_architecture_is_the_same_function(case: tuple[SearchSpace, list[Architecture]]) -> None:
    space, (arch,) = case
    check_same(trained(space.graph(arch)), facts(space, arch), images(3, space.input_shape))


def own_graph(ending: str) -> Graph:
    """A network of nobody's space, whose keys are hostile names and whose end is unusual."""
    builder = GraphBuilder((1, 6, 6))
    x = builder.add("conv_bn_relu_3x3", (0,), (4, 6, 6), "forward/features")
    for key in (
        "class",
        "a/b/c",
        "a_b_c",
        "a/b_c",
        "1x",
        "Conv",
        "max_pool",
        "é",
        'x"; import os #',
        "classifier",
        "F",
    ):
        x = builder.add("relu_conv_bn_3x3", (x,), (4, 6, 6), key)
    twice = builder.add("relu_conv_bn_1x1", (x,), (4, 6, 6), "twice")
    x = builder.add("sum", (twice, builder.add("relu_conv_bn_1x1", (twice,), (4, 6, 6), "twice")), (4, 6, 6))
    x = builder.add("conv_bn_1x1", (x,), (4, 3, 3), "halving")  # 1x1 at a stride
    if ending == "sum of means":
        parts = [builder.add("mean_linear", (x,), (3, 1, 1), f"end{i}") for i in range(2)]
        builder.add("sum", parts, (3, 1, 1))
    elif ending == "bias of a pixel":
        one = builder.add("rect_conv:3,3,3", (x,), (3, 1, 1), "pixel")
        builder.add("sum_bias", (one,), (3, 1, 1), "end")
    elif ending == "linear of a pixel":
        one = builder.add("rect_conv:3,3,3", (x,), (5, 1, 1), "pixel")
        builder.add("relu_linear", (one,), (3, 1, 1), "end")
    elif ending == "a classifier within":
        inner = builder.add("classifier", (x,), (5, 1, 1), "inner")
        builder.add("relu_linear", (inner,), (3, 1, 1), "end")
    else:
        builder.add("relu_classifier", (x,), (3, 1, 1), "drop_rate")
    return builder.graph()


@pytest.mark.parametrize(
    "ending", ["sum of means", "bias of a pixel", "linear of a pixel", "a classifier within", "usual"]
)
def test_a_space_of_ones_own_is_exported(ending: str) -> None:
    graph = own_graph(ending)
    plain = check_same(trained(graph), graph_facts(graph), images(4, (1, 6, 6)))
    plain.eval().reset_classifier(7)  # type: ignore[operator]
    assert plain.float()(images(2, (1, 6, 6))).shape == (2, 7)


def test_an_unknown_operation_is_refused() -> None:
    nodes = (Node("input", (), "", (), (1, 2, 2)), Node("wavelet", (0,), "k", ((1, 2, 2),), (2, 1, 1)))
    with pytest.raises(UserError, match="known operations, but it has 'wavelet'"):
        outline(Graph(nodes))


def test_layers_are_called_what_they_are() -> None:
    space = macro(3)
    arch = Architecture("macro", (0, 3, 1, 5, 0, 1))
    source = module_source(space.graph(arch), facts(space, arch))
    for text in (
        "# layer 2: sep_conv_5x5, skips from 1\n        self.layer2_sep_conv_5x5 = SepConv(4, 4, kernel=5)",
        "self.layer3_max_pool_3x3 = Pool(4, 4, maximum=True)",
        "layer2 = self.layer2_norm(self.layer2_sep_conv_5x5(reduction1) + reduction1)",
        '"""An image classifier with the architecture macro:0-31-501\n',  # whoever chose it
        'ARCHITECTURE = "macro:0-31-501"',
        "MEAN = (0.4, 0.4, 0.4)",
    ):
        assert text in source
    assert "MobileConv" not in source and "DropPath" not in source  # only what is used
    names = module(source)
    assert names["Network"]().default_cfg["std"] == (0.25, 0.25, 0.25)


def test_cells_are_written_once() -> None:
    space = micro(3, cells_per_stage=3)
    (arch,) = random_archs(space, 1, seed=2)
    source = module_source(space.graph(arch), facts(space, arch))
    assert source.count("class NormalCell(") == source.count("class ReductionCell(") == 1
    assert source.count("= NormalCell(") == 9 and source.count("= ReductionCell(") == 2
    assert "Normal cell, which is cell1, cell2, cell3, cell5" in source
    for line in space.describe(arch)[1:4]:  # in the introduction, and where the class is
        assert source.count(line.strip()) == 2


def test_the_code_is_formatted(tmp_path: Path) -> None:
    pytest.importorskip("ruff")
    for name, space in SPACES.items():
        for i, arch in enumerate(archs_of(space, 2)):
            source = module_source(space.graph(arch), facts(space, arch))
            (tmp_path / f"{name}{i}.py").write_text(source)
    classes = tuple(f"{'long ' * 9}{i}" for i in range(5))
    (tmp_path / "long.py").write_text(module_source(space.graph(arch), facts(space, arch, classes=classes)))
    ruff = [sys.executable, "-m", "ruff"]
    width = ["--isolated", "--no-cache", "--line-length", str(WIDTH)]
    for command in (["format", "--check", *width], ["check", *width, "--select", "E,F,I,UP,B"]):
        done = subprocess.run([*ruff, *command, str(tmp_path)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


HOSTILE = ('"""', "it's", "\\", "\n", '"; import os; "', "\udcff", "naïve 猫", "\u202e", "#", "{x}", "\r\n\t", "%s")


@given(text=st.text())
def test_any_text_becomes_a_literal(text: str) -> None:
    for one in (text, *HOSTILE):
        assert ast.literal_eval(literal(one)) == one
        assert literal(one).isprintable()


@given(text=st.text('"\\\\ a', min_size=110, max_size=130))
def test_any_text_becomes_a_docstring(text: str) -> None:
    for one in (text, "a" * 112 + '"' * 9, "a" * 116 + "\\" * 5):
        (statement,) = ast.parse("\n".join(docstring([one, f"  {one}"], 0))).body
        assert isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        said = "".join(statement.value.value.split()).removesuffix(".")
        assert said == "".join((one + one).split())


def test_hostile_names_run_nothing() -> None:
    space = macro(1)
    arch = Architecture("macro", (0,))
    lines = ('layer 1: """', 'raise SystemExit("""\\', "layer 1\n    raise SystemExit", 'end"', "\\")
    for description in (lines, lines[::-1], lines[3:4], lines[4:]):
        known = facts(space, arch, classes=HOSTILE, description=description, text='"""\nraise SystemExit\n"')
        names = module(module_source(space.graph(arch), known))
        assert names["CLASSES"] == HOSTILE
        assert names["ARCHITECTURE"] == '"""\nraise SystemExit\n"'


@pytest.mark.parametrize("name", ["macro", "micro", "chain"])
def test_runs_where_enas_is_missing(name: str, tmp_path: Path) -> None:
    space = SPACES[name]
    (arch,) = random_archs(space, 1, seed=3)
    network, known = trained(space.graph(arch)), facts(space, arch)
    path = tmp_path / "images.py"  # as the file is called from which the other process reads images
    path.write_text(module_source(network.graph, known))
    checkpoint.save_model(path.with_suffix(".safetensors"), weights(outline(network.graph), network), header(known))
    x = images(5, space.input_shape)
    with torch.inference_mode():
        torch.testing.assert_close(run_apart(path, x), network(x), rtol=0, atol=1e-5)
    path.write_text("import enas\n")
    with pytest.raises(UserError, match="nothing but torch, but it imports enas"):
        run_apart(path, x)


def test_agreement_needs_the_same_logits() -> None:
    logits = torch.tensor([[1.0, 2.0], [40.0, 3.0]])
    found = agreement(logits + 1e-4, logits, "a")
    assert (found.same, found.images) == (2, 2) and found.tolerance == pytest.approx(8e-4)
    for wrong in (logits + 1e-3, logits * torch.nan, logits[:1]):
        with pytest.raises(UserError, match="a must give"):
            agreement(wrong, logits, "a")


def network_of(name: str, **changes: float) -> tuple[nn.Module, Tensor]:
    space = SPACES[name]
    (arch,) = random_archs(space, 1, seed=3)
    return exported(trained(space.graph(arch)), facts(space, arch, **changes)), images(8, space.input_shape)


@pytest.mark.parametrize("name", ["macro", "micro", "chain", "chain, hidden units"])
def test_fits_a_training_script(name: str) -> None:
    network, x = network_of(name, dropout=0.1, drop_path=0.2)
    x = x.contiguous()
    features = network.forward_features(x)  # type: ignore[operator]
    assert features.shape[:2] == (8, network.num_features)
    torch.testing.assert_close(network.features(x), features)  # type: ignore[operator]
    torch.testing.assert_close(network.forward_head(features), network(x))  # type: ignore[operator]
    before = network.forward_head(features, pre_logits=True)  # type: ignore[operator]
    torch.testing.assert_close(network.get_classifier()(before), network(x))  # type: ignore[operator]
    network.reset_classifier(0)  # type: ignore[operator]
    torch.testing.assert_close(network(x), before)
    network.reset_classifier(7, "avg")  # type: ignore[operator]
    assert network.num_classes == 7 and network(x).shape == (8, 7)
    with pytest.raises(ValueError, match="avg"):
        network.reset_classifier(7, "max")  # type: ignore[operator]
    torch.manual_seed(0)  # of dropout: the exported module is plain torch
    optimizer = torch.optim.SGD(network.train().parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(30):
        loss = F.cross_entropy(network(x), torch.arange(8) % 7)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_dropout_and_drop_path_act_in_training_alone() -> None:
    network, x = network_of("micro", drop_path=0.5)
    torch.manual_seed(0)  # of drop-path
    torch.testing.assert_close(network(x), network(x), rtol=0, atol=0)
    for part in network.modules():  # batch statistics would hide what was dropped
        part.training = not isinstance(part, nn.BatchNorm2d)
    assert (network(x) - network(x)).abs().max() > 1e-3
    network.set_drop_path(0.0)  # type: ignore[operator]
    torch.testing.assert_close(network(x), network(x), rtol=0, atol=0)
    network.drop_rate = 0.5  # type: ignore[assignment]
    assert (network(x) - network(x)).abs().max() > 1e-3


def test_drop_path_keeps_the_mean_and_grows_with_depth() -> None:
    space = micro(2)
    (arch,) = random_archs(space, 1, seed=3)
    graph = space.graph(arch)
    names = module(module_source(graph, facts(space, arch)))
    network = names["Network"](drop_path_rate=0.4)
    rates = sorted({part.rate for part in network.modules() if isinstance(part, names["DropPath"])})
    assert rates == pytest.approx(sorted({0.4 * node.drop for node in graph.nodes if node.drop}))
    torch.manual_seed(0)
    part = names["DropPath"](0.5).train()
    part.rate = 0.25
    dropped = part(torch.ones(4000, 1, 1, 1))
    torch.testing.assert_close(dropped.unique(), torch.tensor([0, 1 / 0.75]))
    assert dropped.mean().item() == pytest.approx(1, abs=0.03)


def test_weights_load_into_other_numbers_of_classes(tmp_path: Path) -> None:
    space = SPACES["macro"]
    (arch,) = random_archs(space, 1, seed=3)
    network, known = trained(space.graph(arch)), facts(space, arch)
    path = tmp_path / "w.safetensors"
    checkpoint.save_model(path, weights(outline(network.graph), network), header(known))
    build = module(module_source(network.graph, known))["Network"]
    same, other = build(), build(num_classes=9)
    same.load_pretrained(path)
    kept = other.classifier.weight.clone()
    other.load_pretrained(path)
    assert torch.equal(other.classifier.weight, kept)
    assert torch.equal(other.stem.conv.weight, network.state_dict()["weights.stem.conv.weight"])
    x = images(2, space.input_shape)
    torch.testing.assert_close(same.eval()(x), network(x), rtol=0, atol=1e-5)
    with pytest.raises(RuntimeError, match="Missing key"):
        checkpoint.save_model(path, {"a": torch.randn(2, generator=seeded())}, {})
        same.load_pretrained(path)
