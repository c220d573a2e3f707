"""Where photographs come from while a fleet runs, one source a device: folders, videos, cameras, MQTT topics."""

from ddnn.sources.opening import open_sources
from ddnn.sources.source import Frame, Source
from ddnn.sources.watching import Counts, Plan, Watched, watch

__all__ = ["Counts", "Frame", "Plan", "Source", "Watched", "open_sources", "watch"]
