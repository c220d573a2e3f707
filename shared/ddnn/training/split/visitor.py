"""A device's side of the network: it comes to the server, and does what it is told until training is over."""

import secrets
from collections.abc import Callable
from typing import Any, Self

from ddnn.data import Dataset
from ddnn.errors import BadData, BadInput
from ddnn.topology import View
from ddnn.training.config import Config
from ddnn.training.meeting import Asker
from ddnn.training.split.device import Device, alone_of
from ddnn.training.split.network import SECRET

__all__ = ["Visitor"]


class Visitor:
    """A device with views of its own, which learns by the config of a server.

    Args:
        url: Address of the server.
        index: Which device of the group this is.
        token: What the server wants to see.
        authority: File with the certificate that the server's is checked by; by default the system's.
    """

    def __init__(self, url: str, index: int, *, token: str | None = None, authority: str | None = None) -> None:
        self._index = index
        self._ask = Asker(url, {SECRET: secrets.token_hex(16)}, token, authority)
        try:
            self.told: dict[str, Any] = self._ask("GET", "/v1/split").json()
        except BaseException:
            self._ask.client.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ask.client.close()

    @property
    def config(self) -> Config:
        """What the server learns by."""
        return Config.of(self.told["config"])

    def stay(self, data: Dataset, say: Callable[[str], object]) -> int:
        """Learn until training is over; how many orders that were. `data` has this device's view, or all devices'."""
        device = self._device(data)
        self._ask("PUT", f"/v1/devices/{self._index}", again=409)
        body, obeyed = b"", 0
        say(f"device {self._index} is there, with {device.events} views")
        while True:
            answer = self._ask("POST", f"/v1/devices/{self._index}/turn", body, may=(404, 410))
            if answer.status_code == 410:
                return obeyed
            if answer.status_code == 404:  # the server was started anew, or has given this device up
                device, body = self._device(data), b""
                self._ask("PUT", f"/v1/devices/{self._index}", again=409)
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
