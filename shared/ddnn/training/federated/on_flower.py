"""Rounds of ours over Flower: its SuperLink carries the parcels, its SuperNodes start a site for each of them.

What a site learns, what is averaged, hidden or made noisy, and the bundle are those of any other federated training.
A message has what the sites are told and a turn's body, or no body where a site is to introduce itself; a reply has the
site's name and its own body. Between two messages a site is in its SuperNode's `Context`.
"""

import json
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final, NamedTuple

from ddnn.data import load
from ddnn.errors import BadInput, WorkerLost
from ddnn.extensions import needed_for, refuse_unlisted
from ddnn.settings import Settings
from ddnn.training.federated.settings import Federated
from ddnn.training.federated.site import Site
from ddnn.training.federated.told import Told

__all__ = ["FlowerSites", "client_app", "flower", "site_of"]

POLL_S: Final = 0.25
RECORD: Final = "ddnn"  #: the one record of a message, of a reply, of a site's context
NODE: Final[dict[str, type]] = {
    "data": str, "name": str, "grid": str, "group-by": str, "device": int, "seed": int,
}  # fmt: skip
"""What `flower-supernode --node-config` may have: the options of `ddnn federate join`; the first two it has to."""


def flower() -> Any:
    """Flower's messages; raise `BadInput` where it is not installed."""
    with needed_for("a federation on Flower", extra="flower"):
        from flwr import app
    return app


class _Known(NamedTuple):
    node: int
    introduction: bytes


class FlowerSites:
    """Sites that SuperNodes start.

    Args:
        grid: What Flower gives a ServerApp to send messages by.
        told: What sites are told, of `told_of`.
        settings: How long the sites of a round are waited for.
        count: How many sites the first round waits for.
        say: Hears what went wrong at a site.
    """

    def __init__(
        self, grid: Any, told: Mapping[str, Any], settings: Federated, *, count: int, say: Callable[[str], object]
    ) -> None:
        self._grid, self._told, self._settings, self._wanted, self._say = grid, json.dumps(told), settings, count, say
        self._flower = flower()
        self._sites: dict[str, _Known] = {}
        self._asked: dict[str, int] = {}  # by message, the nodes that have not introduced themselves yet
        self._met = set[int]()

    def introductions(self) -> Mapping[str, bytes]:
        """Of the sites whose SuperNodes are there; the first round waits until as many as expected have come."""
        until = time.monotonic() + self._settings.wait_s
        while True:
            there = self._meet()
            living = {name: site.introduction for name, site in sorted(self._sites.items()) if site.node in there}
            if len(living) >= self._wanted:
                self._wanted = 1
                return living
            if time.monotonic() > until:
                raise WorkerLost(f"{len(living)} of {self._wanted} sites came within {self._settings.wait_s:g} s")
            time.sleep(POLL_S)

    def work(self, bodies: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
        """Send each site its body, and give what comes back until none is missing that is there."""
        until = time.monotonic() + self._settings.wait_s
        waited = self._send("train", {self._sites[name].node: body for name, body in bodies.items()})
        names = {self._sites[name].node: name for name in bodies}
        while waited and time.monotonic() < until:
            for node, reply in self._heard(waited):
                if reply:
                    yield names[node], reply[1]
            there = self._meet()  # whoever comes meanwhile is there for the next round
            waited = {message: node for message, node in waited.items() if node in there}
            if waited:
                time.sleep(POLL_S)

    def _meet(self) -> Collection[int]:
        """The nodes that are there; those that are new are asked who they are, without waiting for them."""
        there = set(self._grid.get_node_ids())
        self._asked |= self._send("query", dict.fromkeys(there - self._met, b""))
        self._met |= there
        if self._asked:
            for node, reply in self._heard(self._asked):
                if reply:
                    self._sites[reply[0]] = _Known(node, reply[1])
        return there

    def _send(self, kind: str, bodies: Mapping[int, bytes]) -> dict[str, int]:
        """A message to each node; the nodes by message."""
        app, ttl = self._flower, self._settings.wait_s
        messages = [
            app.Message(
                app.RecordDict({RECORD: app.ConfigRecord({"told": self._told, "body": body})}), node, kind, ttl=ttl
            )
            for node, body in bodies.items()
        ]
        sent = self._grid.push_messages(messages) if messages else []
        return {message: node for message, node in zip(sent, bodies, strict=True) if message}

    def _heard(self, waited: dict[str, int]) -> Iterator[tuple[int, tuple[str, bytes] | None]]:
        """Of the messages that are waited for, those whose replies have come: the node, its site's name and body."""
        for reply in self._grid.pull_messages(list(waited)):
            node = waited.pop(reply.metadata.reply_to_message_id)
            if reply.has_error():
                self._say(f"SuperNode {node}: {reply.error.reason}")
                yield node, None
                continue
            record = reply.content.get(RECORD, {})
            name, body = record.get("name"), record.get("body")
            known = isinstance(name, str) and isinstance(body, bytes) and named(name)
            yield node, (name, body) if known else None


def named(name: str) -> bool:
    """Whether a site may be called so."""
    return re.fullmatch("[A-Za-z0-9._-]{1,64}", name) is not None


def site_of(told: Mapping[str, Any], node: Mapping[str, Any]) -> Site:
    """The site of a SuperNode whose `--node-config` is `node`; raise `BadInput` or `BadData` where there is none."""
    for key, value in node.items():
        if type(value) is not NODE.get(key):
            expected = ", ".join(f"{name} ({kind.__name__})" for name, kind in NODE.items())
            raise BadInput(f"--node-config has {key}={value!r}; expected some of {expected}")
    if not named(name := node.get("name", "")) or "data" not in node:
        expected = "data, a file of events, and name, of letters, digits, dots, dashes"
        raise BadInput(f"--node-config is {dict(node)}; expected {expected}")
    heard = Told(told, "the server")
    wanted = heard.config.network
    refuse_unlisted(wanted.extensions, Settings.load().extensions)  # a server must not choose what is imported
    cut: dict[str, Any] = {"grid": node.get("grid"), "group_by": node.get("group-by"), "devices": wanted.devices}
    data = load(node["data"], seed=node.get("seed", 0), splits=("train",), **cut)
    return heard.site(name, heard.own(data, node.get("device")))


def client_app() -> Any:
    """Flower's ClientApp of a site, which a SuperNode starts anew for each message."""
    app = flower()
    from flwr.clientapp import ClientApp

    client = ClientApp()

    def answer(message: Any, context: Any) -> Any:
        asked = message.content[RECORD]
        site = site_of(json.loads(asked["told"]), context.node_config)
        site.recall(context.state.get(RECORD, {}))
        body = site.work(asked["body"]) if asked["body"] else site.introduce()
        context.state[RECORD] = app.ConfigRecord(site.kept())
        return app.Message(
            app.RecordDict({RECORD: app.ConfigRecord({"name": site.name, "body": body})}), reply_to=message
        )

    client.query()(answer)
    client.train()(answer)
    return client
