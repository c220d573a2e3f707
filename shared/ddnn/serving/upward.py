"""The way up of a tier: the client of the tier above, made from a bundle, settings and an identity."""

from typing import Final

import httpx

from ddnn.bundle import Bundle
from ddnn.identity import Identity
from ddnn.settings import Settings
from ddnn.types import Tier
from ddnn.uplink import SILENCE_S, Uplink

__all__ = ["make_uplink"]

_KEEP_S: Final = 4.0  #: how long an idle connection upward is kept
_KEEP_SECURE_S: Final = 60.0  #: the same over TLS: shaking hands anew costs both sides


def make_uplink(
    tier: Tier,
    settings: Settings,
    bundle: Bundle,
    transport: httpx.AsyncBaseTransport | None,
    identity: Identity | None,
) -> Uplink | None:
    """The uplink of a tier that has one; `transport` replaces the network."""
    if not settings.upstream or tier is Tier.CLOUD:
        return None
    if identity:
        above = (Tier.EDGE, bundle.topology.edge_of(settings.index)) if tier is Tier.DEVICE else (Tier.CLOUD, 0)
        identity.expect(*above)
    return Uplink(
        settings.upstream,
        bundle=bundle.fingerprint,
        # With a certificate of its own a tier needs no token, and so hands none to whatever is above.
        token=settings.token.get_secret_value() if settings.token and not identity else None,
        transport=transport,
        tls=identity.client if identity else None,
        keepalive_s=_KEEP_SECURE_S if identity else _KEEP_S,
        silence_s=None if transport else SILENCE_S,
        classes=len(bundle.manifest.classes),
        devices=len(bundle.topology.devices),
        # Fewer would let events wait here for siblings that wait elsewhere.
        connections=settings.max_in_flight + settings.max_background,
        pad_bytes=settings.pad_bytes,
        # Of an event, edges agree on a cloud; devices on the first edge, so that a pair is one and its standby.
        homes=(settings.uplink.order or ("event" if tier is Tier.EDGE else "given")) == "event",
        # A stream is as long as it is: where sizes must not tell, HTTP is padded.
        tier=f"{tier}/{settings.index}"
        if settings.uplink.transport == "stream" and not transport and not settings.pad_bytes
        else None,
    )
