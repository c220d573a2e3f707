"""A device in C joins a fleet: on a stream to a real edge, it is given the answer that a device in Python is given."""

import asyncio
import json
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from c_device import NEEDS_GCC, compiled
from ddnn.embedded import write_device
from ddnn.policy import Thresholds
from ddnn.types import Answer, Exit
from ddnn_lab.in_process import Fleet
from real_port import PATIENCE_S, between, serving

pytestmark = NEEDS_GCC

ROWS = slice(0, 6)
IN_C = 2
"""The device that is written in C."""
OTHERS = [0, 1, 3, 4, 5]


@pytest.fixture(scope="module")
def program(tiny_bundle: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("c") / "device"
    write_device(tiny_bundle, IN_C, folder)
    return compiled(folder, "join", "join.c", "ddnn_section.c", "ddnn_stream.c")


async def started(program: Path, port: int, name: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(program, "127.0.0.1", str(port), name, stdin=pipe, stdout=pipe)


async def joined(program: Path, port: int, fleet: Fleet, name: str) -> list[dict[str, Any]]:
    """What the device in C is told of golden events."""
    process = await started(program, port, name)
    async with asyncio.timeout(PATIENCE_S):
        out, _ = await process.communicate(fleet.view(IN_C, ROWS).tobytes())
    assert process.returncode == 0
    return [json.loads(line) for line in out.splitlines()]


def alike(told: Sequence[dict[str, Any]], answers: Sequence[Answer]) -> None:
    for one, other in zip(told, answers, strict=True):
        assert (one["label"], one["exit"]) == (other.label, other.exit)
        assert (one["degraded"], one["degraded_reason"]) == (other.degraded, other.degraded_reason)
        assert one["devices"] == other.devices.tolist()
        assert (one["policy_version"], one["bytes_up"]) == (other.policy_version, other.bytes_up)
        assert np.abs(np.array(one["probabilities"]) - other.probabilities).max() < 1e-4
        assert abs(one["confidence"] - other.confidence) < 1e-4


async def seen_by_others(fleet: Fleet, name: str) -> None:
    """The devices in Python see the same events, each by itself, as the device in C asks about them."""
    await asyncio.gather(
        *(
            fleet.infer(
                f"device-{device}",
                {"view": fleet.view(device, slice(n, n + 1)), "event": np.array([f"{name}{n}".encode()], np.object_)},
            )
            for n in range(ROWS.start, ROWS.stop)
            for device in OTHERS
        )
    )


@pytest.mark.parametrize("thresholds", [{"local": 0.0, "edge": 0.0}, {"local": 1.0}])
async def test_the_answer_is_that_of_the_device_in_python(
    program: Path, fleet: Fleet, thresholds: dict[str, float]
) -> None:
    fleet.use(thresholds=Thresholds(**thresholds))
    wanted = (await fleet.see(rows=ROWS, name="all"))[IN_C]
    async with serving(fleet.switch.apps["edge"]) as port:
        told, _ = await asyncio.gather(joined(program, port, fleet, "c"), seen_by_others(fleet, "c"))
    alike(told, wanted)
    assert all(answer.devices.all() and not answer.degraded for answer in wanted)
    assert {answer.exit for answer in wanted} == {Exit.LOCAL if thresholds["local"] else Exit.CLOUD}


async def test_after_a_break_it_asks_on_a_new_connection(program: Path, fleet: Fleet) -> None:
    fleet.use(thresholds=Thresholds(local=1.0), wait_ms=0)
    views = fleet.view(IN_C, ROWS)
    async with serving(fleet.switch.apps["edge"]) as port, between(port) as (middle, ends), asyncio.timeout(PATIENCE_S):
        process = await started(program, middle, "broken-")
        assert process.stdin
        assert process.stdout
        for view in views[:3]:
            process.stdin.write(view.tobytes())
            told = json.loads(await process.stdout.readline())
            assert (told["exit"], told["degraded"]) == ("local", False)
            for end in ends:
                end.transport.abort()
        process.stdin.close()
        assert await process.wait() == 0
        assert len(ends) == 6


async def test_an_edge_that_is_away_leaves_the_device_its_own_label(program: Path, fleet: Fleet) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    told = await joined(program, port, fleet, "alone")
    scores = fleet.bundle.golden["device_scores"][ROWS, IN_C]
    assert [one["label"] for one in told] == scores.argmax(axis=1).tolist()
    assert {(one["exit"], one["degraded"], one["degraded_reason"]) for one in told} == {("device", True, "unreachable")}
