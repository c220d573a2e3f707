"""A typed client of the tiers, sync and async: one tier, or all devices that see an event."""

from ddnn.client.client import AsyncClient, Client, Options
from ddnn.client.fleet import AsyncFleet, EventAnswer, Fleet, answer_event, join, joined

__all__ = ["AsyncClient", "AsyncFleet", "Client", "EventAnswer", "Fleet", "Options", "answer_event", "join", "joined"]
