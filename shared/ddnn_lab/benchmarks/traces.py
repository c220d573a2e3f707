"""What traces cost a tier: the same cloud with and without `DDNN_TRACES`, spans sent to a collector that drops them.

`python -m ddnn_lab.benchmarks.traces --out DIR [--share 0.01] [--seconds 2] [--rounds 8] [--starts 2]`, a minute;
as `identity` does, by turns, servers on one CPU. The collector is a process beside what asks.
"""

import http.server
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Annotated

from typer import Option

from ddnn.types import Tier
from ddnn.uplink.uplink import INFER_PATH
from ddnn_lab.benchmarks import RESULTS, Out, command, free_port, listening, write
from ddnn_lab.benchmarks.by_turns import Rounds, Servers, Starts, apart, by_turns, page
from ddnn_lab.benchmarks.hotpath import one_event
from ddnn_lab.load import HttpTarget, Outcome, Target

__all__ = ["main"]


class _Dropping(http.server.BaseHTTPRequestHandler):
    """Takes spans, and keeps none."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def _servers(share: float, cpu: int | None) -> Iterator[Servers]:
    """A cloud that traces nothing, and one that traces such a share of the events."""
    body, headers = one_event(Tier.CLOUD)
    with ExitStack() as stack:
        collector = free_port()
        stack.enter_context(listening("-m", __spec__.name, "collect", f"{collector}", port=collector))
        traces = {"DDNN_TRACES": f"http://127.0.0.1:{collector}/v1/traces", "DDNN_TRACES_SHARE": f"{share}"}
        found: dict[str, tuple[Target, int]] = {}
        for name, own in (("plain", {}), ("traced", traces)):
            port = free_port()
            arguments = ("-m", "ddnn", "serve", "cloud", "--port", f"{port}", "--log-level", "error")
            pid = stack.enter_context(listening(*arguments, port=port, cpu=cpu, **own))
            url = f"http://127.0.0.1:{port}{INFER_PATH}"
            found[name] = HttpTarget(url, [body], lambda _, answer: Outcome(bool(answer)), headers), pid
        yield found


def main(
    out: Out = RESULTS,
    share: Annotated[float, Option(min=0, max=1, help="Of the events that are traced.")] = 0.01,
    seconds: float = 2.0,
    rounds: Rounds = 8,
    starts: Starts = 2,
) -> None:
    """Measure, print, and write `traces.json` and `traces.md`."""
    with apart() as cpu:
        found = {"share": share, **by_turns(partial(_servers, share, cpu), seconds, rounds, starts)}
    words = {"plain": "without traces", "traced": f"{share:.0%} of the events traced"}
    write(out, "traces", found, page=page("What traces cost", found, words, "traces"))


if __name__ == "__main__":
    if sys.argv[1:2] == ["collect"]:
        http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), _Dropping).serve_forever()
    else:
        command(__doc__, main)
