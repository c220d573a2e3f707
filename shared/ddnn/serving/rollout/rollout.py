"""One tier's part in a rollout: follow the plan, pull and prove its bundle, serve it beside, exchange, or go back."""

import asyncio
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import orjson
from pydantic import ValidationError

from ddnn.bundle import MANIFEST_FILE, SIGNATURE_FILE, SLICE_FILE, Bundle
from ddnn.errors import BadBundle, BadInput, Conflict, DDNNError
from ddnn.parts import tiers_of
from ddnn.policy import POLICY_FILE
from ddnn.seal import read_sealed, write_sealed
from ddnn.serving.faces import Faces
from ddnn.serving.had import Had
from ddnn.serving.parts import Parts
from ddnn.serving.rollout.exchange import Pair
from ddnn.serving.rollout.figures import Figures, fault, together
from ddnn.serving.rollout.plan import NOTHING, PLAN_PATH, Plan, file_path, sentence
from ddnn.serving.rollout.store import MOST_OF_A_FILE, Store
from ddnn.serving.rollout.told import READY_HEADER, Told, figures_header, problem_header
from ddnn.serving.rollout.unlike import refuse_unlike
from ddnn.serving.service import Service
from ddnn.settings import Settings
from ddnn.slices import mark
from ddnn.types import Tier
from ddnn.uplink import NoReply
from ddnn.wire import decode_error

__all__ = ["Rollout", "kept"]

_log = logging.getLogger("ddnn")
_SEAL: Final = "checksum"
_PATIENCE_S: Final = 2.0
_NICE: Final = 10
_CHANCE: Final = random.Random()  #: of its own: what else in this process draws, draws what it would
_APART_S: Final = 3.0  #: tiers that share a machine do not prove a bundle all at the same time
_FILE_S: Final = 120.0  #: for one file
_LINGERS_S: Final = 30.0  #: so long events that began in the old bundle find it, once the new one serves

Make = Callable[[Path, Parts], Service]


def _file(settings: Settings, tier: Tier) -> Path | None:
    return settings.state_dir and settings.state_dir / f"rollout-{tier}-{settings.index}.json"


def _store(settings: Settings, tier: Tier) -> Store | None:
    return Store(settings.state_dir / f"bundles-{tier}-{settings.index}") if settings.state_dir else None


def _read(file: Path | None) -> Plan:
    if file is None or not file.exists():
        return NOTHING
    try:
        document = read_sealed(file, seal=_SEAL)
        return Plan.model_validate({name: value for name, value in document.items() if name != _SEAL})
    except (BadBundle, ValidationError) as error:
        _log.warning("the rollout that was kept is damaged, and forgotten: %s", error)
        return NOTHING


def kept(settings: Settings, tier: Tier) -> Settings:
    """The settings of a tier, with the bundle that was rolled out before it was restarted."""
    plan, store = _read(_file(settings, tier)), _store(settings, tier)
    if plan.stage != "serving" or plan.bundle is None or store is None:
        return settings
    try:
        store.open(plan.bundle, None)
    except DDNNError as error:
        _log.warning("the bundle that was rolled out cannot be opened: %s", error)
        return settings
    _log.info("bundle %s, as it was rolled out", plan.bundle[:12])
    return settings.model_copy(update={"bundle": store.path(plan.bundle)})


