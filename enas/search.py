"""The search: two alternating phases an epoch (ENAS section 2.2), then the choice of the final architecture.

`search` yields records and writes the run folder; who prints or plots is not its business.
"""

from __future__ import annotations

from collections.abc import Iterator

from enas.config import SearchConfig
from enas.data import DataSet
from enas.derive import derive
from enas.phases import OnWork, Search
from enas.records import Record
from enas.runs import RunFolder
from enas.runtime import Runtime


def search(
    run_config: SearchConfig, data: DataSet, folder: RunFolder, runtime: Runtime, on_work: OnWork = lambda work: None
) -> Iterator[Record]:
    """Run or continue the search in `folder`; yields each record after it is on the disk.

    Continues from the folder's checkpoint where there is one, and on the CPU exactly as if it had
    never stopped. `on_work` hears of finished work, in forward passes of one image. Raises UserError
    where the checkpoint does not belong to this configuration or data, or where the disk is full.
    """
    state = Search(run_config, data, folder, runtime, on_work)
    state.restore()
    while state.epoch < run_config.epochs:
        if state.weights_stats is None:
            state.weights_stats = state.train_shared_weights()
            state.save()
        record = state.finish_epoch(state.weights_stats, state.train_searcher())
        state.advance(record)
        yield record
    yield from derive(state)
