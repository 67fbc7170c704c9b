"""What a table of trained networks says, in arrays: one number for each architecture of a small space.

S architectures in the space, A architectures asked about, D decisions. An architecture's position is the
number that its choices are the digits of, the last decision counting fastest.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from enas import spaces
from enas.cost import cost
from enas.errors import UserError
from enas.spaces import Architecture, SearchSpace

INPUT_SHAPE = (3, 32, 32)  # CIFAR-10
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Entry(NamedTuple):
    """One architecture of a file. where: what to call it in an error. validation, test: in percent, not checked yet.

    params, macs: where the file knows them; they may be off by `COUNTS_WITHIN`.
    """

    where: str
    arch: Architecture
    validation: Any
    test: Any
    params: Any = None
    macs: Any = None


@dataclass(frozen=True, eq=False)
class TrueAccuracies:
    """Accuracies, in 0..1, of all S architectures of a space after training each on its own.

    space: with the published network's sizes.
    validation: [S], what a search may see. test: [S], the truth of what it picked.
    images: how many images the validation accuracy is of. trained_on: how many each network saw in its training,
        an image of an epoch counting once.
    params, macs: [S], of the networks that `enas` builds.
    network: [S], the position of the architecture that stands for the same network, which is its own where there
        is no other. A budget counts these.
    """

    space: SearchSpace
    validation: Floats
    test: Floats
    images: int
    trained_on: int
    params: Ints
    macs: Ints
    network: Ints

    @property
    def name(self) -> str:
        """The space's."""
        return self.space.name

    @property
    def classes(self) -> tuple[str, ...]:
        """Of the images that the networks were trained on."""
        return CLASSES

    def __len__(self) -> int:
        """How many architectures it holds, S."""
        return len(self.test)

    def fingerprint(self) -> str:
        """Equal for tables that say the same of every architecture."""
        digest = hashlib.sha256(f"{self.name} {self.images}".encode())
        for values in (self.validation, self.test):
            digest.update(values.astype("<f8").tobytes())
        return digest.hexdigest()

    def positions(self, archs: Sequence[Architecture]) -> Ints:
        """[A]. Raises UserError unless all are architectures of the space."""
        try:
            choices = np.array([arch.choices for arch in archs], dtype=np.int64)
            found = positions_of(self.space, choices.reshape(len(archs), len(self.space.decisions)))
            if all(arch.space == self.space.name for arch in archs):
                return found
        except (ValueError, OverflowError):
            pass
        for arch in archs:  # slower, but it says what is wrong with which
            spaces.validate(self.space, arch)
        raise AssertionError("validate must have raised")

    def arch(self, position: int) -> Architecture:
        """The architecture at a position."""
        return _arch(self.space, position)


def collected(
    path: object,
    space: SearchSpace,
    entries: Iterable[Entry],
    images: int,
    trained_on: int,
    network: Ints,
    tolerance: float = 0.0,
) -> TrueAccuracies:
    """The table of a file's entries.

    tolerance: how far the file's params and MACs may be from those of the network that `enas` builds.
    Raises UserError unless every architecture of the space is there once, with accuracies in 0..100.
    """
    size = spaces.size(space)
    validation, test = np.full(size, np.nan), np.full(size, np.nan)
    params, macs = counts(space)  # type: ignore[arg-type]  # every space is hashable
    position_of = {choices: i for i, choices in enumerate(itertools.product(*map(range, _sizes(space))))}
    for where, arch, *accuracies, file_params, file_macs in entries:
        position = position_of[arch.choices]
        if not np.isnan(test[position]):
            again = spaces.to_text(space, arch)
            raise UserError(f"{path} must hold every architecture once, but {where} holds {again} again")
        validation[position], test[position] = (check_percent(path, where, value) / 100 for value in accuracies)
        for name, value, ours in (("parameters", file_params, params), ("MACs", file_macs, macs)):
            if value is not None and not _near(value, int(ours[position]), tolerance):
                raise UserError(
                    f"{path} must be of the published networks for CIFAR-10, but {where} gives "
                    f"{repr(value)[:30]} {name} and not {ours[position]:,}"
                )
    missing = np.flatnonzero(np.isnan(test))
    if len(missing):
        raise UserError(
            f"{path} must hold all {size:,} architectures of {space.name}, but {len(missing):,} are missing, "
            f"{spaces.to_text(space, _arch(space, int(missing[0])))} among them; give the whole table"
        )
    return TrueAccuracies(space, validation, test, images, trained_on, params, macs, network)


@functools.cache
def counts(space: SearchSpace) -> tuple[Ints, Ints]:
    """Parameters and MACs of all architectures, [S] each, not to be written to.

    For spaces in which a choice costs the same whatever the other choices are, so that a few networks tell all.
    """
    sizes = _sizes(space)
    zeros = (0,) * len(sizes)
    base = cost(space.graph(Architecture(space.name, zeros)))
    params, macs = np.full(sizes, base.params), np.full(sizes, base.macs)
    for d, size in enumerate(sizes):
        for choice in range(1, size):
            changed = cost(space.graph(Architecture(space.name, (*zeros[:d], choice, *zeros[d + 1 :]))))
            where = (slice(None),) * d + (choice,)
            params[where] += changed.params - base.params
            macs[where] += changed.macs - base.macs
    params.flags.writeable = macs.flags.writeable = False
    return params.ravel(), macs.ravel()


def all_choices(space: SearchSpace) -> Ints:
    """The choices of all architectures by position, [S, D]."""
    sizes = _sizes(space)
    return np.stack(np.unravel_index(np.arange(np.prod(sizes)), sizes), axis=1)


def positions_of(space: SearchSpace, choices: Ints) -> Ints:
    """The positions [N] of the architectures with these choices [N, D]. Raises ValueError for impossible ones."""
    return np.asarray(np.ravel_multi_index(tuple(choices.T), _sizes(space)), dtype=np.int64)


def _arch(space: SearchSpace, position: int) -> Architecture:
    return Architecture(space.name, tuple(map(int, np.unravel_index(position, _sizes(space)))))


def _sizes(space: SearchSpace) -> tuple[int, ...]:
    return tuple(len(decision.labels) for decision in space.decisions)


def check_percent(path: object, where: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:
        raise UserError(f"{path} must give accuracies in 0..100, but {where} gives {repr(value)[:60]}")
    return float(value)


def _near(value: Any, ours: int, tolerance: float) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and abs(value - ours) <= tolerance
