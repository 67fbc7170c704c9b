"""Whole pieces of work, as the command line and Python ask for them. No click, no printing but of progress.

settings.py    the configuration of a search, from preset, space and what the user changes
targets.py     runs, results, architectures, devices and images, all checked
doing.py       what is done with a run folder: begin or continue, forecast, progress, records
training.py    a search with shared weights, a retraining; judging.py: a search without shared weights
auditing.py    the audit of a finished search
lines.py       what is said of them, in a few words
"""
