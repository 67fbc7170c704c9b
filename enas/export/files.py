"""Writing an exported network in each format; nothing stays on the disk before it was compared with the original."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from enas import checkpoint
from enas.errors import UserError
from enas.export.check import Agreement, agreement, run_apart, run_batches
from enas.export.formats import SUFFIXES
from enas.export.module import Facts, module_source
from enas.export.names import NETWORK
from enas.export.operations import unwritable
from enas.export.outline import outline
from enas.export.weights import header, weights
from enas.kernels import plain_kernels
from enas.network import Network

OPSET = 18
ONNX_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
WRITTEN = ("python", "safetensors")  # the formats that are the module, which is written as text, or a part of it


@dataclass(frozen=True)
class Exported:
    """What was written in one format, and how well it agrees with the network."""

    format: str
    paths: tuple[Path, ...]
    agreement: Agreement


def paths_of(formats: Sequence[str], stem: Path) -> dict[str, tuple[Path, ...]]:
    """The files of each format. Raises UserError where one is there already, or a package is missing."""
    missing = [name for name in ONNX_PACKAGES if "onnx" in formats and importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"--to onnx needs {', '.join(missing)}, not installed; run pip install 'enas[onnx]'")
    found = {}
    for name in formats:
        suffixes = (SUFFIXES[name], SUFFIXES["safetensors"]) if name == "python" else (SUFFIXES[name],)
        found[name] = tuple(stem.with_name(stem.name + suffix) for suffix in suffixes)
        for path in found[name]:
            if path.exists() or path.is_symlink():
                raise _taken(path)
    return found


def export(network: Network, facts: Facts, paths: dict[str, tuple[Path, ...]], images: Tensor) -> list[Exported]:
    """Write the network in the formats of `paths`, which are of one folder and stem.

    images: normalised [N, C, H, W], on which each export must give the network's logits. Raises UserError where one
    does not, or cannot be written; then nothing is. A network with operations of the user's own is traced itself.
    """
    first = next(iter(paths.values()))[0]
    unwritten = unwritable(network.graph)
    texts = [name for name in paths if name in WRITTEN]
    if unwritten and texts:
        raise UserError(
            f"--to {texts[0]} must be of operations of enas, whose code it writes, but the network has "
            f"{', '.join(unwritten)}; give --to onnx or --to torch-export, for which it is traced"
        )
    expected = _logits(network, images)
    if not expected.isfinite().all():
        raise UserError(
            "the network must give finite logits, but its own are not (its weights hold NaN, or are too large); train "
            "it again"
        )
    with _beside(first) as folder:
        plain = network if unwritten else _written(network, facts, folder / first.with_suffix(".py").name)
        found = []
        for name, files in paths.items():
            logits = _run(name, plain, folder / files[0].name, facts, images)
            found.append(Exported(name, files, agreement(logits, expected, f"--to {name}")))
        _place(folder, list(dict.fromkeys(path for files in paths.values() for path in files)))
    return found


def _written(network: Network, facts: Facts, path: Path) -> nn.Module:
    """The network of the exported module, which is written to `path` with its weights beside it."""
    path.write_text(module_source(network.graph, facts), encoding="utf-8")
    weights_path = path.with_suffix(SUFFIXES["safetensors"])
    checkpoint.save_model(weights_path, weights(outline(network.graph), network), header(facts))
    return _loaded(path, weights_path)


def _run(name: str, plain: nn.Module, path: Path, facts: Facts, images: Tensor) -> Tensor:
    """The logits by one format, written to `path` first where the module's own files are not it."""
    if name == "python":
        return run_apart(path, images)
    if name in TRACED:
        with _quiet(), _exporting(name):
            return TRACED[name](plain, path, facts, images)
    return _logits(plain, images)  # weights: read from their file into the module


def _logits(network: nn.Module, images: Tensor) -> Tensor:
    with torch.inference_mode():
        return network.eval()(images).float()  # type: ignore[no-any-return]


def _loaded(module_path: Path, weights_path: Path) -> nn.Module:
    """The network of an exported module, with the weights of its file."""
    spec = importlib.util.spec_from_file_location("enas_exported", module_path)
    assert spec is not None and spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network: nn.Module = getattr(module, NETWORK)()
    network.load_pretrained(weights_path)  # type: ignore[operator]
    return network.eval()


def _program(plain: nn.Module, images: Tensor) -> torch.export.ExportedProgram:
    """The network traced for any number of images."""
    sample = torch.zeros(2, *images.shape[1:])  # of one image the number would be taken for a constant
    with plain_kernels():  # ours depend on that number, and are not to be had elsewhere
        return torch.export.export(plain, (sample,), dynamic_shapes=({0: torch.export.Dim("batch")},))


def _torch_export(plain: nn.Module, path: Path, facts: Facts, images: Tensor) -> Tensor:
    torch.export.save(_program(plain, images), path, extra_files={"metadata.json": json.dumps(header(facts))})
    program = torch.export.load(path).module()
    with torch.inference_mode():
        return run_batches(program, images)


def _onnx(plain: nn.Module, path: Path, facts: Facts, images: Tensor) -> Tensor:
    import onnx
    import onnxruntime

    program = torch.onnx.export(
        _program(plain, images),
        dynamo=True,
        input_names=["images"],
        output_names=["logits"],
        opset_version=OPSET,
        external_data=False,
        verbose=False,
    )
    assert program is not None
    program.model.metadata_props.update(header(facts))
    program.save(str(path), external_data=False)
    onnx.checker.check_model(str(path))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(part: Tensor) -> Tensor:
        return torch.from_numpy(session.run(["logits"], {"images": part.contiguous().numpy()})[0])

    return run_batches(run, images)


TRACED = {"onnx": _onnx, "torch-export": _torch_export}


@contextlib.contextmanager
def _exporting(name: str) -> Iterator[None]:
    """Turn what an exporter or a runtime raises, which may be anything, into one line for the user."""
    try:
        yield
    except (UserError, OSError):
        raise
    except Exception as error:
        reason = (str(error).strip().splitlines() or [""])[0][:200]
        raise UserError(
            f"--to {name} must be possible with this network, but: {type(error).__name__}: {reason}; give another --to"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what exporters say of their own progress."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A folder on the same disk, gone in the end; so are those above `path` that were made and that nothing came
    into."""
    made = [parent for parent in path.parents if not parent.exists()]
    try:
        with contextlib.ExitStack() as stack:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix=".export-", dir=path.parent))
            except OSError as error:
                raise UserError(
                    f"{path.parent} must be a folder to write in, but: {error.strerror or error}; give another --output"
                ) from None
            yield Path(folder)
    except OSError as error:
        raise UserError(
            f"an export must be possible in {path.parent}, but: {error.strerror or error}; free some space, or give "
            "another --output"
        ) from None
    finally:
        with contextlib.suppress(OSError):  # one that holds something, and so do those above it
            for parent in made:
                parent.rmdir()


def _place(folder: Path, targets: Sequence[Path]) -> None:
    """Give finished files their names, all of them or, where there is a file of such a name by now, none."""
    placed: list[Path] = []
    try:
        for target in targets:
            source = folder / target.name
            try:
                os.link(source, target)
            except FileExistsError:
                raise _taken(target) from None
            except OSError:  # a file system without links
                if target.exists():
                    raise _taken(target) from None
                os.replace(source, target)
            placed.append(target)
    except BaseException:
        for target in placed:
            target.unlink(missing_ok=True)
        raise


def _taken(path: Path) -> UserError:
    return UserError(f"an export must not replace a file, but {path} is there; move it or give another --output")
