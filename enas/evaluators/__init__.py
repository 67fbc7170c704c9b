"""What judges architectures: turns them into scores.

shared_weights.py  by the supernet's weights (ENAS)
full_training.py   by training each of them (Zoph & Le): child.py is what a worker does, workers.py and
                   ray_workers.py are where they run, cache.py keeps what they found out
"""

from enas.evaluators.full_training import FullTraining, Judgement
from enas.evaluators.shared_weights import SharedWeights

__all__ = ["FullTraining", "Judgement", "SharedWeights"]
