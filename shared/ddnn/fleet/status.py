"""What every tier of a running fleet says of itself."""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import httpx

from ddnn.bundle import Bundle
from ddnn.client import Client
from ddnn.errors import BadInput, DDNNError
from ddnn.fleet.addresses import HOST, addresses_of, local_addresses, ports
from ddnn.topology import Topology

__all__ = ["NO_TIER", "TierStatus", "check_served", "read_statuses", "running_addresses"]

NO_TIER: Final = "No tier answers. `ddnn up` starts a fleet."
_TIMEOUT_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class TierStatus:
    """One tier, asked once."""

    name: str
    url: str
    status: Mapping[str, Any] | None
    """Its `GET /v2/status`; None when it gave none."""
    milliseconds: float
    """How long that took."""
    problem: str = ""
    """Why there is none, in a few words."""
    listens: bool = True
    """Whether anything takes connections there."""
    hangs: bool = False
    """Whether it took the request and did not answer."""

    @property
    def ready(self) -> bool:
        """Whether it answers and says it is ready."""
        return bool(self.of("ready"))

    @property
    def fingerprint(self) -> str | None:
        """Fingerprint of the bundle it serves."""
        return self.part("bundle").get("fingerprint")

    @property
    def policy_version(self) -> int | None:
        """Version of the policy it follows."""
        return self.part("policy").get("version")

    def of(self, key: str) -> Any:
        """One value of its status; None when there is none."""
        return (self.status or {}).get(key)

    def part(self, key: str) -> Mapping[str, Any]:
        """One part of its status, such as `policy`; empty when there is none."""
        return self.of(key) or {}

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


def read_statuses(urls: Mapping[str, str] | Sequence[str], token: str | None = None) -> list[TierStatus]:
    """Ask every tier in `urls` for its status, all at once; addresses without names are their own names."""
    named = urls if isinstance(urls, Mapping) else {url: url for url in urls}
    with ThreadPoolExecutor(max(1, len(named))) as threads:
        return list(threads.map(partial(_read, token=token), named, named.values()))


def running_addresses(base_port: int, topology: Topology) -> dict[str, str]:
    """Addresses by name of the fleet that `ddnn up --base-port` started.

    How many tiers there are a running tier knows; where none answers, `topology` does.
    """
    for port in (base_port, base_port + 1, base_port + 10):  # the cloud, an edge, a device
        with (
            suppress(DDNNError, KeyError, TypeError),
            Client(f"http://{HOST}:{port}", timeout_s=_TIMEOUT_S) as client,
        ):
            edges = [len(devices) for devices in client.metadata()["parameters"]["edges"]]
            if edges:
                return addresses_of(ports(base_port, sum(edges), len(edges)))
    return local_addresses(base_port, topology)


def check_served(devices: Sequence[TierStatus], bundle: Bundle, flag: str) -> None:
    """Raise `BadInput`, naming `flag`, if devices answer and none of them serves `bundle`."""
    served = {tier.fingerprint: tier for tier in devices if tier.fingerprint}
    if served and bundle.fingerprint not in served:
        fingerprint, tier = next(iter(served.items()))
        raise BadInput(
            f"this fleet serves {tier.part('bundle').get('name', 'another bundle')} ({str(fingerprint)[:12]}), not"
            f" {bundle.manifest.name} ({bundle.fingerprint[:12]}); give {flag}"
        )


def _read(name: str, url: str, token: str | None) -> TierStatus:
    with Client(url, token, timeout_s=_TIMEOUT_S) as client:
        began = time.perf_counter()
        status, problem, listens, hangs = None, "", True, False
        try:
            status = client.status()
        except DDNNError as error:
            problem, listens, hangs = _problem(error)
    return TierStatus(name, url, status, (time.perf_counter() - began) * 1000, problem, listens, hangs)


def _problem(error: DDNNError) -> tuple[str, bool, bool]:
    """What is wrong, whether anything listens, whether it hangs."""
    cause = error.__cause__
    if isinstance(cause, httpx.ConnectError) and "SSL" not in str(cause):
        return "nothing listens there", False, False
    if isinstance(cause, httpx.ConnectTimeout):
        return f"no connection within {_TIMEOUT_S:.0f} s", False, False
    if isinstance(cause, httpx.TimeoutException):
        return "it is up but does not answer; look at its log", True, True
    return str(cause or error), True, False
