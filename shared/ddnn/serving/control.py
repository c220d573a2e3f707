"""The policy a tier answers by: in force, kept over a restart, followed from the tier above."""

import asyncio
import logging
import random
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import orjson

from ddnn.errors import BadBundle, BadInput
from ddnn.exits import Rule
from ddnn.policy import Policy
from ddnn.seal import read_sealed, write_sealed
from ddnn.serving.bulletin import BULLETIN_HEADER, FACTS
from ddnn.serving.event import no_answer
from ddnn.signing import TrustedKeys
from ddnn.task import load_criterion
from ddnn.trail import Trail
from ddnn.uplink import NoReply, Uplink
from ddnn.wire import decode_error

__all__ = ["POLICY_PATH", "Follower", "PolicyControl", "PolicyFile", "Source", "read_document"]

_log = logging.getLogger("ddnn")

Source = Literal["bundle", "state", "admin", "upstream"]  #: a person's write, the tier above, …
POLICY_PATH: Final = "/v2/policy"
_KNOWN: Final = 16
_SEAL: Final = "checksum"
_PATIENCE_S: Final = 2.0  #: how long a tier above is listened to, once
_HELD_S: Final = 400.0  #: how long a question may wait there until something is new
_LEAST_S: Final = 10.0


def read_document(body: bytes) -> dict[str, Any]:
    """The JSON of a policy; raise `BadInput`."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadInput(f"the policy is not valid JSON ({error})") from error
    if not isinstance(document, dict):
        raise BadInput("the policy is not a JSON object")
    return document


class PolicyFile:
    """What a tier keeps over a restart: its policy and the one before, sealed, in `policy-TIER-INDEX.json`."""

    def __init__(self, folder: Path | None, name: str) -> None:
        self._file = folder / f"policy-{name}.json" if folder else None
        self._one_at_a_time = asyncio.Lock()
        self.problem = "" if folder else "DDNN_STATE_DIR is not set"  # why it would not outlive a restart

    def read(
        self, bundled: Policy, check: Callable[[Policy], object] = lambda policy: None
    ) -> tuple[Policy, Policy | None] | None:
        """The policy kept and the one before it, if that is to be taken instead of the bundle's; the log says why.

        One of which `check` raises `BadInput` is not.
        """
        if self._file is None:
            return None
        try:
            if not self._file.exists():
                return None
            current, previous = _policies(read_sealed(self._file, seal=_SEAL))
            for policy in filter(None, (current, previous)):
                check(policy)
        except (BadInput, OSError) as error:
            _log.warning("policy version %d of the bundle: the one kept is damaged: %s", bundled.version, error)
            return None
        if current.bundle != bundled.bundle:
            _log.info("policy version %d of the bundle: the one kept belongs to another bundle", bundled.version)
            return None
        if current.version < bundled.version:
            _log.info("policy version %d of the bundle: the one kept is version %d", bundled.version, current.version)
            return None
        _log.info("policy version %d as kept: the bundle's is version %d", current.version, bundled.version)
        return current, previous if previous and previous.bundle == bundled.bundle else None

    async def keep(self, current: Policy, previous: Policy | None) -> bool:
        """Write both, in the order of the calls; whether that succeeded. A disk that hangs stops nothing else."""
        if self._file is None:
            return False
        async with self._one_at_a_time:
            try:
                await asyncio.to_thread(self._write, self._file, current, previous)
            except OSError as error:
                self.problem = f"{self._file.parent} cannot be written ({(error.strerror or str(error)).lower()})"
                _log.warning("policy version %d will not outlive a restart: %s", current.version, self.problem)
            else:
                self.problem = ""
        return not self.problem

    @staticmethod
    def _write(file: Path, current: Policy, previous: Policy | None) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        document: dict[str, Any] = {
            "format": 1,
            "current": current.model_dump(mode="json"),
            "previous": previous.model_dump(mode="json") if previous else None,
        }
        write_sealed(file, document, seal=_SEAL)


def _policies(document: dict[str, Any]) -> tuple[Policy, Policy | None]:
    if document.get("format") != 1 or not isinstance(document.get("current"), dict):
        raise BadBundle(f"its format is {document.get('format')!r}; expected 1, with a policy in it")
    previous = document.get("previous")
    return Policy.of(document["current"]), Policy.of(previous) if isinstance(previous, dict) else None


class PolicyControl:
    """One policy in force at a time, the one before, and the last few by version; a swap is one assignment."""

    def __init__(
        self,
        bundled: Policy,
        *,
        classes: int,
        devices: int,
        file: PolicyFile | None = None,
        changed: Callable[[Policy], None] = lambda policy: None,
        extensions: Collection[str] = (),
        trusted: TrustedKeys | None = None,
    ) -> None:
        """`changed` hears of every policy in force; criteria come from the modules `extensions`, or `BadConfig`.

        With `trusted` keys a policy needs the word of one of them, and a later version than the one in force.
        """
        self._extensions, self.trusted = extensions, trusted
        self.taken: Callable[[str], object] = lambda etag: None  #: hears which policy is in force from now on
        self._classes, self._devices = classes, devices
        self.check(bundled)
        kept = file.read(bundled, self.check) if file else None
        self._file, self._changed = file or PolicyFile(None, ""), changed
        self._known: OrderedDict[int, Policy] = OrderedDict()
        self.policy = kept[0] if kept else bundled  # what events that arrive now are decided under
        self.previous = kept[1] if kept else None  # what was in force before; a rollback goes there
        self._take(self.policy, "state" if kept else "bundle")

    @property
    def problem(self) -> str:
        """Why what is in force would not outlive a restart; empty when it would."""
        return "" if self.source == "bundle" else self._file.problem

    def check(self, policy: Policy) -> None:
        """Raise `BadConfig` unless this tier has the policy's criterion, `BadInput` without a word that is trusted.

        `BadInput`, too, where it promises something of other devices or classes.
        """
        load_criterion(policy.criterion, self._extensions)
        dissent = policy.promise.dissent if policy.promise else ()
        if dissent and [*map(len, dissent)] != [self._classes] * self._devices:
            found = (
                f"promise.dissent is of {len(dissent)} devices, with {', '.join(map(str, map(len, dissent)))} classes"
            )
            raise BadInput(f"{found}; expected {self._devices} devices, with {self._classes} classes each")
        if self.trusted:
            self.trusted.demand("policy", policy.digest, policy.signature)

    def refuse_older(self, policy: Policy) -> None:
        """Raise `BadInput` for a version that is no later than that in force, where policies are signed."""
        if self.trusted and policy.version <= (had := self.policy.version):
            found = f"the policy has version {policy.version}, and version {had} has been in force here"
            raise BadInput(f"{found}; expected a later one, signed: also for a policy that is to come back")

    def swap(self, policy: Policy, source: Source) -> None:
        """Put `policy` in force for every event that arrives from now on."""
        self.previous = self.policy
        self._take(policy, source)

    async def change(self, policy: Policy, source: Source) -> bool:
        """Put `policy` in force at once, then keep it; whether it will outlive a restart."""
        self.swap(policy, source)
        return await self._file.keep(policy, self.previous)

    def known(self, version: int | None) -> Policy | None:
        """The latest policy of that version, if it was in force here lately."""
        return None if version is None else self._known.get(version)

    def _take(self, policy: Policy, source: Source) -> None:
        self.policy, self.source, self.etag = policy, source, policy.etag
        self.rule = Rule(policy, self._devices)
        self.nothing = no_answer(self._classes, self._devices, policy.version)  # nothing writes to it
        self._known[policy.version] = policy
        self._known.move_to_end(policy.version)
        while len(self._known) > _KNOWN:
            self._known.popitem(last=False)
        self._changed(policy)
        self.taken(self.etag)


class Follower:
    """Asks `urls` in order; the first that has a policy of this bundle is followed.

    Questions are about `every_s` seconds apart, or wait at the tier above for what is new.
    """

    def __init__(
        self,
        uplink: Uplink,
        urls: Sequence[str],
        control: PolicyControl,
        trail: Trail,
        *,
        every_s: float,
        headers: Mapping[str, str] | None = None,
        heard: Callable[[str, Mapping[str, str]], Awaitable[None]] | None = None,
        hurried: Callable[[], bool] = lambda: True,
    ) -> None:
        """Its questions have these `headers`; `heard` hears of each answer, by whom, with what headers.

        Where nothing is `hurried`, a question waits at the tier above until something there is new.
        """
        self._uplink, self._urls, self._control, self._every_s = uplink, tuple(urls), control, every_s
        self._trail, self._headers, self._told, self._hurried = trail, {**(headers or {})}, heard, hurried
        self._known: dict[str, str] = {}  # the number of what each of them told last
        self._hold_s = _HELD_S
        self._heard: float | None = None
        self._task: asyncio.Task[None] | None = None
        self.problem: str | None = None  # why the tier above is not followed; empty while it is

    @property
    def age_s(self) -> float | None:
        if self._uplink.streams.told:  # it would have said so
            return 0.0
        return None if self._heard is None else time.monotonic() - self._heard

    def start(self) -> None:
        self._task = self._task or asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def poll(self, hold_s: float = 0.0) -> None:
        """Ask once, and take what is another policy than the one in force here.

        A tier above that has nothing new may let the question wait for `hold_s`.
        """
        problems: list[str] = []
        for url in self._urls:
            try:
                policy, headers = await self._held(url, hold_s) or await self._ask(url)
            except (NoReply, BadInput) as error:
                self._known.pop(url, None)
                problems.append(str(error))
                continue
            self._heard = time.monotonic()
            self._note("")
            self._known[url] = headers.get(BULLETIN_HEADER, "")
            if policy:
                before = self._control.policy.version
                _log.info("policy version %d of %s, after version %d", policy.version, url, before)
                self._trail.note("policy", url, **policy.named(), before=before)
                await self._control.change(policy, "upstream")
            if self._told:
                await self._told(url, headers)
            return
        self._note("; ".join(problems))

    async def _run(self) -> None:
        self._uplink.streams.hold()
        while True:
            self._uplink.streams.news.clear()
            told = self._uplink.streams.told
            try:
                if told:
                    await self._heed(*told)
                else:
                    waits = not self._hurried() and not self._uplink.streams.spoken
                    await self.poll(self._hold_s * random.uniform(0.75, 1.0) if waits else 0.0)
            except Exception:  # whatever it was, the next poll may do better
                _log.exception("the policy above could not be followed")
            # Jitter, so that the tiers of a fleet that came up together do not ask together for ever.
            await asyncio.sleep(self._every_s * random.uniform(0.75, 1.25))
            if told and not self._hurried() and self._control.etag == told[1].get("policy"):
                await self._uplink.streams.news.wait()

    async def _heed(self, url: str, facts: Mapping[str, str]) -> None:
        """Take what the tier above tells over a stream: another policy is asked for, the rest is known."""
        if facts.get("policy") != self._control.etag:
            await self.poll()
            return
        self._heard = time.monotonic()
        self._note("")
        if self._hurried():
            await self._uplink.streams.ping(url)
        if self._told:
            await self._told(url, {FACTS[name]: fact for name, fact in facts.items() if name in FACTS})

    async def _held(self, url: str, hold_s: float) -> tuple[Policy | None, Mapping[str, str]] | None:
        """The answer to a question that may wait; None where it did not come, or there is nothing to wait for yet.

        What is between the tiers may not let it wait for so long: it waits half as long from then on, and less rarely.
        """
        if not hold_s or not self._known.get(url):
            return None
        try:
            answer = await self._ask(url, hold_s)
        except (NoReply, BadInput):
            self._hold_s = max(_LEAST_S, self._hold_s / 2)
            return None
        self._hold_s = min(_HELD_S, 1.5 * self._hold_s)
        return answer

    async def _ask(self, url: str, hold_s: float = 0.0) -> tuple[Policy | None, Mapping[str, str]]:
        """The policy in force there, None when it is the one here, and the headers; raise `NoReply` or `BadInput`."""
        here = self._control.policy
        asked, patience_s = {**self._headers, "if-none-match": self._control.etag}, _PATIENCE_S
        if hold_s:
            asked |= {BULLETIN_HEADER: self._known[url], "prefer": f"wait={hold_s:.0f}"}
            patience_s += hold_s
        reply = await self._uplink.look(url, POLICY_PATH, headers=asked, seconds=patience_s, connect_s=_PATIENCE_S)
        if reply.status == 304:
            return None, reply.headers
        if reply.status != 200:
            raise BadInput(f"{url} answered {reply.status}: {decode_error(reply.status, reply.body)}")
        try:
            policy = Policy.of(read_document(reply.body))
            self._control.check(policy)
        except BadInput as error:
            raise BadInput(f"{url} answered a policy with a mistake: {error}") from error
        if policy.bundle != here.bundle:
            raise BadInput(
                f"{url} has the policy of another bundle, {policy.bundle[:12]!r}; here is {here.bundle[:12]!r}"
            )
        if policy.etag == here.etag:
            return None, reply.headers
        self._control.refuse_older(policy)
        return policy, reply.headers

    def _note(self, problem: str) -> None:
        """Log when following begins, fails, or works again; not at every poll."""
        if problem and not self.problem:
            _log.warning("policy version %d stays in force: %s", self._control.policy.version, problem)
            self._trail.note("policy not followed", "system", problem=problem)
        elif self.problem and not problem:
            _log.info("the tier above is followed again")
        self.problem = problem
