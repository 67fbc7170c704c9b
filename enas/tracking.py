"""Records to where people look: TensorBoard and a progress bar. (`records.jsonl` is written by the run itself.)

TensorBoard's files are made from the records alone. A resumed run makes them anew from the records
that are kept, so nothing can stand there twice.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

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
    "speed/images_per_s": "images_per_s",
    "speed/child_images_per_s": "child_images_per_s",
    "speed/architectures_per_s": "architectures_per_s",
}
RETRAIN_SCALARS = {
    "retrain/loss": "train_loss",
    "retrain/accuracy": "train_accuracy",
    "retrain/learning_rate": "learning_rate",
    "retrain/grad_norm": "grad_norm",
    "retrain/skipped_steps": "skipped_steps",
    "speed/images_per_s": "images_per_s",
}


class TensorBoard:
    """Writes records (as dictionaries) below `path`, beginning with those of the past."""

    def __init__(self, path: Path, past: list[dict[str, Any]]) -> None:
        shutil.rmtree(path, ignore_errors=True)  # only ever holds what the records say
        self._writer = SummaryWriter(str(path))
        for record in past:
            self.write(record)

    def write(self, record: Mapping[str, Any]) -> None:
        """Add one record under its own time."""
        if record["kind"] == "epoch":
            self._epoch(record)
        elif record["kind"] == "retrain":
            self._scalars(record, RETRAIN_SCALARS, record["epoch"])
        elif record["kind"] == "derive":
            self._text(record, "derive/scored", f"{record['scored']} architectures on {record['images']} images", 0)
            self._gap(record, "derive", 0)
        elif record["kind"] == "finalist":
            text = f"{record['arch']}: standalone accuracy {record['standalone_accuracy']}"
            self._text(record, "derive/finalist", text, record["rank"])
            for name in ("proxy_accuracy", "standalone_accuracy"):
                self._scalars(record, {f"derive/{name}_by_rank": name}, record["rank"])

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
        for group, shares in record["choice_shares"].items():
            for label, share in shares.items():
                self._scalars({**record, "share": share}, {f"choices_{group}/{label}": "share"}, step)
        text = f"`{record['best_arch']}` proxy accuracy {record['best_proxy_accuracy']:.4f}"
        self._text(record, "architecture/best", text, step)
        if record["warning"]:
            self._text(record, "architecture/warning", record["warning"], step)

    def _gap(self, record: Mapping[str, Any], prefix: str, step: int) -> None:
        for name, value in record["controller_minus_random"].items():
            tag = f"{prefix}_controller_minus_random/{name}"
            self._writer.add_scalar(tag, value, step, record["time_s"])

    def _scalars(self, record: Mapping[str, Any], tags: Mapping[str, str], step: int) -> None:
        for tag, name in tags.items():
            if record[name] is not None:
                self._writer.add_scalar(tag, record[name], step, record["time_s"])

    def _text(self, record: Mapping[str, Any], tag: str, text: str, step: int) -> None:
        self._writer.add_text(tag, text, step, record["time_s"])


class Progress:
    """A progress bar on standard error: finished work, what it stands at, time left."""

    def __init__(self, total: int, description: str) -> None:
        # smoothing 0: the rate of the whole run, because the phases differ in speed
        self._bar = tqdm(
            total=total,
            desc=description,
            unit="img",
            unit_scale=True,
            smoothing=0,
            mininterval=1.0,
            dynamic_ncols=True,
            bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining} {postfix}",
        )

    def work(self, amount: int) -> None:
        """Some work is done."""
        self._bar.update(amount)

    def skip(self, amount: int) -> None:
        """Some work was done in an earlier session; it says nothing about this one's speed."""
        self._bar.initial += amount
        self._bar.n += amount
        self._bar.refresh()

    def resize(self, total: int) -> None:
        """There is more or less to do than was thought."""
        self._bar.total = total
        self._bar.refresh()

    def show(self, text: str) -> None:
        """What the bar says at its end."""
        self._bar.set_postfix_str(text)

    def say(self, text: str) -> None:
        """A line above the bar."""
        self._bar.write(text)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._bar.close()  # so that what is printed next has a line of its own
