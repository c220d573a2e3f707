"""What every tier of a running fleet says of itself."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx

from ddnn.bundle import Bundle
from ddnn.fleet.ports import HOST, ports
from ddnn.tls import trusted

__all__ = ["NOBODY", "Glance", "bundle_urls", "fleet_urls", "look"]

NOBODY: Final = "No tier answers. `ddnn up` starts a fleet."

_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True)
class Glance:
    """One tier, seen once."""

    name: str
    url: str
    status: Mapping[str, Any] | None
    """Its `GET /v2/status`; None when it gave none."""
    milliseconds: float
    """How long that took."""
    problem: str = ""
    """Why there is none, in a few words."""
    listens: bool = True
    """Whether anything is there at all."""
    hangs: bool = False
    """Whether it took the request and did not answer."""

    @property
    def ready(self) -> bool:
        """Whether it answers and says it is ready."""
        return self.status is not None and bool(self.status.get("ready"))

    @property
    def fingerprint(self) -> str | None:
        """Fingerprint of the bundle it serves."""
        bundle = (self.status or {}).get("bundle") or {}
        return bundle.get("fingerprint")

    @property
    def policy_version(self) -> int | None:
        """Version of the policy it follows."""
        policy = (self.status or {}).get("policy") or {}
        return policy.get("version")

    def document(self) -> dict[str, Any]:
        """The same as data, for `--json`."""
        return {
            "name": self.name,
            "url": self.url,
            "ready": self.ready,
            "milliseconds": round(self.milliseconds, 3),
            "problem": self.problem,
            "status": self.status,
        }


def look(urls: Mapping[str, str], token: str | None = None) -> list[Glance]:
    """Ask every tier in `urls` (name → address) for its status, all at once."""
    return asyncio.run(_look(urls, token))


def fleet_urls(base_port: int, bundle: Bundle) -> dict[str, str]:
    """Addresses by name of the fleet that `ddnn up --base-port` started.

    How many tiers there are a running tier tells; where none does, `bundle` does.
    """
    found = asyncio.run(_shape(base_port))
    return _urls(base_port, *found) if found else bundle_urls(base_port, bundle)


def bundle_urls(base_port: int, bundle: Bundle) -> dict[str, str]:
    """Addresses by name of the fleet that `ddnn up BUNDLE --base-port` starts."""
    return _urls(base_port, len(bundle.topology.devices), len(bundle.topology.edges))


def _urls(base_port: int, devices: int, edges: int) -> dict[str, str]:
    return {name: f"http://{HOST}:{port}" for name, port in ports(base_port, devices, edges).items()}


async def _look(urls: Mapping[str, str], token: str | None) -> list[Glance]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    secure = next((url for url in urls.values() if url.startswith("https://")), "")
    async with httpx.AsyncClient(verify=trusted(secure), trust_env=False, timeout=_SECONDS, headers=headers) as client:
        return list(await asyncio.gather(*(_ask(client, name, url) for name, url in urls.items())))


async def _ask(client: httpx.AsyncClient, name: str, url: str) -> Glance:
    began = time.perf_counter()
    status, problem, listens, hangs = None, "", True, False
    try:
        response = await client.get(f"{url}/v2/status")
        document = response.json() if response.headers.get("content-type", "").startswith("application/json") else None
        if response.status_code == 200 and isinstance(document, dict):
            status = document
        else:
            said = document.get("error") if isinstance(document, dict) else None
            problem = str(said or f"answered {response.status_code}; no tier of a fleet?")
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        hangs = isinstance(error, httpx.ReadTimeout)
        listens = hangs or "SSL" in str(error) or not isinstance(error, httpx.TransportError)
        problem = _in_words(error)
    return Glance(name, url, status, (time.perf_counter() - began) * 1000, problem, listens, hangs)


def _in_words(error: Exception) -> str:
    if isinstance(error, httpx.ConnectError):
        return str(error) if "SSL" in str(error) else "nothing listens there"
    if isinstance(error, httpx.ReadTimeout):
        return "it is up but does not answer; look at its log"
    if isinstance(error, httpx.TimeoutException):
        return f"no answer within {_SECONDS:.0f} s"
    return str(error) or type(error).__name__


async def _shape(base_port: int) -> tuple[int, int] | None:
    """Devices and edges of the fleet on `base_port`, as the first tier that answers knows them."""
    async with httpx.AsyncClient(trust_env=False, timeout=_SECONDS) as client:
        for port in (base_port, base_port + 1, base_port + 10):  # the cloud, an edge, a device
            edges = await _edges(client, port)
            if edges:
                return sum(map(len, edges)), len(edges)
    return None


async def _edges(client: httpx.AsyncClient, port: int) -> list[list[int]] | None:
    """Which devices each edge joins."""
    try:
        metadata = (await client.get(f"http://{HOST}:{port}/v2/models/ddnn")).json()
        return [list(devices) for devices in metadata["parameters"]["edges"]]
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return None
