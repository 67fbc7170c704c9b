"""What a page is about, read and checked by whoever asks for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from enas.config import NasBenchMacroOptions, RetrainConfig, SearchConfig
from enas.spaces import Architecture, SearchSpace

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Repeat:
    """How to do it again. settings: TOML for `--config`, to be saved as `file`. notes: what else there is to know."""

    command: str
    settings: str
    file: str
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Trained:
    """The training of one network from scratch. name: of its folder. result: None where it is not finished.

    space, arch: None too, as the images' size is not known.
    """

    name: str
    config: RetrainConfig
    records: Sequence[Values]
    result: Values | None
    resume: str
    repeat: Repeat
    space: SearchSpace | None = None
    arch: Architecture | None = None


@dataclass(frozen=True)
class Searched:
    """One search, and the networks that were trained in folders below it.

    result, space: None where it is not finished. epochs: as planned by now.
    audit_due: whether it is to have a trust report and has none yet. planned: the folders of the trainings that are to
    come after it.
    """

    name: str
    config: SearchConfig
    records: Sequence[Values]
    result: Values | None
    resume: str
    epochs: int
    repeat: Repeat
    space: SearchSpace | None = None
    arch: Architecture | None = None
    audit_due: bool = False
    planned: Sequence[str] = ()
    trained: Sequence[Trained] = field(default=())

    @property
    def shares_weights(self) -> bool:
        return self.config.evaluator == "shared-weights"

    @property
    def looks_up(self) -> bool:
        return self.config.evaluator == "table"

    @property
    def sees_truth(self) -> bool:
        """Whether the accuracy that it searched by is the one that is the truth: that table knows no other."""
        return self.looks_up and self.config.space.name == NasBenchMacroOptions.name

    def of_kind(self, *kinds: str) -> list[Values]:
        """The records of these kinds."""
        return [record for record in self.records if record["kind"] in kinds]


@dataclass(frozen=True)
class Several:
    """Searches that differ in their seed alone. result: what they have in common; None where some are not finished.

    searches: by the name of their folder, those that were begun. links: pages about them, by the same name.
    """

    name: str
    config: SearchConfig
    result: Values | None
    searches: Mapping[str, Searched]
    planned: int
    resume: str
    repeat: Repeat
    links: Mapping[str, str] = field(default_factory=dict)
