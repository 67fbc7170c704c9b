"""What a run writes: files that are old or new but never half, hostile ones, records, and their statistics."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import pickle
import random
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch
from torch import nn

from enas import checkpoint, config
from enas.errors import UserError
from enas.records import RetrainRecord, difference, finite, mean, student_t, to_dict
from enas.runs import RunFolder


class Hostile:
    """Unpickling this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


def record(epoch: int, **changes: Any) -> RetrainRecord:
    values: dict[str, Any] = dict.fromkeys((f.name for f in dataclasses.fields(RetrainRecord)), 0.5)
    return RetrainRecord(**values | {"epoch": epoch} | changes)


def momentum_state() -> dict[str, Any]:
    """State of an SGD that has momentum buffers."""
    weight = nn.Parameter(torch.arange(6.0))
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    weight.square().sum().backward()
    optimizer.step()
    return optimizer.state_dict()


def test_save_and_load_give_back_everything(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(3)
    torch.rand(5, generator=generator)
    weight = torch.rand(4, 3, 3, 3, generator=generator).to(memory_format=torch.channels_last)
    optimizer = momentum_state()
    plain = {"epoch": 3, "baseline": None, "rate": 0.1 + 0.2, "flags": [True, "é"], "choices": (0, 5)}
    state = {"weight": weight, "generator": generator.get_state(), "optimizer": optimizer, **plain}
    checkpoint.save(tmp_path / "c.pt", state)
    loaded = checkpoint.load(tmp_path / "c.pt")
    assert {key: loaded[key] for key in plain} == plain
    assert torch.equal(loaded["weight"], weight)
    assert loaded["weight"].is_contiguous(memory_format=torch.channels_last)
    assert loaded["optimizer"]["param_groups"] == optimizer["param_groups"]
    for i, buffers in optimizer["state"].items():
        assert torch.equal(loaded["optimizer"]["state"][i]["momentum_buffer"], buffers["momentum_buffer"])
    expected = torch.rand(9, generator=generator)
    assert torch.equal(torch.rand(9, generator=torch.Generator().set_state(loaded["generator"])), expected)


@pytest.mark.parametrize("form", ["torch", "torch-legacy", "pickle"])
def test_a_hostile_checkpoint_is_refused_and_not_run(tmp_path: Path, form: str) -> None:
    path, victim = tmp_path / "c.pt", tmp_path / "victim"
    if form == "pickle":
        path.write_bytes(pickle.dumps({"a": Hostile(victim)}, protocol=2))
    else:
        torch.save({"a": Hostile(victim)}, path, _use_new_zipfile_serialization=form == "torch")
    with pytest.raises(UserError, match="must be a checkpoint of enas"):
        checkpoint.load(path)
    assert not victim.exists()
    torch.load(path, weights_only=False) if form != "pickle" else pickle.loads(path.read_bytes())
    assert victim.exists()  # else the test would prove nothing


def test_damaged_checkpoints_are_user_errors(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    checkpoint.save(path, {"weight": torch.arange(4), "optimizer": momentum_state()})
    whole = path.read_bytes()
    draw = random.Random(0)
    damaged = [
        b"",
        b"PK",
        b"\x80\x02",
        b"\x80\x02e.",
        b"\x80\x020.",
        *(whole[: len(whole) * k // 12] for k in range(12)),
    ]
    damaged += [b"\x80\x02" + draw.randbytes(draw.randrange(40)) for _ in range(60)]
    for data in damaged:
        path.write_bytes(data)
        with pytest.raises(UserError, match="must be a checkpoint of enas") as error:
            checkpoint.load(path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [[1, 2], torch.ones(2), None, 3])
def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path, value: Any) -> None:
    torch.save(value, tmp_path / "c.pt")
    with pytest.raises(UserError, match="must be a checkpoint of enas"):
        checkpoint.load(tmp_path / "c.pt")


def test_missing_files_and_folders_are_user_errors(tmp_path: Path) -> None:
    for read in (checkpoint.load, checkpoint.load_model, checkpoint.read_json):
        for path in (tmp_path / "none", tmp_path):
            with pytest.raises(UserError, match=str(path)):
                read(path)


def test_a_write_that_fails_half_way_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    checkpoint.write_json(path, {"old": 1})

    def fill(error: Exception) -> Any:
        def write_some(file: BinaryIO) -> None:
            file.write(b"half")
            raise error

        return write_some

    with pytest.raises(ValueError, match="mine"):  # a bug stays a bug
        checkpoint.write(path, fill(ValueError("mine")))
    for error in (OSError(errno.ENOSPC, "No space left on device"), RuntimeError("PytorchStreamWriter failed\nstack")):
        with pytest.raises(UserError, match="must be writable.* intact") as raised:
            checkpoint.write(path, fill(error))
        assert "\n" not in str(raised.value)
    assert checkpoint.read_json(path) == {"old": 1}
    assert os.listdir(tmp_path) == ["c.json"]


def test_a_disk_that_fills_up_at_the_last_moment_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c.pt"
    checkpoint.save(path, {"old": 1})

    def full(source: Any, target: Any) -> None:
        assert torch.load(source, weights_only=True) == {"new": 1}  # complete before it takes the old one's place
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UserError, match="No space left on device"):
        checkpoint.save(path, {"new": 1})
    monkeypatch.undo()
    assert checkpoint.load(path) == {"old": 1}
    assert os.listdir(tmp_path) == ["c.pt"]
    checkpoint.save(path, {"new": 1})
    assert checkpoint.load(path) == {"new": 1}


def test_writing_where_nothing_can_be_written_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="must be writable"):
        checkpoint.save(tmp_path / "no" / "c.pt", {})
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="must be writable"):
        checkpoint.write_json(tmp_path / "folder", {})
    assert os.listdir(tmp_path) == ["folder"]


