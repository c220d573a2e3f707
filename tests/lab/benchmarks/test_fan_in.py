"""Many edges, each at an address of its own, are all held by one cloud, and each is answered."""

import psutil

from ddnn.settings import Settings
from ddnn_cloud.app import create_app
from ddnn_lab.benchmarks import fan_in
from real_port import serving


async def test_edges_of_as_many_addresses_are_held_and_answered() -> None:
    app = create_app(Settings.load())
    async with serving(app) as port:
        found = await fan_in._fan_in(f"http://127.0.0.1:{port}", psutil.Process(), 30, 0.0)
    await app.state.service.close()
    assert (found["held"], found["edges"]) == (30, 30)
    assert app.state.service.metrics.request_count() == 30 + 8 * 16
    assert found["ms"]["p50"] > 0
