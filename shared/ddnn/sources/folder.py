"""A folder that fills: each new photograph in it, once it is whole."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from ddnn.picture import is_picture
from ddnn.sources.source import Frame, Say

__all__ = ["Folder"]

POLL_S: Final = 0.1
"""Between two looks; a file that has not changed is whole. A writer that renames is best."""
FRESH_S: Final = 10.0  #: a photograph's time is the file's if that is so recent, else when it was found

_State = tuple[int, int]  #: size, and time in ns


class Folder:
    """What comes into `path` from now on; what is there already is left alone."""

    live = True

    def __init__(self, path: Path, say: Say) -> None:
        self.path, self.name, self._say = path, str(path), say
        self._taken = self._look()

    async def frames(self) -> AsyncIterator[Frame]:
        """Each new file of which the first bytes are a photograph's, in the order of their times."""
        before = self._taken
        while True:
            await asyncio.sleep(POLL_S)
            found = await asyncio.to_thread(self._look)
            # A name that has gone may come again, and so may one with other content.
            self._taken = {name: state for name, state in self._taken.items() if found.get(name) == state}
            whole = [name for name, state in found.items() if name not in self._taken and before.get(name) == state]
            for name in sorted(whole, key=lambda name: (found[name][1], name)):
                frame = await asyncio.to_thread(self._read, name, found[name])
                if frame:
                    yield frame
            self._taken |= {name: found[name] for name in whole}
            before = found

    def _look(self) -> dict[str, _State]:
        """Files there are, hidden ones left out; none while the folder is away."""
        try:
            with os.scandir(self.path) as entries:
                files = [entry for entry in entries if not entry.name.startswith(".")]
                return {entry.name: _state(entry.stat()) for entry in files if entry.is_file()}
        except OSError:
            return {}

    def _read(self, name: str, state: _State) -> Frame | None:
        try:
            content = (self.path / name).read_bytes()
        except OSError:  # gone again
            return None
        if not is_picture(content):
            self._say(f"{self.path / name} is no JPEG, PNG or WebP file, and left out")
            return None
        now, written = time.time(), state[1] / 1e9
        return Frame(written if 0 <= now - written < FRESH_S else now, content)


def _state(found: os.stat_result) -> _State:
    return found.st_size, found.st_mtime_ns
