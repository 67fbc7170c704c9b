"""What judges architectures: turns them into scores.

shared_weights.py  by the supernet's weights (ENAS)
base.py            the interface of those that judge each architecture by itself
"""

from enas.evaluators.base import Evaluator, OnWork
from enas.evaluators.shared_weights import SharedWeights

__all__ = ["Evaluator", "OnWork", "SharedWeights"]
