"""The network: one module, cut in three, trained as one."""

from ddnn.network.ddnn import DDNN, Scored, Still
from ddnn.network.plan import NetworkConfig, Plan, SectionConfig, Wanted

__all__ = ["DDNN", "NetworkConfig", "Plan", "Scored", "SectionConfig", "Still", "Wanted"]
