"""What judges architectures: turns them into scores.

shared_weights.py  by the supernet's weights (ENAS)
table.py           by a table of trained networks
"""

from enas.evaluators.shared_weights import SharedWeights
from enas.evaluators.table import Table

__all__ = ["SharedWeights", "Table"]
