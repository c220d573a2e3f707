"""What the server of a federated training tells its sites, whatever carries it, and the site that comes of it."""

import zlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ddnn.data import Dataset
from ddnn.errors import BadData, BadInput
from ddnn.topology import View
from ddnn.training.config import Config
from ddnn.training.federated.partition import one_device
from ddnn.training.federated.settings import Federated
from ddnn.training.federated.site import Site

__all__ = ["Told", "told_of"]


def told_of(data: Dataset, config: Config, settings: Federated, seed: int) -> dict[str, Any]:
    """What a site has to know before it can learn."""
    views = [View.of(view, data.picture).model_dump(mode="json") for view in data.views]
    wanted = {"config": config.model_dump(mode="json"), "settings": asdict(settings), "seed": seed}
    return {**wanted, "classes": list(data.classes), "views": views}


class Told:
    """What a site was told: of `told_of`, by a `server` that sentences name."""

    def __init__(self, told: Mapping[str, Any], server: str) -> None:
        self._told, self._server = told, server
        self.config, self.settings = Config.of(told["config"]), Federated(**told["settings"])

    def own(self, data: Dataset, device: int | None) -> Dataset:
        """What of `data` this site learns from: of one `device`, where devices learn the section that they share."""
        alone = self.settings.what == "device"
        if device is None and alone and len(data.views) > 1:
            raise BadInput(f"{self._server} averages the section of devices; expected --device, of {len(data.views)}")
        if device is not None and not alone:
            raise BadInput(f"{self._server} averages whole networks, of all devices; expected no --device")
        return one_device(data, device or 0) if alone else data

    def site(self, name: str, data: Dataset) -> Site:
        """The site of this name, if its events are of the kind that the server's are; else raise `BadData`."""
        mine = [View.of(view, data.picture).model_dump(mode="json") for view in data.views]
        alone = self.settings.what == "device"  # all devices have views of one kind then
        views = self._told["views"][:1] if alone else self._told["views"]
        for what, own, expected in (("views", mine, views), ("classes", list(data.classes), self._told["classes"])):
            if own != expected:
                raise BadData(f"{data.name} has {what} {own}; expected {expected}, as the server has")
        if not (data.split == "train").any():
            raise BadData(f"{data.name} has no training events")
        return Site(name, self.config, data, self.settings, self._told["seed"] + zlib.crc32(name.encode()))
