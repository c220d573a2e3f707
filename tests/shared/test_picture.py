"""Photographs become views: upright, resized as declared, the same by hand; what is no single picture is refused."""

import struct
import subprocess
import sys
import zlib
from contextlib import suppress
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from pydantic import ValidationError

from ddnn.errors import BadInput
from ddnn.picture import Picture, decode, is_picture, opened
from ddnn.topology import View
from ddnn.types import Array


def scene(width: int, height: int) -> Image.Image:
    """A smooth picture that is unlike itself when it is turned: red to the right, green down, a blue corner."""
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    blue = np.where((across < 80) & (down < 80), 220.0, 20.0)
    return Image.fromarray(np.stack([across, down, blue], axis=2).astype(np.uint8))


def saved(picture: Image.Image, format: str = "JPEG", **options: Any) -> bytes:
    file = BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def png_head(width: int, height: int) -> bytes:
    """The beginning of a PNG of any size, of which no pixel is there."""
    body = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(body)) + b"IHDR" + body + struct.pack(">I", zlib.crc32(b"IHDR" + body))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 10) + b"IDAT" + bytes(14)


def apart(view: Array, like: Array) -> float:
    assert view.shape == like.shape
    assert view.dtype == np.uint8
    return float(np.abs(view.astype(int) - like).mean())


def by_hand(picture: Image.Image) -> Array:
    return np.moveaxis(np.asarray(picture.convert("RGB")), 2, 0)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("size", [(640, 480), (120, 500), (7, 5)])
def test_a_photograph_covers_its_view(format: str, size: tuple[int, int]) -> None:
    file = saved(scene(*size), format)
    view = decode(file, (3, 32, 48))
    like = ImageOps.fit(Image.open(BytesIO(file)), (48, 32), Image.Resampling.BICUBIC)
    assert apart(view, by_hand(like)) < 2
    assert view.flags.c_contiguous


def test_a_picture_as_large_as_its_view_is_left_alone() -> None:
    picture = scene(48, 32)
    assert (decode(saved(picture, "PNG"), (3, 32, 48)) == by_hand(picture)).all()


def test_contain_shows_all_between_bars_and_stretch_distorts() -> None:
    file, picture = saved(scene(200, 100), "PNG"), scene(200, 100)
    contained = decode(file, (3, 40, 40), Picture(resize="contain"))
    assert (contained[:, :10] == 127).all()
    assert (contained[:, 30:] == 127).all()
    assert apart(contained[:, 10:30], by_hand(picture.resize((40, 20), Image.Resampling.BICUBIC))) < 1
    stretched = decode(file, (3, 40, 40), Picture(resize="stretch"))
    assert apart(stretched, by_hand(picture.resize((40, 40), Image.Resampling.BICUBIC))) < 1


def test_a_crop_keeps_the_middle() -> None:
    picture = scene(100, 100)
    view = decode(saved(picture, "PNG"), (3, 50, 50), Picture(crop=0.5))
    assert (view == by_hand(picture.crop((25, 25, 75, 75)))).all()


@pytest.mark.parametrize("filter", ["box", "bilinear", "bicubic", "lanczos"])
def test_each_filter_is_that_of_pillow(filter: Any) -> None:
    picture = scene(100, 60)
    like = picture.resize((20, 12), getattr(Image.Resampling, filter.upper()))
    assert (decode(saved(picture, "PNG"), (3, 12, 20), Picture(filter=filter)) == by_hand(like)).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("shape", [(3, 24, 40), (3, 40, 24), (1, 30, 30)])
