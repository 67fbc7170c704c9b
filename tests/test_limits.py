"""Limits of cost: nothing above them is proposed, whoever searches, and what is below them comes as often as before."""

from __future__ import annotations

import itertools
import json
import math
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from enas import checkpoint, config, spaces
from enas.config import SEARCHERS, EvolutionConfig, ObjectiveConfig, SearchConfig
from enas.cost import cost
from enas.data import DataSet, load
from enas.effects import Effects
from enas.errors import UserError
from enas.jobs.settings import costs_of_retrained
from enas.jobs.targets import recipe
from enas.latency import Calibration, Machine, Measured, Profile, Timing, nodes_of, read_profile, write_profile
from enas.limits import limited
from enas.objective import Objective, Scores, rewards
from enas.runs import RunFolder
from enas.searchers import advantages, allowed, build, climbed, reinforce_loss, uniform
from enas.searchers.evolution import Evolution
from enas.spaces import Architecture, LimitedSpace, SearchSpace
from tests.test_all_searchers import SETTINGS, identity, told
from tests.test_cli import TINY_OPTIONS, enas, fails
from tests.test_search import assert_same_run, run, tiny
from tests.test_searchers import PLAIN, gradient, part_of, policy
from tests.toys import Toy, all_archs, as_tensor, chain, macro, micro, nasbench_macro, random_archs, seeded


def macs(space: SearchSpace, arch: Architecture) -> int:
    return cost(space.graph(arch)).macs


def below_median(space: SearchSpace) -> ObjectiveConfig:
    """A limit that about half of the uniform architectures keep."""
    return ObjectiveConfig(limit_macs=float(sorted(macs(space, arch) for arch in random_archs(space, 41, 5))[20]))


def within(space: SearchSpace, config: ObjectiveConfig) -> LimitedSpace:
    found = limited(space, Objective(space, config))
    assert isinstance(found, LimitedSpace)
    return found


@pytest.fixture(scope="module")
def digits() -> DataSet:
    return load(tiny().data, torch.device("cpu"))


EACH_SPACE = pytest.mark.parametrize("space", [macro(3), micro(), chain(), nasbench_macro()], ids=lambda s: s.name)


@EACH_SPACE
def test_uniform_architectures_keep_the_limit_and_stay_uniform(space: SearchSpace) -> None:
    objective = below_median(space)
    small = within(space, objective)
    drawn = uniform(small, 400, seeded())
    assert all(macs(space, arch) <= objective.limit_macs for arch in drawn)
    assert 0.3 < spaces.allowed_share(small) < 0.7
    expected = [arch for arch in random_archs(space, 4000) if macs(space, arch) <= objective.limit_macs]
    # the first decision shows whether the distribution is the one that rejection gives
    ours, theirs = (torch.bincount(as_tensor(archs)[:, 0]) / len(archs) for archs in (drawn, expected))
    assert torch.allclose(ours, theirs, atol=0.1)


def test_without_a_limit_nothing_changes() -> None:
    space = macro(3)
    assert limited(space, Objective(space, ObjectiveConfig())) is space
    assert spaces.allowed_share(space) is None and spaces.allows(space, random_archs(space, 1)[0])
    loose = within(space, ObjectiveConfig(limit_params=1e12))
    assert uniform(loose, 20, seeded()) == uniform(space, 20, seeded())
    assert spaces.allowed_share(loose) == 1


@EACH_SPACE
def test_a_limit_that_hardly_anything_keeps(space: SearchSpace) -> None:
    """Rejection alone would never end; what it leaves open is made small enough."""
    least = min(macs(space, arch) for arch in random_archs(space, 2000, 3))
    found = uniform(within(space, ObjectiveConfig(limit_macs=1.02 * least)), 20, seeded())
    assert len(found) == 20 and all(macs(space, arch) <= 1.02 * least for arch in found)


