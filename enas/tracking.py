"""Records to where people look: TensorBoard and a progress bar. (`records.jsonl` is written by the run itself.)

TensorBoard's files are made from the records and, at the end, the result. A resumed run makes them anew from
the records that are kept, so nothing can stand there twice.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams
from tqdm.auto import tqdm  # a widget in notebooks

from enas import draw, spaces
from enas.spaces import SearchSpace
from enas.words import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# tag in TensorBoard -> field of the record
EPOCH_SCALARS = {
    "weights/loss": "train_loss",
    "weights/accuracy": "train_accuracy",
    "weights/learning_rate": "learning_rate",
    "weights/grad_norm": "grad_norm",
    "weights/skipped_steps": "skipped_steps",
    "controller/reward": "reward",
    "controller/baseline": "baseline",
    "controller/advantage": "advantage",
    "controller/grad_norm": "controller_grad_norm",
    "controller/entropy": "entropy",
    "controller/skip_rate": "skip_rate",
    "proxy_accuracy/controller": "controller_proxy_accuracy",
    "proxy_accuracy/random": "random_proxy_accuracy",
    "proxy_accuracy/best": "best_proxy_accuracy",
    "cost/flops": "flops",
    "cost/feasible_share": "feasible_share",
    "speed/images_per_s": "images_per_s",
    "speed/child_images_per_s": "child_images_per_s",
    "speed/architectures_per_s": "architectures_per_s",
}
GENERATION_SCALARS = {
    "controller/reward": "reward",
    "controller/baseline": "baseline",
    "controller/advantage": "advantage",
    "controller/grad_norm": "controller_grad_norm",
    "controller/entropy": "entropy",
    "best/reward": "best_reward",
    "best/accuracy": "best_accuracy",
    "children/failed": "failed",
    "cost/flops": "flops",
    "cost/feasible_share": "feasible_share",
}
RETRAIN_SCALARS = {
    "retrain/loss": "train_loss",
    "retrain/accuracy": "train_accuracy",
    "retrain/learning_rate": "learning_rate",
    "retrain/grad_norm": "grad_norm",
    "retrain/skipped_steps": "skipped_steps",
    "speed/images_per_s": "images_per_s",
}
# A picture takes about a tenth of a second. An architecture's waits while those before it took more of the run's time.
PICTURES_SHARE = 0.02
CHOICES_EVERY = 10  # epochs between two heat maps of choices


class TensorBoard:
    """Writes records (as dictionaries) below `path`, beginning with those of the past.

    space: draws the architectures in the records.
    """

    def __init__(self, path: Path, past: list[dict[str, Any]], space: SearchSpace) -> None:
        shutil.rmtree(path, ignore_errors=True)  # only ever holds what the records say
        self._writer = SummaryWriter(str(path))
        self._space = space
        self._history: list[dict[str, dict[str, float]]] = []  # choice shares of all epochs
        self._drawn = ""  # the architecture of the last picture
        self._pictures_s: float | None = None
        for record in past:
            self.write(record)

    def write(self, record: Mapping[str, Any]) -> None:
        """Add one record under its own time."""
        if record["kind"] == "epoch":
            self._epoch(record)
        elif record["kind"] == "retrain":
            self._scalars(record, RETRAIN_SCALARS, record["epoch"])
        elif record["kind"] == "generation":
            self._generation(record)
        elif record["kind"] == "derive":
            self._text(record, "derive/scored", f"{record['scored']} architectures on {record['images']} images", 0)
            self._gap(record, "derive", 0)
        elif record["kind"] == "finalist":
            self._finalist(record, record["rank"])

    def finish(self, result: Mapping[str, Any]) -> None:
        """Add what a result file says: settings with final figures, the architecture, the choices of all epochs."""
        baseline, best = result.get("random_baseline") or {}, (result.get("finalists") or [{}])[0]
        figures = {
            "controller_minus_random": baseline.get("controller_minus_random", {}).get("mean"),
            "standalone_accuracy": best.get("standalone_accuracy"),
            "accuracy": best.get("accuracy"),
            "true_accuracy": best.get("true_accuracy"),
            "test_accuracy": result.get("test_accuracy"),
            "balanced_accuracy": result.get("balanced_accuracy"),
            "params": result.get("params"),
            "macs": result.get("macs"),
            "elapsed_s": result["elapsed_s"],
        }
        final = {f"final/{name}": float(value) for name, value in figures.items() if value is not None}
        # not add_hparams, which makes a run of its own
        for summary in hparams(_flat(result["config"]), final):  # type: ignore[no-untyped-call]
            self._writer.file_writer.add_summary(summary)  # type: ignore[attr-defined]
        for tag, value in final.items():
            self._writer.add_scalar(tag, value)
        sketches = self._space.sketches(spaces.from_json(result["arch"]))
        self._picture("architecture/final", lambda: draw.architecture_figure(sketches), 0)
        if len(self._history) % CHOICES_EVERY:  # not yet drawn
            self._picture("choices", lambda: draw.choices_figure(self._history), len(self._history) - 1)

    def close(self) -> None:
        self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def _epoch(self, record: Mapping[str, Any]) -> None:
        step = record["epoch"]
        self._scalars(record, EPOCH_SCALARS, step)
        self._gap(record, "proxy_accuracy", step)
        text = f"`{record['best_arch']}` proxy accuracy {record['best_proxy_accuracy']:.4f}"
        self._text(record, "architecture/best", text, step)
        self._choices(record, step)

    def _generation(self, record: Mapping[str, Any]) -> None:
        step = record["generation"]
        # over evaluations, by which searches are compared
        self._scalars(record, GENERATION_SCALARS, record["evaluations"])
        self._choices(record, step)

    def _finalist(self, record: Mapping[str, Any], step: int) -> None:
        """Its figures beside those of other ranks; with successive halving each rung has charts of its own."""
        text = f"{record['arch']}: standalone accuracy {record['standalone_accuracy']}, training loss "
        text += f"{record.get('training_loss')} after {counted(record['epochs'], 'epoch')}"
        self._text(record, "derive/finalist", text, step)
        if record["rung"] == 0:
            self._scalars(record, {"derive/proxy_accuracy_by_rank": "proxy_accuracy"}, step)
        figures = ("standalone_accuracy", "training_loss")
        chart = f"after_{record['epochs']}_epochs"  # a name, which logs of earlier runs have as well
        self._scalars(record, {f"derive/{name}_by_rank/{chart}": name for name in figures}, step)

    def _choices(self, record: Mapping[str, Any], step: int) -> None:
        """What the searcher chooses: the shares of each choice, its best architecture, a warning."""
        for group, shares in record["choice_shares"].items():
            for label, share in shares.items():
                self._scalars({**record, "share": share}, {f"choices_{group}/{label}": "share"}, step)
        self._history.append(record["choice_shares"])
        self._pictures(record, step)
        if record["warning"]:
            self._text(record, "architecture/warning", record["warning"], step)
        if record.get("change"):  # records of earlier versions have none
            self._text(record, "weights/change", record["change"], step)

    def _pictures(self, record: Mapping[str, Any], step: int) -> None:
        """The best architecture where it is a new one, and now and then the choices."""
        affordable = (self._pictures_s or 0.0) <= PICTURES_SHARE * float(record["elapsed_s"])
        if record["best_arch"] not in (self._drawn, None) and affordable:
            arch = spaces.parse(self._space, record["best_arch"])
            sketches = self._space.sketches(arch)
            self._picture("architecture/best", lambda: draw.architecture_figure(sketches), step, record["time_s"])
            self._drawn = record["best_arch"]
        if len(self._history) % CHOICES_EVERY == 0:
            self._picture("choices", lambda: draw.choices_figure(self._history), step, record["time_s"])

    def _picture(self, tag: str, make: Callable[[], Figure], step: int, time_s: float | None = None) -> None:
        start = time.perf_counter()
        self._writer.add_image(tag, draw.pixels(make()), step, time_s, dataformats="HWC")
        # the first one loads matplotlib, which says nothing about the next ones
        self._pictures_s = 0.0 if self._pictures_s is None else self._pictures_s + time.perf_counter() - start

    def _gap(self, record: Mapping[str, Any], prefix: str, step: int) -> None:
        for name, value in record["controller_minus_random"].items():
            tag = f"{prefix}_controller_minus_random/{name}"
            self._writer.add_scalar(tag, value, step, record["time_s"])

    def _scalars(self, record: Mapping[str, Any], tags: Mapping[str, str], step: int) -> None:
        for tag, name in tags.items():
            if record.get(name) is not None:  # earlier versions recorded less
                self._writer.add_scalar(tag, record[name], step, record["time_s"])

    def _text(self, record: Mapping[str, Any], tag: str, text: str, step: int) -> None:
        self._writer.add_text(tag, text, step, record["time_s"])


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, bool | float | str]:
    """Nested settings with one name each, as `--set` has them; those that are none are left out."""
    flat: dict[str, bool | float | str] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        elif value is not None:
            flat[prefix + key] = ",".join(map(str, value)) if isinstance(value, list) else value
    return flat


class Progress:
    """A progress bar on standard error, if it is to be shown: finished work, what it stands at, time left."""

    def __init__(self, total: int, description: str, shown: bool = True) -> None:
        self.shown = shown
        # smoothing 0: the rate of the whole run, because the phases differ in speed
        self._bar = tqdm(
            total=total,
            desc=description,
            disable=not shown,
            unit="img",
            unit_scale=True,
            smoothing=0,
            mininterval=1.0,
            dynamic_ncols=True,
            bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining} {postfix}",
        )

    def work(self, amount: float) -> None:
        """Some work is done."""
        self._bar.update(amount)

    def skip(self, amount: int) -> None:
        """Some work was done in an earlier session; it says nothing about this one's speed."""
        if self.shown:
            self._bar.initial += amount
            self._bar.n += amount
            self._bar.refresh()

    def resize(self, total: int) -> None:
        """There is more or less to do than was thought."""
        if self.shown:
            self._bar.total = total
            self._bar.refresh()

    def show(self, text: str) -> None:
        """What the bar says at its end."""
        self._bar.set_postfix_str(text)

    def say(self, text: str) -> None:
        """A line above the bar."""
        if self.shown:
            self._bar.write(text)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._bar.close()  # so that what is printed next has a line of its own
