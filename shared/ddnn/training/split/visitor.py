"""A device's side of the network: it comes to the server, and does what it is told until training is over."""

import secrets
import ssl
import time
from collections.abc import Callable
from typing import Any, Final, Self

import httpx

from ddnn.data import Dataset
from ddnn.errors import BadData, BadInput, Unauthorized, WorkerLost
from ddnn.topology import View
from ddnn.training.config import Config
from ddnn.training.split.device import Device, alone_of
from ddnn.training.split.network import SECRET

__all__ = ["Visitor"]

WAIT_S: Final = 60.0  #: for an answer, and for a server that cannot be reached


class Visitor:
    """A device with views of its own, which learns by the config of a server.

    Args:
        url: Address of the server.
        index: Which device of the group this is.
        token: What the server wants to see.
        authority: File with the certificate that the server's is checked by; by default the system's.
    """

    def __init__(self, url: str, index: int, *, token: str | None = None, authority: str | None = None) -> None:
        headers = {SECRET: secrets.token_hex(16), **({"Authorization": f"Bearer {token}"} if token else {})}
        verify: Any = ssl.create_default_context(cafile=authority) if authority else True
        self._index, self._url = index, url
        self._client = httpx.Client(base_url=url, headers=headers, timeout=WAIT_S, verify=verify)
        try:
            self.told: dict[str, Any] = self._asked("GET", "/v1/split").json()
        except BaseException:
            self._client.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    @property
    def config(self) -> Config:
        """What the server learns by."""
        return Config.of(self.told["config"])

    def stay(self, data: Dataset, say: Callable[[str], object]) -> int:
        """Learn until training is over; how many orders that were. `data` has this device's view, or all devices'."""
        device = self._device(data)
        self._asked("PUT", f"/v1/devices/{self._index}")
        body, obeyed = b"", 0
        say(f"device {self._index} is there, with {device.events} views")
        while True:
            answer = self._asked("POST", f"/v1/devices/{self._index}/turn", body)
            if answer.status_code == 410:
                return obeyed
            if answer.status_code == 404:  # the server was started anew, or has given this device up
                device, body = self._device(data), b""
                self._asked("PUT", f"/v1/devices/{self._index}")
                say(f"device {self._index} comes anew")
                continue
            if answer.status_code == 204:
                continue
            body, obeyed = device.obey(answer.content), obeyed + 1

    def _device(self, data: Dataset) -> Device:
        """This device, if its events are of the kind that the server has labels of."""
        shapes = [View.model_validate(view) for view in self.told["views"]]
        if self._index >= len(shapes):
            raise BadInput(f"--index is {self._index}; expected one below {len(shapes)}, as the server says")
        view, present = alone_of(data, self._index if data.devices > 1 else 0)
        if len(view) != self.told["events"]:
            found = f"{data.name} has {len(view)} training events"
            raise BadData(f"{found}; expected {self.told['events']}, in the order of the server's labels")
        own = {"shapes": shapes, "classes": len(self.told["classes"]), "seed": self.told["seed"]}
        return Device(self.config, self._index, view, present, **own)

    def _asked(self, method: str, path: str, body: bytes | None = None) -> httpx.Response:
        """The server's answer; it is asked again while it cannot be reached, for a minute at most."""
        until, pause = time.monotonic() + WAIT_S, 0.1
        while True:
            try:
                answer = self._client.request(method, path, content=body)
                if answer.status_code != 409 or time.monotonic() + 1.0 > until:
                    break
                time.sleep(1.0)  # one that was killed is given up after a while
            except httpx.HTTPError as error:
                if time.monotonic() + pause > until:
                    raise WorkerLost(f"{self._url} could not be reached for {WAIT_S:g} s ({error})") from error
                time.sleep(pause)
                pause = min(2 * pause, 5.0)
        if answer.status_code == 401:
            raise Unauthorized(f"{self._url} wants a token; expected --token, or DDNN_TOKEN")
        if answer.status_code not in (200, 204, 404, 410):
            raise BadInput(f"{self._url}{path} answered {answer.status_code}: {answer.text[:200]}")
        return answer
