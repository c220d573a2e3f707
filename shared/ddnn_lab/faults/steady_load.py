"""Steady load on a fleet from a thread of its own, every answer of every device kept."""

import asyncio
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from time import monotonic
from types import TracebackType
from typing import Final, Self
from uuid import uuid4

import numpy as np

from ddnn.answers import outputs_to_answers
from ddnn.bundle import Bundle
from ddnn.errors import BadInput
from ddnn.types import Answer
from ddnn.wire import HEADER_LENGTH, decode_error, decode_response, encode_request
from ddnn_lab.load.connections import Connections, request_head

__all__ = ["Sample", "SteadyLoad"]

_PATH: Final = "/v2/models/ddnn/infer"
_GRACE_S: Final = 5.0
"""How much longer than its deadline an answer is listened for: a late one is late, not lost."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What one device was asked and said."""

    row: int
    """Of the golden events."""
    device: int
    sent: float
    """On the machine's monotonic clock."""
    seconds: float
    told: Answer | str
    """The answer, or why there is none: an error's status and code, `NO_CONNECTION`, `NO_ANSWER`, `NONSENSE`."""


class SteadyLoad:
    """All devices see golden events, so many a second, for as long as the context lasts."""

    def __init__(
        self,
        urls: Sequence[str],
        bundle: Bundle,
        rows: Sequence[int],
        *,
        rate: float,
        deadline_s: float = 2.0,
        seed: int = 0,
        threshold: float | None = None,
    ) -> None:
        """`urls` of the devices, in order; events come by themselves, as a Poisson process of `rate` a second.

        `threshold` is asked for instead of the policy's.
        """
        self._parameters: dict[str, bool | int | float | str] = {} if threshold is None else {"threshold": threshold}
        self._urls, self._rows, self._rate, self._deadline_s = urls, rows, rate, deadline_s
        self._views = [bundle.golden[f"view_{n}"] for n in range(len(urls))]
        self._chance, self._run = Random(seed), uuid4().hex[:8]
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._drive()), name="steady load")
        self.samples: list[Sample] = []
        """Of all that has ended, in the order in which it has."""
        self._waiting: set[float] = set()

    @property
    def heard_until(self) -> float:
        """Whatever was sent before this moment has ended."""
        return min(self._waiting.copy(), default=monotonic())

    def take(self) -> list[Sample]:
        """What has ended since this was last called; it is kept here no longer."""
        taken = self.samples[:]
        del self.samples[: len(taken)]
        return taken

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Begin nothing new, and wait until everything begun has ended."""
        self._over.set()
        self._thread.join()

    async def _drive(self) -> None:
        connections = [Connections(url) for url in self._urls]
        due, number = monotonic(), 0
        try:
            async with asyncio.TaskGroup() as group:
                while not self._over.is_set():
                    row = self._rows[number % len(self._rows)]
                    event = f"{self._run}-{number}"
                    for device, each in enumerate(connections):
                        group.create_task(self._ask(each, device, row, event))
                    number += 1
                    due += self._chance.expovariate(self._rate)
                    await asyncio.sleep(max(0.0, due - monotonic()))
        finally:
            for each in connections:
                each.close()

    async def _ask(self, connections: Connections, device: int, row: int, event: str) -> None:
        inputs = {"event": np.array([event.encode()], np.object_), "view": self._views[device][row : row + 1]}
        body, headers = encode_request(inputs, parameters=self._parameters)
        headers["x-ddnn-deadline-ms"] = f"{1000 * self._deadline_s:.0f}"
        head = request_head(self._urls[device], headers, path=_PATH, length=len(body))
        sent = monotonic()
        self._waiting.add(sent)
        told = await self._told(connections, head + body)
        self.samples.append(Sample(row, device, sent, monotonic() - sent, told))
        self._waiting.discard(sent)

    async def _told(self, connections: Connections, request: bytes) -> Answer | str:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._deadline_s + _GRACE_S):
                try:
                    response = await connections.post(request)
                    if response.status != 200:
                        return f"{response.status} {decode_error(response.status, response.body).code}"
                    length = response.headers.get(HEADER_LENGTH.lower().encode(), b"").decode("latin-1")
                    return outputs_to_answers(decode_response(response.body, length or None).outputs, rows=1)[0]
                except OSError:
                    return "NO_CONNECTION"
                except BadInput:
                    return "NONSENSE"
        return "NO_ANSWER"
