"""The engine from Python, as from a notebook: `import enas; run = enas.search("photos", limit={"macs": 5e7})`.

Everything goes through what the command line goes through (`enas.jobs`): the same settings, checks and run folders, so
a run that was begun here goes on there, and the other way round. Interrupting the kernel is Ctrl-C: the step at hand
ends, the state is saved, and KeyboardInterrupt says how to go on.

calls.py   search, retrain and load
run.py     a run in its folder, and how it shows itself
given.py   what the user gives as data, space and costs
"""

from enas.api.calls import load, retrain, search
from enas.api.run import Run

__all__ = ["Run", "load", "retrain", "search"]
