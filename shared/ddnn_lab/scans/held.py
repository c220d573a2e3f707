"""What an attacker holds of a site, and what the fleet made of what it did with that."""

import asyncio
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np

from ddnn.bundle import Bundle
from ddnn.types import Array, Exit

__all__ = ["Attack", "Heard", "Held", "keep_on"]

_ADDRESSES: Final = 25
"""Of this machine, 127.0.1.1 and so on, that an attacker has; honest callers are at another."""


@dataclass(frozen=True)
class Held:
    """Addresses of tiers, the folders of some of them, which have their keys, and callers' tokens."""

    site: Path
    bundle: Path
    urls: dict[str, str]  #: by the tier's name
    token: str
    admin_token: str

    def child(self, tier: str) -> tuple[str, int]:
        """Whose key an attacker of a tier has: the last device's at the edge, the edge's at the cloud."""
        return ("device", len(self.urls) - 3) if tier == "edge" else ("edge", 0)

    def context(self, tier: str, *, known: bool = True) -> ssl.SSLContext:
        """What connects to `tier`: as one below it, whose key was stolen, or as a stranger."""
        context = ssl.create_default_context(cafile=self.site / "authority.pem")
        if known and not tier.startswith("device"):
            child, index = self.child(tier)
            context.load_cert_chain(self.site / f"{child}-{index}" / "tier.pem")
        return context

    def asked(self, tier: str, chance: Random) -> tuple[dict[str, Array], dict[str, Any]]:
        """Tensors and parameters of a request that `tier` answers, of one to three golden events under new ids."""
        bundle, count = _opened(self.bundle), chance.randint(1, 3)
        golden = bundle.golden
        rows = chance.randrange(len(golden["y"]) - count)
        which = slice(rows, rows + count)
        if tier == "cloud":
            present = golden["present"][which].astype(np.bool_)
            return {"features": golden["edge_features"][which, 0], "present": present}, {"edge": 0}
        ids = np.array([b"%032x" % chance.getrandbits(128) for _ in range(count)], np.object_)
        if tier.startswith("device"):
            return {"event": ids, "view": golden[f"view_{tier.rpartition('-')[2]}"][which]}, {}
        _, index = self.child(tier)
        scores = bundle.topology.score_codec(Exit.DEVICE).pack(golden["device_scores"][which, index])
        return {"event": ids, "scores": scores, "features": golden["device_features"][which, index]}, {
            "device": index,
            "wait_ms": chance.choice((0, 100, 600_000)),
        }

    async def connect(
        self, tier: str, tls: ssl.SSLContext | None, chance: Random
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to `tier` from one of the attacker's addresses, over TLS where there is a context."""
        parts = urlsplit(self.urls[tier])
        address = f"127.0.1.{chance.randint(1, _ADDRESSES)}"
        host = parts.hostname if tls else None
        return await asyncio.open_connection(
            parts.hostname, parts.port, ssl=tls, server_hostname=host, local_addr=(address, 0)
        )


@cache
def _opened(bundle: Path) -> Bundle:
    return Bundle.open(bundle)


@dataclass
class Heard:
    """What was done how often, and what came back."""

    did: Counter[str] = field(default_factory=Counter)
    back: Counter[str] = field(default_factory=Counter)

    def document(self) -> dict[str, dict[str, int]]:
        """As JSON."""
        return {"did": dict(self.did.most_common()), "back": dict(self.back.most_common())}


Attack = Callable[[Held, str, float, int], Heard]
"""Of a tier, for so many seconds, by a seed."""


async def keep_on(seconds: float, workers: int, seed: int, one: Callable[[Random, Heard], Awaitable[None]]) -> Heard:
    """Do `one` thing after the other, so many at once; a connection that ends under it is counted."""
    heard, until = Heard(), monotonic() + seconds

    async def work(number: int) -> None:
        chance = Random(seed * 1000 + number)
        while monotonic() < until:
            try:
                async with asyncio.timeout(5):
                    await one(chance, heard)
            except TimeoutError:
                heard.back["no end in 5 s"] += 1
            except (OSError, EOFError):  # an `SSLError` is an `OSError`
                heard.back["closed"] += 1

    async with asyncio.TaskGroup() as group:
        for number in range(workers):
            group.create_task(work(number))
    return heard
