"""What an event costs, by the exit that answers it: bytes, or seconds.

Legend: N events, D devices, E edges, X exits that are asked in turn, the cloud's last.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from ddnn.errors import BadInput
from ddnn.evaluation import NOBODY, Decisions, Scores
from ddnn.formatting import milliseconds
from ddnn.links import LINKS
from ddnn.topology import Topology
from ddnn.traffic import Offload, crossings
from ddnn.tuning.latency import Links, seconds
from ddnn.tuning.profile import Profile
from ddnn.types import Array, Bools, Exit, Ints

__all__ = ["KINDS", "CostModel", "Kind", "Offload", "Over", "exits_asked"]

Kind = Literal["payload", "body", "latency"]
Over = Literal["all", "device-edge", "edge-cloud"]
KINDS: tuple[Kind, ...] = ("payload", "body", "latency")


def exits_asked(topology: Topology) -> tuple[Exit, ...]:
    """The exits asked in turn, the cloud last, while the device exit of a group is off.

    A device that is alone is its own local exit, whose answer would repeat its own.
    """
    first = Exit.DEVICE if len(topology.devices) == 1 else Exit.LOCAL
    return tuple(exit for exit in (first, Exit.EDGE, Exit.CLOUD) if exit in topology.exits)


@dataclass(frozen=True)
class CostModel:
    """What is counted."""

    kind: Kind = "payload"
    """payload: the network's own tensors, in bytes; body: whole HTTP bodies, in bytes; latency: seconds from view to
    answer, the mean over an event's callers."""
    over: Over = "all"
    """Which links' bytes count; a caller waits for all of them."""
    links: Links = field(default_factory=Links)
    """For latency."""
    profile: Profile | None = None
    """How long sections take, for latency; without, they take no time."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise BadInput(f"cost is {self.kind!r}; expected one of {', '.join(KINDS)}")
        if self.over not in ("all", *LINKS):
            raise BadInput(f"over is {self.over!r}; expected all, {' or '.join(LINKS)}")
        if self.kind == "latency" and self.over != "all":
            raise BadInput(f"over is {self.over!r} with latency; expected all: a caller waits for every link")

    @property
    def unit(self) -> Literal["seconds", "bytes"]:
        """Of one event's cost."""
        return "seconds" if self.kind == "latency" else "bytes"

    def document(self) -> dict[str, Any]:
        """As JSON, for reports and the policy's `tuned`."""
        document: dict[str, Any] = {"kind": self.kind, "unit": self.unit, "over": self.over}
        if self.kind == "latency":
            sections = self.profile and self.profile.model_dump(mode="json")
            document |= {"links": self.links.document(), "sections": sections}
        return document

    def text(self, cost: float) -> str:
        """A mean cost for people: bytes, or milliseconds."""
        return f"{cost:,.1f} {self.kind} bytes" if self.unit == "bytes" else milliseconds(cost, 2)

    def at_exits(self, scores: Scores, offload: Offload) -> Array:
        """(N, X) what each event costs if it is answered at the x-th of `exits_asked`.

        With one edge the mean over events, each at the exit where it is answered, is exactly what `spent` says of the
        decisions. With several edges each settles its event by itself and the surest answers, so that an event's cost
        depends on all of them: these are the costs if all of an event's edges settle at the same exit, and `spent` is
        to be asked for what a policy costs.
        """
        columns = []
        for exit in exits_asked(scores.topology):
            rank = NOBODY if exit is Exit.CLOUD else exit.rank
            settled = np.where(scores.edge_present, rank, NOBODY)
            columns.append(self._count(scores, scores.present & (exit is Exit.DEVICE), settled, offload))
        return np.stack(columns, axis=1)

    def spent(self, scores: Scores, decisions: Decisions, offload: Offload) -> Array:
        """(N,) what each event costs under `decisions`, whatever the thresholds and however many edges."""
        return self._count(scores, decisions.sure, decisions.settled, offload)

    def _count(self, scores: Scores, sure: Bools, settled: Ints, offload: Offload) -> Array:
        """(N,), `sure` (N, D) and `settled` (N, E) as in `Decisions`."""
        if self.kind == "latency":
            profile = self.profile or Profile.instant(scores.topology)
            return seconds(scores, sure, settled, offload, self.links, profile)
        both = crossings(scores.topology, scores.classes, scores.present, sure, settled, offload)
        counted = LINKS if self.over == "all" else (self.over,)
        sizes = (getattr(crossed, self.kind) for name, crossed in zip(LINKS, both, strict=True) if name in counted)
        return np.asarray(sum(sizes), dtype=np.float64)
