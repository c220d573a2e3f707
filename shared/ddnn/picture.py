"""Photographs as views: a JPEG, PNG or WebP file becomes bytes (C, H, W), in training and serving by this code alone.

A file is judged by its first bytes, then by the size in its head: nothing is decoded of one that is too large.
"""

import binascii
from base64 import b64decode
from io import BytesIO
from typing import Final, Literal

import numpy as np
from PIL import ExifTags, Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile
from pydantic import Field

from ddnn.errors import BadInput
from ddnn.seal import Frozen
from ddnn.types import Array, Bits

__all__ = ["CHANNELS", "MOST_PIXELS", "Picture", "decode", "drawn", "is_picture", "opened", "unwrapped"]

CHANNELS: Final = (1, 3)  #: of a view that can be a picture: grey, or red, green and blue
MOST_PIXELS: Final = 25_000_000  #: of a photograph, by default; of a PNG or WebP a third

_WHOLE: Final = 3  #: a PNG or WebP is decoded whole, in 8 to 16 bytes a pixel; a JPEG is not, if it is large
_FORMATS: Final = ("JPEG", "PNG", "WebP")
_GAP: Final = 2  #: a JPEG is decoded at an eighth, a quarter or half if this leaves so many pixels for each of the view
_GREY: Final = 127
_FILTERS: Final = {
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_ITS_SIDE: Final = 5  #: from this EXIF orientation on, width and height change places

Box = tuple[float, float, float, float]


class Picture(Frozen):
    """How a photograph becomes a view of another size. Numbers are normalised later, in the device's graph."""

    resize: Literal["cover", "contain", "stretch"] = "cover"
    """cover: what leaves the view's shape is cut off, evenly; contain: grey bars fill it up; stretch: neither."""
    filter: Literal["box", "bilinear", "bicubic", "lanczos"] = "bicubic"
    """Each looks at all pixels that a pixel of the view covers."""
    crop: float = Field(default=1.0, gt=0, le=1)
    """Share of width and height that is kept, in the middle, before resizing."""


def is_picture(content: bytes | memoryview) -> bool:
    """Whether a file begins as JPEG, PNG or WebP do; no text does."""
    return _kind(bytes(content[:12])) is not None


def unwrapped(content: bytes) -> bytes:
    """A picture's own bytes, out of the base64 that JSON needs; what is neither stays as it is, to be refused."""
    if is_picture(content):
        return content
    try:
        file = b64decode(content)
    except (binascii.Error, ValueError):
        return content
    return file if is_picture(file) else content


def opened(content: bytes, most_pixels: int = MOST_PIXELS) -> ImageFile:
    """Read a file's head; raise `BadInput` for one that is no single picture of at most so many pixels.

    Of a PNG or WebP a third: these are decoded whole.
    """
    kind = _kind(content[:12])
    if kind is None:
        raise BadInput(f"a picture of {len(content)} bytes begins with {content[:8]!r}; expected {_expected()}")
    try:
        picture = kind(BytesIO(content))
        frames = getattr(picture, "n_frames", 1)
    except Exception as error:  # Pillow's readers raise whatever a strange file leads them to
        raise _undecodable(error) from error
    (width, height), most = picture.size, most_pixels if kind is JpegImageFile else most_pixels // _WHOLE
    if width * height > most:
        raise BadInput(f"a picture is {width} × {height}; expected at most {most} pixels")
    if frames > 1:
        raise BadInput(f"a picture is animated, in {frames} frames; expected one that stands still")
    return picture


def decode(
    content: bytes, shape: tuple[int, ...], how: Picture | None = None, *, most_pixels: int = MOST_PIXELS
) -> Bits:
    """A photograph as a view (C, H, W), C = 1 grey or 3 colours, upright, resized as `how` says; raise `BadInput`.

    Transparency is dropped, of 16 bits the upper 8 are kept, CMYK becomes RGB; of several pictures in a JPEG the first.
    """
    channels, *size = shape
    if channels not in CHANNELS or len(size) != 2:
        raise BadInput(f"a picture is given for a view of shape {shape}; expected (1, H, W) or (3, H, W)")
    how, picture = how or Picture(), opened(content, most_pixels)
    mode, least = "L" if channels == 1 else "RGB", int(_GAP * max(size) / how.crop)
    try:
        if isinstance(picture, JpegImageFile):
            picture.draft(mode, (least, least))
        picture.load()
        turned = picture.getexif().get(ExifTags.Base.Orientation, 1)
        height, width = size[::-1] if turned >= _ON_ITS_SIDE else size
        pixels = _resized(_in_mode(picture, mode), height, width, how)
        if turned in _UPRIGHT:
            pixels = pixels.transpose(_UPRIGHT[turned])
        view: Bits = np.asarray(pixels, np.uint8)
    except Exception as error:  # as above
        raise _undecodable(error) from error
    return view[np.newaxis] if channels == 1 else np.ascontiguousarray(np.moveaxis(view, 2, 0))


def _kind(start: bytes) -> type[ImageFile] | None:
    """The reader of a file; `Image.open` would try others, and warn of sizes by a bound of its own."""
    if start.startswith(b"\xff\xd8\xff"):
        return JpegImageFile
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return PngImageFile
    return WebPImageFile if start.startswith(b"RIFF") and start[8:12] == b"WEBP" else None


def _expected() -> str:
    return f"one of {', '.join(_FORMATS)}"


def _undecodable(error: Exception) -> BadInput:
    return BadInput(f"a picture cannot be decoded ({error}); expected a whole file, {_expected()}")


def _in_mode(picture: Image.Image, mode: str) -> Image.Image:
    if picture.mode.startswith("I"):  # which `convert` would clip at 255
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if picture.mode == "P" and "transparency" in picture.info:
        picture = picture.convert("RGBA")
    return picture if picture.mode == mode else picture.convert(mode)


def _resized(picture: Image.Image, height: int, width: int, how: Picture) -> Image.Image:
    """The middle of a picture at another size."""
    across, down = picture.width * how.crop, picture.height * how.crop
    inner_width, inner_height = width, height
    if how.resize == "cover":
        across, down = min(across, down * width / height), min(down, across * height / width)
    elif how.resize == "contain":
        scale = min(width / across, height / down)
        inner_width, inner_height = max(round(across * scale), 1), max(round(down * scale), 1)
    left, top = (picture.width - across) / 2, (picture.height - down) / 2
    box: Box = (left, top, min(left + across, picture.width), min(top + down, picture.height))
    pixels = picture.resize((inner_width, inner_height), _FILTERS[how.filter], box)
    if pixels.size == (width, height):
        return pixels
    framed = Image.new(picture.mode, (width, height), _GREY if picture.mode == "L" else (_GREY,) * 3)
    framed.paste(pixels, ((width - inner_width) // 2, (height - inner_height) // 2))
    return framed


def drawn(view: Array) -> Image.Image:
    """A view (…, H, W) as people may look at it: from its least to its most, or as it is where it is bytes."""
    picture = view[:3] if view.ndim == 3 and view.shape[0] >= 3 else view.reshape(-1, *view.shape[-2:])[0]
    if picture.dtype != np.uint8:
        finite = np.nan_to_num(picture.astype(np.float32), posinf=0.0, neginf=0.0)
        low, high = float(finite.min()), float(finite.max())
        picture = ((finite - low) * (255 / (high - low or 1.0))).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(picture.transpose(1, 2, 0) if picture.ndim == 3 else picture))
