"""Logging that waits for no reader: lines go through a bounded queue to a thread that writes them."""

import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from queue import Full, Queue
from threading import Thread
from typing import Final

__all__ = ["LogQueue", "log_to_stderr"]

_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_LINES: Final = 1000
_LAST_S: Final = 1.0  #: for what is in the queue when the process ends


class LogQueue(logging.Handler):
    """Writes lines to a file descriptor from a thread of its own; a line for which the queue has no room is dropped.

    Nothing of it is locked while the thread waits for the reader, so that the process can end meanwhile.
    """

    def __init__(self, descriptor: int, most: int = _LINES) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter(_FORMAT))
        self.dropped = 0
        self._descriptor, self._lines = descriptor, Queue[str](most)
        self._count: Callable[[], object] | None = None
        Thread(target=self._write_all, name="log", daemon=True).start()

    def count_with(self, count: Callable[[], object]) -> None:
        """Call this for every line that is dropped, those before it too."""
        for _ in range(self.dropped):
            count()
        self._count = count

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.put_nowait(self.format(record))
        except Full:
            self.dropped += 1
            if self._count:
                self._count()
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        """Wait until all is written, a second at most."""
        with self._lines.all_tasks_done:
            self._lines.all_tasks_done.wait_for(lambda: not self._lines.unfinished_tasks, _LAST_S)

    def _write_all(self) -> None:
        told = 0
        while True:
            line = self._lines.get()
            if self.dropped > told:
                line += (
                    f"\n{self.dropped - told} lines of this log were dropped: they were not read as fast as they came"
                )
                told = self.dropped
            rest = f"{line}\n".encode(errors="backslashreplace")
            with suppress(OSError):  # it is closed: there is no one to tell
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]
            self._lines.task_done()


def log_to_stderr(level: str) -> LogQueue:
    """Log from this level on, warnings of Python included, to standard error; a stalled reader of it stalls nothing."""
    log = LogQueue(sys.stderr.fileno())
    logging.basicConfig(level=level.upper(), handlers=[log])
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.captureWarnings(True)
    return log
