"""A client of D devices at once, `Fleet`, or `AsyncFleet` for code that awaits; which of B events' answers count."""

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from typing import NamedTuple, Self, Unpack

import httpx
import numpy as np

from ddnn.client.client import AsyncClient, Client, Options, rows_of
from ddnn.errors import BadInput, DDNNError, Unavailable
from ddnn.task import CLASSIFICATION
from ddnn.types import Answer, Array, Bools, Ints

__all__ = ["AsyncFleet", "EventAnswer", "Fleet", "answer_event", "join", "joined"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventAnswer(Answer):
    """The one answer to an event: that of the device whose answer counts, and the answers of all.

    Its `bytes_up` are those of all devices and tiers together; `late` is who took no part in it and is late by any.
    """

    event: str
    answers: tuple[Answer | None, ...]  #: each device's own answer; None where it had no view or failed
    errors: Mapping[int, DDNNError] = field(default_factory=dict)  #: why, for each device that failed


class _Post(NamedTuple):
    """What one device is sent: its views of some of the events."""

    device: int
    rows: Ints
    view: Array
    events: list[str]


class Fleet:
    """Ask the devices at `urls`, in the order of their index, about events they all see."""

    def __init__(
        self, urls: Sequence[str], token: str | None = None, *, transport: httpx.BaseTransport | None = None
    ) -> None:
        self.clients = tuple(Client(url, token, transport=transport) for url in urls)
        # An event's views must not queue behind each other's, as devices wait for their siblings: 32 callers at once.
        self._threads = ThreadPoolExecutor(32 * max(1, len(self.clients)), thread_name_prefix="ddnn-fleet")

    def answer_event(
        self, views: Sequence[Array | bytes | None], *, event: str | None = None, **options: Unpack[Options]
    ) -> EventAnswer:
        """Return the one answer to an event seen in `views`, a view a device in their order; None = it has no view.

        A view may be a photograph's file: JPEG, PNG or WebP.
        The event's id is made up when not given. A device that fails does not fail the event; if none answers, the
        error of the first is raised.
        """
        return self.answer_events(_batch_of_one(views), events=None if event is None else [event], **options)[0]

    def answer_events(
        self,
        views: Sequence[Array | None],
        *,
        events: Sequence[str] | None = None,
        present: Bools | None = None,
        **options: Unpack[Options],
    ) -> list[EventAnswer]:
        """Return the answers to B events, one request a device: D arrays [B, …], and who has a view of what [B, D]."""
        ids, posts = _posts(views, events, present, len(self.clients))

        def ask(post: _Post) -> list[Answer] | DDNNError:
            try:
                return self.clients[post.device].infer(post.view, events=post.events, **options)
            except DDNNError as error:
                return error

        return _gather(ids, posts, list(self._threads.map(ask, posts)), len(self.clients))

    def close(self) -> None:
        """Close all connections."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for client in self.clients:
            client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class AsyncFleet:
    """`Fleet` for code that awaits; belongs to one event loop."""

    def __init__(
        self, urls: Sequence[str], token: str | None = None, *, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.clients = tuple(AsyncClient(url, token, transport=transport) for url in urls)

    async def answer_event(
        self,
        views: Sequence[Array | bytes | None],
        *,
        event: str | None = None,
        delays: Sequence[float] | None = None,
        **options: Unpack[Options],
    ) -> EventAnswer:
        """Return the one answer to an event seen in `views`; see `Fleet.answer_event` and `answer_events`."""
        ids = None if event is None else [event]
        return (await self.answer_events(_batch_of_one(views), events=ids, delays=delays, **options))[0]

    async def answer_events(
        self,
        views: Sequence[Array | None],
        *,
        events: Sequence[str] | None = None,
        present: Bools | None = None,
        delays: Sequence[float] | None = None,
        **options: Unpack[Options],
    ) -> list[EventAnswer]:
        """Return the answers to B events, one request a device; see `Fleet.answer_events`.

        `delays` [D] holds each device's request back so many seconds, as if its views came late.
        """
        ids, posts = _posts(views, events, present, len(self.clients))
        if delays is not None and len(delays) != len(self.clients):
            raise BadInput(f"there are {len(delays)} delays for {len(self.clients)} devices; expected one each")

        async def ask(post: _Post) -> list[Answer] | DDNNError:
            if delays is not None:
                await asyncio.sleep(delays[post.device])
            try:
                return await self.clients[post.device].infer(post.view, events=post.events, **options)
            except DDNNError as error:
                return error

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ask(post)) for post in posts]
        return _gather(ids, posts, [task.result() for task in tasks], len(self.clients))

    async def aclose(self) -> None:
        """Close all connections."""
        for client in self.clients:
            await client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()


def answer_event(
    views: Sequence[Array | bytes | None],
    *,
    devices: Sequence[str],
    token: str | None = None,
    event: str | None = None,
    **options: Unpack[Options],
) -> EventAnswer:
    """Ask the devices at the addresses `devices` about one event, once; see `Fleet.answer_event`."""
    with Fleet(devices, token) as fleet:
        return fleet.answer_event(views, event=event, **options)


def _batch_of_one(views: Sequence[Array | bytes | None]) -> list[Array | None]:
    def row(view: Array | bytes | None) -> Array | None:
        return rows_of([view]) if isinstance(view, bytes) else None if view is None else np.asarray(view)[None]

    return [row(view) for view in views]


def _posts(
    views: Sequence[Array | None], events: Sequence[str] | None, present: Bools | None, devices: int
) -> tuple[list[str], list[_Post]]:
    """Return the events' ids and what to send; raise `BadInput` if the shapes do not fit each other."""
    if len(views) != devices:
        problem = f"there are {len(views)} views for {devices} devices"
        raise BadInput(f"{problem}; expected one each, None where there is none")
    sizes = {len(view) for view in views if view is not None and np.ndim(view)}
    if len(sizes) != 1:
        given = sorted(sizes) or "no"
        raise BadInput(f"the views are of {given} events; expected the same number, at least from one device")
    count = sizes.pop()
    ids = list(events) if events is not None else [uuid.uuid4().hex for _ in range(count)]
    if len(ids) != count or len(set(ids)) != count:
        raise BadInput(f"there are {len(set(ids))} different event ids for {count} events; expected one each")
    seen = np.array([[view is not None for view in views]] * count, np.bool_)
    if present is not None:
        if np.shape(present) != seen.shape:
            raise BadInput(f"`present` is {list(np.shape(present))}; expected {list(seen.shape)}, events by devices")
        seen &= present
    if not seen.any(axis=1).all():
        raise BadInput(f"event {ids[int(np.flatnonzero(~seen.any(axis=1))[0])]!r} has no view of any device")
    posts = []
    for device, view in enumerate(views):
        rows = np.flatnonzero(seen[:, device])
        if view is not None and len(rows):
            posts.append(_Post(device, rows, np.asarray(view)[rows], [ids[row] for row in rows]))
    return ids, posts


def _gather(
    ids: Sequence[str], posts: Sequence[_Post], outcomes: Sequence[list[Answer] | DDNNError], devices: int
) -> list[EventAnswer]:
    answers: list[list[Answer | None]] = [[None] * devices for _ in ids]
    errors: list[dict[int, DDNNError]] = [{} for _ in ids]
    for post, outcome in zip(posts, outcomes, strict=True):
        for place, row in enumerate(post.rows):
            if isinstance(outcome, DDNNError):
                errors[row][post.device] = outcome
            else:
                answers[row][post.device] = outcome[place]
    return [joined(event, row, failed) for event, row, failed in zip(ids, answers, errors, strict=True)]


def join(answers: Sequence[Answer | None]) -> int:
    """Return the index of the answer that counts; raise `BadInput` if there is none.

    Not degraded before degraded, then the latest exit, then most devices, then the lowest criterion (the highest
    confidence), then the lowest index. Rows without a label are no answers.
    """
    return CLASSIFICATION.join(answers)


def joined(event: str, answers: Sequence[Answer | None], errors: Mapping[int, DDNNError]) -> EventAnswer:
    """Return the answer of `event` out of its devices' answers; raise the first device's error if none answered."""
    try:
        best = answers[join(answers)]
    except BadInput:
        # A device whose network has no exit below the cloud may answer some of a request's events and not others.
        without = {n: Unavailable(given.degraded_reason) for n, given in enumerate(answers) if given is not None}
        failed = {**without, **errors}
        if not failed:
            raise
        device, error = min(failed.items())
        others = f", and {len(failed) - 1} more failed" if len(failed) > 1 else ""
        raise type(error)(f"no device answered event {event!r}: device {device}: {error}{others}") from error
    assert best is not None  # it is one of those that counted
    shared = {part.name: getattr(best, part.name) for part in fields(Answer)}
    given = [answer for answer in answers if answer is not None]
    shared["bytes_up"] = sum(answer.bytes_up for answer in given)
    # Who came late may have begun another event, with nobody left to miss: of all answers those are late that one says.
    shared["late"] = tuple(sorted({n for answer in given for n in answer.late if not best.devices[n]}))
    return EventAnswer(**shared, event=event, answers=tuple(answers), errors=dict(errors))
