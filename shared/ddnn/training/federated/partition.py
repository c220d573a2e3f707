"""Which site has which training events, where one data set stands in for many."""

from dataclasses import replace

import numpy as np

from ddnn.data import Dataset
from ddnn.errors import BadInput
from ddnn.types import Ints

__all__ = ["devices_of", "one_device", "parts_of"]


def one_device(data: Dataset, index: int) -> Dataset:
    """What the device of this index alone has: its views of the training events that it sees, and its own labels."""
    if not 0 <= index < len(data.views):
        raise BadInput(f"--device is {index}; expected 0 to {len(data.views) - 1}, as {data.name} has them")
    sees = data.present[:, index] & (data.y_dev[:, index] >= 0) & (data.split == "train")
    if sees.sum() < 2:
        raise BadInput(f"device {index} of {data.name} sees {sees.sum()} training events; expected two, or more")
    own, one = data.take(np.flatnonzero(sees)), slice(index, index + 1)
    labels = own.y_dev[:, one]
    return replace(
        own, views=own.views[one], y=labels[:, 0], y_dev=labels, present=own.present[:, one], grid=None, groups=None
    )


def devices_of(data: Dataset) -> dict[str, Dataset]:
    """What each device alone has, by name."""
    return {f"device-{index}": one_device(data, index) for index in range(len(data.views))}


def parts_of(data: Dataset, sites: int, by: str, seed: int) -> list[Ints]:
    """Rows of the training events of each site.

    `by`: `iid`, at random; `classes:2`, each site sees two classes or so (sorted by class and dealt in shards, McMahan
    et al. 2017); `unequal`, at random, the k-th site k times as many as the first; `groups`, each group a site.
    """
    rows, random = np.flatnonzero(data.split == "train"), np.random.default_rng(seed)
    kind, _, number = by.partition(":")
    if kind == "groups" and not number:
        if data.groups is None:
            raise BadInput("--by groups needs --group-by, which names them")
        names = np.unique(data.groups[rows])
        return [rows[data.groups[rows] == name] for name in names]
    if len(rows) < 2 * sites:
        raise BadInput(f"there are {len(rows)} training events for {sites} sites; expected two each, or more")
    mixed = random.permutation(rows)
    if kind == "iid" and not number:
        parts = np.array_split(mixed, sites)
    elif kind == "unequal" and not number:
        shares = np.cumsum(np.arange(1, sites + 1)) / (sites * (sites + 1) / 2)
        parts = np.split(mixed, (shares[:-1] * len(rows)).astype(int))
    elif kind == "classes" and number.isdigit() and int(number):
        shards = np.array_split(mixed[np.argsort(data.y[mixed], kind="stable")], sites * int(number))
        dealt = np.array_split(random.permutation(len(shards)), sites)
        parts = [np.concatenate([shards[shard] for shard in some]) for some in dealt]
    else:
        raise BadInput(f"--by is {by}; expected iid, unequal, groups, or classes:2")
    return [np.sort(part) for part in parts]
