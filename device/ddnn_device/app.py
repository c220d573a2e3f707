"""The device tier as an ASGI application."""

import httpx
from fastapi import FastAPI

from ddnn.bundle import Bundle
from ddnn.serving.app import make_app
from ddnn.serving.audits import Audits
from ddnn.serving.ledger import Ledger
from ddnn.serving.service import Parts, load_parts, make_engine, make_uplink
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
    topology = bundle.topology
    uplink = make_uplink(settings, bundle, transport)
    parts = load_parts(Tier.DEVICE, settings, bundle, places=len(topology.devices), uplink=uplink)
    alone = len(topology.devices) == 1  # of several, the edge hears of every decision
    steps = parts.steps()
    offload = _offload(parts, alone=alone)
    audits = ledger = None
    if alone:
        audits = Audits(
            Tier.DEVICE,
            topology,
            control=parts.control,
            metrics=parts.metrics,
            most=settings.max_background,
            upward=offload is not None,
        )
    if alone and steps:
        ledger = Ledger(settings.ledger_events, devices=0, classes=parts.classes, exits=parts.exits_up_to(Exit.DEVICE))
    above = next(exit for exit in topology.exits if exit is not Exit.DEVICE)
    engine = make_engine(parts, steps, above=above, offload=offload, audits=audits, ledger=ledger)
    return DeviceService(parts, engine, offload, audits, ledger)


def _offload(parts: Parts, *, alone: bool) -> ToEdge | None:
    if not parts.uplink:
        return None
    first, later = (
        tuple(given.what for given in parts.bundle.topology.sent(Tier.DEVICE, when)) for when in ("always", "asked")
    )
    return ToEdge(
        parts.uplink,
        parts.metrics,
        first=first,
        later=later,
        background=parts.settings.max_background,
        device=parts.settings.index,
        alone=alone,
    )
