"""A link between two tiers of a fleet on one machine: a proxy that is as slow and narrow as a real one.

The proxy is the laboratory's and runs as a process of its own: nothing here imports it.
"""

import subprocess
import sys
from types import TracebackType
from typing import Final, Self

from ddnn.errors import BadConfig, DDNNError
from ddnn.links import LinkShape

__all__ = ["LinkProcess"]

_PROXY: Final = "ddnn_lab.links"


class LinkProcess:
    """A link to `HOST:PORT` from construction to `close`; it also ends with the process that made it."""

    def __init__(self, to: str, shape: LinkShape | None = None, *, seed: int = 0) -> None:
        self.shape = shape or LinkShape()
        """What it did to whatever passed when it was made."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", _PROXY, "--to", to, "--shape", str(self.shape), "--seed", str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            start_new_session=True,  # a terminal's Ctrl-C is for the process above, which may have tiers to drain first
        )
        self.port = int(self._answer())
        """Where it listens."""

    @property
    def url(self) -> str:
        """Address for callers."""
        return f"http://127.0.0.1:{self.port}"

    def ask(self, command: str) -> str:
        """Give it one of the commands of `python -m ddnn_lab.links`; return its answer, raise what it refuses."""
        assert self._process.stdin is not None
        try:
            print(command, file=self._process.stdin)
        except (OSError, ValueError):  # its end of the pipe is closed, or ours
            raise self._ended() from None
        answer = self._answer()
        if answer.startswith("error: "):
            raise BadConfig(answer.removeprefix("error: "))
        return answer

    def close(self) -> None:
        """End it; open connections are reset."""
        if self._process.stdin and self._process.stdout:
            self._process.stdin.close()
            self._process.wait(10)
            self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        if line := self._process.stdout.readline():
            return line.strip()
        raise self._ended()

    def _ended(self) -> DDNNError:
        return DDNNError(f"the link has ended with exit code {self._process.wait(10)}")
