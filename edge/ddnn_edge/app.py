"""The edge tier as an ASGI application."""

import httpx
from fastapi import FastAPI

from ddnn.bundle import Bundle
from ddnn.serving.app import make_app
from ddnn.settings import Settings
from ddnn_edge.service import EdgeService

__all__ = ["create_app"]


def create_app(settings: Settings | None = None, transport: httpx.AsyncBaseTransport | None = None) -> FastAPI:
    """Load, verify and self-test the edge's sections; raise `BadBundle` or `BadConfig`."""
    settings = settings or Settings.load()
    return make_app(EdgeService(Bundle.open(settings.bundle), settings, transport))
