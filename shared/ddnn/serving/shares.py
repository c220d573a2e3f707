"""Room that callers share: none may take so much that nothing is left for another."""

from collections.abc import Mapping
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any, Final

from ddnn.identity import Peer

__all__ = ["Shares", "address_of", "caller_of"]

_TIMES: Final = 3  #: a caller may hold so many times what is left free


class Shares:
    """A bounded room, of which a caller may hold at most three times what is left free.

    So a caller alone has three quarters, of two such each has three sevenths, and there is always some for one that has
    none: the dynamic thresholds of Choudhury & Hahne (1998), with α = 3. What comes while nothing is held needs to fit
    into the room only.
    """

    def __init__(self, room: int) -> None:
        self.room, self.held = room, 0
        self._of: dict[str, int] = {}

    def of(self, caller: str) -> int:
        """What a caller holds."""
        return self._of.get(caller, 0)

    def fits(self, caller: str, size: int = 1) -> bool:
        """Whether the caller may hold so much more."""
        left = self.room - self.held - size
        return left >= 0 and (not self.held or self.of(caller) + size <= _TIMES * (left + 1))

    def take(self, caller: str, size: int = 1) -> None:
        """Hold so much more, or less."""
        self.held += size
        if of := self.of(caller) + size:
            self._of[caller] = of
        else:
            self._of.pop(caller, None)

    def give(self, caller: str, size: int = 1) -> None:
        """Hold so much less."""
        self.take(caller, -size)


def caller_of(scope: Mapping[str, Any], peer: Peer | None = None) -> str:
    """Whose shares a request counts in: the tier's that its certificate names, else its address."""
    if peer:
        return peer.caller
    return address_of(scope["client"][0]) if scope.get("client") else ""


@lru_cache(maxsize=4096)
def address_of(address: str) -> str:
    """An address; all of a public IPv6 network of 64 bits are one, as one machine may have them all."""
    try:
        ip = ip_address(address)
    except ValueError:
        return address
    if not isinstance(ip, IPv6Address):
        return address
    if ip.ipv4_mapped:
        return str(ip.ipv4_mapped)
    return str(ip_network((int(ip), 64), strict=False)) if ip.is_global else address
