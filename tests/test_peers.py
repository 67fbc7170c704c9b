"""The comparison with peers: protocol, alternation, ratios, our own driver, and what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import click
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

if TYPE_CHECKING:
    from peer_drivers.protocol import Setup

pytestmark = pytest.mark.usefixtures("benchmarks")

TOY = """
from peer_drivers.protocol import TRAINING, REWARD, About, Measure, serve

class Toy:
    def __init__(self, setup):
        print("noise of the library that is measured")
        self.setup, self.about, self.rounds = setup, About("toy", {"toy": "1"}, 3), 0

    def round(self):
        self.rounds += 1
        if self.rounds == self.setup.seed:
            raise ValueError("the toy broke\\nin two lines")
        images = self.setup.steps * self.setup.batch_size
        return {TRAINING: Measure(2.0, images, 8.0, 4.0), REWARD: Measure(1.0, self.setup.architectures, 4.0, 4.0)}

serve(Toy)
"""


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module that is a driver."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "toy_driver.py").write_text(TOY)
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    return "toy_driver"


def setup(**changed: Any) -> Setup:
    from peer_drivers.protocol import Setup

    sizes: dict[str, Any] = {"batch_size": 4, "image_size": 8, "threads": 1, "seed": 0, "steps": 3, "architectures": 2}
    return Setup(**{"space": "macro", **sizes, **changed})


def test_driver_answers_and_library_may_print(tmp_path: Path, toy: str) -> None:
    from peer_drivers.processes import DriverProcess
    from peer_drivers.protocol import REWARD, TRAINING

    process = DriverProcess(Path(sys.executable), toy, tmp_path / "run")
    about = process.setup(setup())
    assert (about.name, about.parameters, about.notes) == ("toy", 3, ())
    measures = process.round()
    assert measures[TRAINING].rate == 6.0 and measures[REWARD].count == 2
    assert 2**20 < process.quit() < 2**34
    assert "noise" in process.log.read_text()


def test_failures_have_one_line(tmp_path: Path, toy: str) -> None:
    from peer_drivers.processes import DriverError, DriverProcess

    process = DriverProcess(Path(sys.executable), toy, tmp_path / "broken")
    process.setup(setup(seed=1))
    with pytest.raises(DriverError, match="^ValueError: the toy broke \\(see .*log.txt\\)$"):
        process.round()
    process.end()
    process = DriverProcess(Path(sys.executable), "no_such_driver", tmp_path / "missing")
    with pytest.raises(DriverError, match="status 1: .*No module named no_such_driver"):
        process.setup(setup())
    process.end()


class Fake:
    """A process whose round number i trains at `rates[i]` images a second; it fails where there is none."""

    def __init__(self, name: str, rates: list[float], calls: list[str], macs: float = 1.0) -> None:
        self.name, self.rates, self.calls, self.macs = name, list(rates), calls, macs

    def setup(self, setup: Setup) -> Any:
        from peer_drivers.protocol import About

        self.calls.append(f"{self.name} setup")
        return About(self.name, {}, 1)

    def round(self) -> Any:
        from peer_drivers.processes import DriverError
        from peer_drivers.protocol import REWARD, TRAINING, Measure

        self.calls.append(f"{self.name} round")
        if not self.rates:
            raise DriverError("no more")
        rate = self.rates.pop(0)
        return {
            TRAINING: Measure(1 / rate, 1, 2 * self.macs, self.macs),
            REWARD: Measure(2 / rate, 1, self.macs, self.macs),
        }

    def quit(self) -> int:
        self.calls.append(f"{self.name} quit")
        return 2**30


def taken_of(rates: dict[str, list[float]], macs: dict[str, float], calls: list[str], rounds: int) -> Any:
    from peer_drivers.alternation import Side, alternated

    sides = {name: Side(Fake(name, rates[name], calls, macs[name]), setup()) for name in rates}
    return alternated(sides, rounds)


def test_rounds_alternate_and_a_failure_ends_only_one() -> None:
    calls: list[str] = []
    rates = {"ours": [1.0, 2.0, 3.0], "weak": [1.0], "peer": [4.0, 5.0, 6.0]}
    taken, failed = taken_of(rates, dict.fromkeys(rates, 1.0), calls, rounds=2)
    first = [f"{name} {what}" for what in ("setup", "round") for name in rates]
    second = ["ours round", "weak round", "peer round", "ours round", "peer round", "ours quit", "peer quit"]
    assert calls == first + second
    assert failed == {"weak": "no more"} and list(taken) == ["ours", "peer"]
    assert [measures["training"].rate for measures in taken["peer"].rounds] == [5.0, 6.0]  # without warm-up


def test_ratios_pair_the_rounds_and_weigh_macs() -> None:
    from peer_drivers.comparison import rows, table

    rates = {"ours": [9.0, 10.0, 20.0, 30.0], "peer": [9.0, 5.0, 4.0, 5.0]}
    taken, _ = taken_of(rates, {"ours": 1.0, "peer": 2.0}, [], rounds=3)
    found = rows("macro", taken)
    assert [(row["kind"], row["driver"]) for row in found] == [
        (kind, name) for kind in ("training", "reward") for name in ("ours", "peer")
    ]
    ours, peer = found[0], found[1]
    assert ours["rate"] == pytest.approx({"median": 20, "low": 10, "high": 30}) and "ratio" not in ours
    assert peer["rate"]["median"] == pytest.approx(5) and peer["macs_executed"] == 4.0
    assert peer["ratio"] == pytest.approx({"median": 5, "low": 2, "high": 6})  # 10/5, 20/4, 30/5
    assert peer["ratio_at_equal_macs"] == pytest.approx({"median": 2.5, "low": 1, "high": 3})
    assert "| 5.00 (2.00 to 6.00) | 2.50 (1.00 to 3.00) | 1.00 GiB |" in table(found)[3]


def test_each_kind_is_compared_with_what_we_do_instead() -> None:
    """Their time with a log with our training; their reward with both of ours."""
    from peer_drivers.alternation import Taken
    from peer_drivers.comparison import rows
    from peer_drivers.protocol import CONVERGED, LOGGED, REWARD, TRAINING, About, Measure

    def of(name: str, **seconds: float) -> Taken:
        kinds = {"training": TRAINING, "reward": REWARD, "logged": LOGGED, "converged": CONVERGED}
        measures = {kinds[kind]: Measure(value, 1, 1.0, 1.0) for kind, value in seconds.items()}
        return Taken(About(name, {}, 1), [measures], 1)

    ours = of("ours", training=1.0, reward=7.0, converged=3.5)
    found = rows("macro", {"ours": ours, "p": of("p", training=2.0, logged=3.0, reward=7)})
    assert {row["kind"]: row["ratio"]["median"] for row in found if row["driver"] == "p"} == pytest.approx(
        {TRAINING: 2, LOGGED: 3, REWARD: 1, CONVERGED: 2}
    )


def test_macs_of_a_child_leave_out_what_nothing_depends_on() -> None:
    from peer_drivers.children import macs

    used, unused, head = nn.Conv2d(3, 4, 3, padding=1, groups=1), nn.Conv2d(3, 4, 1), nn.Linear(4, 10)

    def forward(images: Tensor) -> Tensor:
        unused(images)
        logits: Tensor = head(used(images).mean((2, 3)))
        return logits

    of_child = 8 * 8 * 9 * 3 * 4 + 40
    assert macs(forward, torch.zeros(5, 3, 8, 8)) == (of_child + 8 * 8 * 3 * 4, of_child)
    assert used.weight.grad is None


def test_calls_are_recorded() -> None:
    from peer_drivers.children import recorded

    owner = SimpleNamespace(double=lambda value: 2 * value)
    kept = recorded(owner, "double", lambda args, result: (args, result))
    assert owner.double(4) == 8 and kept == [((4,), 8)]


@pytest.mark.parametrize("space", ["macro", "nasbench201"])
def test_our_driver_trains_and_scores(tmp_path: Path, space: str) -> None:
    from peer_drivers.processes import DriverProcess
    from peer_drivers.protocol import REWARD, TRAINING

    process = DriverProcess(Path(sys.executable), "peer_drivers.ours", tmp_path)
    try:
        about = process.setup(setup(space=space, steps=2, architectures=3))
        assert about.parameters > 10**5
        for _ in range(2):
            measures = process.round()
            training, reward = measures[TRAINING], measures[REWARD]
            assert training.count == 8 and reward.count == 3 and training.seconds > 0 and reward.seconds > 0
            assert training.macs_executed == pytest.approx(training.macs_of_child)  # chosen operations only
            assert 0 < reward.macs_executed < reward.macs_of_child  # the stem is shared
        process.quit()
    finally:
        process.end()


@pytest.mark.slow
def test_whole_comparison(tmp_path: Path, toy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import peers

    for name, module in {"toy": toy, "broken": "no_such_driver"}.items():
        monkeypatch.setitem(peers.PEERS, name, peers.Peer(module, ("macro",)))
        monkeypatch.setitem(peers.EVERYONE, name, peers.PEERS[name])
    monkeypatch.setattr(peers, "chosen_peers", lambda names, checkouts: ["toy", "broken"])
    sizes = ["--batch-size", "4", "--image-size", "8", "--steps", "1", "--architectures", "2", "--rounds", "2"]
    arguments = ["--output", str(tmp_path / "out"), "--spaces", "macro", "--threads", "1", *sizes]
    result = CliRunner().invoke(peers.main, [*arguments, "--json", str(tmp_path / "peers.json")])
    assert result.exit_code == 0, (result.output, result.exception)
    assert "| macro | training | toy |" in result.output and "missing: broken, macro: it ended" in result.output
    report = json.loads((tmp_path / "peers.json").read_text())
    assert report["environment"]["torch"] == torch.__version__.partition("+")[0]
    assert list(report["measured"]["macro"]) == ["ours", "toy"]
    assert len(report["measured"]["macro"]["toy"]["rounds"]) == 2
    assert [row["ratio"]["median"] > 0 for row in report["rows"] if row["driver"] == "toy"] == [True] * 3


def test_checkouts_are_checked_first(tmp_path: Path) -> None:
    from peers import chosen_peers

    with pytest.raises(click.UsageError, match="--autodl must be a checkout with exps.*; give its topmost folder$"):
        chosen_peers((), {"autodl": tmp_path})
    with pytest.raises(click.UsageError, match="peer mengtianjian must have a checkout .* give --mengtianjian$"):
        chosen_peers(("mengtianjian",), {})
    (tmp_path / "train_search.py").touch()
    assert chosen_peers((), {"mengtianjian": tmp_path}) == ["nni", "mengtianjian"]


def test_failed_installation_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from peer_drivers import environments
    from peer_drivers.processes import DriverError

    class Builder:
        def __init__(self, **options: Any) -> None: ...

        def create(self, folder: Path) -> None:
            (folder / "bin").mkdir(parents=True, exist_ok=True)
            python = folder / "bin" / "python"
            python.write_text("#!/bin/sh\necho no network\nexit $STATUS\n")
            python.chmod(0o755)

    monkeypatch.setattr(environments.venv, "EnvBuilder", Builder)
    monkeypatch.setenv("STATUS", "1")
    with pytest.raises(DriverError, match="pip must install nni==3.0 with Python 3.* but failed: no network"):
        environments.interpreter(tmp_path, ["nni==3.0"])
    monkeypatch.setenv("STATUS", "0")
    assert environments.interpreter(tmp_path, ["nni==3.0"]) == tmp_path / "bin" / "python"
    monkeypatch.setenv("STATUS", "1")
    environments.interpreter(tmp_path, ["nni==3.0"])  # is there already