def test_a_camera_held_any_way_gives_an_upright_view(orientation: int, shape: tuple[int, ...]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = saved(scene(300, 200), quality=95, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(BytesIO(file)))
    like = decode(saved(upright, "PNG"), shape)
    assert apart(decode(file, shape), like) < 2


def test_a_grey_view_takes_the_brightness_of_a_photograph_in_colour() -> None:
    picture = scene(64, 64)
    assert apart(decode(saved(picture, quality=95), (1, 64, 64)), np.asarray(picture.convert("L"))[None]) < 2
    assert apart(decode(saved(picture, "PNG"), (1, 64, 64)), np.asarray(picture.convert("L"))[None]) == 0


def test_a_view_in_colour_takes_a_grey_photograph() -> None:
    view = decode(saved(scene(64, 64).convert("L")), (3, 64, 64))
    assert (view[0] == view[1]).all()
    assert (view[0] == view[2]).all()


def test_a_large_jpeg_is_decoded_small_and_looks_the_same() -> None:
    picture = scene(2400, 1800)
    assert apart(decode(saved(picture, quality=90), (3, 96, 96)), decode(saved(picture, "PNG"), (3, 96, 96))) < 1.5


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16", "CMYK"])
def test_every_kind_of_pixel_becomes_bytes(mode: str) -> None:
    picture = scene(64, 64)
    if mode == "I;16":
        grey = np.asarray(picture.convert("L")).astype(np.uint16) * 257
        file, limit = saved(Image.fromarray(grey), "PNG"), 1.0
    elif mode == "CMYK":
        file, limit = saved(picture.convert("CMYK"), quality=95), 6.0
    else:
        file, limit = saved(picture.convert(mode), "PNG"), {"P": 12.0, "1": 128.0}.get(mode, 0.0)
    grey_view = decode(file, (1, 64, 64))
    assert apart(grey_view, np.asarray(picture.convert("L"))[None]) <= limit
    assert decode(file, (3, 64, 64)).shape == (3, 64, 64)


def test_a_palette_with_transparent_colours_is_a_picture() -> None:
    file = saved(scene(32, 32).convert("P"), "PNG", transparency=bytes(range(0, 250, 10)))
    assert decode(file, (3, 32, 32)).shape == (3, 32, 32)


def test_the_first_picture_of_a_phone_s_jpeg_counts() -> None:
    first, second = scene(64, 48), Image.new("RGB", (64, 48))
    file = saved(first, "MPO", save_all=True, append_images=[second], quality=95)
    assert apart(decode(file, (3, 48, 64)), by_hand(first)) < 3


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_an_animation_is_refused(format: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    file = saved(frames[0], format, save_all=True, append_images=frames[1:], duration=100)
    with pytest.raises(BadInput, match="a picture is animated, in 3 frames; expected one that stands still"):
        decode(file, (3, 8, 8))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_a_file_that_is_cut_short_is_refused(format: str, share: float) -> None:
    file = saved(Image.fromarray(np.random.default_rng(0).integers(0, 256, (99, 99, 3)).astype(np.uint8)), format)
    with pytest.raises(BadInput, match=r"a picture .*; expected (a whole file, )?one of JPEG, PNG, WebP"):
        decode(file[: int(len(file) * share)], (3, 8, 8))


@pytest.mark.parametrize("format", ["GIF", "BMP", "TIFF", "ICO", "PPM"])
def test_another_kind_of_file_is_refused(format: str) -> None:
    file = saved(scene(16, 16), format)
    assert not is_picture(file)
    with pytest.raises(BadInput, match=r"begins with b'.*; expected one of JPEG, PNG, WebP"):
        decode(file, (3, 8, 8))


def test_a_picture_that_is_too_large_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(BadInput, match="a picture is 50000 × 50000; expected at most 8333333 pixels"):
        decode(png_head(50_000, 50_000), (3, 8, 8))
    with pytest.raises(BadInput, match="a picture is 200 × 100; expected at most 19999 pixels"):
        opened(saved(scene(200, 100)), 19_999)
    assert opened(saved(scene(200, 100)), 20_000).size == (200, 100)
    with pytest.raises(BadInput, match="a picture is 200 × 100; expected at most 19999 pixels"):
        opened(saved(scene(200, 100), "WEBP"), 59_999)


@pytest.mark.parametrize("shape", [(4,), (3, 8), (2, 8, 8)])
def test_a_view_that_is_no_image_takes_no_picture(shape: tuple[int, ...]) -> None:
    with pytest.raises(BadInput, match=r"a picture is given for a view of shape .*; expected \(1, H, W\) or"):
        decode(saved(scene(8, 8)), shape)


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(["JPEG", "PNG", "WEBP"]), st.lists(st.tuples(st.integers(0, 10**6), st.binary(max_size=4))))
def test_no_damage_raises_anything_but_bad_input(format: str, hits: list[tuple[int, bytes]]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    file = bytearray(saved(scene(24, 16), format, exif=exif))
    for place, content in hits:
        start = place % len(file)
        file[start : start + len(content)] = content
    with suppress(BadInput):
        assert decode(bytes(file), (3, 8, 8), most_pixels=10**6).shape == (3, 8, 8)


def test_the_manifest_s_view_says_how_and_only_of_an_image() -> None:
    view = View(shape=(3, 8, 8), dtype="UINT8", picture=Picture(resize="contain"))
    assert View.model_validate(view.model_dump(mode="json")) == view
    assert View(shape=(3, 8, 8), dtype="UINT8").is_picture
    assert not View(shape=(8, 8), dtype="UINT8").is_picture
    for other in ({"dtype": "FP32"}, {"shape": (2, 8, 8)}, {"picture": {"crop": 0}}, {"picture": {"resize": "fit"}}):
        with pytest.raises(ValidationError):
            View.model_validate({"shape": (3, 8, 8), "dtype": "UINT8", "picture": {}, **other})


def test_it_needs_neither_torch_nor_the_server() -> None:
    code = "import sys, ddnn.picture; print([n for n in ('torch', 'fastapi', 'onnxruntime') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
