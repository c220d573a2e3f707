"""From what a person writes to sources."""

import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ddnn.errors import BadInput
from ddnn.sources.folder import Folder
from ddnn.sources.mqtt import Mqtt
from ddnn.sources.source import Say, Source
from ddnn.sources.video import Video

__all__ = ["open_sources"]

EXPECTED: Final = "expected a folder, a video file, rtsp://…, /dev/video0, or mqtt://host/topic"


def open_sources(names: Sequence[str], rate: float, say: Say) -> list[Source]:
    """The sources of these names, each at `rate` frames a second; raise `BadInput` for one that is none.

    Videos, which can wait, and what is live do not go together: nothing tells which of their frames belong together.
    """
    found = [_opened(name, rate, say) for name in names]
    if len({source.live for source in found}) > 1:
        waiting = next(source.name for source in found if not source.live)
        raise BadInput(f"{waiting} is a file, and other sources are live; expected one kind or the other")
    return found


def _opened(name: str, rate: float, say: Say) -> Source:
    scheme = name.partition("://")[0] if "://" in name else ""
    if scheme in ("mqtt", "mqtts"):
        return Mqtt(name, say)
    if scheme in ("rtsp", "rtsps", "http", "https"):
        return Video(name, rate, say, live=True)
    path = Path(name)
    if scheme or not path.exists():
        raise BadInput(f"{name} {'is no source' if scheme else 'does not exist'}; {EXPECTED}")
    if path.is_dir():
        return Folder(path, say)
    return Video(name, rate, say, live=stat.S_ISCHR(path.stat().st_mode))
