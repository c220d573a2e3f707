"""What can be done to a fleet on this machine while it runs: tiers killed, paused, started again, links slow or cut."""

import os
import signal
import threading
from collections.abc import Mapping
from typing import Any, Final

from ddnn.bundle import Bundle
from ddnn.errors import BadInput
from ddnn.fleet.policy import FleetPolicy
from ddnn.fleet.processes import LocalFleet, Member
from ddnn.links import LinkShape
from ddnn.policy import Policy

__all__ = ["Switches"]

_SLOW: Final = LinkShape(round_trip_s=0.4, bits_per_s=56e3)


class Switches:
    """One action at a time, whoever asks."""

    def __init__(self, fleet: LocalFleet, token: str | None = None) -> None:
        """`token` reads the tiers' figures."""
        self._fleet, self._token = fleet, token
        self._lock = threading.Lock()
        self._paused: set[str] = set()
        self._links: dict[str, str] = dict.fromkeys(fleet.links, "mend")  # what was last done to each

    @property
    def bundle(self) -> Bundle:
        return self._fleet.bundle

    def tiers(self) -> Mapping[str, tuple[Member, str]]:
        """Each by name, with its state: `alive`, `gone` or `paused`."""
        return {name: (member, self._state(name, member)) for name, member in self._fleet.members.items()}

    def _state(self, name: str, member: Member) -> str:
        if not member.running:
            return "gone"
        return "paused" if name in self._paused else "alive"

    def switches(self) -> Mapping[str, list[str]]:
        """What may be done with each tier, and the link above it, now."""
        after = {"gone": ["start"], "paused": ["go on", "kill"], "alive": ["kill", "pause"]}
        links = {"mend": ["slow link", "cut link"], "slow": ["mend link", "cut link"], "cut": ["mend link"]}
        return {
            name: [*after[state], *(links[self._links[name]] if name in self._links else ())]
            for name, (_, state) in self.tiers().items()
        }

    def switch(self, name: str, what: str) -> None:
        """Do one of them; raise `BadInput` for what cannot be done."""
        with self._lock:
            possible = self.switches().get(name)
            if possible is None:
                raise BadInput(f"name is {name[:40]!r}; expected one of {', '.join(self._fleet.members)}")
            if what not in possible:
                raise BadInput(f"what is {what[:20]!r}; with {name} one may {', '.join(possible)}")
            self._do(name, what)

    def _do(self, name: str, what: str) -> None:
        fleet = self._fleet
        match what:
            case "kill":
                self._paused.discard(name)
                fleet.kill(name)
            case "start":
                fleet.start(name)
            case "pause":
                os.kill(fleet.pid(name), signal.SIGSTOP)
                self._paused.add(name)
            case "go on":
                self._go_on(name)
            case _:
                self._links[name] = what.removesuffix(" link")
                link, shape = fleet.links[name], fleet.links[name].shape
                link.ask(f"shape {_SLOW if what == 'slow link' else shape}")
                link.ask(f"fault {'refuse' if what == 'cut link' else 'none'}")

    def _go_on(self, name: str) -> None:
        self._paused.discard(name)
        os.kill(self._fleet.pid(name), signal.SIGCONT)

    def try_out(self, policy: Policy, admin_token: str) -> dict[str, Any]:
        """What a policy would have made of the decisions recorded at the tiers that answer."""
        urls = {name: member.url for name, (member, state) in self.tiers().items() if state == "alive"}
        return FleetPolicy(urls, self._token, admin_token=admin_token).try_out(policy)

    def close(self) -> None:
        """Let what is paused go on, so that it can end."""
        with self._lock:
            for name in [*self._paused]:
                self._go_on(name)
