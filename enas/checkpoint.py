"""Files that a run writes: atomic, never pickled on the way in.

A file is either the old one or the new one, whenever the process is killed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from enas.errors import UserError

TEMPORARY = re.compile(
    r"\.[\w-]+\.(pt|json|jsonl|safetensors|html)\.\d+"
)  # what `write` calls a file that is not complete


def save(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values. Raises UserError where the disk refuses; the old file then stays."""
    write(path, lambda file: torch.save(state, file))


def load(path: Path) -> dict[str, Any]:
    """Read what `save` wrote, on the CPU, without running anything that the file may hold."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes the unpickler raise anything, IndexError and AssertionError too
        raise UserError(
            f"{path} must be a checkpoint of enas, but it is damaged or another program's ({type(error).__name__}); "
            "start a new run, or bring back an intact copy"
        ) from None
    if not isinstance(state, dict):
        raise UserError(f"{path} must be a checkpoint of enas, but it holds a {type(state).__name__}; start a new run")
    return state


@contextlib.contextmanager
def taking_over(path: Path) -> Iterator[None]:
    """Raise UserError where the state that was loaded from `path` is not what the code within expects."""
    try:
        yield
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise UserError(
            f"{path} must be a checkpoint of this version of enas, but it lacks or breaks something "
            f"({type(error).__name__}); start a new run"
        ) from None


def write_json(path: Path, value: Any) -> None:
    """Write a value as strict, indented JSON."""
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    write(path, lambda file: file.write(text.encode()))


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises UserError where it is missing, not text or malformed."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} must be a readable JSON file, but: {_first_line(error)}") from None


def fingerprint(path: Path) -> str:
    """Of what a file holds. Raises UserError where it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"{path} must be a readable file, but: {error.strerror}; check the path") from None


def save_model(path: Path, tensors: dict[str, Tensor], header: dict[str, str]) -> None:
    """Write weights as safetensors, with text in the header."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    data = safetensors.torch.save(tensors, header)
    write(path, lambda file: file.write(data))


def load_model(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Weights and header of a safetensors file. Raises UserError where it is none."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(f"{path} must be a safetensors file of enas, but: {_first_line(error)}") from None


def write(path: Path, fill: Callable[[BinaryIO], Any]) -> None:
    """Create or replace a file in one step. Raises UserError where that fails; the old file then stays."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            with open(temporary, "wb") as file:
                fill(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as a RuntimeError
        raise UserError(
            f"{path} must be writable, but: {_first_line(error)}; what was there before is intact, "
            "free some space or mend the permissions and go on with --resume"
        ) from None


def remove_temporary(folder: Path) -> None:
    """Remove what processes left in the folder that were killed while they wrote. None may be writing there now."""
    for path in folder.iterdir():
        if TEMPORARY.fullmatch(path.name):
            path.unlink(missing_ok=True)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
