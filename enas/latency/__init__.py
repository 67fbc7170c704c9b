"""How long a network takes on the device at hand, or on another whose profile is at hand.

nodes.py     the node shapes of a space
measure.py   the times of nodes and of networks
profile.py   a table of times, and what it predicts     files.py   profiles as JSON
making.py    profiles made and completed         estimate.py   times that a profile lacks
"""

from enas.latency.estimate import Estimated
from enas.latency.files import read_profile, write_profile
from enas.latency.making import (
    Latency,
    calibrated,
    calibration_archs,
    check_same,
    different,
    machine,
    meter_like,
    prediction_errors,
    profile_for,
)
from enas.latency.measure import Clock, Meter, Task
from enas.latency.nodes import NodeShape, node_shapes, nodes_of
from enas.latency.profile import Calibration, Machine, Measured, Profile, Timing

__all__ = [
    "Calibration",
    "Clock",
    "Estimated",
    "Latency",
    "Machine",
    "Measured",
    "Meter",
    "NodeShape",
    "Profile",
    "Task",
    "Timing",
    "calibrated",
    "calibration_archs",
    "check_same",
    "different",
    "machine",
    "meter_like",
    "node_shapes",
    "nodes_of",
    "prediction_errors",
    "profile_for",
    "read_profile",
    "write_profile",
]
