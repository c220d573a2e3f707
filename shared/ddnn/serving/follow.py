"""Following the policy of the tier above: asked for again and again, taken when it is another, kept when it is away."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import orjson

from ddnn.errors import BadInput
from ddnn.policy import Policy
from ddnn.serving.policy_in_force import InForce
from ddnn.uplink import NoReply, Uplink
from ddnn.wire import decode_error

__all__ = ["POLICY_PATH", "Follower"]

POLICY_PATH: Final = "/v2/policy"

_log = logging.getLogger("ddnn")
_PATIENCE_S: Final = 2.0
"""How long a tier above is listened to, once."""


class Follower:
    """Asks `urls` in order, about every `every_s` seconds; the first that has a policy of this bundle is followed."""

    def __init__(
        self,
        uplink: Uplink,
        urls: Sequence[str],
        *,
        every_s: float,
        here: InForce,
        take: Callable[[Policy], Awaitable[None]],
    ) -> None:
        """`take` puts another policy in the place of the one in force `here`."""
        self._uplink, self._urls, self._every_s = uplink, tuple(urls), every_s
        self._here, self._take = here, take
        self._heard: float | None = None
        self._task: asyncio.Task[None] | None = None
        self.problem: str | None = None
        """Why the tier above is not followed now; empty while it is, None before the first poll."""

    @property
    def age_s(self) -> float | None:
        """Seconds since the tier above last said what its policy is."""
        return None if self._heard is None else time.monotonic() - self._heard

    def start(self) -> None:
        """Follow until `stop`."""
        self._task = self._task or asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Follow no longer."""
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def poll(self) -> None:
        """Ask once, and take what is another policy than the one here."""
        said: list[str] = []
        for url in self._urls:
            try:
                policy = await self._ask(url)
            except (NoReply, BadInput) as error:
                said.append(str(error))
                continue
            self._heard = time.monotonic()
            self._say("")
            if policy and policy.etag != self._here.etag:
                _log.info("policy version %d of %s, after version %d", policy.version, url, self._here.policy.version)
                await self._take(policy)
            return
        self._say("; ".join(said))

    async def _run(self) -> None:
        while True:
            try:
                await self.poll()
            except Exception:  # whatever it was, the next poll may do better
                _log.exception("the policy above could not be followed")
            # Jitter, so that the tiers of a fleet that came up together do not ask together for ever.
            await asyncio.sleep(self._every_s * random.uniform(0.75, 1.25))

    async def _ask(self, url: str) -> Policy | None:
        """The policy in force there, None when it is the one here; raise `NoReply` or `BadInput`."""
        here = self._here.policy
        status, body = await self._uplink.look(
            url, POLICY_PATH, headers={"if-none-match": self._here.etag}, seconds=_PATIENCE_S
        )
        if status == 304:
            return None
        if status != 200:
            raise BadInput(f"{url} answered {status}: {decode_error(status, body)}")
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise BadInput(f"{url} answered a policy that is not JSON ({error})") from error
        if not isinstance(document, dict):
            raise BadInput(f"{url} answered a policy that is not a JSON object")
        try:
            policy = Policy.of(document)
        except BadInput as error:
            raise BadInput(f"{url} answered a policy with a mistake: {error}") from error
        if policy.bundle != here.bundle:
            raise BadInput(
                f"{url} has the policy of another bundle, {policy.bundle[:12]!r}; here is {here.bundle[:12]!r}"
            )
        return policy

    def _say(self, problem: str) -> None:
        """Log when following begins, fails, or works again; not at every poll."""
        if problem and not self.problem:
            _log.warning("policy version %d stays in force: %s", self._here.policy.version, problem)
        elif self.problem and not problem:
            _log.info("the tier above is followed again")
        self.problem = problem
