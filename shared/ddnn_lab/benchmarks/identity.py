"""What mutual TLS costs a tier over what is kept, connections and streams: the same cloud with and without an identity.

`python -m ddnn_lab.benchmarks.identity --out DIR [--seconds 2] [--rounds 8] [--starts 2]`, two minutes. Real processes
on 127.0.0.1; the tiers share one CPU and the asking has another, where there are two. Both get the same event in short
rounds by turns, so that whatever else the machine does hits both alike; the ratio is of the rounds side by side.
"""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from ssl import SSLContext
from typing import Annotated, Final

import numpy as np
from typer import Option

from ddnn.bundle import Bundle, shipped_bundle
from ddnn.fleet.site import furnish
from ddnn.identity import Identity
from ddnn.stream import Broken, Refusal, Stream, Unspoken
from ddnn.types import Tier
from ddnn.uplink.uplink import INFER_PATH
from ddnn_lab.benchmarks import RESULTS, Out, command, free_port, listening, write
from ddnn_lab.benchmarks.by_turns import Rounds, Servers, Starts, apart, by_turns, page
from ddnn_lab.benchmarks.hotpath import one_event
from ddnn_lab.load import HttpTarget, Outcome, Target

__all__ = ["StreamTarget"]

WAYS: Final = {"http": "kept HTTP connections", "stream": "one kept stream"}
_DEADLINE_S: Final = 2.0


class StreamTarget:
    """A cloud, asked over a stream as an edge asks it."""

    def __init__(self, url: str, tls: SSLContext | None) -> None:
        bundle = Bundle.open(shipped_bundle())
        self._inputs = {"features": bundle.golden["edge_features"][:1, 0], "present": np.ones((1, 6), np.bool_)}
        classes, devices = len(bundle.manifest.classes), len(bundle.topology.devices)
        self._make = partial(Stream, url, headers={"x-ddnn-tier": "edge/0"}, tls=tls, classes=classes, devices=devices)
        self._stream: Stream | None = None

    async def __call__(self, number: int) -> Outcome:
        """Ask for the event once more, whatever the number."""
        stream = self._stream = self._stream or self._make()
        try:
            given, _ = await stream.ask(self._inputs, {"edge": 0}, within_s=_DEADLINE_S, connect_s=_DEADLINE_S)
        except (Broken, Refusal, Unspoken) as error:
            return Outcome(False, errors=(f"{error}",))
        return Outcome(given.answers[0].label >= 0)

    async def aclose(self) -> None:
        """Close the stream."""
        if self._stream:
            await self._stream.aclose()
        self._stream = None


@contextmanager
def _servers(way: str, cpu: int | None) -> Iterator[Servers]:
    """A cloud in plain HTTP, and one with an identity; each asked by `way`."""
    body, headers = one_event(Tier.CLOUD)
    with ExitStack() as stack:
        site = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ddnn-")))
        furnish(site, Bundle.open(shipped_bundle()).topology)
        edge = Identity(site / "edge-0", Tier.EDGE, 0)
        edge.expect(Tier.CLOUD, 0)
        found: dict[str, tuple[Target, int]] = {}
        for name, own in (("plain", {}), ("mutual", {"DDNN_IDENTITY": f"{site / 'cloud-0'}"})):
            port, tls = free_port(), edge.client if own else None
            arguments = ("-m", "ddnn", "serve", "cloud", "--port", f"{port}", "--log-level", "error")
            pid = stack.enter_context(listening(*arguments, port=port, cpu=cpu, **own))
            url = f"{'https' if own else 'http'}://127.0.0.1:{port}"
            by_http = HttpTarget(url + INFER_PATH, [body], lambda _, answer: Outcome(bool(answer)), headers, tls=tls)
            found[name] = (by_http if way == "http" else StreamTarget(url, tls)), pid
        yield found


def main(
    out: Out = RESULTS,
    seconds: float = 2.0,
    rounds: Rounds = 8,
    starts: Starts = 2,
    ways: Annotated[str, Option(help="http, stream, or both, with a comma.")] = "http,stream",
) -> None:
    """Measure, print, and write `identity.json` and `identity.md`."""
    words = {"plain": "plain HTTP", "mutual": "mutual TLS"}
    with apart() as cpu:
        found = {way: by_turns(partial(_servers, way, cpu), seconds, rounds, starts) for way in ways.split(",")}
    pages = [page(f"Mutual TLS over {WAYS[way]}", each, words, "mutual TLS") for way, each in found.items()]
    write(out, "identity", found, page="\n".join(pages))


if __name__ == "__main__":
    command(__doc__, main)