def test_json_is_strict(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    with pytest.raises(ValueError, match="JSON compliant"):
        checkpoint.write_json(path, {"loss": float("nan")})
    assert not path.exists()
    for data in (b"", b"{", b"\xff\xfe\x00", b"[" * 100_000, b"9" * 5000, b'{"a": 1} x', b"\x00"):
        path.write_bytes(data)
        with pytest.raises(UserError, match="must be a readable JSON file"):
            checkpoint.read_json(path)


def test_a_model_round_trips(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    conv = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    tensors = {"w": conv.weight, "part": torch.arange(12.0).view(3, 4).t(), "count": torch.tensor(7)}
    checkpoint.save_model(path, tensors, {"arch": "macro:0", "classes": '["é"]'})
    loaded, header = checkpoint.load_model(path)
    assert header == {"arch": "macro:0", "classes": '["é"]'}
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tensors.items())


def test_a_model_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    checkpoint.save_model(path, {"w": torch.ones(3)}, {})
    whole = path.read_bytes()
    for data in (b"", b"garbage", b"\xff" * 64, whole[:7], whole[:30], whole[:-1], whole + b"x", pickle.dumps({})):
        path.write_bytes(data)
        with pytest.raises(UserError, match="must be a safetensors file"):
            checkpoint.load_model(path)


def test_a_run_folder_holds_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(tmp_path / "deep" / "run")
    with pytest.raises(UserError, match="must be a run folder"):
        folder.config(config.PRESETS["quick"](None)[0])
    run_config = config.from_text(config.PRESETS["quick"](None)[0], ["seed=7", "space.layers=2", "data.name=none"])
    folder.create(run_config)
    assert folder.config(config.PRESETS["cpu"](None)[0]) == run_config
    with pytest.raises(UserError, match="it has none; give one of the runs that it holds: .*deep.run$"):
        RunFolder(tmp_path / "deep").check_run()
    with pytest.raises(UserError, match="must not hold a run"):
        folder.create(config.PRESETS["quick"](None)[0])
    assert folder.config(config.PRESETS["quick"](None)[0]) == run_config
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UserError, match="output"):
            RunFolder(path).create(run_config)

    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result((4096, 4096, 9, 9, 9, 9, 9, 9, 0, 255)))
    with pytest.raises(UserError, match="64 MiB of free space, but .* has 0 MiB"):
        RunFolder(tmp_path / "full").create(run_config)