def test_two_limits_at_once() -> None:
    space = macro(3)
    counts = [cost(space.graph(arch)) for arch in random_archs(space, 200)]
    objective = ObjectiveConfig(
        limit_macs=float(sorted(c.macs for c in counts)[120]), limit_params=float(sorted(c.params for c in counts)[120])
    )
    found = [cost(space.graph(arch)) for arch in uniform(within(space, objective), 100, seeded())]
    assert all(c.macs <= objective.limit_macs and c.params <= objective.limit_params for c in found)


def test_an_impossible_limit_is_named_with_what_is_possible() -> None:
    space = macro(3)
    with pytest.raises(
        UserError, match=r"within 10 MACs, but the smallest one found, macro:\S+, has [\d,]+ MACs; raise"
    ):
        within(space, ObjectiveConfig(limit_macs=10))
    with pytest.raises(UserError, match="within 2 parameters and 1,000,000 MACs"):
        within(space, ObjectiveConfig(limit_macs=1e6, limit_params=2))


def test_limits_may_be_about_larger_networks() -> None:
    space, objective = micro(width=4), ObjectiveConfig(limit_macs=7e5, width=8, depth=2)
    large = space.scaled(width=8, depth=2)
    found = uniform(within(space, objective), 50, seeded())
    costs = [macs(large, arch) for arch in found]
    assert max(costs) <= 7e5 < max(macs(large, arch) for arch in random_archs(space, 50))
    with pytest.raises(UserError, match="scales by width alone"):
        within(macro(3), objective)


@pytest.mark.parametrize("name", SEARCHERS)
@pytest.mark.parametrize("network", [None, identity], ids=["repeats", "unrepeated"])
def test_every_searcher_keeps_the_limit(name: str, network: None) -> None:
    space = macro(3)
    small = within(space, below_median(space))
    searcher = build(small, config.update(SearchConfig(searcher=name), SETTINGS), seeded(), network)
    for batch in range(12):
        proposals = searcher.ask(5)
        told(searcher, proposals)
        archs = [proposal.arch for proposal in proposals] + searcher.sample(4, seeded(batch))
        assert all(spaces.allows(small, arch) for arch in archs), batch


def test_what_is_drawn_beyond_the_limit_does_not_bend_the_policy_gradient() -> None:
    """Log-probabilities lack that of being allowed. Its gradient cancels in a batch: here exactly, over all pairs."""
    controller, kept = policy(Toy()), as_tensor(all_archs(Toy())[:3])
    values = torch.tensor([0.2, 0.9, 0.4], dtype=torch.float64)
    rollout = controller.read(kept)
    p = torch.softmax(rollout.log_probs, 0)
    total = torch.zeros((), dtype=torch.float64)
    for rows in map(list, itertools.product(range(3), repeat=2)):
        advantage, _ = advantages(values[rows], None, PLAIN)
        batch = part_of(rollout, rows)
        loss = reinforce_loss(batch, batch.log_probs.detach(), advantage, PLAIN)
        total = total + p.detach()[rows].prod() * loss
    exact = gradient(controller, (p * values).sum())
    assert exact.norm() > 0.01
    torch.testing.assert_close(-gradient(controller, total), exact, rtol=0, atol=1e-10)


def test_climbing_within_a_limit() -> None:
    """One choice at a time gets stuck below the limit; two at a time find the best sum of effects here."""
    space = nasbench_macro()
    small = within(space, below_median(space))
    archs = random_archs(space, 300)
    effects = Effects(space, archs, torch.tensor([float(sum(arch.choices)) ** 0.5 for arch in archs]), low=1.0)

    def values(archs: Sequence[Architecture]) -> list[float]:
        return effects.predict(archs).tolist()

    best = max(values([arch for arch in all_archs(space) if spaces.allows(small, arch)]))
    start = uniform(small, 1, seeded())[0]
    one, two = (climbed(small, start, values, at_once) for at_once in (1, 2))
    assert values([one])[0] <= values([two])[0] == pytest.approx(best)


