"""Measuring how long each section of a bundle takes on this machine."""

from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Final

import numpy as np

from ddnn.bundle import Bundle
from ddnn.evaluation import Progress
from ddnn.golden import section_inputs
from ddnn.runtime import Section
from ddnn.tuning.profile import Profile, Timing
from ddnn.types import Array, Tier

__all__ = ["measure"]

_WARM: Final = 10
"""Runs that do not count: the first ones are slower."""


def measure(
    bundle: Bundle,
    *,
    batch: int = 1,
    repeat: int = 200,
    threads: int = 1,
    clock: Callable[[], float] = perf_counter,
    progress: Progress | None = None,
) -> Profile:
    """Run each section `repeat` times on `batch` golden events, one section at a time, and keep median and p95.

    Devices that share a file share its times.
    """
    places = [*_places(bundle)]
    known: dict[Path, Timing] = {}
    found: dict[str, list[Timing]] = {"device": [], "local": [], "edge": [], "cloud": []}
    for done, (name, file, inputs) in enumerate(places):
        if file not in known:
            section = Section(file, threads=threads)
            rows = {key: np.resize(array, (batch, *array.shape[1:])) for key, array in inputs.items()}
            known[file] = _time(section, rows, repeat, clock)
        found[name].append(known[file])
        if progress:
            progress("sections", done + 1, len(places))
    return Profile(
        bundle=bundle.fingerprint,
        batch=batch,
        threads=threads,
        repeat=repeat,
        device=tuple(found["device"]),
        local=tuple(found["local"]),
        edge=tuple(found["edge"]),
        cloud=found["cloud"][0],
    )


def _places(bundle: Bundle) -> Iterator[tuple[str, Path, dict[str, Array]]]:
    """Every section in the order of the topology: the name of its times, its file, and what it takes."""
    topology = bundle.topology
    counts = {Tier.DEVICE: len(topology.devices), Tier.EDGE: len(topology.edges), Tier.CLOUD: 1}
    for tier, count in counts.items():
        for index in range(count):
            for role, file in bundle.sections(tier, index).items():
                yield "local" if role == "local" else tier.value, file, section_inputs(bundle, tier, index)[role]


def _time(section: Section, inputs: dict[str, Array], repeat: int, clock: Callable[[], float]) -> Timing:
    for _ in range(_WARM):
        section.run(**inputs)
    times = np.empty(repeat)
    for place in range(repeat):
        start = clock()
        section.run(**inputs)
        times[place] = clock() - start
    return Timing(median_s=float(np.median(times)), p95_s=float(np.quantile(times, 0.95)))
