"""What a tier notes of its events, and tells upward with its poll for the policy: nothing while nothing happens."""

import asyncio
import gzip
import hmac
import logging
import math
import time
from base64 import b64encode
from collections import deque
from collections.abc import Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

from ddnn.errors import BadInput
from ddnn.picture import drawn
from ddnn.policy import Policy
from ddnn.serving.bulletin import PLAN_HEADER, TRIAL_HEADER, WATCH_HEADER
from ddnn.serving.control import read_document
from ddnn.serving.event import Event
from ddnn.serving.room.report import (
    MOST_EVENTS,
    MOST_NAME,
    MOST_SAID,
    MOST_VIEWS,
    REPORTS_PATH,
    TIER_HEADER,
    TRIAL_PATH,
    AccountTold,
    EventTold,
    LateTold,
    Report,
    Reports,
    TrialTold,
    ViewTold,
    telling,
    told_audits,
)
from ddnn.serving.trial import tried
from ddnn.types import Answer, Array, Bools, Tier
from ddnn.uplink import NoReply

if TYPE_CHECKING:
    from ddnn.serving.service import Service

__all__ = ["Reporter"]

_log = logging.getLogger("ddnn")
_NOTED: Final = 128  #: events kept until they are told
_RARELY_S: Final = 10.0  #: between reports while nobody looks
_PATIENCE_S: Final = 2.0
_AGAIN_S: Final = 60.0  #: until a tier above that takes no reports is tried again
_SIDE: Final = 64  #: pixels of a view's longer side
_LATEST_S: Final = 60.0  #: whose times make the percentiles

_Noted = tuple[int, float, bytes | None, Answer, float | None]


