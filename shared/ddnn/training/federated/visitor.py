"""A site's side of the network: it comes to the server, works when it is asked to, and says that it lives."""

import threading
import time
import zlib
from collections.abc import Callable
from typing import Any, Final

import httpx

from ddnn.data import Dataset
from ddnn.errors import BadData, BadInput
from ddnn.topology import View
from ddnn.training.config import Config
from ddnn.training.federated.partition import one_device
from ddnn.training.federated.settings import Federated
from ddnn.training.federated.site import Site
from ddnn.training.federated.wire import Phase, turn_of
from ddnn.training.meeting import Asker

__all__ = ["Visitor"]

ALIVE_S: Final = 2.0


class Visitor:
    """A site with events of its own, which learns by the config of a server.

    Args:
        url: Address of the server.
        name: What the server calls this site.
        token: What the server wants to see.
        authority: File with the certificate that the server's is checked by; by default the system's.
    """

    def __init__(self, url: str, name: str, *, token: str | None = None, authority: str | None = None) -> None:
        self._name, self._url = name, url
        self._ask = Asker(url, {}, token, authority)
        self.told: dict[str, Any] = self._ask("GET", "/v1/federation").json()

    @property
    def config(self) -> Config:
        """What the server learns by."""
        return Config.of(self.told["config"])

    def own(self, data: Dataset, device: int | None) -> Dataset:
        """What of `data` this site learns from: of one `device`, where devices learn the section that they share."""
        alone = self.told["settings"]["what"] == "device"
        if device is None and alone and len(data.views) > 1:
            raise BadInput(f"{self._url} averages the section of devices; expected --device, of {len(data.views)}")
        if device is not None and not alone:
            raise BadInput(f"{self._url} averages whole networks, of all devices; expected no --device")
        return one_device(data, device or 0) if alone else data

    def stay(self, data: Dataset, say: Callable[[str], object]) -> int:
        """Work until training is over; how many rounds that were."""
        site = self._site(data)
        introduction, done, rounds = site.introduce(), -1, 0
        self._ask("PUT", f"/v1/sites/{self._name}", introduction)
        over = threading.Event()
        alive = threading.Thread(target=self._live, args=(over, introduction), daemon=True)
        alive.start()
        try:
            while True:
                answer = self._ask("GET", f"/v1/sites/{self._name}/work?after={done}", may=(410,))
                if answer.status_code == 410:
                    return rounds
                if answer.status_code == 204:
                    continue
                done = turn_of(answer.content)
                round, phase = divmod(done, len(Phase))
                begun = time.monotonic()
                made = site.work(answer.content)
                late = self._ask("PUT", f"/v1/sites/{self._name}/work", made, may=(409,)).status_code == 409
                if phase != Phase.LEARN:
                    continue
                rounds += not late
                say(f"round {round + 1}: {time.monotonic() - begun:.1f} s" + (", too late" if late else ""))
        finally:
            over.set()
            alive.join(2 * ALIVE_S)

    def _site(self, data: Dataset) -> Site:
        """This site, if its events are of the kind that the server's are."""
        mine = [View.of(view, data.picture).model_dump(mode="json") for view in data.views]
        alone = self.told["settings"]["what"] == "device"  # all devices have views of one kind then
        views = self.told["views"][:1] if alone else self.told["views"]
        for what, own, expected in (("views", mine, views), ("classes", list(data.classes), self.told["classes"])):
            if own != expected:
                raise BadData(f"{data.name} has {what} {own}; expected {expected}, as the server has")
        if not (data.split == "train").any():
            raise BadData(f"{data.name} has no training events")
        chance = self.told["seed"] + zlib.crc32(self._name.encode())
        return Site(self._name, self.config, data, Federated(**self.told["settings"]), chance)

    def _live(self, over: threading.Event, introduction: bytes) -> None:
        """Say so every now and then; come anew where the server has been started anew."""
        while not over.wait(ALIVE_S):
            try:
                if self._ask.client.put(f"/v1/sites/{self._name}/alive").status_code == 404:
                    self._ask.client.put(f"/v1/sites/{self._name}", content=introduction)
            except httpx.HTTPError:
                continue  # the main thread finds out, and waits no longer than it may
