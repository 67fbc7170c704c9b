"""`enas report`: what the page of each kind of run says, that nothing in it comes from outside, and what it refuses."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from enas import checkpoint, config
from enas.cli.options import to_toml
from enas.config import RetrainConfig, SearchConfig
from enas.report.answer import verdict
from enas.words import duration, interval, large, percent, points
from tests.stops import TINIER_OPTIONS
from tests.test_cli import enas, fails
from tests.test_judging import CHILDREN, chains  # noqa: F401
from tests.test_run import RUN

HOSTILE = "</code><script>alert(1)</script><img src=x onerror=alert(2)>\"'&amp;{{ 7 * 7 }}"
SEARCH_SECTIONS = ["The architecture", "Costs", "Finalists", "Learning curves", "Choices over time", "To repeat it"]
VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """The elements and texts of a page, which must be closed in order."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).replace("\u00a0", " ").split())

    @property
    def settings(self) -> dict[str, Any]:
        """The TOML that is embedded."""
        (toml,) = [text for text in self.texts if "checkpoint_minutes = " in text]
        return tomllib.loads(toml)

    def check(self) -> None:
        """Nothing is loaded, nothing runs, and every reference within the page leads somewhere, once."""
        tags = {tag for tag, _ in self.elements}
        assert not {"script", "link", "iframe", "object", "embed", "base", "img", "form"} & tags
        ids = [attributes["id"] for _, attributes in self.elements if "id" in attributes]
        assert len(ids) == len(set(ids))
        for tag, attributes in self.elements:
            assert not [name for name in attributes if name.startswith("on")]
            assert not {"src", "srcset", "action", "xlink:href"} & attributes.keys()
            for name, value in attributes.items():
                for target in re.findall(r"url\(([^)]*)\)", value or ""):
                    assert target.removeprefix("#") in ids
                if name == "href":
                    assert tag in ("a", "use", "image") and value is not None
                    inside = value.startswith("#") and value[1:] in ids
                    assert inside or value.startswith("data:") or (tag == "a" and ":" not in value)
        styles = re.findall(r"<style.*?</style>", self.source, flags=re.S)
        assert len(styles) == 1 and "@import" not in styles[0] and "url(" not in styles[0]
        assert "prefers-color-scheme: dark" in styles[0]
        assert all(picture["aria-label"] and "viewbox" in picture for picture in self.of("svg"))
        assert "None" not in self.text and "nan" not in self.text.split()


