"""`python -m ddnn_lab.links --to HOST:PORT` runs a link; what it does is changed by lines on stdin.

`shape 40ms,10mbit,5ms`, `fault hang` (see `ddnn_lab.links.link`) and `state` are each answered by one line on
stdout, after a first line with the port. It ends when stdin does.
"""

import argparse
import asyncio
import json
import sys
import threading
from typing import cast

import uvloop

from ddnn.errors import BadInput
from ddnn.links import LinkShape
from ddnn_lab.links.link import FAULTS, Fault, Link

__all__: list[str] = []


def _obey(link: Link, line: str) -> str:
    command, _, value = line.strip().partition(" ")
    try:
        if command == "shape":
            link.shape = LinkShape.parse(value)
        elif command == "fault":
            link.fault = cast(Fault, value.strip())
        elif command == "state":
            state = {"shape": str(link.shape), "fault": link.fault}
            return json.dumps(state | {"connections": link.connections, "passed": link.passed})
        else:
            return f"error: command is {line.strip()!r}; expected shape SHAPE, fault FAULT or state"
    except BadInput as error:
        return f"error: {error}"
    return "ok"


async def _run(link: Link) -> None:
    loop, over = asyncio.get_running_loop(), asyncio.Event()

    def obey(line: str) -> None:
        print(_obey(link, line), flush=True)

    def read() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(obey, line)
        loop.call_soon_threadsafe(over.set)

    async with link:
        print(link.port, flush=True)
        # A thread, since stdin may be a terminal or a file, which event loops do not watch.
        threading.Thread(target=read, name="commands", daemon=True).start()
        await over.wait()


def main() -> int:
    """Run until stdin ends; 2 for bad arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m ddnn_lab.links", description="A proxy that is as bad as a real link."
    )
    parser.add_argument("--to", required=True, help="far end, HOST:PORT")
    parser.add_argument("--listen", default="127.0.0.1:0", help="where callers come, HOST:PORT; port 0 = any free one")
    parser.add_argument("--shape", default="", help="round trip, rate and jitter, like 40ms,10mbit,5ms")
    parser.add_argument("--fault", default="none", choices=FAULTS, help="what is wrong with it from the start")
    parser.add_argument("--seed", type=int, default=0, help="of the jitter")
    given = parser.parse_args()
    try:
        link = Link(given.to, LinkShape.parse(given.shape), listen=given.listen, seed=given.seed, fault=given.fault)
        uvloop.run(_run(link))
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
