"""Drivers of `peers.py`: each times one implementation's own search steps, in a process of its own.

A driver runs in the Python environment of what it measures, which may have neither this package nor click: modules
of drivers import only the standard library, torch, each other, and what they measure.
"""
