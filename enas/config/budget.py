"""How a budget is written: a time, or a number of floating-point operations."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from enas.errors import UserError

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True)
class Budget:
    """amount: seconds, or where `is_time` is not set floating-point operations (two per multiply-accumulate)."""

    amount: float
    is_time: bool


def parse_budget(text: str) -> Budget:
    """`90s`, `40m`, `2h`, `1.5d` or `flops=2e15`. Raises UserError for anything else."""
    stripped = text.strip().lower()
    time = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*([smhd])", stripped)
    if time:
        budget = Budget(float(time[1]) * _SECONDS[time[2]], True)
    else:
        try:
            budget = Budget(float(stripped.removeprefix("flops=")) if stripped.startswith("flops=") else 0.0, False)
        except ValueError:
            budget = Budget(0.0, False)
    if not (math.isfinite(budget.amount) and budget.amount > 0):
        raise UserError(f"the budget must be a time such as 90s, 40m or 2h, or flops=2e15, but got {text!r}")
    return budget
