"""A network as one Python module that needs nothing but torch."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from enas.export import blocks
from enas.export.forward import makes, passes
from enas.export.names import BLOCKS, NETWORK
from enas.export.outline import Block, Head, Outline, outline
from enas.export.text import INDENT, call, docstring, literal, sequence
from enas.graph import Graph, Shape

IMPORTS = """from __future__ import annotations

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn"""
FEATURES, TENSOR = "[N, num_features, H, W]", " -> Tensor:"
METHODS = '''
def features(self, images: Tensor) -> Tensor:
    """The same as `forward_features`."""
    return self.forward_features(images)

def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
    """Logits of features @shape; pre_logits: what the classifier reads."""@pool
    return x if pre_logits else self.classifier(x)

def forward(self, images: Tensor) -> Tensor:
    return self.forward_head(self.forward_features(images))

def get_classifier(self) -> nn.Module:
    return self.classifier

def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
    """A new classifier; with 0 classes the network gives what the classifier would read."""
    if global_pool not in (None, "avg"):
        raise ValueError(f"the mean over the pixels (avg) is all there is, not {global_pool!r}")
    self.num_classes = num_classes
    if num_classes:
        self.classifier = nn.Linear(self.head_hidden_size, num_classes)
    else:
        self.classifier = nn.Identity()

def load_pretrained(self, path: str | Path = WEIGHTS) -> None:
    """Load trained weights; a classifier of another number of classes stays as it is."""
    tensors = read_safetensors(path)
    if self.num_classes != len(CLASSES):
        own = self.classifier.state_dict()
        tensors = {k: v for k, v in tensors.items() if not k.startswith("classifier.")}
        tensors |= {f"classifier.{name}": value for name, value in own.items()}
    self.load_state_dict(tensors)'''
DROP_PATH = '''

def set_drop_path(self, rate: float) -> None:
    """Set the largest rate of drop-path, which usually grows from 0 while one trains."""
    for part in self.modules():
        if isinstance(part, DropPath):
            part.rate = part.share * rate'''


@dataclass(frozen=True)
class Facts:
    """What an exported module says of its network beside the layers.

    text, description: the architecture in one line, and in words. mean, std: of each channel in 0..1. dropout,
    drop_path: rates that it was trained with.
    """

    text: str
    description: tuple[str, ...]
    input_shape: Shape
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    dropout: float = 0.0
    drop_path: float = 0.0


def module_source(graph: Graph, facts: Facts) -> str:
    """The module's text. Raises UserError where an operation of the graph cannot be exported."""
    plan = outline(graph)
    sections = _sections(facts.description)
    parts = [
        "\n".join(docstring(_introduction(facts), 0)),
        IMPORTS,
        "\n".join(_constants(graph, facts)),
    ]
    classes = ["\n".join(_block(block, plan, sections)) for block in plan.blocks]
    network = "\n".join(_network(plan, facts, sections))
    used = _sources("\n".join([*classes, network]))
    text = "\n\n\n".join(["\n\n".join(parts), *used, *classes, network]) + "\n"
    return text if "F." in text else text.replace("import torch.nn.functional as F\n", "")


def _introduction(facts: Facts) -> list[str]:
    channels, height, width = facts.input_shape
    return [
        f"An image classifier with the architecture {facts.text}",
        "",
        *(f"    {line}" for line in facts.description),
        "",
        f"It takes {'RGB ' if channels == 3 else ''}images [N, {channels}, {height}, {width}] with values in 0..1, "
        "less MEAN, divided by STD.",
        "",
        f"    network = {NETWORK}()",
        "    network.load_pretrained()  # reads the .safetensors file beside this one",
        "    logits = network.eval()(images)  # [N, len(CLASSES)]",
    ]


def _constants(graph: Graph, facts: Facts) -> list[str]:
    fixed = any(node.op == "pad" for node in graph.nodes)
    return [
        f"ARCHITECTURE = {literal(facts.text)}",
        f"INPUT_SIZE = {facts.input_shape!r}",
        *sequence("CLASSES", map(literal, facts.classes)),
        *sequence("MEAN", map(repr, facts.mean)),
        *sequence("STD", map(repr, facts.std)),
        'WEIGHTS = Path(__file__).with_suffix(".safetensors")',
        "DEFAULT_CFG = {  # as training scripts in the manner of timm ask for it",
        '    "architecture": ARCHITECTURE,',
        '    "input_size": INPUT_SIZE,',
        f'    "fixed_input_size": {fixed},',
        '    "num_classes": len(CLASSES),',
        '    "mean": MEAN,',
        '    "std": STD,',
        '    "interpolation": "bilinear",',
        '    "crop_pct": 1.0,',
        '    "classifier": "classifier",',
        "}",
    ]


def _sections(description: Sequence[str]) -> dict[str, list[str]]:
    """The description by what it speaks of: "layer3" of "layer 3: conv_3x3", with the indented lines below it."""
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in description:
        if not line.startswith(" "):
            current = found.setdefault(_heading(line), [])
        current.append(line)
    return found


def _heading(line: str) -> str:
    return re.sub(r"\W", "", line.partition(":")[0]).lower()


