"""What cloud-only would send as JPEG: the lowest quality at which the uncut network is still as accurate as the fleet.

Two ways to send the six views of an event: each a file of its own, as cameras do, and all side by side in one, which a
gateway might make. Of the first also the coded pixels alone, as if both sides knew all headers beforehand.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np

from ddnn.bundle import Bundle
from ddnn.data import Dataset
from ddnn.evaluation import decide, record
from ddnn_lab.jpeg import jpeg_views

__all__ = ["QUALITIES", "Quality", "choose", "jpeg", "side_by_side", "taken_apart"]

QUALITIES: Final = (5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75, 80, 85, 90, 95)


@dataclass(frozen=True)
class Quality:
    """Events through JPEG at one quality."""

    quality: int
    accuracy: float
    file: float
    """Bytes of an event's files."""
    scan: float
    """Bytes of their coded pixels alone."""


def choose(found: Sequence[Quality], floor: float) -> Quality | None:
    """The lowest quality whose accuracy is `floor` or more."""
    return min((each for each in found if each.accuracy >= floor), key=lambda each: each.quality, default=None)


def side_by_side(data: Dataset) -> Dataset:
    """One view (N, C, H, D·W) of the D views, which must be alike."""
    seen = np.asarray(data.present.any(axis=1, keepdims=True))
    return replace(data, views=(np.concatenate(data.views, axis=3),), present=seen, y_dev=data.y[:, None])


def taken_apart(one: Dataset, like: Dataset) -> Dataset:
    """The views of `like` out of `side_by_side`'s."""
    return replace(
        like, views=tuple(np.ascontiguousarray(each) for each in np.split(one.views[0], like.devices, axis=3))
    )


def jpeg(bundle: Bundle, data: Dataset, floor: float, qualities: Sequence[int] = QUALITIES) -> dict[str, Any]:
    """By way of sending: what was found up to the first quality that is good enough, and the `chosen` one or None."""

    def apart(quality: int) -> Quality:
        sent = jpeg_views(data, quality)
        return _quality(quality, sent.data, sent.file_bytes.sum(), sent.scan_bytes.sum())

    def together(quality: int) -> Quality:
        sent = jpeg_views(side_by_side(data), quality)
        return _quality(quality, taken_apart(sent.data, data), sent.file_bytes.sum(), sent.scan_bytes.sum())

    def _quality(quality: int, views: Dataset, file: float, scan: float) -> Quality:
        accuracy = decide(record(bundle, views), bundle.policy).accuracy(data.y)
        return Quality(quality, accuracy, float(file) / len(data), float(scan) / len(data))

    return {"apart": _search(apart, floor, qualities), "together": _search(together, floor, qualities)}


def _search(at: Callable[[int], Quality], floor: float, qualities: Sequence[int]) -> dict[str, Any]:
    found: list[Quality] = []
    for quality in sorted(qualities):
        found.append(at(quality))
        if choose(found, floor):
            break
    chosen = choose(found, floor)
    return {"found": [asdict(each) for each in found], "chosen": asdict(chosen) if chosen else None}
