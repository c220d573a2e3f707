"""A site's side of the network: it comes to the server, works when it is asked to, and says that it lives."""

import threading
import time
from collections.abc import Callable
from typing import Final

import httpx

from ddnn.data import Dataset
from ddnn.training.federated.told import Told
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
        self._name = name
        self._ask = Asker(url, {}, token, authority)
        self.told = Told(self._ask("GET", "/v1/federation").json(), url)

    def stay(self, data: Dataset, say: Callable[[str], object]) -> int:
        """Work until training is over; how many rounds that were."""
        site = self.told.site(self._name, data)
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

    def _live(self, over: threading.Event, introduction: bytes) -> None:
        """Say so every now and then; come anew where the server has been started anew."""
        while not over.wait(ALIVE_S):
            try:
                if self._ask.client.put(f"/v1/sites/{self._name}/alive").status_code == 404:
                    self._ask.client.put(f"/v1/sites/{self._name}", content=introduction)
            except httpx.HTTPError:
                continue  # the main thread finds out, and waits no longer than it may
