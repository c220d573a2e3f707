"""The events of a data set through running devices, over HTTP.

Legend: N events, D devices.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import httpx
import numpy as np

from ddnn.bundle import Bundle
from ddnn.client import AsyncFleet, EventAnswer, Options
from ddnn.data import Dataset
from ddnn.errors import BadInput, DDNNError, OtherBundle
from ddnn.evaluation.scores import Progress
from ddnn.topology import Topology
from ddnn.types import Bools, Exit, Ints

__all__ = ["ask"]

_DEADLINE_MS: Final = 30_000.0
_PART_TO_WAIT: Final = 0.5  #: share of the deadline that a tier waits at most, whatever is asked
_FIRST_WAIT_MS: Final = 500.0
"""How long an event waits that some device does not see: nobody can tell the edge that nothing more will come."""
_CHUNK: Final = 32  #: events in one request to a device
_IN_FLIGHT: Final = 4  #: chunks asked at once


async def ask(
    urls: Sequence[str],
    bundle: Bundle,
    data: Dataset,
    *,
    token: str | None = None,
    deadline_ms: float = _DEADLINE_MS,
    progress: Progress | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> list[EventAnswer]:
    """Return the answers of the devices at `urls` to all events of `data`, each seen by at least one of them.

    `transport` replaces the network, for a fleet within one process. Raises `BadInput` for addresses of something else,
    `OtherBundle`, and `DDNNError` for an event that comes back without a device whose view was sent.
    """
    answers: dict[int, EventAnswer] = {}
    longest_ms = _PART_TO_WAIT * deadline_ms
    async with AsyncFleet(urls, token, transport=transport) as fleet:
        await _check(fleet, bundle)
        everybody = data.present.all(axis=1)
        waits = {True: longest_ms, False: min(_FIRST_WAIT_MS, longest_ms)}
        rows_by_wait = [(waits[full], np.flatnonzero(everybody == full)) for full in (True, False)]
        while rows_by_wait:
            wait_ms, rows = rows_by_wait.pop(0)
            await _ask_rows(fleet, data, rows, {"wait_ms": wait_ms, "deadline_ms": deadline_ms}, answers, progress)
            short = [row for row in rows.tolist() if not _complete(bundle.topology, answers[row], data.present[row])]
            if short and wait_ms >= longest_ms:
                raise DDNNError(_incomplete(data, short[0], answers[short[0]], len(short)))
            if short:
                rows_by_wait.append((min(4 * wait_ms, longest_ms), np.array(short)))
    return [answers[row] for row in range(len(data))]


async def _ask_rows(
    fleet: AsyncFleet,
    data: Dataset,
    rows: Ints,
    options: Options,
    answers: dict[int, EventAnswer],
    progress: Progress | None,
) -> None:
    """Fill `answers` at `rows`."""
    room = asyncio.Semaphore(_IN_FLIGHT)

    async def one(chunk: Ints) -> None:
        async with room:
            given = await fleet.answer_events(
                [view[chunk] for view in data.views], present=data.present[chunk], **options
            )
        answers.update(zip(chunk.tolist(), given, strict=True))
        if progress:
            progress("events through the fleet", len(answers), len(data))

    try:
        async with asyncio.TaskGroup() as group:
            for start in range(0, len(rows), _CHUNK):
                group.create_task(one(rows[start : start + _CHUNK]))
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None  # one sentence says it; the other chunks failed alike or were cancelled


def _complete(topology: Topology, answer: EventAnswer, sent: Bools) -> bool:
    """Whether all that was sent took part: a device answers for itself, an edge for its devices, the cloud for all.

    A degraded answer is judged elsewhere.
    """
    if answer.degraded or answer.exit is Exit.DEVICE:
        return True
    expected = sent.copy()
    for edge in topology.edges:
        mine = list(edge.devices)
        if answer.exit is not Exit.CLOUD and not answer.devices[mine].any():
            expected[mine] = False
    views = topology.views
    if answer.exit is Exit.CLOUD and views and views.most:  # the cloud's answer is of those whose views it saw
        enough = answer.devices.sum() == min(sent.sum(), views.most)
        expected = sent & answer.devices if enough else sent
    came_back = all(given is not None for given, was in zip(answer.answers, sent, strict=True) if was)
    return came_back and bool((answer.devices == expected).all())


def _incomplete(data: Dataset, row: int, answer: EventAnswer, count: int) -> str:
    sent, back = (", ".join(map(str, np.flatnonzero(mask))) for mask in (data.present[row], answer.devices))
    why = "; ".join(f"device {device}: {error}" for device, error in answer.errors.items())
    others = f", and {count - 1} other events too" if count > 1 else ""
    return (
        f"event {data.index[row]} was sent to devices {sent} and came back from {back}{others}:"
        f" served and offline cannot be compared{f' ({why})' if why else ''}"
    )


async def _check(fleet: AsyncFleet, bundle: Bundle) -> None:
    """Whoever listens there are the devices of this bundle, in order, under its policy."""
    devices = len(bundle.topology.devices)
    if len(fleet.clients) != devices:
        raise BadInput(f"--fleet names {len(fleet.clients)} addresses; the bundle has {devices} devices")
    for index, client in enumerate(fleet.clients):
        status = await client.status()
        if (status["tier"], status["index"]) != ("device", index):
            raise BadInput(f"{client.url} is {status['tier']} {status['index']}; expected device {index} at this place")
        if status["bundle"]["fingerprint"] != bundle.fingerprint:
            raise OtherBundle(
                f"{client.url} serves bundle {status['bundle']['fingerprint'][:12]}; this one is"
                f" {bundle.fingerprint[:12]}"
            )
        if status["policy"]["version"] != bundle.policy.version:
            raise BadInput(
                f"{client.url} follows policy version {status['policy']['version']}; the bundle's is"
                f" {bundle.policy.version}: restart the fleet, or evaluate the bundle it was started with"
            )
