"""What mutual TLS costs a tier over kept connections: the same cloud with and without an identity.

`python -m ddnn_lab.benchmarks.identity --out DIR [--seconds 2] [--rounds 7]`, under two minutes. Real processes on
127.0.0.1; the tiers share one CPU and the asking has another, where there are two. Both get the same bytes in short
rounds by turns, so that whatever else the machine does hits both alike; the ratio is of the rounds side by side.
"""

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ddnn.bundle import Bundle, shipped_bundle
from ddnn.fleet.site import furnish
from ddnn.identity import Identity
from ddnn.types import Tier
from ddnn.uplink.uplink import INFER_PATH
from ddnn_lab.benchmarks import RESULTS, Out, command, free_port, listening, write
from ddnn_lab.benchmarks.by_turns import apart, by_turns, page
from ddnn_lab.benchmarks.hotpath import one_event
from ddnn_lab.load import HttpTarget, Outcome

__all__ = ["compare"]


def compare(seconds: float, rounds: int, cpu: int | None) -> dict[str, Any]:
    """Figures of both by the round, and the shares of requests/s that mutual TLS leaves."""
    body, headers = one_event(Tier.CLOUD)
    with ExitStack() as stack:
        site = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ddnn-")))
        furnish(site, Bundle.open(shipped_bundle()).topology)
        edge = Identity(site / "edge-0", Tier.EDGE, 0)
        edge.expect(Tier.CLOUD, 0)
        targets = {}
        for name in ("plain", "mutual"):
            port = free_port()
            own = {"DDNN_IDENTITY": str(site / "cloud-0")} if name == "mutual" else {}
            arguments = ("-m", "ddnn", "serve", "cloud", "--port", f"{port}", "--log-level", "error")
            pid = stack.enter_context(listening(*arguments, port=port, cpu=cpu, **own))
            url = f"{'https' if own else 'http'}://127.0.0.1:{port}{INFER_PATH}"
            targets[name] = (
                HttpTarget(url, [body], lambda _, answer: Outcome(bool(answer)), headers, tls=edge.client),
                pid,
            )
        return by_turns(targets, seconds, rounds)


def main(out: Out = RESULTS, seconds: float = 2.0, rounds: int = 7) -> None:
    """Measure, print, and write `identity.json` and `identity.md`."""
    with apart() as cpu:
        found = compare(seconds, rounds, cpu)
    words = {"plain": "plain HTTP", "mutual": "mutual TLS"}
    write(out, "identity", found, page=page("What mutual TLS costs", found, words, "mutual TLS"))


if __name__ == "__main__":
    command(__doc__, main)
