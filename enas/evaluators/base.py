"""What a search without shared weights asks of its evaluator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Protocol, Self

from enas.objective import Scores
from enas.spaces import Architecture, SearchSpace

OnWork = Callable[[int], None]


class Evaluator(Protocol):
    """Judges architectures one by one: the same architecture always gets the same scores.

    A context manager: what it started (processes, a cluster) ends with it.
    """

    @property
    def fingerprint(self) -> str:
        """What the scores follow from: equal for the same images, or the same table."""

    @property
    def space(self) -> SearchSpace:
        """Whose architectures it judges."""

    @property
    def classes(self) -> Sequence[str]:
        """Of the images that the networks are judged on."""

    def network(self, arch: Architecture) -> str | int:
        """Equal for architectures that are the same network. Evaluations are counted in distinct networks."""

    def score(self, archs: Sequence[Architecture], on_work: OnWork = lambda units: None) -> Scores:
        """Scores of all architectures, in order. What was judged before costs nothing.

        on_work: hears of finished work, in units of `work_units`.
        """

    def flops(self, arch: Architecture) -> float:
        """Floating-point operations that it took to judge an architecture (a table: to train its network)."""

    def work_units(self, evaluations: int) -> int:
        """The work of so many evaluations, for a progress bar."""

    def forecast_s(self, evaluations: int) -> float | None:
        """Seconds that so many evaluations will take; None where that is not worth saying."""

    def facts(self, arch: Architecture) -> dict[str, Any]:
        """What else is known of an architecture that was judged, as JSON."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None: ...
