"""Codecs: how what one section gives reaches the section that takes it, as rows of a tensor on the wire.

A section's file gives and takes features flat, levels 0 … 2^n − 1 in UINT8 (`bits…`) or FP32 (`float…`), views not.
Legend: `…` any leading axes, events and often children; `shape` is that of one event's values, n their number.
"""

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cache
from io import BytesIO
from typing import Final

import numpy as np
from PIL import Image as pillow

from ddnn.errors import BadConfig, BadInput
from ddnn.extensions import resolve
from ddnn.picture import CHANNELS, decode, opened, unwrapped
from ddnn.types import Array, Bits
from ddnn.wire import DATATYPES

__all__ = ["CODECS", "BelowBest", "Bitwise", "Codec", "Image", "Plain", "codec_of"]
__all__ += ["filled", "joined", "parted", "payload_of", "trims"]

Shape = tuple[int, ...]
_PAYLOAD: Final = ("view", "scores", "features", "present")

_NUMBERS: Final = ("bits1", "bits2", "bits4", "bits8", "float16", "float32", "sqrt8")
CODECS: Final = (*_NUMBERS, "view", "jpeg1 … jpeg100", "webp1 … webp100")
"""Names of the built-in codecs; the number of `jpeg` and `webp` is the quality."""
_HALF: Final = np.float32(np.finfo(np.float16).max)
_LEAST: Final = np.float32(1e-7)
_LEVELS: Final = np.float32(255)
_HEAD: Final = 4  #: bytes before the levels
_MOST_OF_VIEW: Final = 2  #: times the bytes of a view may its file have…
_MOST_HEAD: Final = 4096  #: …and so many more


class Codec(ABC):
    """Packs what a section gives into rows on the wire and back. A user's own has its torch twin as `twin(shape)`.

    `twin` gives a `ddnn.network.quantise.Quantiser` and imports torch itself: a served tier calls all but `twin`.
    """

    name: str
    datatype: str  #: of the rows, by its name in the protocol
    tolerance: float = 0.0  #: how far a value may be from what was packed, as a share of max(1, |value|)

    @abstractmethod
    def wire_shape(self, shape: Shape) -> Shape:
        """Shape of one row."""

    @abstractmethod
    def pack(self, values: Array) -> Array:
        """Values as a section gives them → rows (…, *wire_shape)."""

    @abstractmethod
    def unpack(self, rows: Array, shape: Shape) -> Array:
        """Rows (…, *wire_shape) → values as a section takes them."""

    def arrived(self, values: Array, shape: Shape) -> Array:
        """Values as a section gives them → as they are above."""
        return self.unpack(self.pack(values), shape)

    def sample(self, shape: Shape) -> Array:
        """One row (1, *wire_shape), as large as rows are; where they differ in size, that of noise."""
        return np.zeros((1, *self.wire_shape(shape)), DATATYPES[self.datatype])

    def bytes(self, shape: Shape) -> int:
        """Size of one row, as of the sample."""
        return self.sample(shape).nbytes


