"""The cloud tier as an ASGI application."""

from collections.abc import Sequence

import httpx
import numpy as np
from fastapi import FastAPI

from ddnn.bundle import Bundle
from ddnn.serving.app import make_app
from ddnn.serving.collector import Children, Collector, Place
from ddnn.serving.service import Parts, load_parts
from ddnn.settings import Settings
from ddnn.types import Tier
from ddnn_cloud.service import CloudService

__all__ = ["create_app", "make_service"]

_EDGES_WAIT_TOO = 2  # times as long as an edge waits for its devices: by then it has sent what it has


def create_app(settings: Settings | None = None, transport: httpx.AsyncBaseTransport | None = None) -> FastAPI:
    """Load, verify and self-test the cloud's sections; raise `BadBundle` or `BadConfig`."""
    return make_app(make_service(settings or Settings.load()))


def make_service(settings: Settings) -> CloudService:
    """Put the cloud together: collector → cloud section, which always answers."""
    bundle = Bundle.open(settings.bundle)
    topology = bundle.topology
    joined = range(len(topology.devices) if len(topology.edges) > 1 else 0)
    parts = load_parts(Tier.CLOUD, settings, bundle, places=1, joined=joined)
    engine = parts.engine()
    collector = Collector(_children(parts), engine, parts.control, parts.metrics, settings.collector)
    return CloudService(parts, engine, collector)


def _children(parts: Parts) -> Children:
    """The edges: a place each, or where they have no section those of their devices."""
    topology = parts.bundle.topology
    (given,) = topology.sent(Tier.EDGE)
    by_edge = given.child is Tier.EDGE
    places: Sequence[Place] = [
        slice(number, number + 1) if by_edge else np.array(edge.devices) for number, edge in enumerate(topology.edges)
    ]
    width = len(topology.edges) if by_edge else parts.devices
    size = width * topology.bytes(given, 0, parts.classes)
    return Children(places, width, range(parts.devices), size, _EDGES_WAIT_TOO)
