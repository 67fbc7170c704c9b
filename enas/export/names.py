"""Names in an exported module: readable ones from the keys of weights, none of which breaks it."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable, Mapping, Sequence

from torch import nn

from enas.export import blocks
from enas.export.folding import groups
from enas.graph import Node

NETWORK = "Network"
# what the network class and its file define
OWN = """classifier hidden num_classes num_features head_hidden_size drop_rate default_cfg pretrained_cfg features
forward_features forward_head get_classifier reset_classifier load_pretrained set_drop_path x images self
torch nn F Tensor Path json""".split()
BLOCKS = {name for name, value in vars(blocks).items() if getattr(value, "__module__", None) == blocks.__name__}
RESERVED = frozenset({*dir(nn.Module()), *OWN, *BLOCKS, NETWORK, *keyword.kwlist, *keyword.softkwlist})


class Names:
    """Gives every wanted name once; asked again for the same thing it gives the same one."""

    def __init__(self, taken: Iterable[str] = RESERVED) -> None:
        self._taken = set(taken)
        self._given: dict[object, str] = {}

    def give(self, thing: object, wanted: str) -> str:
        """The name of a thing: letters, digits and underscores, like the wanted one and no other's."""
        if thing not in self._given:
            name = base = _plain(wanted)
            number = 2
            while name in self._taken:
                name, number = f"{base}_{number}", number + 1
            self._taken.add(name)
            self._given[thing] = name
        return self._given[thing]


def variables(nodes: Sequence[Node], keys: Mapping[int, str], names: Names) -> dict[int, str]:
    """A name for the value of each node that is looked at. keys: by position, of these nodes.

    What ends a group is called as the group, so that the value of "layer3/norm" is layer3.
    """
    whole = {group.output: group.prefix for group in groups(nodes, keys, depth=1, sums=1)}
    counts: dict[str, int] = {}
    found = {}
    for i, key in keys.items():
        wanted = whole.get(i) or key
        if not wanted:  # of operations without weights
            op = nodes[i].op.partition(":")[0]
            counts[op] = counts.get(op, 0) + 1
            wanted = f"{op}_{counts[op]}"
        found[i] = names.give(i, wanted)
    return found


def camel(name: str) -> str:
    """`Cell` of "stage1/cell2"."""
    words = re.findall(r"[a-zA-Z]+", name.rpartition("/")[2])
    return "".join(word.capitalize() for word in words) or "Part"


def _plain(text: str) -> str:
    name = re.sub(r"[^a-zA-Z0-9]+", "_", text).strip("_") or "part"
    return f"part_{name}" if name[0].isdigit() else name