class Reporter:
    """Of one tier: `note` is called for every answer, everything else when it is told."""

    def __init__(self, service: "Service") -> None:
        topology = service.bundle.topology
        self._service, self._tells_events = service, telling(topology) is service.tier
        views = topology.devices[service.settings.index].view if service.tier is Tier.DEVICE else None
        self._shows = bool(views and len(views.shape) >= 2 and service.settings.show_views)
        secret = service.settings.event_key
        self._key = secret.get_secret_value().encode() if secret and service.tier is Tier.DEVICE else b""
        self._knows_bytes = len(topology.edges) == 1
        self._noted: deque[_Noted] = deque(maxlen=_NOTED)
        self._views: deque[tuple[int, bytes, Array]] = deque(maxlen=MOST_VIEWS)
        self._count = self._viewed = 0
        self._told, self._told_at, self._told_views = 0, -math.inf, 0
        self._signature: object = None
        self._asked = ""  # the number of the last question
        self._not_before = -math.inf
        self._watched, self._above, self._telling = False, "", asyncio.Lock()
        self.plan_above: str | None = None  #: names the plan of the tier above; None where that does not say
        self._task: asyncio.Task[None] | None = None
        self.trial: TrialTold | None = None
        self.named: Final = {TIER_HEADER: f"{service.tier}/{service.settings.index}"}  #: headers of its questions
        self.listen()

    @property
    def watched(self) -> bool:
        """Whether somebody looks, as the tier above says."""
        return self._watched

    @watched.setter
    def watched(self, watched: bool) -> None:
        self._watched = watched
        if below := self._service.below:
            below.bulletin.put("watch", "1" if watched else "")

    def start(self) -> None:
        """Tell what is new now and then, also while questions wait at the tier above."""
        self._task = self._task or asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_RARELY_S)
            try:
                await self.tell()
            except Exception:  # whatever it was, the next report may do better
                _log.exception("nothing could be reported")

    def listen(self) -> None:
        """Note what the service's engine answers from now on; of a bundle that took another's place, too."""
        if self._tells_events or self._shows:
            self._service.engine.told = self.note

    def note(self, event: Event, answer: Answer) -> None:
        """Keep an answer until it is told; of a device that shows views, the view too."""
        if answer.label < 0:
            return
        if self._shows and event.id is not None and (view := event.inputs.get("view")) is not None:
            self._viewed += 1
            self._views.append((self._viewed, event.id, view))
        if self._tells_events:
            self._count += 1
            now = time.monotonic()
            took = now - event.opened if event.opened else None
            self._noted.append((self._count, now, event.whole.id, answer, took))

    def report(self, after: int = 0, *, views: int | None = None) -> Report:
        """This tier now, with its events of numbers above `after` and its views above `views`; None: without any."""
        service, metrics = self._service, self._service.metrics
        status, now = service.status(), time.monotonic()
        above, collector = status["uplink"] or {}, service.collector
        fifty, ninety_five = metrics.latest_ms(now - _LATEST_S)
        waiting = (collector.pending if collector else 0) + sum(queue.waiting for queue in service.engine.queues)
        events = [noted for noted in self._noted if noted[0] > after][-MOST_EVENTS:]
        return Report(
            tier=service.tier,
            index=service.settings.index,
            uptime_s=status["uptime_seconds"],
            cpu_s=time.process_time(),
            requests=status["requests"],
            exits=status["exits"],
            degraded=status["degraded"],
            up=metrics.uplink_bytes_sent("up"),
            down=metrics.uplink_bytes_sent("down"),
            in_flight=service.in_flight,
            waiting=waiting,
            p50_ms=fifty,
            p95_ms=ninety_five,
            circuit=above.get("circuit"),
            round_trip_ms=above.get("round_trip_ms"),
            policy=service.policy.version,
            draining=service.draining,
            recorded=status["recorded"],
            below=service.below.alive() if service.below else {},
            audits=told_audits(status["audits"]),
            budget={
                whose: AccountTold(left=seen["left"], exceeded=seen["exceeded"], alarm=seen["alarm"] is not None)
                for whose, seen in (status["budget"] or {}).items()
            },
            events=tuple(self._event(noted, now) for noted in events),
            views=tuple(
                _shown(self._sent_as(id), view)
                for number, id, view in self._views
                if views is not None and number > views
            ),
            viewed=self._viewed,
            doubts=service.keeper.kept.events if service.keeper.chooses else 0,
            late=_late(status["late"]),
            trial=self.trial,
            bundle=service.bundle.manifest.name[:MOST_NAME],
            fingerprint=service.bundle.fingerprint[:12],
            rollout=_said(status["rollout"]),
        )

    def _event(self, noted: _Noted, now: float) -> EventTold:
        number, at, id, answer, took = noted
        return EventTold(
            n=number,
            id=_text(id),
            label=answer.label,
            exit=answer.exit,
            confidence=min(1.0, max(0.0, answer.confidence)),
            devices=_bits(answer.devices),
            reason=answer.degraded_reason if answer.degraded else "",
            ms=None if took is None else round(1000 * took, 3),
            bytes=answer.bytes_up if self._knows_bytes else None,
            ago_s=round(now - at, 3),
        )

    def _seen_since(self, number: int | None) -> list[tuple[bytes, Array]]:
        return [] if number is None else [(id, view) for seen, id, view in self._views if seen > number]

    def _sent_as(self, id: bytes) -> str:
        """An event id as it goes up."""
        return _text(hmac.digest(self._key, id, "sha256").hex().encode() if self._key else id)

    async def heard(self, url: str, headers: Mapping[str, str]) -> None:
        """The tier above at `url` has answered: tell it what is new, if anything is, and if it is time."""
        self._above, self.plan_above = url, headers.get(PLAN_HEADER)
        self.watched = headers.get(WATCH_HEADER) == "1"
        await self._answer(url, headers.get(TRIAL_HEADER))
        await self.tell()

    async def tell(self) -> None:
        """Report to the tier above that was heard last what is new, if anything is, and if it is time."""
        async with self._telling:
            await self._tell(self._above)

    async def _tell(self, url: str) -> None:
        now, service = time.monotonic(), self._service
        if not url or now < self._not_before or not (self.watched or self.trial or now - self._told_at >= _RARELY_S):
            return
        below = service.below.news() if service.below else []
        state = self._state()
        unseen = self.watched and self._told_views < self._viewed
        if state == self._signature and not (below or unseen or self._told < self._count or self.trial):
            return
        own = self.report(self._told, views=self._told_views if self.watched else None)
        body = gzip.compress(Reports(tiers=(own, *below)).model_dump_json().encode(), 5)
        uplink = service.uplink
        assert uplink is not None
        headers = {"content-type": "application/json", "content-encoding": "gzip"}
        if not await uplink.streams.tell(url, body, _PATIENCE_S):
            given = {"headers": headers, "seconds": _PATIENCE_S, "method": "POST", "body": body}
            try:
                reply = await uplink.look(url, REPORTS_PATH, **given)  # type: ignore[arg-type]
            except NoReply:
                return
            if reply.status != 204:
                self._not_before = now + (_AGAIN_S if reply.status in (400, 404, 405) else 0.0)
                return
        service.metrics.report_bytes.inc(len(body))
        self._signature, self._told_at, self._told, self.trial = state, now, self._count, None
        if self.watched:
            self._told_views = self._viewed
        if service.below:
            service.below.told(below)

    async def _answer(self, url: str, question: str | None) -> None:
        """Try the policy that the tier above asks about, once, or hand the question on to those below."""
        if question is None or question == self._asked or not (question.isascii() and question.isdigit()):
            return
        service = self._service
        assert service.uplink is not None
        try:
            reply = await service.uplink.look(url, TRIAL_PATH, headers={}, seconds=_PATIENCE_S)
        except NoReply:
            return
        self._asked, number = question, int(question)
        if reply.status != 200:
            return
        try:
            policy = Policy.of(read_document(reply.body))
            service.control.check(policy)
            self.trial = TrialTold(number=number, found=await tried(service, policy), problem="")
        except BadInput as error:
            self.trial = TrialTold(number=number, found=None, problem=str(error)[:1000])

    def _state(self) -> object:
        """What is the same as long as there is nothing to tell."""
        service = self._service
        circuit = service.uplink.circuit if service.uplink else None
        alive = service.below.alive() if service.below else None
        alarms = service.accounts and [*service.accounts.alarms()]
        rollout = _said(service.rollout()) if service.rollout else ""
        now = service.policy.version, service.bundle.fingerprint, rollout
        return service.metrics.request_count(), circuit, now, service.draining, alive, alarms


