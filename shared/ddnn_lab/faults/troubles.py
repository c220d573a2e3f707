"""Troubles that befall a tier or a link, and the steady load beneath them."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from time import monotonic, sleep
from types import TracebackType
from typing import Any, Final, Self
from uuid import uuid4

import numpy as np

from ddnn.answers import outputs_to_answers
from ddnn.bundle import Bundle
from ddnn.errors import BadInput
from ddnn.fleet.processes import LinkProcess
from ddnn.links import LinkShape
from ddnn.types import Answer
from ddnn.wire import HEADER_LENGTH, decode_error, decode_response, encode_request
from ddnn_lab.faults.fleet import DEVICE, FaultyFleet
from ddnn_lab.links import Fault, set_fault, set_shape
from ddnn_lab.load.target import Connections, request_head

__all__ = ["TARGETS", "TROUBLES", "Sample", "SteadyLoad", "Trouble"]

_PATH: Final = "/v2/models/ddnn/infer"
_GRACE_S: Final = 5.0  #: how much longer than its deadline an answer is listened for: a late one is late, not lost


@dataclass(frozen=True, slots=True)
class Sample:
    """What one device was asked and said."""

    row: int  #: of the golden events
    device: int
    sent: float  #: on the machine's monotonic clock
    seconds: float
    told: Answer | str
    """The answer, or why there is none: an error's status and code, `NO_CONNECTION`, `NO_ANSWER`, `NONSENSE`."""


class SteadyLoad:
    """All devices see golden events, so many a second, for as long as the context lasts."""

    def __init__(
        self,
        urls: Sequence[str],
        bundle: Bundle,
        rows: Sequence[int],
        *,
        rate: float,
        deadline_s: float = 2.0,
        seed: int = 0,
        threshold: float | None = None,
    ) -> None:
        """`urls` of the devices, in order; events come by themselves, as a Poisson process of `rate` a second.

        `threshold` is asked for instead of the policy's.
        """
        self._parameters: dict[str, bool | int | float | str] = {} if threshold is None else {"threshold": threshold}
        self._urls, self._rows, self._rate, self._deadline_s = urls, rows, rate, deadline_s
        self._views = [bundle.golden[f"view_{n}"] for n in range(len(urls))]
        self._chance, self._run = Random(seed), uuid4().hex[:8]
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._drive()), name="steady load")
        self.samples: list[Sample] = []
        """Of all that has ended, in the order in which it has."""
        self._waiting: set[float] = set()

    @property
    def heard_until(self) -> float:
        """Whatever was sent before this moment has ended."""
        return min(self._waiting.copy(), default=monotonic())

    def take(self) -> list[Sample]:
        """What has ended since this was last called; it is kept here no longer."""
        taken = self.samples[:]
        del self.samples[: len(taken)]
        return taken

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Begin nothing new, and wait until everything begun has ended."""
        self._over.set()
        self._thread.join()

    async def _drive(self) -> None:
        connections = [Connections(url) for url in self._urls]
        due, number = monotonic(), 0
        try:
            async with asyncio.TaskGroup() as group:
                while not self._over.is_set():
                    row = self._rows[number % len(self._rows)]
                    event = f"{self._run}-{number}"
                    for device, each in enumerate(connections):
                        group.create_task(self._ask(each, device, row, event))
                    number += 1
                    due += self._chance.expovariate(self._rate)
                    await asyncio.sleep(max(0.0, due - monotonic()))
        finally:
            for each in connections:
                each.close()

    async def _ask(self, connections: Connections, device: int, row: int, event: str) -> None:
        inputs = {"event": np.array([event.encode()], np.object_), "view": self._views[device][row : row + 1]}
        body, headers = encode_request(inputs, parameters=self._parameters)
        headers["x-ddnn-deadline-ms"] = f"{1000 * self._deadline_s:.0f}"
        head = request_head(self._urls[device], headers, path=_PATH, length=len(body))
        sent = monotonic()
        self._waiting.add(sent)
        told = await self._told(connections, head + body)
        self.samples.append(Sample(row, device, sent, monotonic() - sent, told))
        self._waiting.discard(sent)

    async def _told(self, connections: Connections, request: bytes) -> Answer | str:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._deadline_s + _GRACE_S):
                try:
                    response = await connections.post(request)
                    if response.status != 200:
                        return f"{response.status} {decode_error(response.status, response.body).code}"
                    length = response.headers.get(HEADER_LENGTH.lower().encode(), b"").decode("latin-1")
                    return outputs_to_answers(decode_response(response.body, length or None).outputs, rows=1)[0]
                except OSError:
                    return "NO_CONNECTION"
                except BadInput:
                    return "NONSENSE"
        return "NO_ANSWER"


TARGETS: Final = (f"device-{DEVICE}", "edge", "cloud")
_PATIENCE_S: Final = 30.0
_POLL_S: Final = 0.02
_OPEN: Final = frozenset({"circuit_open"})
_BROKEN: Final = frozenset({"unreachable", "gone", "no_features"})
"""`gone`: the tier above has been begun anew, or has meanwhile let go of the event. `no_features`: nobody got through
to send what had been asked for."""
_SILENT: Final = _BROKEN | {"timeout", "deadline"}
_AWAY: Final = frozenset({"refused", "draining"})

Act = Callable[[Any, str], object]  #: of a fleet and the name of a tier


@dataclass(frozen=True)
class Trouble:
    """One row of the matrix."""

    name: str
    begin: Act
    end: Act
    reasons: frozenset[str]  #: why answers may be degraded
    lasting: bool = False  #: whether the tier above is gone for all the time, so that the circuit towards it must open
    own: bool = True  #: whether a device in this trouble need not answer its caller
    check: Act = field(default=lambda fleet, name: None)  #: looked at before it ends


def _each(find: Callable[[FaultyFleet, str], list[LinkProcess]], change: Callable[[LinkProcess], object]) -> Act:
    def act(fleet: FaultyFleet, name: str) -> None:
        for link in find(fleet, name):
            change(link)

    return act


def _fault(name: str, fault: Fault, reasons: frozenset[str], *, lasting: bool = True) -> Trouble:
    """Whoever reaches the tier meets `fault`."""

    def change(to: Fault) -> Act:
        return _each(FaultyFleet.towards, lambda link: set_fault(link, to))

    return Trouble(name, change(fault), change("none"), reasons | _OPEN, lasting=lasting)


def _cut(name: str, fault: Fault) -> Trouble:
    """The way to the tier, of a device its way up, is silent in one direction."""

    def change(to: Fault) -> Act:
        return _each(FaultyFleet.above, lambda link: set_fault(link, to))

    return Trouble(name, change(fault), change("none"), _SILENT | _OPEN, lasting=True, own=False)


def _shaped(name: str, shape: str) -> Trouble:
    def change(to: str) -> Act:
        return _each(FaultyFleet.above, lambda link: set_shape(link, LinkShape.parse(to)))

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
