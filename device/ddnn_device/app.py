"""The device tier as an ASGI application."""

import httpx
from fastapi import FastAPI

from ddnn.bundle import Bundle
from ddnn.serving.app import make_app
from ddnn.serving.service import Parts, load_parts, make_uplink
from ddnn.settings import Settings
from ddnn.types import Exit, Tier
from ddnn_device.offload import ToEdge
from ddnn_device.service import DeviceService

__all__ = ["create_app", "make_service"]


def create_app(settings: Settings | None = None, transport: httpx.AsyncBaseTransport | None = None) -> FastAPI:
    """Load, verify and self-test the device's section; raise `BadBundle` or `BadConfig`."""
    return make_app(make_service(settings or Settings.load(), transport))


def make_service(settings: Settings, transport: httpx.AsyncBaseTransport | None = None) -> DeviceService:
    """Put a device together; without a section, all its views go up raw."""
    bundle = Bundle.open(settings.bundle)
    topology, uplink = bundle.topology, make_uplink(settings, bundle, transport)
    parts = load_parts(Tier.DEVICE, settings, bundle, places=len(topology.devices), uplink=uplink)
    alone = len(topology.devices) == 1  # of several, the edge hears of every decision
    engine = parts.engine(
        above=next(exit for exit in topology.exits if exit is not Exit.DEVICE),
        offload=_offload(parts, alone=alone),
        audits=parts.audits() if alone else None,
        ledger=parts.ledger(Exit.DEVICE, devices=0) if alone else None,
    )
    return DeviceService(parts, engine)


def _offload(parts: Parts, *, alone: bool) -> ToEdge | None:
    if not parts.uplink:
        return None
    topology, settings = parts.bundle.topology, parts.settings
    first, later = topology.sent(Tier.DEVICE), topology.sent(Tier.DEVICE, "asked")
    packed = [given for given in first if given.what == "view"]  # a section packs its features itself
    return ToEdge(
        parts.uplink,
        parts.metrics,
        first=tuple(given.what for given in first),
        later=tuple(given.what for given in later),
        pack={given.what: topology.codec(given, settings.index).pack for given in packed},
        background=settings.max_background,
        device=settings.index,
        alone=alone,
    )
