"""Videos and cameras, read by FFmpeg (PyAV): one frame for each stretch of time, as JPEG."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

from ddnn.errors import BadInput
from ddnn.extensions import needed_for
from ddnn.sources.source import Frame, Say, rests

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

__all__ = ["Video"]

QUALITY: Final = 95  #: of the JPEG that a frame becomes
LARGEST: Final = 1280  #: its longer side, at most
PATIENCE_S: Final = 10.0  #: for a camera to be opened, and for its next packet


class Video:
    """A file, whose frames wait, or a camera: an address, or a device of this machine such as `/dev/video0`."""

    def __init__(self, name: str, rate: float, say: Say, *, live: bool) -> None:
        """Raise `BadInput` if it cannot be opened."""
        self.name, self.live, self._rate, self._say = name, live, rate, say
        with needed_for("a video or camera", extra="video"):
            import av
        self._av, self._opened = av, self._read()
        self._thread = ThreadPoolExecutor(1, "ddnn-video")  # its own: a camera keeps it busy all the time
        try:
            self._first: Frame | None = next(self._opened, None)
        except av.FFmpegError as error:
            raise BadInput(f"{name} cannot be read as video ({_why(error)})") from error

    async def frames(self) -> AsyncIterator[Frame]:
        """A frame a stretch; a camera that is lost is tried again, later and later."""
        rest, reading, loop = 0.0, self._opened, asyncio.get_running_loop()
        if self._first:
            yield self._first
        while True:
            try:
                frame = await loop.run_in_executor(self._thread, next, reading, None)
            except self._av.FFmpegError as error:
                frame, why = None, _why(error)
            else:
                why = "it ended"
            if frame:
                rest = 0.0
                yield frame
                continue
            if not self.live:
                if why != "it ended":
                    self._say(f"{self.name} breaks off: {why}")
                return
            rest, reading = rests(rest), self._read()
            self._say(f"{self.name} is lost ({why}); it is tried again in {rest:.0f} s")
            await asyncio.sleep(rest)

    def _read(self) -> Iterator[Frame]:
        """Open it, and give the first frame of each stretch; blocks."""
        options: Any = {"timeout": PATIENCE_S} if "://" in self.name else {}
        kind = "v4l2" if self.name.startswith("/dev/") else None
        with self._av.open(self.name, format=kind, **options) as container:
            if not container.streams.video:
                raise BadInput(f"{self.name} has no video")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            first = last = None
            for frame in container.decode(stream):
                first = (frame.time or 0.0) if first is None else first
                at = time.time() if self.live else (frame.time or 0.0) - first
                if (stretch := int(at * self._rate)) != last:
                    last = stretch
                    # In the middle of its stretch, where no rounding moves it into another.
                    yield Frame(at if self.live else (stretch + 0.5) / self._rate, _jpeg(frame))


def _jpeg(frame: "VideoFrame") -> bytes:
    image, file = frame.to_image(), BytesIO()  # type: ignore[no-untyped-call]
    image.thumbnail((LARGEST, LARGEST))
    image.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def _why(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).lower()
