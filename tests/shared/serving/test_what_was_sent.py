"""An answer counts the bytes that went up for it, and none that did not."""

import httpx

from ddnn.types import Exit
from ddnn_lab.in_process import Fleet

DEVICES = [0]


async def test_bytes_are_counted_where_they_went_out_alone(fleet: Fleet) -> None:
    edge = fleet.switch.apps.pop("edge")
    for n in range(8):  # the circuit opens meanwhile
        ((answer,),) = await fleet.see(rows=slice(0, 1), name=f"away{n}-", devices=[0], wait_ms=50)
        assert (answer.exit, answer.degraded, answer.bytes_up) == (Exit.DEVICE, True, 0)
    assert answer.degraded_reason == "circuit_open"
    fleet.switch.apps["edge"] = edge


async def test_bytes_that_went_out_are_counted_whatever_came_back(fleet: Fleet) -> None:
    fleet.switch.instead["edge"] = lambda request: httpx.Response(500)
    ((answer,),) = await fleet.see(rows=slice(0, 1), devices=[0])
    assert answer.degraded_reason == "error"
    assert answer.bytes_up > 0
