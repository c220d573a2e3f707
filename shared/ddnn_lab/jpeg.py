"""The views as JPEG: what sending pictures costs, and what a network still sees in them.

Legend: N events, D devices.
"""

from dataclasses import dataclass, replace
from io import BytesIO

import numpy as np
from PIL import Image

from ddnn.codec import codec_of
from ddnn.data import Dataset
from ddnn.errors import BadData, BadInput
from ddnn.types import Array, Ints

__all__ = ["Jpeg", "jpeg_views"]

_START_OF_SCAN = 0xDA
_CHANNELS = (1, 3)


@dataclass(frozen=True)
class Jpeg:
    """A data set that went through JPEG."""

    data: Dataset
    """With the views as they come out, absent ones untouched."""
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
        fitted = [_fitted_bytes(view[row], quality) for row in rows]
        whole[rows, device] = np.minimum([len(file) for file in files], fitted)
        scan[rows, device] = [_scan_bytes(file) for file in files]
        views.append(decoded)
    return Jpeg(replace(data, views=tuple(views)), whole, scan)


def _fitted_bytes(view: Array, quality: int) -> int:
    """Length of the file of a view (C, H, W) with code tables fitted to it."""
    file, picture = BytesIO(), Image.fromarray(view[0] if len(view) == 1 else np.moveaxis(view, 0, 2))
    picture.save(file, "JPEG", quality=quality, optimize=True)
    return len(file.getvalue())


def _scan_bytes(file: bytes) -> int:
    """Length of what follows the start-of-scan header of a baseline JPEG, without the end marker (ITU-T T.81, B.1)."""
    place = 2
    while True:
        marker, length = file[place + 1], int.from_bytes(file[place + 2 : place + 4], "big")
        place += 2 + length
        if marker == _START_OF_SCAN:
            return len(file) - place - 2
