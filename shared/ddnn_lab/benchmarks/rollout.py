"""What callers notice of a rollout: events lost, degraded, or fused without a device, and their times, stage by stage.

`python -m ddnn_lab.benchmarks.rollout --out results`: a fleet of processes answers golden events of some callers while
a second bundle, the same network under another name, is rolled out. Writes rollout.json and rollout.md. Exit code 1:
an event was lost or degraded.
"""

import secrets
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any, Final

import numpy as np

from ddnn.bundle import Bundle, shipped_bundle
from ddnn.client import Fleet
from ddnn.client.admin import Admin
from ddnn.errors import DDNNError
from ddnn.fleet.processes import LocalFleet
from ddnn.fleet.rollout import begin
from ddnn_lab.benchmarks import RESULTS, Out, command, write

__all__ = ["renamed"]

WAIT_S: Final = 300.0
LOOKS_S: Final = 0.1


@dataclass(frozen=True)
class Asked:
    """What became of one event."""

    stage: str  #: of the rollout, when it began
    seconds: float
    reason: str  #: why it is degraded, or was not answered
    devices: int
    lost: bool = False


def renamed(folder: Path, name: str) -> Bundle:
    """The shipped bundle under another name, and so with another fingerprint."""
    path = Path(shutil.copytree(shipped_bundle(), folder / name))
    opened = Bundle.open(path)
    sealed = Bundle.seal(path, opened.manifest.model_copy(update={"name": name}))
    opened.policy.model_copy(update={"bundle": sealed.fingerprint}).write(path)
    return Bundle.open(path)


class _Callers:
    """Golden events, one after the other of each caller."""

    def __init__(self, fleet: LocalFleet, count: int) -> None:
        self.stage, self.asked = "before", list[Asked]()
        self._golden, self._client, self._over = fleet.bundle.golden, Fleet(fleet.device_urls), Event()
        self._threads = [Thread(target=self._ask, args=(caller,)) for caller in range(count)]

    def _ask(self, caller: int) -> None:
        number = 0
        while not self._over.is_set():
            row, stage, began = number % len(self._golden["y"]), self.stage, time.perf_counter()
            views = [self._golden[f"view_{device}"][row] for device in range(6)]
            try:
                answer = self._client.answer_event(views, event=f"{caller} {number}")
                found = Asked(stage, time.perf_counter() - began, answer.degraded_reason, int(answer.devices.sum()))
            except DDNNError as error:
                found = Asked(stage, time.perf_counter() - began, str(error), 0, lost=True)
            self.asked.append(found)
            number += 1

    def __enter__(self) -> "_Callers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._client.close()


def measure(callers: int, seconds: float, share: float, events: int) -> dict[str, Any]:
    """Events by stage of a rollout, with `seconds` before and after it."""
    token = secrets.token_hex(16)
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalFleet(shipped_bundle(), base_port=0, env={"DDNN_ADMIN_TOKEN": token}) as fleet,
    ):
        fleet.wait_until_ready(seconds=120)
        new = renamed(Path(folder), "second")
        with _Callers(fleet, callers) as asking, Admin(fleet.cloud_url, admin_token=token, timeout_s=60) as admin:
            time.sleep(seconds)
            asking.stage = "spreading"
            began = time.monotonic()
            begin(admin, new, share=share, events=events)
            while asking.stage not in ("serving", "returned") and time.monotonic() - began < WAIT_S:
                asking.stage = admin.rollout()["stage"]
                time.sleep(LOOKS_S)
            took = time.monotonic() - began
            time.sleep(seconds)
    stages = {stage: _figures([one for one in asking.asked if one.stage == stage]) for stage in _STAGES}
    during = _figures([one for one in asking.asked if one.stage != "before"])
    return {"seconds": took, "stages": {name: each for name, each in stages.items() if each}, "during": during}


_STAGES: Final = ("before", "spreading", "canary", "serving", "returned")


def _figures(asked: list[Asked]) -> dict[str, Any] | None:
    if not asked:
        return None
    p50, p95 = np.quantile([one.seconds for one in asked], (0.5, 0.95)) * 1000
    return {
        "events": len(asked),
        "lost": sum(one.lost for one in asked),
        "degraded": dict(Counter(one.reason for one in asked if one.reason and not one.lost)),
        "fewer_devices": sum(one.devices < 6 for one in asked),
        "p50_ms": float(p50),
        "p95_ms": float(p95),
    }


def main(out: Out = RESULTS, callers: int = 2, seconds: float = 15.0, share: float = 0.3, events: int = 100) -> None:
    """Measure, print, and write `rollout.json` and `rollout.md`."""
    found = measure(callers, seconds, share, events)
    lines = [
        "# What callers notice of a rollout",
        "",
        "| stage | events | lost | degraded | not all six | p50 ms | p95 ms |",
    ]
    lines.append("| --- " * 7 + "|")
    rows = {**found["stages"], "from its beginning on": found["during"]}
    for stage, row in rows.items():
        counts = f"{row['events']} | {row['lost']} | {sum(row['degraded'].values())} | {row['fewer_devices']}"
        lines.append(f"| {stage} | {counts} | {row['p50_ms']:.0f} | {row['p95_ms']:.0f} |")
    ratio = found["during"]["p95_ms"] / found["stages"]["before"]["p95_ms"]
    lines += ["", f"It took {found['seconds']:.1f} s. p95 from its beginning on: {ratio:.2f} times that before.", ""]
    write(out, "rollout", {**found, "p95_ratio": ratio}, page="\n".join(lines))
    if found["during"]["lost"] or found["during"]["degraded"]:
        sys.exit(1)


if __name__ == "__main__":
    command(__doc__, main)
