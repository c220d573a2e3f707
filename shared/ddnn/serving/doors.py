"""Connections of a tier: bounded, shared by callers' addresses, with a way in that is for probes alone."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from ddnn.serving.shares import Shares, address_of

__all__ = ["PROBED", "Door", "Doors"]

PROBED: Final = frozenset(
    {"/livez", "/readyz", "/v2/health/live", "/v2/health/ready", "/v2/models/ddnn/ready", "/metrics"}
)
"""What a connection beyond all bounds may still ask for."""
_PROBES: Final = 32
_HANDSHAKES: Final = 256


class Door:
    """The place of one connection, which it leaves once."""

    def __init__(self, doors: "Doors", caller: str, close: Callable[[], object], *, probe: bool) -> None:
        self.probe = probe  #: whether it may only ask for what is `PROBED`
        self.close = close
        self._doors, self._caller = doors, caller
        self._shaking = False

    def shake(self) -> bool:
        """Begin a handshake; whether there is room for it."""
        handshakes = self._doors.handshakes
        if self._shaking or not handshakes.fits(self._caller):
            return False
        handshakes.take(self._caller)
        self._shaking = True
        return True

    def shaken(self) -> None:
        """The handshake is over."""
        if self._shaking:
            self._doors.handshakes.give(self._caller)
            self._shaking = False

    def leave(self) -> None:
        self.shaken()
        self._doors.left(self, self._caller)


class Doors:
    """All of them. One more than fits is a probe's, and closes the one that has been that for longest."""

    def __init__(self, room: int) -> None:
        self.connections, self.handshakes = Shares(room), Shares(_HANDSHAKES)
        self._probes: dict[Door, None] = {}

    def enter(self, transport: asyncio.BaseTransport, close: Callable[[], object]) -> Door:
        """A place for this connection; `close` is called when another needs it."""
        name: Any = transport.get_extra_info("peername")
        caller = address_of(name[0]) if name else ""
        door = Door(self, caller, close, probe=not self.connections.fits(caller))
        if not door.probe:
            self.connections.take(caller)
            return door
        if len(self._probes) >= _PROBES:
            oldest = next(iter(self._probes))
            del self._probes[oldest]
            oldest.close()
        self._probes[door] = None
        return door

    def left(self, door: Door, caller: str) -> None:
        if door.probe:
            self._probes.pop(door, None)
        else:
            self.connections.give(caller)
