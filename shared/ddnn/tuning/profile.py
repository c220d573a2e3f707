"""How long each section takes: a file that `ddnn profile` writes, and that a person may write for other machines."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any, Final, Literal

import numpy as np
from pydantic import Field, ValidationError

from ddnn.bundle import Bundle
from ddnn.errors import BadData
from ddnn.evaluation import Progress
from ddnn.golden import taken
from ddnn.runtime import Section
from ddnn.seal import Frozen, first_problem, write_atomically
from ddnn.topology import Topology
from ddnn.types import Array, Exit

__all__ = ["Profile", "Timing", "measure"]

_WARM: Final = 10  #: runs that do not count: the first ones are slower
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Timing(Frozen):
    """One section, in seconds a run."""

    median_s: Seconds
    p95_s: Seconds


class Profile(Frozen):
    """The times of a bundle's sections, tier by tier, in the order of its topology."""

    format: Literal[1] = 1
    bundle: str  #: fingerprint of the bundle
    batch: int = Field(ge=1)  #: events a run; latency is about one event, so it takes a profile of 1
    threads: int = Field(ge=1)
    repeat: int = Field(ge=0)  #: runs of each section that were measured
    device: tuple[Timing, ...]  #: D, or none where raw views go up
    local: tuple[Timing, ...]  #: E, or none where raw views go up
    edge: tuple[Timing, ...]  #: E, or none without an edge section
    cloud: Timing

    @classmethod
    def instant(cls, topology: Topology) -> "Profile":
        """Sections that take no time."""
        nothing = Timing(median_s=0, p95_s=0)
        device, local, edge = ((nothing,) * count for count in _counts(topology))
        return cls(bundle="", batch=1, threads=1, repeat=0, device=device, local=local, edge=edge, cloud=nothing)

    @classmethod
    def read(cls, path: Path, bundle: Bundle) -> "Profile":
        """Read the times of `bundle`'s sections; raise `BadData` if the file has others, or none."""
        try:
            profile = cls.model_validate(json.loads(path.read_text("utf-8")))
        except OSError as error:
            raise BadData(f"{path} cannot be read ({error.strerror}); expected what `ddnn profile` wrote") from error
        except ValidationError as error:
            raise BadData(f"{path}: {first_problem(error, 'the profile')}") from error
        except (ValueError, RecursionError) as error:
            raise BadData(f"{path} is not JSON ({error}); expected what `ddnn profile` wrote") from error
        if profile.bundle != bundle.fingerprint:
            raise BadData(
                f"{path} has the times of bundle {profile.bundle[:12]}; this one is {bundle.manifest.name}"
                f" ({bundle.fingerprint[:12]})"
            )
        if profile.batch != 1:
            raise BadData(f"{path} was measured with {profile.batch} events a run; expected 1, what a caller waits for")
        for tier, want in zip(("device", "local", "edge"), _counts(bundle.topology), strict=True):
            if len(getattr(profile, tier)) != want:
                raise BadData(f"{path} has {len(getattr(profile, tier))} {tier} times; expected {want}")
        return profile

    def write(self, path: Path) -> None:
        """Write the file, atomically."""
        text = json.dumps(self.model_dump(mode="json"), indent=1) + "\n"
        write_atomically(path, text)


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
    sections = sorted(bundle.topology.sections, key=lambda spec: (spec.exit.rank, spec.index))
    known: dict[str, Timing] = {}
    times: dict[Exit, list[Timing]] = {exit: [] for exit in Exit}
    for done, spec in enumerate(sections):
        if spec.file not in known:
            inputs = taken(bundle.topology, spec, bundle.golden)
            rows = {name: np.resize(array, (batch, *array.shape[1:])) for name, array in inputs.items()}
            known[spec.file] = _time(Section(bundle.checked(spec.file), threads=threads), rows, repeat, clock)
        times[spec.exit].append(known[spec.file])
        if progress:
            progress("sections", done + 1, len(sections))
    device, local, edge, (cloud,) = (tuple(times[exit]) for exit in Exit)
    found: dict[str, Any] = {"device": device, "local": local, "edge": edge, "cloud": cloud}
    return Profile(bundle=bundle.fingerprint, batch=batch, threads=threads, repeat=repeat, **found)


def _time(section: Section, inputs: dict[str, Array], repeat: int, clock: Callable[[], float]) -> Timing:
    for _ in range(_WARM):
        section.run(**inputs)
    times = np.empty(repeat)
    for place in range(repeat):
        start = clock()
        section.run(**inputs)
        times[place] = clock() - start
    return Timing(median_s=float(np.median(times)), p95_s=float(np.quantile(times, 0.95)))


def _counts(topology: Topology) -> tuple[int, int, int]:
    """How many device sections, local exits and edge sections there are."""
    exits = Counter(section.exit for section in topology.sections)
    return exits[Exit.DEVICE], exits[Exit.LOCAL], exits[Exit.EDGE]
