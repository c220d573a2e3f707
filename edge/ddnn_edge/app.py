"""The edge tier as an ASGI application."""

import httpx
from fastapi import FastAPI

from ddnn.bundle import Bundle
from ddnn.serving.app import make_app
from ddnn.serving.collector import Children, Collector
from ddnn.serving.service import Parts, load_parts, make_uplink
from ddnn.settings import Settings
from ddnn.types import Exit, Tier
from ddnn_edge.offload import ToCloud, ToJoiningCloud
from ddnn_edge.service import EdgeService

__all__ = ["create_app", "make_service"]

_MOST_AT_ONCE = 512  # events in one request to the cloud


def create_app(settings: Settings | None = None, transport: httpx.AsyncBaseTransport | None = None) -> FastAPI:
    """Load, verify and self-test the edge's sections; raise `BadBundle` or `BadConfig`."""
    return make_app(make_service(settings or Settings.load(), transport))


def make_service(settings: Settings, transport: httpx.AsyncBaseTransport | None = None) -> EdgeService:
    """Put an edge together: collector → local exit → edge section → cloud; without sections, collector → cloud."""
    bundle = Bundle.open(settings.bundle)
    topology, uplink = bundle.topology, make_uplink(settings, bundle, transport)
    devices = range(len(topology.devices))
    parts = load_parts(Tier.EDGE, settings, bundle, places=len(topology.edges), joined=devices, uplink=uplink)
    mine = topology.edges[settings.index].devices
    engine = parts.engine(
        above=Exit.CLOUD,
        offload=_offload(parts, mine),
        audits=parts.audits(),
        ledger=parts.ledger(Exit.EDGE, devices=len(mine), edge=settings.index),
    )
    collector = Collector(_children(parts, mine), engine, parts.control, parts.metrics, settings.collector)
    return EdgeService(parts, engine, collector)


def _children(parts: Parts, mine: tuple[int, ...]) -> Children:
    topology, count = parts.bundle.topology, len(mine)
    sent = (*topology.sent(Tier.DEVICE), *topology.sent(Tier.DEVICE, "asked"))
    each = sum(topology.bytes(given, mine[0], parts.classes) for given in sent)
    return Children([slice(place, place + 1) for place in range(count)], count, mine, count * each)


def _offload(parts: Parts, mine: tuple[int, ...]) -> ToCloud | None:
    if not parts.uplink:
        return None
    topology, settings = parts.bundle.topology, parts.settings
    kind = ToJoiningCloud if len(topology.edges) > 1 else ToCloud
    return kind(
        parts.uplink,
        parts.metrics,
        carries=tuple(given.what for given in topology.sent(Tier.EDGE)),
        background=settings.max_background,
        edge=settings.index,
        devices_below=mine,
        max_batch=min(_MOST_AT_ONCE, settings.max_batch),
    )
