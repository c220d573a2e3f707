"""What an event costs, by the exit that answers it: bytes, or seconds.

Legend: N events, D devices, E edges, X exits that are asked in turn, the cloud's last.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from ddnn.errors import BadInput
from ddnn.evaluation import NOBODY, Decisions, Scores
from ddnn.links import LINKS
from ddnn.topology import Topology
from ddnn.traffic import Offload, crossings
from ddnn.tuning.latency import seconds
from ddnn.tuning.links import Links
from ddnn.tuning.profile import Profile
from ddnn.types import Array, Bools, Exit, Ints

__all__ = ["KINDS", "Kind", "Offload", "Over", "Price", "costs", "exits_asked", "spent"]

Kind = Literal["payload", "body", "latency"]
Over = Literal["all", "device-edge", "edge-cloud"]
KINDS: tuple[Kind, ...] = ("payload", "body", "latency")


@dataclass(frozen=True, slots=True)
class Price:
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
    def unit(self) -> str:
        """Of one event's cost."""
        return "seconds" if self.kind == "latency" else "bytes"

    def document(self) -> dict[str, Any]:
        """As JSON, for reports and the policy's `tuned`."""
        told: dict[str, Any] = {"kind": self.kind, "unit": self.unit, "over": self.over}
        if self.kind == "latency":
            told |= {"links": self.links.document(), "sections": self.profile and self.profile.model_dump(mode="json")}
        return told


def exits_asked(topology: Topology) -> tuple[Exit, ...]:
    """The exits asked in turn, the cloud last, while the device exit of a group is off.

    A device that is alone is its own local exit, whose answer would repeat its own.
    """
    first = Exit.DEVICE if len(topology.devices) == 1 else Exit.LOCAL
    return tuple(exit for exit in (first, Exit.EDGE, Exit.CLOUD) if exit in topology.exits)


def costs(scores: Scores, offload: Offload, price: Price) -> Array:
    """(N, X) what each event costs if it is answered at the x-th of `exits_asked`, in the unit of `price`.

    With one edge the mean over events, each at the exit where it is answered, is exactly what `spent` says of the
    decisions. With several edges each settles its event by itself and the surest answers, so that an event's cost
    depends on all of them: these are the costs if all of an event's edges settle at the same exit, and `spent` is to
    be asked for what a policy costs.
    """
    columns = [_count(scores, *_suppose(scores, exit), offload, price) for exit in exits_asked(scores.topology)]
    return np.stack(columns, axis=1)


def spent(scores: Scores, decisions: Decisions, offload: Offload, price: Price) -> Array:
    """(N,) what each event costs under `decisions`, whatever the thresholds and however many edges."""
    return _count(scores, decisions.sure, decisions.settled, offload, price)


def _suppose(scores: Scores, exit: Exit) -> tuple[Bools, Ints]:
    """Who was sure, (N, D), and where edges settled, (N, E), if all events were answered at `exit`."""
    sure = scores.present & (exit is Exit.DEVICE)
    rank = NOBODY if exit is Exit.CLOUD else exit.rank
    return sure, np.where(scores.edge_present, rank, NOBODY)


def _count(scores: Scores, sure: Bools, settled: Ints, offload: Offload, price: Price) -> Array:
    if price.kind == "latency":
        profile = price.profile or Profile.instant(scores.topology)
        return seconds(scores, sure, settled, offload, price.links, profile)
    both = crossings(scores.topology, scores.classes, scores.present, sure, settled, offload)
    links = dict(zip(LINKS, both, strict=True))
    wanted = LINKS if price.over == "all" else (price.over,)
    return np.asarray(sum(getattr(links[name], price.kind) for name in wanted), dtype=np.float64)
