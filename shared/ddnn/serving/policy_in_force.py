"""The policy a tier answers by: swapped while serving, the one before kept, the last few known by version."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Literal

from ddnn.policy import Policy

__all__ = ["InForce", "Source"]

Source = Literal["bundle", "state", "admin", "upstream"]
"""Where a policy came from: the bundle, what was kept over a restart, a person's write, the tier above."""

_KNOWN: Final = 16


class InForce:
    """One policy at a time. Everything runs on one event loop, so a swap is one assignment between two events."""

    def __init__(
        self,
        policy: Policy,
        source: Source,
        *,
        previous: Policy | None = None,
        changed: Callable[[Policy], None] = lambda policy: None,
    ) -> None:
        """`changed` hears of every policy that comes into force, this first one too."""
        self._known: OrderedDict[int, Policy] = OrderedDict()
        self._changed = changed
        self.previous = previous
        """What was in force before; a rollback goes there."""
        self._take(policy, source)

    @property
    def policy(self) -> Policy:
        """What events that arrive now are decided under."""
        return self._policy

    def swap(self, policy: Policy, source: Source) -> None:
        """Put `policy` in force for every event that arrives from now on."""
        self.previous = self._policy
        self._take(policy, source)

    def known(self, version: int | None) -> Policy | None:
        """The latest policy of that version, if it was in force here lately."""
        return None if version is None else self._known.get(version)

    def _take(self, policy: Policy, source: Source) -> None:
        self._policy, self.source, self.etag = policy, source, policy.etag
        self._known[policy.version] = policy
        self._known.move_to_end(policy.version)
        while len(self._known) > _KNOWN:
            self._known.popitem(last=False)
        self._changed(policy)
