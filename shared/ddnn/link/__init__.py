"""A link between two tiers that is slow, narrow, unsteady and broken, as links are: a proxy for tests and studies."""

from ddnn.link.fault import FAULTS, Fault
from ddnn.link.link import Link
from ddnn.link.named import LINKS, parse_links
from ddnn.link.process import LinkProcess, LinkState
from ddnn.link.shape import Shape

__all__ = ["FAULTS", "LINKS", "Fault", "Link", "LinkProcess", "LinkState", "Shape", "parse_links"]
