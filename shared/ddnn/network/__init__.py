"""The network: one module, cut in three, trained as one."""

from ddnn.network.config import NetworkConfig, SectionConfig
from ddnn.network.ddnn import DDNN, Scored
from ddnn.network.plan import Plan, Wanted

__all__ = ["DDNN", "NetworkConfig", "Plan", "Scored", "SectionConfig", "Wanted"]
