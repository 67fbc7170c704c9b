"""The weights of an exported module, and their file."""

from __future__ import annotations

import json

import torch
from torch import Tensor

from enas.export.module import Facts
from enas.export.outline import Outline
from enas.network import Network


def weights(plan: Outline, network: Network) -> dict[str, Tensor]:
    """The network's weights and statistics by their names in the exported module."""
    own = network.state_dict()
    found: dict[str, Tensor] = {}
    for path, source in plan.weights().items():
        start = f"{source}."
        names = [name for name in own if name.startswith(start)]
        found |= {f"{path}.{name.removeprefix(start)}": own[name] for name in names}
    for name, parts in plan.head.weights.items():
        found[name] = torch.cat([own[part] for part in parts], dim=-1)
    # torch's batch norm counts batches, which only a momentum of None asks for
    counters = {f"{name.rpartition('.')[0]}.num_batches_tracked" for name in found if name.endswith("running_mean")}
    found |= {name: torch.tensor(0) for name in counters}
    return {name: found[name].detach().cpu().contiguous() for name in sorted(found)}


def header(facts: Facts) -> dict[str, str]:
    """What a file of weights, or of a whole network, says of it."""
    return {
        "format": "pt",
        "arch": facts.text,
        "description": "\n".join(facts.description),
        "input_size": json.dumps(facts.input_shape),
        "mean": json.dumps(facts.mean),
        "std": json.dumps(facts.std),
        "classes": json.dumps(facts.classes),
    }