class Rollout:
    """Of one tier; the cloud's plan is everybody's."""

    def __init__(self, service: Service, faces: Faces, make: Make) -> None:
        """`make` loads and proves the service of the bundle in a folder, beside what the tier has."""
        settings = service.settings
        self._service, self._make, self._pair = service, make, Pair(service, faces)
        service.rollout = self.at_a_glance
        self._had = Had(settings, service.tier)
        self._pair.share = lambda: self.plan.part if self._serving != self.plan.bundle else 0.0
        self._path, self.store = _file(settings, service.tier), _store(settings, service.tier)
        self.plan = _read(self._path)
        self._problem, self._told = "", Told()
        self._baseline: Figures | None = None
        self._above = ""  # whom the plan came from
        self._since = 0.0  # when the present stage began, here
        self._task: asyncio.Task[None] | None = None
        self._parting: set[asyncio.Task[None]] = set()
        service.announce_plan(self.plan.tag)

    @property
    def _serving(self) -> str:
        return self._service.bundle.fingerprint

    @property
    def _beside(self) -> str | None:
        other = self._pair.other
        return other.bundle.fingerprint if other else None

    @property
    def _good_beside(self) -> str | None:
        """The same, unless its signature is older than what was served since: then it is pulled anew."""
        other = self._pair.other
        return other.bundle.fingerprint if other and not self._had.problem(other.bundle) else None

    @property
    def problem(self) -> str:
        """Why a rollout that is under way cannot go on here, or below; empty while it can."""
        return (self._problem or self._told.problem()) if self.plan.open else ""

    @property
    def ready(self) -> bool:
        """Whether this tier, and all that were heard of lately below it, have the plan's bundle, proved."""
        wanted = self.plan.bundle
        here = wanted is not None and wanted in (self._serving, self._good_beside)
        return here and all(bundle == wanted for bundle in self._below().values())

    def start(self) -> None:
        self._task = self._task or asyncio.create_task(self._run())

    async def stop(self) -> None:
        for task in filter(None, (self._task, *self._parting)):
            task.cancel()
            await asyncio.wait([task])

    def begin(self, bundle: str, share: float, events: int) -> Plan:
        """Roll out a bundle that is in the store; raise `Conflict` or `BadInput`."""
        store = self._free_for(bundle)
        store.keep({bundle, self._serving, self.plan.before})
        opened = store.open(bundle, self._service.control.trusted)
        self._had.check(opened)
        refuse_unlike(self._service.bundle.manifest, opened.manifest)
        if missing := store.missing(bundle, tiers_of(opened.topology)):
            raise BadInput(f"{missing[0]} of the bundle {bundle[:12]} is not here; expected it before this")
        wanted = {"bundle": bundle, "before": self._serving, "share": share, "events": events}
        return self._go(Plan.model_validate({**self.plan.next("spreading").model_dump(), **wanted}))

    def end(self, reason: str) -> Plan:
        """Take a bundle back that is being rolled out; raise `Conflict`."""
        if not self.plan.open:
            raise Conflict("nothing is being rolled out")
        return self._go(self.plan.next("returned", reason))

    def back(self) -> Plan:
        """Roll out what was served before; raise `Conflict`."""
        if self.plan.stage != "serving" or not self.plan.before:
            raise Conflict("nothing was rolled out that could be taken back")
        return self.begin(self.plan.before, 1.0, 0)

    def take(self, bundle: str, name: str, content: bytes) -> None:
        """Keep a file of a bundle that is to be rolled out; what could not be, is refused with its manifest."""
        store = self._free_for(bundle)
        store.put(bundle, name, content)
        if name == MANIFEST_FILE:
            store.keep({bundle, self._serving, self.plan.before})
            try:
                refuse_unlike(self._service.bundle.manifest, store.manifest(bundle))
            except BadInput:
                store.forget(bundle)
                raise

    def room_for(self, bundle: str, name: str) -> int:
        """Bytes that a file may have which an admin gives; raise `Conflict` or `BadInput`."""
        return self._free_for(bundle).most(bundle, name)

    def opened_store(self) -> Store:
        """Where files are kept; raise `Conflict` where there is no room for any."""
        if self.store is None:
            raise Conflict("DDNN_STATE_DIR is not set: there is no room for another bundle")
        return self.store

    def _free_for(self, bundle: str) -> Store:
        """The store, where this bundle can be rolled out now; raise `Conflict`."""
        store = self.opened_store()
        if self.plan.open:
            rolled = str(self.plan.bundle)[:12]
            raise Conflict(f"the bundle {rolled} is being rolled out; `ddnn rollout abort` ends that")
        if bundle == self._serving:
            raise Conflict(f"the bundle {bundle[:12]} is served already")
        return store

    def heard(self, child: int, headers: Mapping[str, str]) -> None:
        """A child asked for the plan, and told what it has, what is wrong and, an edge, what it saw."""
        self._told.heard(child, headers)

    def document(self) -> dict[str, Any]:
        """As the status has it."""
        plan = self.plan.model_dump(include={"serial", "stage", "bundle", "before", "share", "events", "reason"})
        figures, below = self._compared(), self._below()
        waits = [child for child, bundle in below.items() if bundle != self.plan.bundle]
        return {
            **plan,
            "serving": self._serving,
            "beside": self._beside,
            "ready": self.ready,
            "waits_for": waits if self.plan.open else [],
            "figures": {"old": vars(figures[0]), "new": vars(figures[1])} if figures else None,
            "problem": self.problem,
        }

    def at_a_glance(self) -> dict[str, Any]:
        """What the status of the tier has of it."""
        document = self.document()
        named = {name: document[name] for name in ("stage", "bundle", "before", "waits_for", "problem")}
        return {**named, "open": self.plan.open, "says": sentence(document)}

    async def step(self) -> None:
        """Ask above where there is need, do what the plan says, and at the cloud see how it goes."""
        if self._service.uplink and (self.plan.open or self._service.reporter.plan_above != self.plan.tag):
            await self._follow()
        await self._work()
        if not self._service.uplink:
            self._judge()

    async def _run(self) -> None:
        while True:
            try:
                await self.step()
                self._note("")
            except (DDNNError, OSError) as error:
                self._note(str(error))
            except Exception:  # whatever it was, the next look may do better
                _log.exception("the rollout could not go on")
            await asyncio.sleep(self._service.settings.policy_poll_s * _CHANCE.uniform(0.75, 1.25))

    async def _follow(self) -> None:
        service, index, headers = self._service, self._service.settings.index, {**self._service.reporter.named}
        if self.ready:
            headers[READY_HEADER] = str(self.plan.bundle)
        headers |= problem_header(f"{service.tier}-{index}: {self._problem}" if self._problem else self.problem)
        if (compared := self._compared()) and service.tier is Tier.EDGE:
            headers |= figures_header(*compared)
        for url in service.settings.upstream:
            try:
                reply = await self._look(url, PLAN_PATH, headers)
            except NoReply:
                continue
            if reply.status != 200:
                raise BadInput(f"{url} answered {reply.status}: {decode_error(reply.status, reply.body)}")
            try:
                plan = Plan.model_validate(orjson.loads(reply.body)["plan"])
            except (ValueError, KeyError, TypeError) as error:
                raise BadInput(f"{url} answered no plan of a rollout") from error
            self._above = url
            if plan != self.plan:
                self._go(plan)
            return

    async def _look(self, url: str, path: str, headers: Mapping[str, str], seconds: float = _PATIENCE_S) -> Any:
        assert self._service.uplink
        return await self._service.uplink.look(url, path, headers=headers, seconds=seconds, most=MOST_OF_A_FILE)

    async def _work(self) -> None:
        plan = self.plan
        if plan.wanted and plan.wanted not in (self._serving, self._good_beside):
            await self._join(plan.wanted)
        if plan.stage == "serving" and self._beside == plan.bundle:
            await self._pair.exchange()
            await asyncio.to_thread(self._had.note, self._service.bundle)
            self._service.trail.note("rollout", "system", bundle=plan.bundle, before=plan.before)
            _log.info("bundle %s is served, after %s", str(plan.bundle)[:12], str(plan.before)[:12])
        if self._beside and self._over():
            self._part()

    def _over(self) -> bool:
        """Whether what is beside has nothing more to do."""
        late = time.monotonic() - self._since > _LINGERS_S
        return self.plan.stage in ("none", "returned") or (self.plan.stage == "serving" and late)

    def _part(self) -> None:
        task = asyncio.create_task(self._pair.part())
        self._parting.add(task)
        task.add_done_callback(self._parting.discard)

    async def _join(self, bundle: str) -> None:
        store = self.opened_store()
        if self._beside:
            self._part()
        store.keep({bundle, self._serving})
        await asyncio.sleep(_CHANCE.uniform(0, _APART_S))
        await asyncio.to_thread(self._deposit)
        await self._pull(bundle)
        service = self._service
        folder = store.path(bundle)
        # The cloud's, too: it need not have all tiers' events.
        mark(folder, bundle, service.tier, service.settings.index)
        opened = store.open(bundle, service.control.trusted)
        self._had.check(opened)
        refuse_unlike(service.bundle.manifest, opened.manifest)
        with ThreadPoolExecutor(1, "proof") as thread:  # of its own, as it stays nice
            other = await asyncio.get_running_loop().run_in_executor(thread, self._prove, folder)
        self._baseline = Figures.of(service)
        self._pair.join(other)
        _log.info("bundle %s is here beside %s, and answers its golden events", bundle[:12], self._serving[:12])

    def _prove(self, folder: Path) -> Service:
        """Load it, which runs its golden events; behind all else that this machine has to do."""
        with suppress(OSError, AttributeError):  # where threads have no niceness of their own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        return self._make(folder, self._service.parts)

    async def _pull(self, bundle: str) -> None:
        assert self.store
        if self._service.uplink and MANIFEST_FILE not in self.store.missing(bundle, ()):
            for name in (SIGNATURE_FILE, POLICY_FILE):  # of an earlier time: they may have been signed again
                await self._fetch(bundle, name, optional=True)
        while missing := self.store.missing(bundle, self._needs()):
            for name in missing:
                await self._fetch(bundle, name)
                if name == MANIFEST_FILE:
                    await self._fetch(bundle, SIGNATURE_FILE, optional=True)

    async def _fetch(self, bundle: str, name: str, *, optional: bool = False) -> None:
        if not self._service.uplink:
            raise BadInput(f"{name} of the bundle {bundle[:12]} is not here any more; roll it out again")
        assert self.store
        reply = await self._look(self._above, file_path(bundle, name), {}, _FILE_S)
        if reply.status == 200:
            await asyncio.to_thread(self.store.put, bundle, name, reply.body)
        elif not optional:
            raise BadInput(f"{self._above} answered {reply.status}: {decode_error(reply.status, reply.body)}")

    def _needs(self) -> Sequence[tuple[Tier, int]]:
        """The tiers whose files are to be here: its own, and those below it."""
        tier, index = self._service.tier, self._service.settings.index
        if tier is Tier.CLOUD:
            return tiers_of(self._service.bundle.topology)
        devices = self._service.bundle.topology.edges[index].devices if tier is Tier.EDGE else ()
        return [(tier, index), *((Tier.DEVICE, device) for device in devices)]

    def _deposit(self) -> None:
        """Keep what is served in the store, so that it can come back."""
        assert self.store
        bundle: Bundle = self._service.bundle
        folder, files = self.store.path(bundle.fingerprint), (MANIFEST_FILE, POLICY_FILE, SIGNATURE_FILE, SLICE_FILE)
        if folder == bundle.path:
            return
        folder.mkdir(parents=True, exist_ok=True)
        names = (*files, *self.store.missing(bundle.fingerprint, self._needs()))
        for name in dict.fromkeys((MANIFEST_FILE, *names)):
            if (bundle.path / name).is_file() and not (folder / name).exists():
                (folder / name).write_bytes((bundle.path / name).read_bytes())
        for name in self.store.missing(bundle.fingerprint, self._needs()):
            if (bundle.path / name).is_file():
                (folder / name).write_bytes((bundle.path / name).read_bytes())

    def _below(self) -> dict[int, str]:
        """The children that were heard of lately, and what they are ready with."""
        below = self._service.below
        return self._told.ready(below.alive()) if below else {}

    def _compared(self) -> tuple[Figures, Figures] | None:
        other = self._pair.other
        if self._service.tier is Tier.CLOUD:
            return together(self._told.figures.values())
        if other is None or self._baseline is None or self._serving == self.plan.bundle:
            return None
        return Figures.of(self._service, self._baseline), Figures.of(other)

    def _judge(self) -> None:
        """At the cloud: on with it when all have it, and when it has done as well as the old one; else back."""
        if self.plan.stage == "spreading" and self.ready:
            self._told.forget_figures()
            self._go(self.plan.next("canary" if self.plan.events else "serving"))
        elif self.plan.stage == "canary" and (compared := self._compared()):
            if why := next(filter(None, (fault(*seen) for seen in self._told.figures.values())), ""):
                self._service.trail.note("rollout returned", "system", bundle=self.plan.bundle, why=why)
                self._go(self.plan.next("returned", why))
            elif compared[1].answered >= self.plan.events and self.ready:
                self._go(self.plan.next("serving"))

    def _go(self, plan: Plan) -> Plan:
        _log.info("rollout of %s: %s%s", str(plan.bundle)[:12], plan.stage, plan.reason and f", {plan.reason}")
        self.plan, self._since = plan, time.monotonic()
        self._service.announce_plan(plan.tag)
        if self._path:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_sealed(self._path, plan.model_dump(mode="json"), seal=_SEAL)
        return plan

    def _note(self, problem: str) -> None:
        if problem and problem != self._problem:
            _log.info("the rollout waits here: %s", problem)
        self._problem = problem
