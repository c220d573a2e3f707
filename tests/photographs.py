"""Photographs for sources."""

import os
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ["jpeg", "put", "video"]


def jpeg(seed: int = 0, side: int = 24) -> bytes:
    file = BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3)).astype(np.uint8)).save(file, "JPEG")
    return file.getvalue()


def put(folder: Path, name: str, content: bytes) -> None:
    """As a camera's server should: whole at once."""
    part = folder / f".{name}"
    part.write_bytes(content)
    os.replace(part, folder / name)


def video(path: Path, seconds: float, rate: int = 8, shade: int = 60) -> str:
    """A video that gets brighter second by second."""
    import av

    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(int(seconds * rate)):
            pixels = np.full((48, 64, 3), shade + 20 * (number // rate), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode())
    return str(path)
