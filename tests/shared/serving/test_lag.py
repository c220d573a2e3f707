"""An event loop that is late, for a moment and for longer, and who is let in then."""

import asyncio
import time

from ddnn.serving.lag import LoopLag
from ddnn.wire import encode_request
from ddnn_lab.in_process import INFER, Fleet

DEVICES = [0]


def stall(seconds: float) -> None:
    """Keep the loop from turning."""
    time.sleep(seconds)


async def busy(lag: LoopLag, *, stall_s: float, seconds: float) -> float:
    """The most that stands while each turn of the loop takes `stall_s`."""
    until, most = time.monotonic() + seconds, 0.0
    while time.monotonic() < until:
        stall(stall_s)
        await asyncio.sleep(0)
        most = max(most, lag.standing_s)
    return most


async def test_a_loop_that_stays_late_shows_by_how_much_and_is_forgiven_once_it_keeps_up() -> None:
    lag = LoopLag()
    lag.start()
    assert await busy(lag, stall_s=0.15, seconds=1.5) > 0.02
    async with asyncio.timeout(30):
        for _ in iter(lambda: lag.standing_s, 0.0):
            await asyncio.sleep(0.05)
    lag.stop()


async def test_one_stall_is_not_a_queue() -> None:
    lag = LoopLag()
    lag.start()
    await asyncio.sleep(0)
    stall(1)
    assert await busy(lag, stall_s=0.0, seconds=0.15) == 0
    lag.stop()


async def test_who_would_wait_for_the_loop_past_its_deadline_is_refused_and_who_has_time_is_not(
    fleet: Fleet,
) -> None:
    fleet.switch.apps["device-0"].state.service.lag.standing_s = 0.2
    body, head = encode_request({"view": fleet.view(0, slice(0, 1))})
    async with fleet.client("device-0") as client:
        refused = await client.post(INFER, content=body, headers={**head, "x-ddnn-deadline-ms": "700"})
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert "600 ms" in refused.json()["error"]
        let_in = await client.post(INFER, content=body, headers={**head, "x-ddnn-deadline-ms": "20000"})
        assert let_in.status_code == 200
