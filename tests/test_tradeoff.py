"""The comparison of benchmarks/tradeoff.py: what it compares with, and the rows that it prints."""

from __future__ import annotations

from typing import Any

import pytest

from enas import config, spaces
from enas.config import SearchConfig
from enas.cost import cost
from tests.toys import all_archs, macro

pytestmark = pytest.mark.usefixtures("benchmarks")


def test_random_networks_are_different_ones_within_the_limit() -> None:
    import tradeoff

    space = macro(2)  # 72 architectures
    costs = sorted({cost(space.graph(arch)).macs for arch in map(spaces.from_text, texts(space))})
    limit: dict[str, Any] = {"objective": {"limit_macs": costs[2]}}
    run_config = config.update(SearchConfig(), limit)
    found = tradeoff.uniform_within(run_config, space, 3)
    assert found == tradeoff.uniform_within(run_config, space, 3) and len(set(found)) == 3
    assert all(cost(space.graph(spaces.from_text(text))).macs <= costs[2] for text in found)
    with pytest.raises(SystemExit, match="there must be 20 networks within"):
        tradeoff.uniform_within(run_config, space, 20)


def test_a_row_compares_means() -> None:
    import tradeoff

    def tested(*accuracies: float) -> list[dict[str, Any]]:
        return [{"test_accuracy": a, "params": 10, "macs": 1000} for a in accuracies]

    row = {
        "limit": 1.5,
        "cost": 1.25,
        "found": tested(0.8, 0.9),
        "random": tested(0.5, 0.7, 0.6),
        "found_minus_random": {"mean": 0.25, "low": 0.1, "high": 0.4},
    }
    taus = {"loss": {"tau": 0.4, "low": 0.1, "high": 0.7}, "macs": {"tau": None, "low": None, "high": None}}
    ranking = {"networks": 15, "tau": taus}
    report = {"cost": "latency_ms", "rows": [row], "ranking": ranking, "resnet20": tested(0.9, 0.92)}
    heads, _, line, ranks, drawn = tradeoff.table(report)
    assert heads.startswith("| latency_ms at most | found |")
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[:4] == ["1.5", "1.25", "10", "85.00 (7.07), n = 2"]
    assert cells[4:] == ["60.00 (10.00), n = 3", "70.00", "+25.00 (+10.00 to +40.00)"]
    assert ranks == "Kendall's tau among the 15 random networks: loss 0.40 (0.10 to 0.70)"
    assert "91.00 (1.41), n = 2" in drawn
    few = {**report, "ranking": {"networks": 4, "tau": {}}}
    assert tradeoff.table(few) == [heads, tradeoff.table(report)[1], line, drawn]


def texts(space: spaces.SearchSpace) -> list[str]:
    return [spaces.to_text(space, arch) for arch in all_archs(space)]