def test_draws_that_are_never_allowed_end() -> None:
    space = macro(3)
    small = within(space, below_median(space))
    dear = max(all_archs(space), key=lambda arch: macs(space, arch))
    found = allowed(small, 5, lambda k: [dear] * k, seeded())
    assert len(found) == 5 and all(spaces.allows(small, arch) for arch in found)
    assert found == allowed(small, 5, lambda k: [dear] * k, seeded())


def test_each_draw_counts_once() -> None:
    """Where evolution now and then draws anywhere, that is not drawn within the limits first."""
    space = macro(3)
    small = within(space, below_median(space))
    searcher = Evolution(small, EvolutionConfig(random_share=1.0), seeded())
    calls = 0
    child = searcher._child

    def counted(generator: torch.Generator) -> Architecture:
        nonlocal calls
        calls += 1
        return child(generator)

    searcher._child = counted  # type: ignore[method-assign]
    small.drawn = small.kept = 0
    assert len(searcher._children(40, seeded(1))) == 40
    assert small.drawn == calls > 40
    assert 0.3 < spaces.allowed_share(small) < 0.7


# ---- targets


@pytest.mark.parametrize(
    ("form", "expected"), [("absolute", [0.5 - 0.3, 0.8 - 0.15]), ("exponent", [0.5 * 2**-0.3, 0.8 * 2**0.3])]
)
def test_rewards_fall_with_the_distance_from_a_target(form: str, expected: list[float]) -> None:
    space = macro(3)
    archs = random_archs(space, 2)
    plain = Objective(space, ObjectiveConfig())
    costs = [plain.costs(arch)["macs"] for arch in archs]
    scores = Scores(torch.tensor([0.5, 0.8]), torch.tensor([1.0, 0.5]), 10)
    # each architecture once at twice its target, and once at half of it
    found = []
    for i, ratio in enumerate((2.0, 0.5)):
        objective = Objective(space, ObjectiveConfig(target_macs=costs[i] / ratio, target_form=form, target_weight=0.3))
        found.append(objective.rewards(archs, scores)[i].item())
        failed = Scores(torch.tensor([0.5, 0.8]), torch.full((2,), torch.nan), 10)
        assert bool(objective.rewards(archs, failed).isnan().all())
    assert found == pytest.approx(expected)
    assert torch.equal(plain.rewards(archs, scores), rewards(scores, plain.config))


