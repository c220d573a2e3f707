"""The fault matrix in full: every trouble befalls every tier of a real fleet under steady load.

`python -m ddnn_lab.benchmarks.faults --out results`: the fleet of `ddnn up` as processes over links,
golden events under a policy that lets each exit answer a share. `--quick` is the core. Writes faults.json, faults.md.
Exit code 1: a request to a living tier was lost, an answer was wrong, or something stayed.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final

from ddnn.bundle import Bundle, shipped_bundle
from ddnn.formatting import markdown
from ddnn_lab.benchmarks.report import environment, options, write
from ddnn_lab.faults.fleet import FaultyFleet, resealed, spread
from ddnn_lab.faults.footprint import footprints, leaks
from ddnn_lab.faults.oracle import Oracle
from ddnn_lab.faults.trial import Verdict, try_out, until_whole
from ddnn_lab.faults.troubles import TARGETS, TROUBLES, SteadyLoad

__all__ = ["main"]

CORE: Final = {"killed", "paused", "hangs", "error 500", "cut down"}
WARM_UP_S: Final = 3.0
LATE_MS, OPEN_MS, WHOLE_MS = 50, 1000, 5000
"""What is aimed at: past the deadline, to an open circuit, to a whole fleet."""


def main() -> int:
    """Run the matrix, print a line a trial, write what was found."""
    parser = options(__doc__)
    parser.add_argument("--quick", action="store_true", help="only the core of the matrix")
    parser.add_argument("--only", default="", help="only the troubles whose name holds this")
    parser.add_argument("--rate", type=float, default=12.0, help="events a second, each seen by six devices")
    parser.add_argument("--deadline-ms", type=float, default=1000.0, help="of every request")
    parser.add_argument("--seconds", type=float, default=2.5, help="how long each trouble lasts")
    given = parser.parse_args()
    troubles = [each for each in TROUBLES if given.only in each.name and (not given.quick or each.name in CORE)]
    with tempfile.TemporaryDirectory(prefix="ddnn-faults-") as folder:
        bundle = spread(Bundle.open(shipped_bundle()), Path(folder) / "bundle", local=0.2, edge=0.2)
        other = resealed(bundle, Path(folder) / "other")
        document = _run(bundle, other, troubles, given)
    write(given.out, "faults", document, f"{markdown(_COLUMNS, map(_cells, document['trials']))}\n{_summary(document)}")
    return int(any(row["faults"] for row in document["trials"]) or bool(document["leaks"]))


def _run(bundle: Bundle, other: Path, troubles: list[Any], given: argparse.Namespace) -> dict[str, Any]:
    oracle, deadline_s = Oracle(bundle), given.deadline_ms / 1000
    trials = []
    with FaultyFleet(bundle.path, other=other) as fleet:
        fleet.wait_until_ready(seconds=120)
        urls = fleet.device_urls
        with SteadyLoad(urls, bundle, oracle.rows, rate=given.rate, deadline_s=deadline_s) as load:
            sleep(WARM_UP_S)
            until_whole(fleet, load, monotonic())
        fleet.until_idle()
        sleep(5)  # idle connections close
        before = footprints(fleet)
        with SteadyLoad(urls, bundle, oracle.rows, rate=given.rate, deadline_s=deadline_s, seed=1) as load:
            for trouble in troubles:
                for target in TARGETS:
                    trials.append(try_out(fleet, load, trouble, target, seconds=given.seconds))
                    print(
                        f"{target} {trouble.name}: whole {trials[-1].whole - trials[-1].ended:.2f} s after", flush=True
                    )
        fleet.until_idle()
        stayed = leaks(fleet, before)
        after = footprints(fleet)
    verdicts = [Verdict.of(trial, load.samples, oracle, deadline_s).document(deadline_s) for trial in trials]
    return {
        **environment(),
        "rate": given.rate,
        "deadline_ms": given.deadline_ms,
        "seconds": given.seconds,
        "trials": verdicts,
        "leaks": stayed,
        "memory": {
            name: [was.memory, after[name].memory] for name, was in before.items() if was.pid == after[name].pid
        },
        "asked": len(load.samples),
    }


_COLUMNS: Final = (
    *("tier", "trouble", "requests", "lost", "wrong", "degraded, for", "p99, max ms", "past deadline, ms"),
    *("circuit open, ms", "whole, ms"),
)


def _cells(row: dict[str, Any]) -> tuple[object, ...]:
    reasons = ", ".join(f"`{name}` {count}" for name, count in sorted(row["reasons"].items(), key=lambda r: -r[1]))
    opened = "" if not row["breaker_must_open"] else "never" if not row["breaker_ms"] else f"{row['breaker_ms']:.0f}"
    tier = row["target"].partition("-")[0]
    late = f"{row['latest_past_deadline_ms']:.0f}" if row["late"] else ""
    counts = (row["asked"], row["lost"], row["wrong"], reasons or "none")
    times = (f"{row['p99_ms']:.0f}, {row['max_ms']:.0f}", late, opened, f"{row['whole_ms']:.0f}")
    return (tier, row["trouble"], *counts, *times)


def _summary(document: dict[str, Any]) -> str:
    rows = document["trials"]
    asked, lost, wrong = (sum(row[key] for row in rows) for key in ("asked", "lost", "wrong"))
    degraded = sum(sum(row["reasons"].values()) for row in rows)
    late = max((row["latest_past_deadline_ms"] for row in rows), default=0.0)
    past = sum(row["latest_past_deadline_ms"] > LATE_MS for row in rows)
    opened = [row["breaker_ms"] for row in rows if row["breaker_must_open"] and row["breaker_ms"] is not None]
    grown = [after / before - 1 for before, after in document["memory"].values()]
    return (
        f"{len(rows)} trials, {asked} requests to living tiers: {lost} lost, {wrong} wrong, "
        f"{degraded} degraded and right. "
        f"Latest answer {late:.0f} ms past its deadline ({past} trials over {LATE_MS} ms). "
        f"Circuits open after {max(opened, default=0):.0f} ms at most "
        f"({sum(each > OPEN_MS for each in opened)} of {len(opened)} over {OPEN_MS}). "
        f"Whole after {max((row['whole_ms'] for row in rows), default=0):.0f} ms at most "
        f"({sum(row['whole_ms'] > WHOLE_MS for row in rows)} over {WHOLE_MS}). "
        f"Memory of tiers never restarted: {100 * max(grown, default=0):+.1f} % at most. "
        f"Left behind: {', '.join(document['leaks']) or 'nothing'}."
    )


if __name__ == "__main__":
    sys.exit(main())
