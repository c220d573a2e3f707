"""One tier's part in keeping doubted events: an edge, or a lone device, chooses; devices keep their views of those."""

import asyncio
import hmac
import logging
import secrets
import sqlite3
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar

import orjson

from ddnn.drift import Bucket
from ddnn.errors import Conflict, Unavailable
from ddnn.policy import Doubts
from ddnn.serving.bulletin import DOUBTS_HEADER
from ddnn.serving.doubts.latest import LatestViews
from ddnn.serving.doubts.noted import Kind, Noted, kind_of, record_of
from ddnn.serving.doubts.store import Kept, Store
from ddnn.serving.event import Event
from ddnn.settings import Settings
from ddnn.topology import Topology
from ddnn.types import Answer, Tier
from ddnn.uplink import NoReply

if TYPE_CHECKING:
    from ddnn.serving.service import Service

__all__ = ["DOUBTS_PATH", "MOST_IDS", "Keeper"]

_log = logging.getLogger("ddnn")
DOUBTS_PATH: Final = "/v2/doubts"
MOST_IDS: Final = 500  #: told at once
_BURST: Final = 20
_WAITING: Final = 256  #: events that wait for the disk
_WAITING_BYTES: Final = 16 << 20
_FLUSH_S: Final = 0.25
_TRIM_S: Final = 60.0
_PATIENCE_S: Final = 2.0
P = ParamSpec("P")
R = TypeVar("R")