@pytest.mark.parametrize("form", ["absolute", "exponent"])
def test_the_controller_finds_networks_near_the_target(form: str) -> None:
    """The exponent form only ever asks for less, the absolute one for neither less nor more."""
    space = macro(3)
    costs = sorted(cost(space.graph(arch)).params for arch in all_archs(space))
    target = float(costs[3 * len(costs) // 4])
    objective = Objective(space, ObjectiveConfig(target_params=target, target_form=form, target_weight=0.5))
    searcher = build(space, config.update(SearchConfig(), {"controller": {"lr": 0.02, "adam_eps": 1e-8}}), seeded())

    def ratio() -> float:
        archs = searcher.sample(200, seeded(1))
        return sum(objective.costs(arch)["params"] for arch in archs) / target / len(archs)

    before = ratio()
    for _ in range(60):
        proposals = searcher.ask(16)
        archs = [proposal.arch for proposal in proposals]
        scores = Scores(torch.full((16,), 0.5), torch.ones(16), 10)
        searcher.tell(proposals, objective.rewards(archs, scores))
    if form == "exponent":
        assert ratio() < 0.7 * before
    else:
        assert abs(ratio() - 1) < 0.5 * abs(before - 1)


# ---- whole searches


@pytest.mark.parametrize("criterion", ["own", "effects"])
def test_a_search_within_a_limit_resumes_as_if_never_stopped(
    tmp_path: Path,
    digits: DataSet,
    criterion: str,
) -> None:
    space = spaces.build(tiny().space, digits.input_shape, digits.num_classes)
    limit = below_median(space).limit_macs
    small = tiny(f"objective.limit_macs={limit}", f"derive.criterion={criterion}", "derive.effects_from=20")
    whole = run(tmp_path / "whole", digits, small)
    for record in whole.records():
        if record["kind"] == "epoch":
            assert 0 < record["feasible_share"] < 1
            assert macs(space, spaces.from_text(record["best_arch"])) <= limit
    result = checkpoint.read_json(whole.result)
    assert all(finalist["macs"] <= limit for finalist in result["finalists"])
    found = {"macs": {"limit": limit, "target": None, "found": result["finalists"][0]["macs"]}}
    assert result["costs"] == {"width": None, "depth": None, "costs": found}
    run(tmp_path / "stopped", digits, small, stop_after=2)
    assert_same_run(run(tmp_path / "stopped", digits, small), whole)


def test_the_command_says_what_was_found_within_which_limits(tmp_path: Path) -> None:
    command = ("search", *TINY_OPTIONS, "--output")
    sizes = ("--set", "objective.width=8")
    done = enas(
        *command, tmp_path / "run", "--limit", "params=9e3", "--limit", " macs = 1e6", "--target", "macs=2e5", *sizes
    )
    assert done.exit_code == 0, done.output
    line = next(line for line in done.output.splitlines() if line.startswith("as wanted "))
    assert " params (at most 9,000), " in line and " macs (at most 1,000,000, target 200,000), with width 8" in line
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert 0 < result["costs"]["costs"]["params"]["found"] <= 9000
    assert "as wanted: " in enas("show", tmp_path / "run").output
    # the network that the limit is about is the one that is retrained
    assert "width = 8" in enas("retrain", tmp_path / "run", "--print-config").output


def test_a_limit_is_about_the_network_that_the_preset_retrains() -> None:
    printed = enas("search", "--preset", "cifar10-macro", "--limit", "macs=1e9", "--print-config").output
    assert "\nlimit_macs = 1000000000.0\n" in printed and "\nwidth = 96\n" in printed
    printed = enas(
        "run", "--data", "digits", "--limit", "macs=1e9", "--retrain-set", "width=24", "--print-config"
    ).output
    assert "\nlimit_macs = 1000000000.0\n" in printed and "\nwidth = 24\n" in printed


@pytest.mark.parametrize(
    ("given", "sizes"),
    [((), (36, 5)), (("width=20",), (20, 5)), (("depth=2",), (36, 2)), (("width=20", "depth=2"), (20, 2))],
)
def test_each_size_that_is_not_given_is_the_retraining_s(given: tuple[str, ...], sizes: tuple[int, int]) -> None:
    options = [part for size in given for part in ("--set", f"objective.{size}")]
    printed = enas("search", "--preset", "cifar10-micro", "--limit", "macs=1e8", *options, "--print-config").output
    objective = tomllib.loads(printed)["objective"]
    assert (objective["width"], objective["depth"]) == sizes
    # and so it stays, where the configuration is taken up again
    search, _ = config.PRESETS["cifar10-micro"](None)
    found = config.update(search, {"objective": objective})
    again = costs_of_retrained(found, recipe(found))
    assert again == found and (recipe(again).width, recipe(again).depth) == sizes


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (
            ("--limit", "watts=3"),
            "--limit must be one of params=NUMBER, macs=NUMBER, latency_ms=NUMBER, but got 'watts=3'",
        ),
        (("--limit", "macs"), "--limit must be one of"),
        (("--limit", "macs=many"), "objective.limit_macs must be a number"),
        (("--limit", "macs=0"), "limit_macs must be greater than 0"),
        (("--limit", "macs=3"), "within 3 MACs, but the smallest one found"),
        (("--target", "=1"), "--target must be one of params=NUMBER, macs=NUMBER, latency_ms=NUMBER, but got '=1'"),
        (("--target", "params=-1"), "target_params must be greater than 0"),
        (("--set", "objective.width=8"), "objective.width is about the networks whose costs count"),
    ],
)
def test_wrong_limits(options: tuple[str, ...], match: str, tmp_path: Path) -> None:
    fails("search", *TINY_OPTIONS, "--output", tmp_path / "run", *options, match=match)
    assert not RunFolder(tmp_path / "run").begun