def reported(run: Path, output: Path | None = None, *options: str) -> Page:
    result = enas("report", run, *options, *(("--output", output) if output else ()))
    assert result.exit_code == 0, result.output
    path = output or run / "report.html"
    assert result.output.endswith(f"report  {path}\n")
    page = Page(path)
    page.check()
    return page


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `enas run` leaves, within a limit, near a target."""
    path = tmp_path_factory.mktemp("report") / "run"
    result = enas("run", *RUN, "--limit", "params=1e5", "--target", "macs=50000", "--output", path)
    assert result.exit_code == 0, result.output
    return path


@pytest.fixture
def copied(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def change(run: Path, **values: Any) -> None:
    """Change a result file."""
    result = checkpoint.read_json(run / "result.json")
    checkpoint.write_json(run / "result.json", {**result, **values})


def test_a_search_and_what_was_trained_after_it(whole: Path, tmp_path: Path) -> None:
    page, values = reported(whole, tmp_path / "page.html"), checkpoint.read_json(whole / "result.json")
    for title in (*SEARCH_SECTIONS, "Beside random architectures", "Trained networks", "Accuracy over costs"):
        assert title in page.text
    gap, best = values["random_baseline"]["controller_minus_random"], values["finalists"][0]
    assert f"by proxy accuracy alone what the search proposes is {verdict(gap)}" in page.text
    assert f"{points(gap['mean'])} with the 95 % interval {interval(gap)}" in page.text
    assert f"{best['params']:,} parameters and {best['macs']:,} MACs" in page.text
    assert "parameters are within the limit of 100,000" in page.text and "the target of 50,000" in page.text
    for name in ("retrain", "resnet20"):
        trained = checkpoint.read_json(whole / name / "result.json")
        assert percent(trained["test_accuracy"]) in page.text and f"{trained['macs']:,}" in page.text
    assert "One training each (n = 1), with one recipe" in page.text and "no audit" in page.text
    assert "is not the accuracy of a trained network" in page.text and "Not finished" not in page.text
    for row in values["archive"][:2]:
        assert row["text"].startswith("macro:")
    # learning curves, choices, fronts, the architecture, and two of the trainings
    names = {(picture["aria-label"] or "").partition(" over ")[0] for picture in page.of("svg")}
    assert {"training loss", "proxy accuracy", "search minus uniform", "entropy, share of uniform"} <= names
    assert {"reward", "training accuracy"} <= names and any("probabilities" in name for name in names)
    assert f"the architecture {values['text']}" in names


def test_the_command_repeats_the_run(whole: Path, tmp_path: Path) -> None:
    page = reported(whole, tmp_path / "page.html")
    stored = checkpoint.read_json(whole / "config.json")
    assert config.to_dict(config.update(SearchConfig(), page.settings)) == stored
    command = next(text for text in page.text.split("; NEW is a folder")[1].split("Same settings")[:1])
    words = command.partition("yet:")[2].split()
    assert words[:4] == ["enas", "run", "--config", "repeat.toml"] and words[-4:] == [
        "--reference", "resnet20", "--output", "NEW",
    ]  # fmt: skip
    (tmp_path / "repeat.toml").write_text(next(text for text in page.texts if "checkpoint_minutes = " in text))
    words[3] = str(tmp_path / "repeat.toml")
    printed = enas(*words[1:], "--print-config")
    assert printed.exit_code == 0, printed.output
    search, _, retraining = printed.output.partition("# the retraining (--retrain-set):\n")
    assert config.to_dict(config.update(SearchConfig(), tomllib.loads(search))) == stored
    again = tomllib.loads("\n".join(line.removeprefix("# ") for line in retraining.splitlines()))
    planned = checkpoint.read_json(whole / "steps.json")["retrain"]
    settled = {"device": "cpu", "precision": "float32", "threads": stored["threads"]}
    base = config.update(RetrainConfig(), planned)
    assert config.update(base, again) == config.update(base, settled)
    saved = next(link for link in page.of("a") if link.get("download") == "repeat.toml")
    assert (saved["href"] or "").startswith("data:text/plain;charset=utf-8,")


def test_a_training_alone(whole: Path, tmp_path: Path) -> None:
    page = reported(whole / "resnet20", tmp_path / "page.html")
    accuracy = checkpoint.read_json(whole / "resnet20" / "result.json")["test_accuracy"]
    assert f"has {percent(accuracy)} test accuracy on" in page.text and "One training (n = 1)" in page.text
    assert "enas retrain resnet20: --config repeat.toml" in page.text
    stored = config.update(RetrainConfig(), checkpoint.read_json(whole / "resnet20" / "config.json"))
    assert config.update(RetrainConfig(), page.settings) == stored
    (tmp_path / "r.toml").write_text(to_toml(page.settings))
    printed = enas("retrain", "resnet20:", "--config", tmp_path / "r.toml", "--print-config").output
    assert config.update(RetrainConfig(), tomllib.loads(printed)) == stored


def test_what_is_not_finished_says_so(copied: Path) -> None:
    (copied / "retrain" / "result.json").unlink()
    go_on = f"Go on: enas run --resume {copied} "
    page = reported(copied)
    assert f"is finished, but not the training of the found network. {go_on}" in page.text
    assert "not finished" in page.text
    shutil.rmtree(copied / "retrain")
    shutil.copytree(copied / "resnet20", copied / "mine")
    for name in ("mine", "resnet20"):
        (copied / name / "result.json").unlink()
    missing = (
        "the training of the found network, which has not begun, the training of resnet20 and the training of mine"
    )
    ways = f"enas run --resume {copied}; enas retrain --resume {copied / 'mine'}"
    assert f"The search is finished, but not {missing}. Go on: {ways} " in reported(copied).text
    (copied / "result.json").unlink()
    lines = (copied / "records.jsonl").read_text().splitlines(keepends=True)
    (copied / "records.jsonl").write_text(lines[0])
    page = reported(copied)
    assert (
        f"Not finished, 1 of 2 epochs done: this page shows what there is so far. Go on: enas run --resume {copied}"
        in (page.text)
    )
    best = json.loads(lines[0])["best_arch"]
    assert "There is no answer yet" in page.text and best in page.text and "Learning curves" in page.text
    assert "The search found" not in page.text
    (copied / "records.jsonl").unlink()
    assert "Not finished, 0 of 2 epochs done" in reported(copied).text
    (copied / "resnet20" / "records.jsonl").unlink()
    assert "so there is no test accuracy yet" in reported(copied / "resnet20").text


def test_several_seeds(tmp_path: Path) -> None:
    path = tmp_path / "all"
    assert enas("search", *TINIER_OPTIONS, "--seeds", "2", "--output", path).exit_code == 0
    values = checkpoint.read_json(path / "result.json")
    page, found = reported(path), values["statistics"]["controller_minus_random"]
    assert "2 searches that differ in their seed alone" in page.text and verdict(found) in page.text
    assert points(found["mean"]) in page.text and interval(found) in page.text
    for run in values["runs"]:
        assert run["text"] in page.text and points(run["controller_minus_random"]) in page.text
    assert "--seeds 2 --output NEW" in page.text and not [link for link in page.of("a") if "download" not in link]
    reported(path / "seed-1")
    assert [link["href"] for link in reported(path).of("a") if "download" not in link] == ["seed-1/report.html"]
    away = reported(path, tmp_path / "away.html")
    assert [link["href"] for link in away.of("a") if "download" not in link] == ["all/seed-1/report.html"]
    (path / "result.json").unlink()
    (path / "seed-1" / "result.json").unlink()
    page = reported(path)
    assert "Not finished: this page" in page.text and "1 of 2 searches are finished" in page.text


def test_full_training_and_a_table(chains: Path, tmp_path: Path) -> None:  # noqa: F811
    looked_up = ["--evaluator", "table", "--table", chains, "--evaluations", "20", "--generation", "5"]
    trained = [*CHILDREN, "--evaluations", "4", "--generation", "2", "--set", "full_training.sgd.batch_size=599"]
    for name, options in (("table", looked_up), ("trained", trained)):
        path = tmp_path / name
        result = enas("search", *options, "--output", path)
        assert result.exit_code == 0, result.output
        page, values = reported(path), checkpoint.read_json(path / "result.json")
        best = values["finalists"][0]
        for title in (*SEARCH_SECTIONS, "Accuracy over costs"):
            assert title in page.text
        assert f"{percent(best['accuracy'])} validation accuracy" in page.text and best["text"] in page.text
        assert "does not say how far it is from chance" in page.text and "Beside random" not in page.text
        assert ("true test accuracy" in page.text) == (name == "table")
        assert config.to_dict(config.update(SearchConfig(), page.settings)) == checkpoint.read_json(
            path / "config.json"
        )
        assert "must be changed by hand" not in page.text and "could not be checked" not in page.text
        (path / "result.json").unlink()
        assert f"{values['evaluations']} of {values['config']['evaluations']} networks done" in reported(path).text
    table = chains.rename(tmp_path / "moved.json")
    page = reported(tmp_path / "table")  # which needs none
    assert f"It looks accuracies up in the table {chains}" in page.text and "could not be checked" not in page.text
    table.rename(chains)


def test_texts_from_outside_stay_texts(copied: Path) -> None:
    """Class names, paths, versions and labels of choices may be anything."""
    values = checkpoint.read_json(copied / "result.json")
    data = {**values["config"]["data"], "name": f"/tmp/{HOSTILE}\n\x07é\udcff"}  # a path may be no UTF-8
    records = [json.loads(line) for line in (copied / "records.jsonl").read_text().splitlines()]
    for record in records:
        if record["kind"] == "epoch":
            record["choice_shares"] = {HOSTILE: {HOSTILE: 0.5, "$\\frac": 0.5, "\x01": 0.0}}
            record["entropy_shares"] = {HOSTILE: 0.5, "$\\frac": 0.5}
            record["warning"] = HOSTILE
    (copied / "records.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    settings = {**values["config"], "data": data}
    change(
        copied,
        classes=[HOSTILE] * 10,
        versions={HOSTILE: HOSTILE},
        config=settings,
        images=HOSTILE,
    )
    checkpoint.write_json(copied / "config.json", settings)
    moved = copied.parent / "<b onclick=1>"
    copied.rename(moved)
    page = reported(moved)
    assert page.text.count("alert(1)") > 12 and "49" not in page.texts and "<script" not in page.source
    assert page.settings["data"]["name"] == data["name"].replace("\udcff", "?")


def test_only_earlier_pages_are_replaced(copied: Path, tmp_path: Path) -> None:
    first = reported(copied)
    change(copied, images="another")
    assert reported(copied).source != first.source
    for name, content in (("report.html", b"<p>mine</p>"), ("own.html", b"\xff\xfe"), ("empty.htm", b"")):
        (copied / name).write_bytes(content)
        fails("report", copied, "--output", copied / name, match="is another file; move it away")
        assert (copied / name).read_bytes() == content


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["missing"], "missing must be the folder of a run, but it is missing"),
        (["{run}/result.json"], "must be the folder of a run, but it is a file"),
        (["{run}/tensorboard"], "must be a run folder with a config.json"),
        (["{run}", "--output", "a.pdf"], "the page's name must end in .html, but got 'a.pdf'"),
        (["{run}", "--output", "none/a.html"], "the page's folder must exist, but none does not"),
        (["{run}", "--output", "folder.html"], "the page must be a file, but folder.html is a folder"),
    ],
)
def test_what_cannot_be_reported(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], match: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.html").mkdir()
    fails("report", *(argument.format(run=whole) for argument in arguments), match=match)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.html"]


@pytest.mark.parametrize(
    "values",
    [{"finalists": []}, {"random_baseline": {"random": 1}}, {"versions": None}, {"archive": [{"text": "a"}]}],
)
def test_damaged_results_are_one_line(copied: Path, values: dict[str, Any]) -> None:
    change(copied, **values)
    fails("report", copied, match="must be an intact result")
    assert not (copied / "report.html").exists()


def test_a_strange_file_below_a_run_is_no_training(copied: Path) -> None:
    (copied / "notes").mkdir()
    (copied / "notes" / "config.json").write_bytes(b"\xff{")
    assert "Trained networks" in reported(copied).text


def test_damaged_records_are_one_line(copied: Path) -> None:
    (copied / "records.jsonl").write_text('{"kind": "epoch", "epoch": 0}\n')
    fails("report", copied, match="must be an intact result")


def test_no_claim_beyond_the_interval() -> None:
    assert verdict({"mean": 0.1, "low": 0.0, "high": 0.2}) == "no better than random"
    assert verdict({"mean": 0.1, "low": 0.01, "high": 0.2}) == "better than random"
    assert verdict({"mean": -0.1, "low": -0.2, "high": -0.01}) == "worse than random"
    assert verdict({"mean": 0.1, "low": None, "high": None}) == "not known to be better than random"


def test_figures_have_units() -> None:
    assert (percent(0.8294), percent(None), points(-0.0247)) == ("82.94 %", "–", "−2.47 points")
    assert interval({"low": -0.01, "high": 0.02}) == "−1.00 to +2.00 points"
    assert [large(value, "FLOP") for value in (0, 999.4, 999.6, 8.67e10, 3e30)] == [
        "0 FLOP", "999 FLOP", "1 kFLOP", "86.7 GFLOP", "3e+12 EFLOP",
    ]  # fmt: skip
    assert [duration(seconds) for seconds in (59.6, 119, 121, 7199, 7201)] == [
        "60 s",
        "119 s",
        "2 min",
        "120 min",
        "2.0 h",
    ]
