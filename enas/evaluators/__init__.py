"""What judges architectures: turns them into scores.

shared_weights.py  by the supernet's weights (ENAS)
"""

from enas.evaluators.shared_weights import SharedWeights

__all__ = ["SharedWeights"]
