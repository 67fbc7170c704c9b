"""What judges architectures: turns them into scores.

shared_weights.py  by the supernet's weights (ENAS)
base.py            the interface of those that judge each architecture by itself:
full_training.py   by training each of them (Zoph & Le): child.py is what a worker does, workers.py and
                   ray_workers.py are where they run, cache.py keeps what they found out
table.py           by a table of trained networks
"""

from __future__ import annotations

from enas import spaces
from enas.config import SearchConfig
from enas.data import DataSet, split
from enas.evaluators.base import Evaluator, OnWork
from enas.evaluators.full_training import FullTraining, Judgement
from enas.evaluators.shared_weights import SharedWeights
from enas.evaluators.table import Table
from enas.runs import RunFolder
from enas.runtime import Runtime
from enas.tables import TrueAccuracies

__all__ = ["Evaluator", "FullTraining", "Judgement", "OnWork", "SharedWeights", "Table", "build"]


def build(config: SearchConfig, data: DataSet | TrueAccuracies, folder: RunFolder, runtime: Runtime) -> Evaluator:
    """The evaluator of a search that judges each architecture by itself: of images by full training, or a table."""
    if isinstance(data, TrueAccuracies):
        return Table(data)
    images = config.data
    train, validation = split(data.train, images.validation_fraction, images.split_seed, classes=data.classes)
    space = spaces.build(config.space, data.input_shape, data.num_classes)
    return FullTraining(space, config.full_training, data, train, validation, runtime, config.seed, folder.path)
