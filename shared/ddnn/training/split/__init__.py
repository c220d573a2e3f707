"""Split training: devices keep their views and their sections; features go up, gradients come down."""

from ddnn.training.split.device import Device
from ddnn.training.split.network import Networked
from ddnn.training.split.server import Devices, Simulated, Split, refuse_unsplit, told_of
from ddnn.training.split.visitor import Visitor

__all__ = ["Device", "Devices", "Networked", "Simulated", "Split", "Visitor", "refuse_unsplit", "told_of"]
