"""Links between the tiers of a fleet on one machine: each is a proxy that is as slow and narrow as a real one.

The proxy is the laboratory's and runs as a process of its own: nothing here imports it.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from ddnn.errors import BadConfig, DDNNError
from ddnn.links import LINKS, Shape, parse_links
from ddnn.types import Tier

__all__ = ["LOWER", "LinkProcess", "LinkState", "parse_shapes"]

LOWER: Final = dict(zip(LINKS, (Tier.DEVICE, Tier.EDGE), strict=True))
"""The tier at the lower end of each link; each device, or edge, has one of its own."""
_PROXY: Final = "ddnn_lab.links"


def parse_shapes(given: Sequence[str]) -> Mapping[Tier, Shape]:
    """Shapes by the tier at the lower end, out of `device-edge=5ms,50mbit` and the like; raise `BadInput`."""
    return {LOWER[name]: shape for name, shape in parse_links(given).items()}


@dataclass(frozen=True, slots=True)
class LinkState:
    """What a link does and has done."""

    shape: str
    fault: str
    connections: int
    """Open now."""
    passed: tuple[int, int]
    """Bytes delivered to the far end, and from it."""


class LinkProcess:
    """Like `Link`, from construction to `close`; it also ends with the process that made it."""

    def __init__(self, to: str, shape: Shape | None = None, *, listen: str = "127.0.0.1:0", seed: int = 0) -> None:
        """`to` and `listen` are `HOST:PORT`."""
        self._shape = shape or Shape()
        self._fault = "none"
        command = [sys.executable, "-m", _PROXY, "--listen", listen, "--to", to, "--shape", str(self._shape)]
        self._process = subprocess.Popen(
            [*command, "--seed", str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            start_new_session=True,  # a terminal's Ctrl-C is for whoever made it, who may have tiers to drain first
        )
        self._host = listen.rpartition(":")[0]
        self.port = int(self._heard())
        """Where it listens."""

    @property
    def url(self) -> str:
        """Address for callers."""
        return f"http://{self._host}:{self.port}"

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def shape(self) -> Shape:
        """What it does to whatever passes."""
        return self._shape

    @shape.setter
    def shape(self, shape: Shape) -> None:
        self._ask(f"shape {shape}")
        self._shape = shape

    @property
    def fault(self) -> str:
        """What is wrong with it."""
        return self._fault

    @fault.setter
    def fault(self, fault: str) -> None:
        self._ask(f"fault {fault}")
        self._fault = fault

    def state(self) -> LinkState:
        """As it is now."""
        found: dict[str, Any] = json.loads(self._ask("state"))
        return LinkState(**{**found, "passed": tuple(found["passed"])})

    def close(self) -> None:
        """End it; open connections are reset."""
        process = self._process
        if process.stdin and process.stdout:
            process.stdin.close()
            process.wait(10)
            process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, command: str) -> str:
        assert self._process.stdin is not None
        try:
            print(command, file=self._process.stdin)
        except (OSError, ValueError):  # its end of the pipe is closed, or ours
            raise DDNNError(f"the link has ended with exit code {self._process.wait(10)}") from None
        answer = self._heard()
        if answer.startswith("error: "):
            raise BadConfig(answer.removeprefix("error: "))
        return answer

    def _heard(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise DDNNError(f"the link has ended with exit code {self._process.wait(10)}")
        return line.strip()
