"""Federated averaging: sites keep their events, and only weights travel."""

from ddnn.training.federated.federation import Federation, Simulated, Sites
from ddnn.training.federated.network import Networked
from ddnn.training.federated.on_flower import FlowerSites
from ddnn.training.federated.partition import devices_of, parts_of
from ddnn.training.federated.settings import Federated
from ddnn.training.federated.site import Site
from ddnn.training.federated.visitor import Visitor

__all__ = [
    "Federated",
    "Federation",
    "FlowerSites",
    "Networked",
    "Simulated",
    "Site",
    "Sites",
    "Visitor",
    "devices_of",
    "parts_of",
]
