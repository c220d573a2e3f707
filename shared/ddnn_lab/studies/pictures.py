"""Sending pictures instead of features: what the same backbone, uncut, makes of JPEG and WebP of each size and quality.

Legend: N events, D devices, F numbers that an exit sees of a view.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from PIL import Image

from ddnn.codec import codec_of
from ddnn.data import Dataset
from ddnn.types import Array, Bits, Exit, Floats, Ints, Tier
from ddnn_lab.jpeg import fitted_bytes, scan_bytes
from ddnn_lab.studies.subject import Subject
from ddnn_lab.uncut import STRENGTHS, Judge, Whole

__all__ = ["pictures"]

_CHANNELS: Final = (1, 3)


@dataclass(frozen=True)
class _Kind:
    """A kind of picture."""

    format: str  #: `jpeg`, `webp`, or `view`: as it is
    size: int  #: pixels of each side, 0: those of the view
    quality: int

    def file(self, view: Array) -> tuple[Bits, bytes]:
        """A view (C, H, W) as it arrives, (C, size, size), and the file that it goes up as."""
        small = _resized(view, self.size) if self.size else view
        if self.format == "view":
            return small, small.tobytes()
        codec = codec_of(f"{self.format}{self.quality}")
        row = codec.pack(small[None])
        return np.asarray(codec.unpack(row, small.shape)[0]), row[0]

    def bytes(self, view: Array) -> tuple[int, int]:
        """Of the file, of a JPEG with the better of two code tables; and as if both sides knew its headers."""
        small, (_, file) = _resized(view, self.size), self.file(view)
        if self.format != "jpeg":
            return len(file), len(file)
        return min(len(file), fitted_bytes(small, self.quality)), scan_bytes(file)


_AS_IT_IS: Final = _Kind("view", 0, 0)


def pictures(subject: Subject) -> dict[str, Any] | None:
    """Accuracy on test and bytes a view for each kind of picture, and the fewest bytes as accurate as the edge's exit.

    For each kind an exit is fitted anew to training views that came that way. None of a network without a backbone over
    images.
    """
    data, kinds = subject.data, [_Kind(*kind) for kind in subject.pictures]
    images = all(view.ndim == 4 and view.dtype == np.uint8 and view.shape[1] in _CHANNELS for view in data.views)
    whole = Whole.of(subject.bundle) if images and kinds else None
    features = subject.bundle.topology.features(Tier.DEVICE)
    if whole is None or features is None:
        return None
    parts = {part: data.subset(part) for part in ("train", "validation", "test")}
    strength = _strength(whole, parts)
    points = [_point(whole, parts, kind, strength) for kind in kinds]
    edge = float((subject.test.labels(Exit.EDGE)[:, 0] == subject.test.y).mean())
    return {
        "events": len(subject.test),
        "edge": {"accuracy": edge, "bytes": features.bytes},
        "raw": {
            "accuracy": _accuracy(whole, parts, _AS_IT_IS, strength),
            "bytes": subject.bundle.topology.devices[0].view.bytes,
        },
        "points": points,
        "equal": {key: _equal(points, edge, key) for key in ("file", "scan")},
    }


def _equal(points: Sequence[dict[str, Any]], floor: float, key: str) -> float | None:
    """The fewest bytes of a kind that is as accurate."""
    return min((point[key] for point in points if point["accuracy"] >= floor), default=None)


def _point(whole: Whole, parts: dict[str, Dataset], kind: _Kind, strength: float) -> dict[str, Any]:
    test = parts["test"]
    sizes = [
        kind.bytes(view[row])
        for device, view in enumerate(test.views)
        for row in np.flatnonzero(test.present[:, device])
    ]
    file, scan = np.mean(sizes, axis=0).tolist()
    told = {"kind": kind.format, "size": str(kind.size), "quality": str(kind.quality)}
    return {**told, "accuracy": _accuracy(whole, parts, kind, strength), "file": file, "scan": scan}


def _accuracy(whole: Whole, parts: dict[str, Dataset], kind: _Kind, strength: float) -> float:
    """On test, of an exit fitted to the training views."""
    train, test = parts["train"], parts["test"]
    seen = _seen(whole, train, kind)[train.present]
    judge = Judge.fit(seen, _classes(train)[train.present], len(train.classes), strength)
    return float((judge.labels(_seen(whole, test, kind), test.present) == test.y).mean())


def _strength(whole: Whole, parts: dict[str, Dataset]) -> float:
    """The penalty with most single validation views right, of views as they are."""
    (seen, y), (known, wanted) = (
        (_seen(whole, part, _AS_IT_IS)[part.present], _classes(part)[part.present])
        for part in (parts["train"], parts["validation"])
    )
    one, classes = np.ones((len(wanted), 1), bool), len(parts["train"].classes)
    right = [(Judge.fit(seen, y, classes, each).labels(known[:, None], one) == wanted).mean() for each in STRENGTHS]
    return STRENGTHS[int(np.argmax(right))]


def _seen(whole: Whole, data: Dataset, kind: _Kind) -> Floats:
    """(N, D, F), of views that arrive as such pictures."""
    columns = [[whole.seen(kind.file(view[row])[0][None])[0] for row in range(len(data))] for view in data.views]
    return np.stack([np.stack(column) for column in columns], axis=1)


def _classes(data: Dataset) -> Ints:
    """(N, D)."""
    return np.repeat(data.y[:, None], data.devices, axis=1)


def _resized(view: Array, size: int) -> Array:
    """(C, H, W) → (C, size, size), as Pillow's bilinear filter does."""
    if view.shape[1:] == (size, size):
        return view
    smaller = [Image.fromarray(channel).resize((size, size), Image.Resampling.BILINEAR) for channel in view]
    return np.stack([np.asarray(channel) for channel in smaller])