@pytest.mark.slow
def test_full_training_within_a_limit(tmp_path: Path) -> None:
    sizes = ("space.layers=3", "space.width=4", "full_training.epochs=1", "full_training.last=1", "generation=4")
    options = [part for text in sizes for part in ("--set", text)]
    done = enas(
        *("search", "--evaluator", "full-training", "--evaluations", "6", "--limit", "macs=1e5", "--output"),
        *(tmp_path / "run", *options),
    )
    assert done.exit_code == 0, done.output
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert all(finalist["macs"] <= 1e5 for finalist in result["finalists"])
    assert RunFolder(tmp_path / "run").records()[0]["feasible_share"] <= 1


# ---- latency


def profiled(space: SearchSpace) -> Profile:
    """A profile as if every node took a microsecond for each of its output's numbers."""
    shapes, _ = nodes_of(space, seeded())
    times = {shape: math.prod(shape.shape) / 1000 for shape in shapes}
    nodes = {shape: Timing(ms, ms, ms, 1) for shape, ms in times.items()}
    machine = Machine("cpu", "abacus", 1, "float32", "2.0", "torch")
    return Profile(machine, {}, 1, space, nodes, Calibration(1.0, 0.0, (Measured("one", 1.0, 1.0),)))


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The profile of the tiny space, as a file."""
    path = tmp_path_factory.mktemp("profile") / "profile.json"
    write_profile(path, profiled(spaces.build(tiny().space, (1, 8, 8), 10)))
    return path


def test_a_search_within_a_latency(tmp_path: Path, profile: Path, digits: DataSet) -> None:
    space = spaces.build(tiny().space, digits.input_shape, digits.num_classes)
    known = read_profile(profile)
    times = sorted(known.latency(space.graph(arch)) for arch in random_archs(space, 41))
    options = ("--profile", profile, "--limit", f"latency_ms={times[20]}", "--target", f"latency_ms={times[10]}")
    done = enas("search", *TINY_OPTIONS, *options, "--output", tmp_path / "run")
    assert done.exit_code == 0, done.output
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    for row in result["archive"]:
        arch = spaces.from_text(row["text"])
        assert row["costs"]["latency_ms"] == pytest.approx(known.latency(space.graph(arch)))
        assert row["costs"]["latency_ms"] <= times[20]
    assert result["costs"]["costs"]["latency_ms"]["target"] == times[10]
    assert f"latency_ms (at most {times[20]:.3g}, target {times[10]:.3g})" in done.output
    # from here on by another profile, or by this one at another place
    again = ("derive", tmp_path / "run", "--print-config", "--limit", f"latency_ms={times[12]}")
    assert f'profile = "{profile}"' in enas(*again).output
    assert 'profile = "other.json"' in enas(*again, "--profile", "other.json").output


def test_another_profile_is_another_run(tmp_path: Path, profile: Path, digits: DataSet) -> None:
    copy = tmp_path / "copy.json"
    copy.write_bytes(profile.read_bytes())
    settings = (f"objective.profile={copy}", "objective.target_latency_ms=1.0")
    run(tmp_path / "run", digits, tiny(*settings), stop_after=1)
    copy.write_text(copy.read_text().replace("abacus", "slide rule"))
    with pytest.raises(UserError, match="its settings are others"):
        run(tmp_path / "run", digits, tiny(*settings))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (("--limit", "latency_ms=3"), "latency_ms needs the times of a machine, but there is no profile"),
        (("--profile", "nowhere.json"), "nowhere.json must be"),
        (("--profile", "{profile}", "--limit", "latency_ms=1e-6"), "within 1e-06 ms, but the smallest one found"),
        (("--profile", "{profile}", "--set", "space.width=6"), "must hold every node of the network, but lacks"),
    ],
)
def test_wrong_profiles(options: tuple[str, ...], match: str, tmp_path: Path, profile: Path) -> None:
    given = [option.format(profile=profile) for option in options]
    fails("search", *TINY_OPTIONS, *given, "--output", tmp_path / "run", match=match)
    assert not RunFolder(tmp_path / "run").begun
