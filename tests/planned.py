"""Small fleets of which all is known, for plans."""

import numpy as np

from ddnn.types import Exit
from ddnn_lab.planning.costs import Costs, Cpu, Way
from ddnn_lab.planning.ways import Ways

__all__ = ["costs", "ways"]


def way(device: float, edge: float, cloud: float, up: float, far: float) -> Way:
    cpu = Cpu(device=device, edge=edge, cloud=cloud)
    return Way(cpu=cpu, alone_s=(0.0,), device_up=up, device_down=2 * up, edge_up=far, edge_down=far)


def costs(*, edge: float = 0.006) -> Costs:
    """An event takes 2 ms of each of two devices and `edge` of the edge; features one more; the cloud 5 ms."""
    return Costs(
        bundle="b",
        name="b",
        devices=2,
        cores=2,
        memory={"device": 1e8, "edge": 2e8, "cloud": 3e8},
        ways={
            Exit.LOCAL: way(0.002, edge, 0.0, 500.0, 0.0),
            Exit.EDGE: way(0.003, edge + 0.002, 0.0, 1000.0, 0.0),
            Exit.CLOUD: way(0.003, edge + 0.004, 0.005, 1000.0, 800.0),
        },
    )


def ways(*exits: Exit) -> Ways:
    """Events of two devices that these exits answer, each as often."""
    return Ways(np.array([exit.rank for exit in exits]), np.ones((len(exits), 2), np.bool_), 1.0)
