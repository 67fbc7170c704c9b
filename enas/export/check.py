"""Whether an exported network gives the logits of the one that it was made from."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from enas.errors import UserError

TOLERANCE = 2e-5  # of the largest logit, or of 1 where all are smaller; float32 sums come in another order

# Run in a process of its own, in which enas and what else it needs cannot be imported.
APART = """
import importlib.util, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("enas", "safetensors", "torchvision", "einops"):
            raise ImportError(f"an exported module must need nothing but torch, but it imports {name}")

sys.meta_path.insert(0, Missing())
spec = importlib.util.spec_from_file_location("exported", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
import torch
network = module.Network()
network.load_pretrained()
images = module.read_safetensors(sys.argv[2])["images"]
with torch.inference_mode():
    torch.save(network.eval()(images), sys.argv[3])
"""


@dataclass(frozen=True)
class Agreement:
    """How well logits agree.

    difference: the largest one. tolerance: the largest one allowed. same, images: of how many the class is the same.
    """

    difference: float
    tolerance: float
    same: int
    images: int


def agreement(logits: Tensor, expected: Tensor, what: str) -> Agreement:
    """Compare logits [N, classes]. Raises UserError where they differ by more than the tolerance."""
    if logits.shape != expected.shape:
        raise UserError(f"{what} must give logits {list(expected.shape)}, but it gives {list(logits.shape)}")
    difference = (logits - expected).abs().max().item()
    tolerance = TOLERANCE * max(1.0, expected.abs().max().item())
    if not difference <= tolerance:  # NaN too
        raise UserError(
            f"{what} must give the network's logits within {tolerance:.1e}, but they differ by {difference:.1e}; "
            "nothing was written"
        )
    same = int((logits.argmax(1) == expected.argmax(1)).sum())
    return Agreement(difference, tolerance, same, len(logits))


def run_apart(module: Path, images: Tensor) -> Tensor:
    """The logits of an exported module with its weights, in a process that has no enas."""
    # a folder of their own beside the module, whose own files may have any name
    with tempfile.TemporaryDirectory(dir=module.parent) as folder:
        inputs, outputs = Path(folder) / "images.safetensors", Path(folder) / "logits.pt"
        safetensors.torch.save_file({"images": images.contiguous()}, inputs)
        done = subprocess.run(
            [sys.executable, "-P", "-c", APART, str(module), str(inputs), str(outputs)], capture_output=True, text=True
        )
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise UserError(f"the exported module must run without enas, but: {reason[:300]}; nothing was written")
        logits: Tensor = torch.load(outputs, weights_only=True)
    return logits


def run_batches(run: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """The logits of one image and of the others, so that two sizes of a batch are tried."""
    parts = [part for part in (images[:1], images[1:]) if len(part)]
    return torch.cat([run(part) for part in parts])