def _sources(text: str) -> list[str]:
    """The source of the parts that a text names, and of those that they name."""
    used: set[str] = set()
    texts = [text]
    while texts:
        new = (set(re.findall(r"\w+", texts.pop())) & BLOCKS) - used
        used |= new
        texts += [inspect.getsource(getattr(blocks, name)) for name in sorted(new)]
    return [inspect.getsource(value).rstrip() for name, value in vars(blocks).items() if name in used]


def _block(block: Block, plan: Outline, sections: dict[str, list[str]]) -> list[str]:
    """The class of cells or other parts that repeat."""
    attributes = {step.position: step.attribute for step in plan.body.steps}
    where = ", ".join(attributes[group.output] for group in block.kind.groups)
    words = re.sub(r"(?<!^)(?=[A-Z])", " ", block.name).capitalize()
    below = textwrap.dedent("\n".join(sections.get(block.name.lower(), [])[1:])).splitlines()
    parameters = [f"{name}: {'float' if name == 'drop_path' else 'int'}" for name in block.parameters]
    lines, ends = passes(block.scope, (block.kind.groups[0].output,))
    return [
        f"class {block.name}(nn.Module):",
        *docstring([f"{words}, which is {where}.", *(["", *below] if below else [])], 1),
        "",
        *call("def __init__", ["self", *parameters], " -> None:", 1),
        f"{INDENT * 2}super().__init__()",
        *makes(block.scope, {}),
        "",
        *call("def forward", ["self", *(f"{name}: Tensor" for name in block.scope.inputs.values())], TENSOR, 1),
        *lines,
        f"{INDENT * 2}return {ends[0]}",
    ]


def _network(plan: Outline, facts: Facts, sections: dict[str, list[str]]) -> list[str]:
    head = plan.head
    titles = {name: lines[0] for name, lines in sections.items()}
    parameters = ["num_classes: int = len(CLASSES)", f"drop_rate: float = {facts.dropout!r}"]
    parameters += [f"drop_path_rate: float = {facts.drop_path!r}"] if plan.drops else []
    about = ["drop_rate: dropout before the classifier, in training."]
    about += ["drop_path_rate: the largest rate of drop-path, in training."] if plan.drops else []
    made = makes(plan.body, titles)
    shape = f"[N, {', '.join(map(str, facts.input_shape))}]"
    hidden = f"{INDENT * 2}self.hidden = nn.Linear({head.channels}, {head.hidden})"
    return [
        f"class {NETWORK}(nn.Module):",
        *docstring([f"Logits [N, num_classes] of images {shape}.", "", *about], 1),
        "",
        *call("def __init__", ["self", *parameters], " -> None:", 1),
        f"{INDENT * 2}super().__init__()",
        f"{INDENT * 2}self.num_classes, self.num_features = num_classes, {head.channels}",
        f"{INDENT * 2}self.head_hidden_size = {head.hidden or head.channels}  # what the classifier reads",
        f"{INDENT * 2}self.drop_rate = drop_rate",
        f"{INDENT * 2}self.default_cfg = self.pretrained_cfg = dict(DEFAULT_CFG)",
        *made,
        *([hidden] if head.hidden else []),
        *_first_classifier(head),
        *([f"{INDENT * 2}self.set_drop_path(drop_path_rate)"] if plan.drops else []),
        *_forward(plan),
        *(line and INDENT + line for line in _methods(plan).split("\n")),
    ]


def _first_classifier(head: Head) -> list[str]:
    if head.plain:
        made = ["self.classifier: nn.Module = nn.Identity()", f"if num_classes != {head.channels}:"]
        return [INDENT * 2 + line for line in (*made, f"{INDENT}self.reset_classifier(num_classes)")]
    return [f"{INDENT * 2}self.reset_classifier(num_classes)"]


def _forward(plan: Outline) -> list[str]:
    head = plan.head
    shape = "[N, num_features]" if head.plain else FEATURES
    lines, ends = passes(plan.body, head.ends)
    if head.relu:
        last = [f"return F.relu({ends[0]})"]
    elif len(ends) == 1:
        last = [f"return {ends[0]}"]
    else:
        last = [line.strip() for line in sequence("ends", ends)]
        if len(last) > 1:
            last = [last[0], *(INDENT + line for line in last[1:-1]), last[-1]]
        means = "x.mean(dim=(2, 3), keepdim=True) for x in ends"
        last += ["return torch.cat(ends, dim=1)" if head.alike else f"return torch.cat([{means}], dim=1)"]
    return [
        "",
        f"{INDENT}def forward_features(self, images: Tensor) -> Tensor:",
        *docstring([f"What the head reads: {shape}.", *_joined(head)], 2),
        *lines,
        *(INDENT * 2 + line for line in last),
    ]


def _joined(head: Head) -> list[str]:
    if head.alike:
        return []
    return ["", "Its maps have several sizes, so it joins their means over the pixels: H and W are 1."]


def _methods(plan: Outline) -> str:
    head = plan.head
    read = "x" if head.plain else "F.dropout(x.mean(dim=(2, 3)), self.drop_rate, self.training)"
    inner = "\n    x = F.relu(self.hidden(x))" if head.hidden else ""
    pool = "" if head.plain else f"\n    x = {read}{inner}"
    text = METHODS.replace("@pool", pool).replace("@shape", "[N, num_features]" if head.plain else FEATURES)
    return text + (DROP_PATH if plan.drops else "")
