"""How much of the memory that a process may use is for what comes from outside, so that its container is not killed."""

import resource
import sys
from pathlib import Path
from typing import Final

from ddnn.settings import Settings

__all__ = ["CONNECTIONS", "CONTRIBUTIONS", "REQUESTS", "memory_limit", "within_memory"]

REQUESTS: Final = 256 << 20  #: bytes of requests being worked on, where memory has no limit
CONTRIBUTIONS: Final = 64 << 20  #: bytes of contributions that wait in the collector, likewise
CONNECTIONS: Final = 4096
_CONNECTION_BYTES: Final = 50 << 10  #: what one may cost whose head is being read
_SECURE_BYTES: Final = 100 << 10  #: the same over TLS
# Shares of what is free once the sections are loaded; the rest is for answers on their way out and for the heap's gaps.
_FOR_REQUESTS: Final = 0.25
_FOR_CONTRIBUTIONS: Final = 0.5
_FOR_CONNECTIONS: Final = 0.2
_FOR_ONE: Final = 0.75  #: of the room of requests: the largest body, so that others are answered beside it
_LEAST: Final = 1 / 8  #: of the limit is taken for free, however much is used


def within_memory(settings: Settings) -> Settings:
    """The settings with bounds that fit into the memory left now, in place of those that were not given."""
    limit = settings.max_memory_bytes or memory_limit()
    free = None if limit is None else max(limit - _resident(), _LEAST * limit)

    def bound(given: int | None, usual: int, share: float, each: int = 1) -> int:
        return given or (usual if free is None else min(usual, max(1, int(share * free) // each)))

    collector, secure = settings.collector, settings.identity or settings.tls_certificate
    each = _SECURE_BYTES if secure else _CONNECTION_BYTES
    held = bound(collector.bytes, CONTRIBUTIONS, _FOR_CONTRIBUTIONS)
    requests = bound(settings.max_in_flight_bytes, REQUESTS, _FOR_REQUESTS)
    largest = settings.max_body_bytes if settings.max_in_flight_bytes else int(_FOR_ONE * requests)
    return settings.model_copy(
        update={
            "max_in_flight_bytes": requests,
            "max_body_bytes": min(settings.max_body_bytes, largest),
            "max_connections": bound(settings.max_connections, CONNECTIONS, _FOR_CONNECTIONS, each),
            "collector": collector.model_copy(update={"bytes": held}),
        }
    )


def memory_limit(cgroup: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Bytes that this container may use (cgroup v2, then v1); None without a limit."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            text = (cgroup / name).read_text().strip()
        except OSError:
            continue
        return int(text) if text.isdigit() and int(text) < 1 << 60 else None  # v1 writes none as a number near 2⁶³
    return None


def _resident() -> int:
    """Bytes of memory that this process uses."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:  # no Linux: the most it has ever used
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