def _late(document: dict[str, Any] | None) -> dict[int, LateTold]:
    """What came too late of each device, out of the `late` of a status."""
    found: dict[int, LateTold] = {}
    for row in document["children"] if document else ():
        known = None not in (whole := document and document["accuracy"], without := row["accuracy_without"])
        told = LateTold(
            share=row["late"] / row["of"],
            p50_ms=row["p50_ms"],
            p95_ms=row["p95_ms"],
            cost=round(whole - without, 4) if known else None,
            keeps_ms=row["keeps_ms"],
        )
        found |= dict.fromkeys(row["devices"], told)
    return found


def _said(rollout: dict[str, Any] | None) -> str:
    """How far a rollout is, and why it waits; empty while none is under way."""
    if not rollout or not rollout["open"]:
        return ""
    return f"{rollout['says']}{rollout['problem'] and '; it waits: '}{rollout['problem']}"[:MOST_SAID]


def _text(id: bytes | None) -> str:
    return "" if id is None else id.decode("utf-8", "replace")[:80]


def _bits(devices: Bools) -> str:
    return "".join("1" if seen else "0" for seen in devices.tolist())


def _shown(id: str, view: Array) -> ViewTold:
    """A view (…, H, W) as a small PNG, from its least to its most, or as it is where it is bytes."""
    image = drawn(view)
    image.thumbnail((_SIDE, _SIDE))
    file = BytesIO()
    image.save(file, "PNG")
    png = b64encode(file.getvalue()).decode()
    if len(png) > 6000:  # noise does not shrink
        file = BytesIO()
        image.resize((_SIDE // 4, _SIDE // 4)).save(file, "PNG")
        png = b64encode(file.getvalue()).decode()
    return ViewTold(id=id, png=png)
