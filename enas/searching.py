"""The search: alternate the two phases, then derive (ENAS section 2.2).

Yields a record after every epoch and every finalist. Whoever iterates decides what to do with them;
the run itself writes the run folder; who prints or plots is not its business.
"""

from __future__ import annotations

from collections.abc import Iterator

from enas.budget import replanned
from enas.config import SearchConfig, parse_budget
from enas.data import DataSet
from enas.derive import derive
from enas.interrupts import StopRequest
from enas.phases import OnWork, Search
from enas.rates import Rates
from enas.records import Record
from enas.runs import RunFolder
from enas.runtime import Runtime
from enas.shrinking import shrink_where_due
from enas.splitting import split_where_due


def search(
    config: SearchConfig,
    data: DataSet,
    folder: RunFolder,
    runtime: Runtime,
    on_work: OnWork = lambda units: None,
    on_resume: OnWork = lambda units: None,
    stop: StopRequest | None = None,
    rates: Rates | None = None,
    began: float | None = None,
) -> Iterator[Record]:
    """Run or continue the search in `folder`; yields each record after it is on the disk.

    Continues from the folder's checkpoint where there is one, and on the CPU exactly as if it had
    never stopped; when this call returns, the folder's records are those that the checkpoint knows.
    `on_work` hears of finished work, `on_resume` of what an earlier session did, both in forward passes
    of one image. `rates` are those of `budget.plan`: with them a search with a time budget changes its
    sizes where the time that the finished epochs took asks for it. `began` is the time.perf_counter() from
    which this session's time counts (default: now). Raises UserError where the checkpoint does
    not belong to this configuration or data, or where the disk is full; Stopped where `stop` asks for it.
    """
    state = Search(config, data, folder, runtime, on_work, on_resume, stop)
    state.restore()
    if began is not None:
        state.count_from(began)
    return _epochs(state, rates)


def _epochs(state: Search, rates: Rates | None) -> Iterator[Record]:
    while state.epoch < state.config.epochs:
        if state.within.stats is None:
            for change_where_due in (shrink_where_due, split_where_due):
                state.within.note(change_where_due(state))
            state.within.stats = state.train_shared_weights()
            state.save()
        state.train_searcher()
        record = state.finish_epoch()
        state.advance(record)
        if rates is not None and state.config.budget is not None and parse_budget(state.config.budget).is_time:
            state.config = replanned(state, rates)
        state.save()
        yield record
    yield from derive(state)
