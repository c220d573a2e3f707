"""A link between two tiers that is slow, narrow, unsteady and broken, as links are: a proxy for tests and studies."""

from ddnn_lab.links.fault import FAULTS, Fault
from ddnn_lab.links.link import Link

__all__ = ["FAULTS", "Fault", "Link"]
