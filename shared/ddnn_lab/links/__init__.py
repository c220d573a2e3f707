"""A link between two tiers that is slow, narrow, unsteady and broken, as links are: a proxy for tests and studies."""

from ddnn_lab.links.control import link_state, passed, set_fault, set_shape
from ddnn_lab.links.link import FAULTS, Fault, Link

__all__ = ["FAULTS", "Fault", "Link", "link_state", "passed", "set_fault", "set_shape"]
