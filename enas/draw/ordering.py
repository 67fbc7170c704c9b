"""Order and horizontal positions of the items of a layered graph.

Items are numbers; `ranks` lists those of each rank from left to right; a link joins two items of
neighbouring ranks, the upper one first.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence

SWEEPS = 12
Ranks = list[list[int]]
Links = Sequence[tuple[int, int]]


def order(ranks: Ranks, links: Links) -> Ranks:
    """The ranks in an order with few crossing links.

    Barycentres, down and up in turn, then swaps of neighbours; from the given order and from its reverse.
    """
    above, below = _neighbours(links)
    best = [list(rank) for rank in ranks]
    _swap(best, links)
    fewest = _crossings(best, links)
    for start in (ranks, [rank[::-1] for rank in ranks]):
        current = [list(rank) for rank in start]
        for sweep in range(SWEEPS):
            if fewest == 0:
                return best
            downwards = sweep % 2 == 0
            neighbours = above if downwards else below
            for r in range(1, len(current)) if downwards else range(len(current) - 2, -1, -1):
                place = _places(current)
                current[r].sort(key=lambda item: _mean([place[n] for n in neighbours.get(item, ())], place[item]))
            _swap(current, links)
            crossings = _crossings(current, links)
            if crossings < fewest:
                best, fewest = [list(rank) for rank in current], crossings
    return best


def positions(ranks: Ranks, links: Links, widths: Sequence[float], weights: Sequence[float], gap: float) -> list[float]:
    """The centre x of every item, from 0: as near to its neighbours as order, widths and gaps allow.

    weights: of the links; heavy ones become straighter.
    """
    x = [0.0] * len(widths)
    for rank in ranks:
        for item, centre in zip(rank, _pack(rank, [0.0] * len(rank), [1.0] * len(rank), widths, gap), strict=True):
            x[item] = centre
    pulls: dict[int, list[tuple[int, float]]] = {}  # item -> its neighbours and how strongly they pull
    for (a, b), weight in zip(links, weights, strict=True):
        pulls.setdefault(a, []).append((b, weight))
        pulls.setdefault(b, []).append((a, weight))
    for sweep in range(4 * SWEEPS):
        for rank in ranks if sweep % 2 == 0 else reversed(ranks):
            wanted, strength = [], []
            for item in rank:
                total = sum(weight for _, weight in pulls.get(item, ()))
                wanted.append(sum(weight * x[n] for n, weight in pulls[item]) / total if total else x[item])
                strength.append(total or 0.01)
            for item, centre in zip(rank, _pack(rank, wanted, strength, widths, gap), strict=True):
                x[item] = centre
    left = min(x[item] - widths[item] / 2 for rank in ranks for item in rank)
    return [centre - left for centre in x]


def straighten(x: list[float], ranks: Ranks, chains: Sequence[list[int]], widths: Sequence[float], gap: float) -> None:
    """Move the items of each chain, one a rank, to one x where their neighbours leave room for that."""
    beside = {item: (rank, place) for rank in ranks for place, item in enumerate(rank)}
    for chain in chains:
        low, high = float("-inf"), float("inf")
        for item in chain:
            rank, place = beside[item]
            if place > 0:
                other = rank[place - 1]
                low = max(low, x[other] + (widths[other] + widths[item]) / 2 + gap)
            if place + 1 < len(rank):
                other = rank[place + 1]
                high = min(high, x[other] - (widths[other] + widths[item]) / 2 - gap)
        if low <= high:
            mean = sum(x[item] for item in chain) / len(chain)
            for item in chain:
                x[item] = min(max(mean, low), high)


def _pack(
    rank: list[int], wanted: list[float], strength: list[float], widths: Sequence[float], gap: float
) -> list[float]:
    """Centres that keep the order and do not overlap, with the least weighted squared distance from the wanted ones.

    Without the widths this is isotonic regression, solved by pooling neighbours that violate the order.
    """
    offsets = [0.0]
    for a, b in zip(rank, rank[1:], strict=False):
        offsets.append(offsets[-1] + (widths[a] + widths[b]) / 2 + gap)
    pools: list[tuple[float, float, int]] = []  # mean, weight, number of items
    for want, offset, weight in zip(wanted, offsets, strength, strict=True):
        mean, total, count = want - offset, weight, 1
        while pools and pools[-1][0] > mean:
            other_mean, other, others = pools.pop()
            mean = (mean * total + other_mean * other) / (total + other)
            total, count = total + other, count + others
        pools.append((mean, total, count))
    fitted = [mean for mean, _, count in pools for _ in range(count)]
    return [mean + offset for mean, offset in zip(fitted, offsets, strict=True)]


def _swap(ranks: Ranks, links: Links) -> None:
    """Swap neighbours while that removes crossings."""
    above, below = _neighbours(links)
    improved = True
    while improved:
        improved = False
        place = _places(ranks)
        for rank in ranks:
            for i in range(len(rank) - 1):
                a, b = rank[i], rank[i + 1]
                gain = 0
                for neighbours in (above, below):
                    ends_a = [place[n] for n in neighbours.get(a, ())]
                    ends_b = [place[n] for n in neighbours.get(b, ())]
                    gain += sum((p > q) - (p < q) for p in ends_a for q in ends_b)
                if gain > 0:
                    rank[i], rank[i + 1] = b, a
                    place[a], place[b] = i + 1, i
                    improved = True


def _crossings(ranks: Ranks, links: Links) -> int:
    """How many pairs of links cross."""
    place = _places(ranks)
    upper = {item: r for r, rank in enumerate(ranks) for item in rank}
    by_rank: dict[int, list[tuple[int, int]]] = {}
    for a, b in links:
        by_rank.setdefault(upper[a], []).append((place[a], place[b]))
    crossings = 0
    for ends in by_rank.values():
        seen: list[int] = []
        # links from the same item do not cross: sorted by their lower ends, each sees only smaller ones of its own
        for _, lower in sorted(ends):
            crossings += len(seen) - bisect.bisect_right(seen, lower)
            bisect.insort(seen, lower)
    return crossings


def _neighbours(links: Links) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    above: dict[int, list[int]] = {}
    below: dict[int, list[int]] = {}
    for a, b in links:
        above.setdefault(b, []).append(a)
        below.setdefault(a, []).append(b)
    return above, below


def _places(ranks: Ranks) -> dict[int, int]:
    return {item: place for rank in ranks for place, item in enumerate(rank)}


def _mean(values: list[int], otherwise: int) -> float:
    return sum(values) / len(values) if values else otherwise
