"""Devices without Python: their sections as plain C99, with the frames by which they ask an edge."""

from ddnn.embedded.export import write_device
from ddnn.embedded.section import CSection, translated

__all__ = ["CSection", "translated", "write_device"]
