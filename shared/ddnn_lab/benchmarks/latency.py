"""Latency as tuning counts it against a real fleet whose links are slow: tiers, policy and protocol as served.

`python -m ddnn_lab.benchmarks.latency`: the shipped fleet in one process; each request and its answer
wait as long as its link says. What Python itself takes is measured with fast links and told beside.
"""

import asyncio
from time import perf_counter
from typing import Final

import httpx
import numpy as np

from ddnn.bundle import Bundle, shipped_bundle
from ddnn.data import Dataset, load
from ddnn.evaluation import record
from ddnn.policy import Thresholds
from ddnn.tuning.cost import CostModel, Links, Offload
from ddnn.tuning.profile import measure
from ddnn_lab.in_process import NEVER, Fleet, Switch

__all__ = ["SlowSwitch", "main", "waited_ms"]

EVENTS: Final = 8
LINKS: Final = ("device-edge=200ms,100kbit", "edge-cloud=800ms,100kbit")
EXITS: Final = {"local": Thresholds(local=1, edge=0), "edge": Thresholds(local=0, edge=1), "cloud": NEVER}
OFFLOADS: Final[tuple[Offload, ...]] = ("staged", "eager")


class SlowSwitch(Switch):
    """Requests to the edge and to the cloud take their way."""

    links: Links = Links()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        link = {"edge": self.links.device_edge, "cloud": self.links.edge_cloud}.get(request.url.host)
        if link is None:
            return await super().handle_async_request(request)
        await asyncio.sleep(link.round_trip_s / 2 + link.seconds(len(request.content)))
        response = await super().handle_async_request(request)
        await asyncio.sleep(link.round_trip_s / 2 + link.seconds(len(await response.aread())))
        return response


async def waited_ms(fleet: Fleet, data: Dataset, name: str) -> float:
    """Median over events of the mean time that an event's callers wait."""

    async def call(device: int, row: int) -> float:
        event = np.array([f"{name}-{row}".encode()], np.object_)
        start = perf_counter()
        await fleet.infer(f"device-{device}", {"view": data.views[device][row : row + 1], "event": event})
        return perf_counter() - start

    times = [np.mean(await asyncio.gather(*(call(n, row) for n in range(data.devices)))) for row in range(len(data))]
    return 1000 * float(np.median(times))


async def main() -> None:
    """Print one row for each way to offload and each exit."""
    bundle, switch, links = Bundle.open(shipped_bundle()), SlowSwitch(), Links.parse(LINKS)
    fleet = Fleet(bundle, switch)
    fleet.start()
    data = load("mnist5k", grid="3x2").subset("test").take(range(EVENTS))
    cost = CostModel("latency", links=links, profile=measure(bundle))
    print(f"links: {' '.join(LINKS)}\n\n| offload | answered at | model: ms | fleet: ms | fleet with fast links: ms |")
    print("| --- | --- | --- | --- | --- |")
    for offload in OFFLOADS:
        model = 1000 * cost.at_exits(record(bundle, data), offload).mean(axis=0)
        for place, (exit, thresholds) in enumerate(EXITS.items()):
            fleet.use(thresholds=thresholds, offload=offload)
            switch.links = links
            slow = await waited_ms(fleet, data, f"slow-{offload}-{exit}")
            switch.links = Links()
            fast = await waited_ms(fleet, data, f"fast-{offload}-{exit}")
            print(f"| {offload} | {exit} | {model[place]:,.0f} | {slow:,.0f} | {fast:,.0f} |")
    await fleet.close()


if __name__ == "__main__":
    asyncio.run(main())