class Bitwise(Codec):
    """Levels 0 … 2^bits − 1 (…, n) in ⌈n · bits / 8⌉ bytes, the first in the lowest bits, zero padded."""

    datatype = "UINT8"

    def __init__(self, bits: int) -> None:
        self.name, self.bits = f"bits{bits}", bits
        self._shifts = np.arange(0, 8, bits, dtype=np.uint8)

    def wire_shape(self, shape: Shape) -> Shape:
        return (-(-math.prod(shape) * self.bits // 8),)

    def pack(self, values: Array) -> Bits:
        if self.bits == 1:
            return np.packbits(values, axis=-1, bitorder="little")
        each = len(self._shifts)
        size = -(-values.shape[-1] // each)
        padded = np.zeros((*values.shape[:-1], size * each), np.uint8)
        padded[..., : values.shape[-1]] = values
        parts = padded.reshape(*padded.shape[:-1], size, each) << self._shifts
        return np.asarray(np.bitwise_or.reduce(parts, axis=-1), np.uint8)

    def unpack(self, rows: Array, shape: Shape) -> Bits:
        count = math.prod(shape)
        if self.bits == 1:
            return np.unpackbits(rows, axis=-1, count=count, bitorder="little")
        levels = (rows[..., np.newaxis] >> self._shifts) & np.uint8(2**self.bits - 1)
        return np.asarray(levels.reshape(*rows.shape[:-1], levels.shape[-2] * levels.shape[-1])[..., :count])


class Plain(Codec):
    """Values as they are, views in their own shape, others flat; half precision has the largest for what leaves it."""

    def __init__(self, name: str, datatype: str) -> None:
        self.name, self.datatype = name, datatype
        self.tolerance = 2.0**-11 if datatype == "FP16" else 0.0

    def wire_shape(self, shape: Shape) -> Shape:
        return shape if self.name == "view" else (math.prod(shape),)

    def pack(self, values: Array) -> Array:
        return np.clip(values, -_HALF, _HALF).astype(np.float16) if self.datatype == "FP16" else values

    def unpack(self, rows: Array, shape: Shape) -> Array:
        return rows.astype(np.float32) if self.datatype == "FP16" else rows


class BelowBest(Codec):
    """Scores in 8 bits: how far each is below the largest, finer the nearer it is; their order at the top is kept.

    A row is the largest and the span down to the smallest, two FP16, then a byte q a score: largest − span (q / 255)².
    What a row becomes goes up as that row again.
    """

    name, datatype = "sqrt8", "UINT8"
    tolerance = float(_HALF) / 255 + 2.0**-11  #: of scores that are as far apart as half precision goes

    def wire_shape(self, shape: Shape) -> Shape:
        return (_HEAD + math.prod(shape),)

    def pack(self, values: Array) -> Array:
        values = np.minimum(np.maximum(values, -_HALF), _HALF)  # what is no number stays none, in the whole row
        largest = np.maximum.reduce(values, axis=-1, keepdims=True)
        below = largest - values
        span = np.maximum.reduce(below, axis=-1, keepdims=True)
        head = np.concatenate([largest, np.minimum(span, _HALF)], axis=-1).astype("<f2")
        levels = np.sqrt(below / np.maximum(head[..., 1:].astype(np.float32), _LEAST)) * _LEVELS
        levels = np.where(below > 0, np.maximum(np.minimum(np.rint(levels), _LEVELS), 1), 0)
        return np.concatenate([head.view(np.uint8), levels.astype(np.uint8)], axis=-1)

    def unpack(self, rows: Array, shape: Shape) -> Array:
        head = np.ascontiguousarray(rows[..., :_HEAD]).view("<f2").astype(np.float32)
        part = rows[..., _HEAD:].astype(np.float32) / _LEVELS
        with np.errstate(invalid="ignore"):  # a head that is no number, which a tier refuses
            return np.asarray(head[..., :1] - head[..., 1:] * (part * part))


class Image(Codec):
    """Views of bytes (C, H, W), C = 1 or 3, as JPEG or WebP, one BYTES element a view.

    A row that is no picture of that shape is a `BadInput`; the sample is noise, which takes most.
    """

    datatype, tolerance = "BYTES", 255.0

    def __init__(self, name: str) -> None:
        self.name, self.format, self.quality = name, name[:4].upper(), int(name[4:])

    def wire_shape(self, shape: Shape) -> Shape:
        return ()

    def sample(self, shape: Shape) -> Array:
        return self.pack(np.random.default_rng(0).integers(0, 256, (1, *shape)).astype(np.uint8))

    def bytes(self, shape: Shape) -> int:
        return len(self.sample(shape).item())

    def pack(self, values: Array) -> Array:
        flat = values.reshape(-1, *values.shape[-3:])
        rows = np.empty(len(flat), np.object_)
        rows[:] = [_encode(view, self) for view in flat]
        return rows.reshape(values.shape[:-3])

    def unpack(self, rows: Array, shape: Shape) -> Array:
        views = [_decode(row, shape) for row in rows.reshape(-1)]
        return np.stack(views).reshape(*rows.shape, *shape) if views else np.empty((*rows.shape, *shape), np.uint8)


@cache
def codec_of(name: str, datatype: str = "FP32") -> Codec:
    """The codec called `name`; `view` has the `datatype` of views. Raise `BadConfig` where there is none."""
    if re.fullmatch("bits[1248]", name):
        return Bitwise(int(name[4:]))
    if re.fullmatch("(jpeg|webp)([1-9][0-9]?|100)", name):
        return Image(name)
    if name == BelowBest.name:
        return BelowBest()
    if name in (plain := {"float16": "FP16", "float32": "FP32", "view": datatype}):
        return Plain(name, plain[name])
    found = resolve(name, "codec", CODECS)()
    if not isinstance(found, Codec):
        raise BadConfig(f"codec is {name!r}, which makes a {type(found).__name__}; expected a ddnn.codec.Codec")
    found.name = name
    return found


def trims(name: str) -> bool:
    """Whether the row of fewer values is the start of the row of more, zeros behind: children may send fewer."""
    return re.fullmatch("bits[1248]|float16|float32", name) is not None


def filled(values: Array, count: int) -> Array:
    """Values, or a row, of a child that sends fewer than others: (…, m) → (…, count), zeros behind."""
    lacking = count - values.shape[-1]
    return np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, lacking)]) if lacking > 0 else values


def joined(rows: Array, lengths: Sequence[int]) -> Array:
    """Rows (B, n, longest) of n children → (B, Σ lengths), without the zeros behind."""
    return rows[:, np.arange(rows.shape[2]) < np.array(lengths)[:, np.newaxis]]


def parted(row: Array, lengths: Sequence[int], longest: int) -> Array:
    """The inverse: (B, Σ lengths) → (B, n, longest)."""
    parts = np.split(row, np.cumsum(lengths)[:-1], axis=1)
    return np.stack([filled(part, longest) for part in parts], axis=1)


def _encode(view: Array, codec: Image) -> bytes:
    if view.dtype != np.uint8 or view.ndim != 3 or view.shape[0] not in CHANNELS:
        found = f"codec is {codec.name!r}, and the view {view.dtype} {view.shape}"
        raise BadConfig(f"{found}; expected bytes (C, H, W) of one channel or three")
    file = BytesIO()
    picture = pillow.fromarray(view[0] if view.shape[0] == 1 else np.moveaxis(view, 0, 2))
    picture.save(file, codec.format, quality=codec.quality)
    return file.getvalue()


def _decode(row: bytes, shape: Shape) -> Array:
    if len(row) > (most := _MOST_OF_VIEW * math.prod(shape) + _MOST_HEAD):
        raise BadInput(f"a picture has {len(row)} bytes; expected at most {most}, for a view of {shape}")
    row = unwrapped(row)
    width, height = opened(row).size  # known before a pixel is decoded
    if (height, width) != shape[1:]:
        raise BadInput(f"a picture is {width} × {height}; expected {shape[2]} × {shape[1]}")
    return decode(row, shape)


def payload_of(tensors: Mapping[str, Array], row: int = 0) -> int:
    """Payload bytes of one row of a message's own tensors; of BYTES, files, rows differ in size."""
    rows = [tensors[name][row] for name in _PAYLOAD if name in tensors]
    return sum(row.nbytes if row.dtype != np.object_ else sum(map(len, row.flat)) for row in map(np.asarray, rows))