def test_records_survive_a_torn_line(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.records() == []
    folder.truncate_records(3)
    for epoch in range(3):
        folder.append(record(epoch))
    whole = (tmp_path / "records.jsonl").read_bytes()
    assert whole.count(b"\n") == 3
    assert folder.records()[1] == to_dict(record(1))
    last = whole.splitlines(keepends=True)[-1]
    for torn in (last[:-1], last[: len(last) // 2], b'{"kind": "\xc3'):
        (tmp_path / "records.jsonl").write_bytes(whole + torn)
        assert [r["epoch"] for r in folder.records()][:3] == [0, 1, 2]
        assert len(folder.records()) == (4 if torn == last[:-1] else 3)
        folder.truncate_records(3)
        assert (tmp_path / "records.jsonl").read_bytes() == whole
    folder.truncate_records(1)
    folder.append(record(1))
    folder.append(record(2))
    assert (tmp_path / "records.jsonl").read_bytes() == whole


def test_records_are_strict_json() -> None:
    values = to_dict(record(0, train_loss=float("nan"), grad_norm=float("inf")))
    assert values["kind"] == "retrain"
    assert values["train_loss"] is values["grad_norm"] is None
    json.dumps(values, allow_nan=False)
    assert finite({"a": [1.0, float("-inf"), {"b": (float("nan"), "x", 2)}]}) == {
        "a": [1.0, None, {"b": [None, "x", 2]}]
    }
    assert mean([1.0, float("nan"), 3.0]) == 2.0
    assert mean([]) is mean([float("inf")]) is None


# scipy.stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95): 8.5 and 3.05 degrees of freedom
WELCH = [
    ((0.5, 0.6, 0.7, 0.4, 0.55), (0.3, 0.35, 0.5, 0.45, 0.2, 0.4), 0.1833333, 0.0312152, 0.3354515),
    ((1, 2, 3, 4, 5, 6), (10, 30, 20, 50), -24, -51.0419570, 3.0419570),
]


@pytest.mark.parametrize(("a", "b", "centre", "low", "high"), WELCH)
def test_difference_is_welchs(
    a: tuple[float, ...], b: tuple[float, ...], centre: float, low: float, high: float
) -> None:
    result = difference(a, b)
    half = (high - low) / 2
    assert result.mean == pytest.approx(centre, abs=1e-6)
    assert (result.high - result.mean) == pytest.approx(half, rel=0.01) == (result.mean - result.low)
    mirrored = difference(b, a)
    assert (mirrored.mean, mirrored.low) == pytest.approx((-result.mean, -result.high))


def test_difference_of_constants_has_no_width() -> None:
    result = difference([0.5, 0.5], [0.25, 0.25, 0.25])
    assert (result.mean, result.low, result.high) == (0.25, 0.25, 0.25)


# scipy.stats.t.ppf(0.975, freedom)
STUDENT_T = {
    1: 12.706205,
    1.5: 6.016663,
    2: 4.302653,
    3: 3.182446,
    4: 2.776445,
    5: 2.570582,
    8: 2.306004,
    13: 2.160369,
    38: 2.024394,
    100: 1.983972,
    1000: 1.962339,
}


@pytest.mark.parametrize(("freedom", "quantile"), STUDENT_T.items())
def test_student_t_is_scipys(freedom: float, quantile: float) -> None:
    assert student_t(freedom) == pytest.approx(quantile, rel=0.0005)
    assert student_t(freedom, 0.025) == pytest.approx(-student_t(freedom))
