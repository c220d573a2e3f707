"""Where the tiers of a fleet listen: ports of this machine by name, and addresses as a person gives them."""

import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Final
from urllib.parse import urlsplit

from ddnn.errors import BadConfig, BadInput
from ddnn.topology import Topology

__all__ = ["HOST", "addresses_of", "device_addresses", "edge_names", "is_free", "local_addresses"]
__all__ += ["parse_addresses", "ports", "refuse_ports_in_use", "scheme_at", "scheme_of"]

HOST: Final = "127.0.0.1"


def ports(base: int, devices: int, edges: int = 1) -> dict[str, int]:
    """Ports by name: the cloud on `base`, edges from `base + 1`, devices from `base + 10`; 0 = whatever is free."""
    names = ["cloud", *edge_names(edges), *(f"device-{index}" for index in range(devices))]
    if base == 0:
        return dict(zip(names, _free_ports(len(names)), strict=True))
    first_device = max(10, 1 + edges)
    offsets = [0, *range(1, 1 + edges), *range(first_device, first_device + devices)]
    if base + offsets[-1] > 65535:
        raise BadConfig(f"--base-port is {base}; {names[-1]} would be on port {base + offsets[-1]}, past 65535")
    return {name: base + offset for name, offset in zip(names, offsets, strict=True)}


def edge_names(edges: int) -> list[str]:
    """`edge`, or `edge-0`, `edge-1`, … when there are several."""
    return ["edge"] if edges == 1 else [f"edge-{index}" for index in range(edges)]


def local_addresses(base: int, topology: Topology) -> dict[str, str]:
    """Addresses by name of the fleet that `ddnn up --base-port` starts."""
    return addresses_of(ports(base, len(topology.devices), len(topology.edges)), scheme_at(base))


def scheme_of(url: str) -> str:
    """The same of a whole address."""
    parts = urlsplit(url)
    return scheme_at(parts.port or {"https": 443}.get(parts.scheme, 80), parts.hostname or HOST)


def scheme_at(port: int, host: str = HOST) -> str:
    """`https` where something listens that does not answer plain HTTP."""
    with suppress(OSError), socket.create_connection((host, port), timeout=1.0) as connection:
        connection.sendall(b"HEAD /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        with suppress(ConnectionError):
            return "http" if connection.recv(1) == b"H" else "https"
        return "https"
    return "http"


def addresses_of(ports: Mapping[str, int], scheme: str = "http") -> dict[str, str]:
    """Addresses on this machine by name."""
    return {name: f"{scheme}://{HOST}:{port}" for name, port in ports.items()}


def parse_addresses(given: Sequence[str]) -> list[str]:
    """Addresses out of repeated or comma-separated flags; raise `BadInput` for what is none."""
    urls = [part.strip().rstrip("/") for value in given for part in value.split(",") if part.strip()]
    for url in urls:
        if not url.startswith(("http://", "https://")):
            raise BadInput(f"{url!r} is not an address; expected one like http://127.0.0.1:8010")
    return urls


def device_addresses(given: Sequence[str], base: int, topology: Topology, *, flag: str = "--device") -> list[str]:
    """The given addresses of the devices, else those of `ddnn up --base-port`; raise `BadInput` if some are missing."""
    devices, urls = len(topology.devices), parse_addresses(given)
    if not urls:
        return list(local_addresses(base, topology).values())[-devices:]
    if len(urls) != devices:
        raise BadInput(f"{len(urls)} {flag} addresses given; the bundle has {devices} devices")
    return urls


def refuse_ports_in_use(ports: Mapping[str, int]) -> None:
    """Raise `BadConfig` naming the first port that cannot be bound."""
    for name, port in ports.items():
        if not is_free(port):
            problem = f"port {port}, for {name}, is in use or may not be bound"
            raise BadConfig(f"{problem}; stop what listens there or give another --base-port")


def is_free(port: int) -> bool:
    """Whether a tier could listen on `port` now."""
    with socket.socket() as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does: TIME_WAIT is no obstacle
        try:
            candidate.bind((HOST, port))
        except OSError:
            return False
    return True


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:  # all held at once, so that no two are the same
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for held in sockets:
            held.bind((HOST, 0))
        return [int(held.getsockname()[1]) for held in sockets]
