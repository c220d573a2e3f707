"""The views as JPEG: what sending pictures costs, what a network still sees in them, and the lowest quality it needs.

Legend: N events, D devices.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any, Final

import numpy as np
from PIL import Image

from ddnn.bundle import Bundle
from ddnn.codec import codec_of
from ddnn.data import Dataset
from ddnn.errors import BadData, BadInput
from ddnn.evaluation import decide, record
from ddnn.types import Array, Ints

__all__ = [
    "QUALITIES",
    "Jpeg",
    "fitted_bytes",
    "jpeg_views",
    "lowest_quality",
    "scan_bytes",
    "side_by_side",
    "taken_apart",
]

QUALITIES: Final = tuple(range(5, 96, 5))

_START_OF_SCAN = 0xDA
_CHANNELS = (1, 3)


@dataclass(frozen=True)
class Jpeg:
    """A data set that went through JPEG."""

    data: Dataset  #: with the views as they come out, absent ones untouched
    file_bytes: Ints
    """(N, D), the whole file with the smaller of standard and fitted code tables; 0 where the view is absent."""
    scan_bytes: Ints
    """(N, D), only the coded pixels under the standard tables, as if both sides knew all headers beforehand."""


def jpeg_views(data: Dataset, quality: int) -> Jpeg:
    """Encode and decode every present view at `quality` 1..95 (Pillow's scale, colour at half resolution).

    Raise `BadData` unless all views are uint8 images of 1 or 3 channels.
    """
    if not 1 <= quality <= 95:
        raise BadInput(f"JPEG quality is {quality}; expected 1..95")
    codec, views = codec_of(f"jpeg{quality}"), []
    whole, scan = (np.zeros(data.present.shape, np.int64) for _ in range(2))
    for device, view in enumerate(data.views):
        if view.dtype != np.uint8 or view.ndim != 4 or view.shape[1] not in _CHANNELS:
            shape = "×".join(map(str, view.shape[1:]))
            raise BadData(
                f"{data.name}: the view of device {device} is {view.dtype} {shape}; JPEG takes uint8 of 1 or 3 channels"
            )
        rows, decoded = np.flatnonzero(data.present[:, device]), view.copy()
        files = codec.pack(view[rows])
        decoded[rows] = codec.unpack(files, view.shape[1:])
        fitted = [fitted_bytes(view[row], quality) for row in rows]
        whole[rows, device] = np.minimum([len(file) for file in files], fitted)
        scan[rows, device] = [scan_bytes(file) for file in files]
        views.append(decoded)
    return Jpeg(replace(data, views=tuple(views)), whole, scan)


def fitted_bytes(view: Array, quality: int) -> int:
    """Length of the file of a view (C, H, W) with code tables fitted to it."""
    file, picture = BytesIO(), Image.fromarray(view[0] if len(view) == 1 else np.moveaxis(view, 0, 2))
    picture.save(file, "JPEG", quality=quality, optimize=True)
    return len(file.getvalue())


def scan_bytes(file: bytes) -> int:
    """Length of what follows the start-of-scan header of a baseline JPEG, without the end marker (ITU-T T.81, B.1)."""
    place = 2
    while True:
        marker, length = file[place + 1], int.from_bytes(file[place + 2 : place + 4], "big")
        place += 2 + length
        if marker == _START_OF_SCAN:
            return len(file) - place - 2


def side_by_side(data: Dataset) -> Dataset:
    """One view (N, C, H, D·W) of the D views, which must be alike."""
    seen = np.asarray(data.present.any(axis=1, keepdims=True))
    return replace(data, views=(np.concatenate(data.views, axis=3),), present=seen, y_dev=data.y[:, None])


def taken_apart(one: Dataset, like: Dataset) -> Dataset:
    """The views of `like` out of `side_by_side`'s."""
    views = np.split(one.views[0], like.devices, axis=3)
    return replace(like, views=tuple(np.ascontiguousarray(view) for view in views))


def lowest_quality(
    bundle: Bundle, data: Dataset, floor: float, qualities: Sequence[int] = QUALITIES
) -> dict[str, dict[str, Any]]:
    """The lowest quality at which the network's accuracy is `floor` or more, as `chosen` or None, and those below it.

    By two ways of sending an event: the views `apart`, each a file as cameras send it, and `together`, side by side in
    one, which a gateway might make. Each point: bytes of an event's files, and of their coded pixels alone (`scan`).
    """
    one = side_by_side(data)
    ways: dict[str, tuple[Dataset, Callable[[Dataset], Dataset]]] = {
        "apart": (data, lambda sent: sent),
        "together": (one, lambda sent: taken_apart(sent, data)),
    }
    searches: dict[str, dict[str, Any]] = {name: {"found": [], "chosen": None} for name in ways}
    for name, (sent, views_of) in ways.items():
        for quality in sorted(qualities):
            coded = jpeg_views(sent, quality)
            accuracy = decide(record(bundle, views_of(coded.data)), bundle.policy).accuracy(data.y)
            file, scan = (float(each.sum()) / len(data) for each in (coded.file_bytes, coded.scan_bytes))
            point = {"quality": quality, "accuracy": accuracy, "file": file, "scan": scan}
            searches[name]["found"].append(point)
            if accuracy >= floor:
                searches[name]["chosen"] = point
                break
    return searches
