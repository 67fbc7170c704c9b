"""`enas report` of a folder that may come from a stranger: nothing that its settings name is run or read."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from enas import checkpoint, config
from enas.cli import repeat
from enas.config import CustomOptions, RetrainConfig, SearchConfig, judged_alone
from enas.errors import UserError
from enas.runs import STEPS, RunFolder
from enas.spaces import source
from tests.test_cli import enas, fails
from tests.test_custom_space import EXAMPLE, unasked  # noqa: F401
from tests.test_report import reported

SEARCH, NETWORK = SearchConfig(), RetrainConfig(arch="my-space:00-00-00-00-00-00")


def named(default: SearchConfig | RetrainConfig, options: CustomOptions) -> SearchConfig | RetrainConfig:
    return config.update(default, {"space": config.to_dict(options)})  # type: ignore[no-any-return]


def begun(path: Path, run_config: SearchConfig | RetrainConfig) -> Path:
    """The folder of a run that has done nothing yet."""
    path.mkdir()
    RunFolder(path).store(run_config)
    return path


@pytest.mark.usefixtures("unasked")
@pytest.mark.parametrize("kind", ["search", "run", "seeds", "training", "training below"])
@pytest.mark.parametrize("fingerprint", ["", "right"])
def test_a_file_that_a_folder_names_is_not_run(tmp_path: Path, kind: str, fingerprint: str) -> None:
    trace, evil = tmp_path / "trace", tmp_path / "evil.py"
    evil.write_text(f"open({str(trace)!r}, 'w')\nfrom enas.examples.my_space import MySpace\n")
    sha256 = hashlib.sha256(evil.read_bytes()).hexdigest() if fingerprint else ""
    options = CustomOptions(source=f"{evil}:MySpace", sha256=sha256)
    run = begun(tmp_path / "run", named(NETWORK if kind == "training" else SEARCH, options))
    steps = {"schema": 1, "seeds": 2, "images": "abc", "retrain": config.to_dict(named(NETWORK, options))}
    if kind in ("run", "seeds"):
        checkpoint.write_json(run / STEPS, {**steps, "kind": "searches" if kind == "seeds" else "run"})
    if kind == "training below":
        RunFolder(run).store(SEARCH)
        begun(run / "mine", named(NETWORK, options))
    fails("report", run, match=f"if you trust that file give --space {evil}:MySpace")
    assert not trace.exists() and not (run / "report.html").exists()


def test_the_check_of_the_command_runs_nothing_either(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("raise SystemExit('run')\n")
    options = CustomOptions(source=f"{tmp_path}/mine.py:Mine")
    again = repeat.of_search(named(SEARCH, options))
    assert any("is not run unasked" in note for note in again.notes)


@pytest.mark.usefixtures("unasked")
def test_one_that_the_user_names_is_reported_and_named_in_commands(tmp_path: Path) -> None:
    spec = f"{EXAMPLE}:MySpace"
    options = source.load(spec)
    search, training = named(SEARCH, options), named(NETWORK, options)
    for name, run_config, verb in (("a", search, "search"), ("b", training, "retrain")):
        run = begun(tmp_path / name, run_config)
        source._known.clear()
        result = enas("report", run, "--space", spec)
        assert result.exit_code == 0, result.output
        text = reported(run, None, "--space", spec).text
        assert f"Go on: enas {verb} --resume {run} --space {spec}" in text
        assert "could not be checked" not in text and "by hand" not in text
        assert (f"enas {verb} --resume {run} --space {spec}") in enas("show", run, "--space", spec).output
    command = repeat.of_training(training).command  # type: ignore[arg-type]
    assert command.endswith(f"--space {spec} --output NEW") and command.startswith(f"enas retrain {NETWORK.arch} ")
    (tmp_path / "repeat.toml").write_text(repeat.of_training(training).settings)  # type: ignore[arg-type]
    words = command.replace("repeat.toml", str(tmp_path / "repeat.toml")).split()[1:-2]
    source._known.clear()
    assert enas(*words, "--print-config").exit_code == 0


def test_a_table_is_not_read(tmp_path: Path) -> None:
    base = config.update(SEARCH, {"evaluator": "table", "table": "/dev/full", "data": {"name": None}})
    run = begun(tmp_path / "run", config.update(judged_alone(base, "table"), {"space": {"name": "nasbench-macro"}}))
    text = reported(run).text
    assert "It looks accuracies up in the table /dev/full" in text and "could not be checked" not in text


def test_an_architecture_that_is_a_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text("{}")
    (note,) = repeat.of_training(RetrainConfig(arch=str(tmp_path / "result.json"))).notes
    assert "there must be a run folder, a result.json or an architecture" in note


def test_settings_of_the_retraining_survive_moved_images() -> None:
    """`steps.json` has the images' folder as it was typed, the run's configuration where it lies."""
    run_config = config.update(SEARCH, {"data": {"name": "/data/pets"}})
    planned = config.update(RetrainConfig(), {"data": {"name": "pets"}, "epochs": 7, "sgd": {"batch_size": 17}})
    command = repeat.of_run(run_config, planned, None, None).command
    assert "--retrain-set epochs=7" in command and "--retrain-set sgd.batch_size=17" in command
    assert "data.name" not in command


def test_settings_that_were_found_are_given_where_they_cannot_be_checked() -> None:
    def again(assignments: tuple[str, ...]) -> SearchConfig:
        if assignments:
            raise UserError("no")
        return SEARCH

    sets, notes = repeat._different(config.update(SEARCH, {"epochs": 77}), again)
    assert sets == ("epochs=77",) and "could not be checked here: no" in notes[0]
