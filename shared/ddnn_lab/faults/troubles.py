"""The fault matrix: what befalls a tier, how it ends, and why answers may be degraded meanwhile."""

from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import Any, Final

from ddnn.fleet.links import LinkProcess
from ddnn.links import Shape
from ddnn_lab.faults.fleet import DEVICE, FaultyFleet
from ddnn_lab.links import Fault

__all__ = ["TARGETS", "TROUBLES", "Trouble"]

TARGETS: Final = (f"device-{DEVICE}", "edge", "cloud")
_PATIENCE_S: Final = 30.0
_POLL_S: Final = 0.02
_OPEN: Final = frozenset({"circuit_open"})
_BROKEN: Final = frozenset({"unreachable", "gone", "no_features"})
"""`gone`: the tier above has been begun anew, or has meanwhile let go of the event. `no_features`: nobody got through
to send what had been asked for."""
_SILENT: Final = _BROKEN | {"timeout", "deadline"}
_AWAY: Final = frozenset({"refused", "draining"})

Act = Callable[[Any, str], object]
"""Of a fleet and the name of a tier."""


@dataclass(frozen=True)
class Trouble:
    """One row of the matrix."""

    name: str
    begin: Act
    end: Act
    reasons: frozenset[str]
    """Why answers may be degraded."""
    lasting: bool = False
    """Whether the tier above is gone for all the time, so that the circuit towards it must open."""
    own: bool = True
    """Whether a device in this trouble need not answer its caller."""
    check: Act = field(default=lambda fleet, name: None)
    """Looked at before it ends."""


def _each(find: Callable[[FaultyFleet, str], list[LinkProcess]], change: Callable[[LinkProcess], object]) -> Act:
    def act(fleet: FaultyFleet, name: str) -> None:
        for link in find(fleet, name):
            change(link)

    return act


def _fault(name: str, fault: Fault, reasons: frozenset[str], *, lasting: bool = True) -> Trouble:
    """Whoever reaches the tier meets `fault`."""

    def change(to: Fault) -> Act:
        return _each(FaultyFleet.towards, lambda link: setattr(link, "fault", to))

    return Trouble(name, change(fault), change("none"), reasons | _OPEN, lasting=lasting)


def _cut(name: str, fault: Fault) -> Trouble:
    """The way to the tier, of a device its way up, is silent in one direction."""

    def change(to: Fault) -> Act:
        return _each(FaultyFleet.above, lambda link: setattr(link, "fault", to))

    return Trouble(name, change(fault), change("none"), _SILENT | _OPEN, lasting=True, own=False)


def _shaped(name: str, shape: str) -> Trouble:
    def change(to: str) -> Act:
        return _each(FaultyFleet.above, lambda link: setattr(link, "shape", Shape.parse(to)))

    return Trouble(name, change(shape), change(""), _SILENT | _OPEN | _AWAY, own=False)


def _fill(fleet: FaultyFleet, name: str) -> None:
    fleet.fill_disk(name, full=True)
    fleet.swap_policy()


def _empty(fleet: FaultyFleet, name: str) -> None:
    fleet.fill_disk(name, full=False)
    fleet.swap_policy()


def _not_kept(fleet: FaultyFleet, name: str) -> None:
    """The policy put in force at the cloud gets down by polls, each tier's after the other's."""
    until = monotonic() + _PATIENCE_S
    while (status := fleet.status(name)) is None or status["policy"]["kept"]:
        assert monotonic() < until, f"a full disk was not noticed: {status and status['policy']}"
        sleep(_POLL_S)
    assert "cannot be written" in status["policy"]["not_kept_because"]


def _start(fleet: FaultyFleet, name: str) -> None:
    fleet.start(name)
    fleet.wait_for(name)


TROUBLES: Final = (
    Trouble("killed", FaultyFleet.kill, _start, _BROKEN | _OPEN, lasting=True),
    Trouble("paused", FaultyFleet.pause, FaultyFleet.resume, _SILENT | _OPEN, lasting=True),
    _fault("refuses", "refuse", _BROKEN),
    _fault("hangs", "hang", _SILENT),
    _fault("garbage", "garbage", _BROKEN | {"bad_answer"}),
    _fault("nonsense", "nonsense", _BROKEN | {"bad_answer"}),
    _fault("error 500", "error500", _BROKEN | {"error"}),
    _shaped("slow", "400ms,100ms"),
    _fault("flaps", "flap", _BROKEN | _SILENT, lasting=False),
    _cut("cut up", "cut-up"),
    _cut("cut down", "cut-down"),
    _shaped("56 kbit/s", "56kbit,100ms"),
    Trouble(
        "other bundle",
        lambda fleet, name: fleet.restart(name, estranged=True),
        FaultyFleet.restart,
        _BROKEN | _OPEN | _AWAY | {"other_bundle"},
    ),
    Trouble(
        "clock +1 h",
        lambda fleet, name: fleet.set_clock(name, 3600),
        lambda fleet, name: fleet.set_clock(name, 0),
        frozenset(),
        own=False,
    ),
    Trouble("disk full", _fill, _empty, frozenset(), own=False, check=_not_kept),
)
"""What can happen to each tier."""