class Keeper:
    """Of one tier, whatever bundles it serves. What it does on the event loop is short; a thread of its own writes."""

    def __init__(self, tier: Tier, topology: Topology, settings: Settings) -> None:
        alone = len(topology.devices) == 1
        self.chooses = tier is (Tier.DEVICE if alone else Tier.EDGE)
        """Whether it hears of every answer here, and says which events are kept."""
        self.sees = tier is Tier.DEVICE
        """Whether it has views of its own."""
        self._settings, key = settings, settings.event_key
        self._key = key.get_secret_value().encode() if key and self.sees else b""
        takes_part = (self.chooses or self.sees) and settings.doubts.bytes > 0 and settings.state_dir is not None
        file = settings.state_dir / f"doubts-{tier}-{settings.index}.sqlite" if settings.state_dir else None
        self.store = Store(file) if takes_part and file else None
        self.off = "" if self.store else self._why_off(tier)
        self._kept = Kept({}, 0, 0)
        self.missed = Counter[str]()
        self.problem = ""  #: why the disk takes nothing, while it does not
        self._latest = LatestViews(settings.doubts.memory)
        self._waiting: deque[Noted] = deque()
        self._waiting_bytes = 0
        self._buckets: dict[Kind, Bucket] = {}
        self._bounded_by: Doubts | None = None
        self._heard = 0  # the number of the last event of which the tier above said that it is kept
        self._limits: Callable[[], Doubts] = Doubts
        self._service: Service | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._task: asyncio.Task[None] | None = None
        self._over = asyncio.Event()

    def _why_off(self, tier: Tier) -> str:
        if not (self.chooses or self.sees):
            return f"a {tier} keeps none: edges and devices do"
        return "DDNN_STATE_DIR is not set" if self._settings.state_dir is None else "DDNN_DOUBTS__BYTES is 0"

    def start(self, service: "Service") -> None:
        """Look at what is there, and write from now on; of the tier's first service."""
        if self.store is None or self._task:
            return
        self._service, self._limits = service, lambda: service.policy.doubts
        self._thread = ThreadPoolExecutor(1, "doubts")
        self._over.clear()
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Write what waits."""
        if self._task is None:
            return
        self._over.set()
        await self._task
        self._task = None
        if self._thread:
            self._thread.shutdown(wait=False)
            self._thread = None

    def see(self, events: Sequence[Event]) -> None:
        """Hold the views of events that have come to a device, which the tier above may choose."""
        doubts = events[0].rule.policy.doubts
        if not doubts.events or doubts.views == "none" or self.chooses or self._task is None:
            return
        for event in events:
            if event.id is not None:
                self._latest.hold(self._sent_as(event.id), event.inputs["view"])

    def note(self, event: Event, answer: Answer) -> None:
        """Hear of an answer: keep the event if it is doubted and this tier chooses."""
        doubts = event.rule.policy.doubts
        if not doubts.events or not self.chooses or self._task is None:
            return
        id = event.whole.id
        if id is None and not self.sees:  # nothing would find its views
            return
        kind = kind_of(doubts, event, id, answer)
        if kind is None or not self._let_through(kind, doubts):
            return
        view = event.inputs.get("view") if self.sees and doubts.views != "none" else None
        name = secrets.token_hex(8).encode() if id is None else self._sent_as(id)
        record = record_of(event, answer, self._classes)
        self._wait(Noted(name, kind, record, None if view is None else view.copy()))

    def differed(self, event: Event, answer: Answer, cloud: Answer) -> None:
        """Hear of an audit, a copy of an event that was answered, of which the cloud says something else."""
        doubts = event.rule.policy.doubts
        id = event.whole.id
        if not doubts.events or not doubts.disagreeing or id is None or self._task is None or not self.chooses:
            return
        if self._let_through(Kind.DISAGREEING, doubts):
            view = event.inputs.get("view") if self.sees and doubts.views != "none" else None
            record = record_of(event, answer, self._classes, cloud)
            self._wait(Noted(self._sent_as(id), Kind.DISAGREEING, record, None if view is None else view.copy()))

    @property
    def kept(self) -> Kept:
        """What there is."""
        return self._kept

    @kept.setter
    def kept(self, kept: Kept) -> None:
        self._kept = kept
        if self._service and (below := self._service.below):
            below.bulletin.put("doubts", str(kept.last or ""))

    async def heard(self, url: str, headers: Mapping[str, str]) -> None:
        """The tier above has answered: keep the views of what it keeps."""
        told = headers.get(DOUBTS_HEADER, "")
        if self.chooses or not self.sees or self._task is None or not (told.isascii() and told.isdigit()):
            return
        number, service = int(told), self._service
        if number == self._heard or service is None or service.uplink is None:
            return
        after = self._heard if number > self._heard else 0  # it has begun anew
        path = f"{DOUBTS_PATH}/new?after={after}"
        try:
            reply = await service.uplink.look(url, path, headers={}, seconds=_PATIENCE_S)
            document = orjson.loads(reply.body) if reply.status == 200 else None
            ids = [bytes.fromhex(id) for id in document["ids"][:MOST_IDS]] if document else []
        except (NoReply, orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            return
        self._heard = number
        keeps = self._limits().views != "none"
        for id in ids:
            view = self._latest.take(id)
            if view is not None and keeps:
                self._wait(Noted(id, Kind.SEEN, view=view))

    async def ask(self, what: Callable[Concatenate[Store, P], R], *given: P.args, **named: P.kwargs) -> R:
        """What the store says, on the thread that writes, after all that waits; raise `Conflict` or `Unavailable`."""
        if self.store is None or self._thread is None:
            raise Conflict(f"this tier keeps no events: {self.off or 'it has not started'}")
        await self._flush()
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._thread,
                lambda: what(self.store, *given, **named),  # type: ignore[arg-type]
            )
        except (OSError, sqlite3.Error) as error:
            raise Unavailable(f"the events that were kept cannot be read ({error})") from error

    async def delete(self, ids: list[bytes] | None) -> int:
        """Delete these, or all; how many there were."""
        gone, self.kept = await self.ask(Store.delete, ids)
        if ids is None:
            self._latest.clear()
        return gone

    def document(self) -> dict[str, Any] | None:
        """What a status says; None where there are none to keep."""
        if not (self.chooses or self.sees):
            return None
        doubts = self._limits()
        return {
            "events": self.kept.events,
            "kinds": self.kept.kinds,
            "bytes": self.kept.bytes,
            "most": doubts.events,
            "views": doubts.views,
            "missed": dict(self.missed),
            "off": self.off or ("" if doubts.events else "the policy keeps none"),
            "problem": self.problem,
        }

    @property
    def _classes(self) -> Sequence[str]:
        return self._service.bundle.manifest.classes if self._service else ()

    def _sent_as(self, id: bytes) -> bytes:
        """An event id as it goes up."""
        return hmac.digest(self._key, id, "sha256").hex().encode() if self._key and not self.chooses else id

    def _let_through(self, kind: Kind, doubts: Doubts) -> bool:
        if self._bounded_by is not doubts:
            self._bounded_by, self._buckets = doubts, {}
        bucket = self._buckets.get(kind)
        if bucket is None:
            bucket = self._buckets[kind] = Bucket(doubts.per_second, _BURST, time.monotonic)
        return bucket.take() or self._miss("rate")

    def _wait(self, noted: Noted) -> None:
        if len(self._waiting) >= _WAITING or self._waiting_bytes + noted.size > _WAITING_BYTES:
            self._miss("memory")
            return
        self._waiting.append(noted)
        self._waiting_bytes += noted.size

    def _miss(self, why: str, count: int = 1) -> bool:
        self.missed[why] += count
        if self._service:
            self._service.metrics.doubts_missed.labels(why).inc(count)
        return False

    async def _run(self) -> None:
        trimmed = -_TRIM_S
        await self._write(Store.open)
        while not self._over.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(_FLUSH_S):
                    await self._over.wait()
            await self._flush()
            if time.monotonic() - trimmed >= _TRIM_S:
                trimmed = time.monotonic()
                await self._write(Store.trim, self._limits(), self._settings.doubts.bytes)
            doubts = self._limits()
            if doubts.views == "none" or not doubts.events:
                self._latest.clear()
            self._latest.forget_old()

    async def _flush(self) -> None:
        if self._waiting:
            waiting, self._waiting, self._waiting_bytes = [*self._waiting], deque(), 0
            if not await self._write(Store.put, waiting, self._limits(), self._settings.doubts.bytes):
                self._miss("disk", len(waiting))

    async def _write(self, what: Callable[Concatenate[Store, P], Kept], *given: P.args, **named: P.kwargs) -> bool:
        store = self.store
        assert store is not None
        try:
            loop = asyncio.get_running_loop()
            self.kept = await loop.run_in_executor(self._thread, lambda: what(store, *given, **named))
        except (OSError, sqlite3.Error) as error:
            if not self.problem:
                _log.warning("no events are kept to be labelled: %s", error)
            self.problem = str(error)
            return False
        self.problem = ""
        return True
