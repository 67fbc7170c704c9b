"""Making a profile of a space, and completing one where nodes turn up that it lacks."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence

import torch

from enas.config import RunConfig
from enas.errors import UserError
from enas.graph import Graph, signature
from enas.latency.measure import Meter
from enas.latency.nodes import node_shapes, nodes_of
from enas.latency.profile import Calibration, Machine, Measured, Profile
from enas.runtime import Runtime, generator, start, versions
from enas.searchers import uniform
from enas.spaces import Architecture, SearchSpace, to_text

CALIBRATION = 10  # networks
TRIES = 20  # architectures drawn for each of them, as some are the same network
NODES_SHARE = 0.8  # of all work, roughly; the rest is the calibration
Keep = Callable[[Profile], None]


def machine(runtime: Runtime) -> Machine:
    """What times measured here depend on."""
    found = versions(runtime)
    gpu = torch.cuda.get_device_name(runtime.device) if runtime.device.type == "cuda" else None
    return Machine(
        device=runtime.device.type,
        processor=gpu or found["processor"] or "unknown processor",
        threads=runtime.threads,
        precision=str(runtime.precision).removeprefix("torch."),
        torch=found["torch"],
        kernels=found.get("kernels", "torch"),
    )


def different(
    space: SearchSpace, n: int, draws: torch.Generator, taken: Sequence[Architecture] = ()
) -> list[Architecture]:
    """n uniform architectures, no two of which are the same network nor one of those that are taken; fewer where the
    space has no more."""
    seen = {signature(space.graph(arch)) for arch in taken}
    found: list[Architecture] = []
    for arch in uniform(space, n * TRIES, draws):
        code = signature(space.graph(arch))
        if code not in seen and len(found) < n:
            seen.add(code)
            found.append(arch)
    return found


def calibration_archs(space: SearchSpace, seed: int = 0) -> list[Architecture]:
    """The networks that a profile's calibration measures."""
    return different(space, CALIBRATION, generator(seed, "latency/calibration"))


def profile_for(
    space: SearchSpace,
    meter: Meter,
    begun: Profile | None = None,
    keep: Keep = lambda profile: None,
    progress: Callable[[float], None] = lambda share: None,
    seed: int = 0,
) -> Profile:
    """Measure all nodes of a space that can be foreseen (`nodes_of`), and calibrate.

    begun: what an earlier call came to, on the same machine, for the same space and with the same seed: its nodes are
    not measured again.
    keep: called with what there is after each part, to be written to a file. progress: hears which share of all work
    was just done.
    """
    shapes, examples = nodes_of(space, generator(seed, "latency/nodes"))
    archs = calibration_archs(space, seed)
    examples += [space.graph(arch) for arch in archs]
    made_on = machine(meter.runtime), versions(meter.runtime)
    profile = begun or Profile(*made_on, meter.batch_size, space, {}, seed=seed)
    every = dict.fromkeys([*shapes, *(shape for graph in examples for shape in node_shapes(graph))])
    todo = [shape for shape in every if shape not in profile.nodes]
    share = NODES_SHARE if todo else 0.0
    for part in meter.nodes(todo, examples, lambda amount: progress(share * amount)):
        profile = dataclasses.replace(profile, nodes={**profile.nodes, **part}, calibration=None)
        keep(profile)
    if profile.calibration is None:
        profile = calibrated(profile, meter, archs, lambda amount: progress((1 - share) * amount))
        keep(profile)
    return profile


def calibrated(
    profile: Profile,
    meter: Meter,
    archs: Sequence[Architecture],
    progress: Callable[[float], None] = lambda share: None,
) -> Profile:
    """The profile, calibrated by measuring these networks of its space, all of whose nodes it has."""
    graphs = [profile.space.graph(arch) for arch in archs]
    (timings,) = meter.networks(graphs, 1, progress)
    networks = [
        Measured(to_text(profile.space, arch), profile.total(graph), timing.ms)
        for arch, graph, timing in zip(archs, graphs, timings, strict=True)
    ]
    return dataclasses.replace(profile, calibration=Calibration.fit(networks))


class Latency:
    """The predicted milliseconds of networks, by a profile; nodes that it lacks are measured when they come, where the
    machine is the profile's.

    profile: what is known by now. meter: None, or one on the machine and at the batch size of the profile (UserError
    where it is not). keep: called with the larger profile whenever a node was added.
    """

    def __init__(self, profile: Profile, meter: Meter | None = None, keep: Keep = lambda profile: None) -> None:
        self.profile, self._meter, self._keep = profile, meter, keep
        if meter is not None:
            check_same(profile, meter.runtime, meter.batch_size)

    def __call__(self, graph: Graph) -> float:
        """Milliseconds of one forward pass on a batch. Raises UserError where a node is neither known nor can be
        measured here."""
        missing = self.profile.missing([graph])
        if missing and self._meter is not None:
            # a few nodes by themselves would be measured in a cache that they have for themselves
            beside = [shape for shape in dict.fromkeys(node_shapes(graph)) if shape not in missing]
            found = {**self.profile.nodes}
            for part in self._meter.nodes([*missing, *beside], [graph]):
                found |= {shape: timing for shape, timing in part.items() if shape in missing}
            self.profile = dataclasses.replace(self.profile, nodes=found)
            self._keep(self.profile)
        return self.profile.latency(graph)


def check_same(profile: Profile, runtime: Runtime, batch_size: int) -> None:
    """Raise UserError unless the profile's nodes were measured as this runtime would measure them."""
    difference = profile.machine.difference(machine(runtime))
    if difference is None and profile.batch_size != batch_size:
        difference = f"batch size {profile.batch_size} and {batch_size}"
    if difference is not None:
        raise UserError(
            f"{profile.source} must be of this machine and these settings to be added to, but they differ: "
            f"{difference}; make a new profile, in another file"
        )


def meter_like(profile: Profile) -> Meter | None:
    """What measures as the profile was measured, if this is its machine; the process's threads are then as there, and
    else as they were."""
    made = profile.machine
    settings = RunConfig(device=made.device, precision=made.precision)
    with contextlib.suppress(UserError):  # no such device
        here = machine(start(settings))
        # a stranger's number of threads is not for this process
        if made.difference(dataclasses.replace(here, threads=made.threads)) is None:
            runtime = start(dataclasses.replace(settings, threads=made.threads))
            if runtime.threads == made.threads:
                return Meter(runtime, profile.batch_size)
            torch.set_num_threads(here.threads)
    return None


def prediction_errors(profile: Profile) -> list[float]:
    """The relative errors of the predictions for the calibration's own networks, to which they were fitted."""
    calibration = profile.calibration
    if calibration is None:
        return []
    predicted = (calibration.predict(network.sum_ms) for network in calibration.networks)
    return [abs(ms / network.ms - 1) for ms, network in zip(predicted, calibration.networks, strict=True)]
