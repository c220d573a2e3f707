"""The fleet of `ddnn up`, as processes over links and under steady load, in every kind of trouble.

`python -m ddnn_lab.benchmarks.faults matrix --out results`: every trouble befalls every tier; golden events under a
policy that lets each exit answer a share. `--quick` is the core. Writes faults.json, faults.md.
Exit code 1: a request to a living tier was lost, an answer was wrong, or something stayed.

`python -m ddnn_lab.benchmarks.faults soak --minutes 30 --out results`: random troubles all the time, at 70 % of what
the fleet can do. Writes soak.json, soak.md and soak.png. Exit code 1: the same, or a tier's memory grew by 1 % or more.
"""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final

import typer
from matplotlib.figure import Figure

from ddnn.bundle import Bundle, shipped_bundle
from ddnn.formatting import markdown
from ddnn.plot_style import name as entitle
from ddnn.plot_style import panels
from ddnn_lab.benchmarks import RESULTS, Out, Quick, command, write
from ddnn_lab.faults.fleet import FaultyFleet, resealed, spread
from ddnn_lab.faults.footprint import footprints, leaks
from ddnn_lab.faults.oracle import Oracle
from ddnn_lab.faults.soaking import Soaked
from ddnn_lab.faults.soaking import soak as let_soak
from ddnn_lab.faults.trial import Verdict, try_out, until_whole
from ddnn_lab.faults.troubles import TARGETS, TROUBLES, SteadyLoad, Trouble
from ddnn_lab.load import Closed, FleetTarget, measure

__all__ = ["matrix", "soak"]

CORE: Final = {"killed", "paused", "hangs", "error 500", "cut down"}
WARM_UP_S: Final = 3.0
LATE_MS, OPEN_MS, WHOLE_MS = 50, 1000, 5000
"""What is aimed at: past the deadline, to an open circuit, to a whole fleet."""
SHARE: Final = 0.7
MOST_GROWTH: Final = 0.01


@contextmanager
def faulty_fleet(**shares: float) -> Iterator[tuple[FaultyFleet, Bundle]]:
    """A fleet that is ready, and its bundle, whose exits answer these shares."""
    with tempfile.TemporaryDirectory(prefix="ddnn-faults-") as folder:
        bundle = spread(Bundle.open(shipped_bundle()), Path(folder) / "bundle", **shares)
        with FaultyFleet(bundle.path, other=resealed(bundle, Path(folder) / "other")) as fleet:
            fleet.wait_until_ready(seconds=120)
            yield fleet, bundle


def matrix(
    out: Out = RESULTS,
    quick: Quick = False,
    only: str = "",
    rate: float = 12.0,
    deadline_ms: float = 1000.0,
    seconds: float = 2.5,
) -> None:
    """Every trouble, or those whose name holds --only, for --seconds each, under --rate events a second."""
    troubles = [each for each in TROUBLES if only in each.name and (not quick or each.name in CORE)]
    with faulty_fleet(local=0.2, edge=0.2) as (fleet, bundle):
        document = _befall(fleet, bundle, troubles, rate, deadline_ms / 1000, seconds)
    document |= {"rate": rate, "deadline_ms": deadline_ms, "seconds": seconds}
    write(out, "faults", document, f"{markdown(_COLUMNS, map(_cells, document['trials']))}\n{_summary(document)}")
    raise typer.Exit(int(any(row["faults"] for row in document["trials"]) or bool(document["leaks"])))


def _befall(
    fleet: FaultyFleet, bundle: Bundle, troubles: Sequence[Trouble], rate: float, deadline_s: float, seconds: float
) -> dict[str, Any]:
    oracle, trials = Oracle(bundle), []

    def steady_load(seed: int = 0) -> SteadyLoad:
        return SteadyLoad(fleet.device_urls, bundle, oracle.rows, rate=rate, deadline_s=deadline_s, seed=seed)

    with steady_load() as load:
        sleep(WARM_UP_S)
        until_whole(fleet, load, monotonic())
    fleet.until_idle()
    sleep(5)  # idle connections close
    before = footprints(fleet)
    with steady_load(seed=1) as load:
        for trouble in troubles:
            for target in TARGETS:
                trial = try_out(fleet, load, trouble, target, seconds=seconds)
                print(f"{target} {trouble.name}: whole {trial.whole - trial.ended:.2f} s after", flush=True)
                trials.append(trial)
    fleet.until_idle()
    stayed, after = leaks(fleet, before), footprints(fleet)
    memory = {name: [was.memory, after[name].memory] for name, was in before.items() if was.pid == after[name].pid}
    verdicts = [Verdict.of(trial, load.samples, oracle, deadline_s).document(deadline_s) for trial in trials]
    return {"trials": verdicts, "leaks": stayed, "memory": memory, "asked": len(load.samples)}


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
    late, whole = ([row[key] for row in rows] for key in ("latest_past_deadline_ms", "whole_ms"))
    opened = [row["breaker_ms"] for row in rows if row["breaker_must_open"] and row["breaker_ms"] is not None]
    grown = [after / before - 1 for before, after in document["memory"].values()]
    return (
        f"{len(rows)} trials, {asked} requests to living tiers: {lost} lost, {wrong} wrong, "
        f"{sum(sum(row['reasons'].values()) for row in rows)} degraded and right. "
        f"Latest answer {max(late, default=0):.0f} ms past its deadline "
        f"({sum(ms > LATE_MS for ms in late)} trials over {LATE_MS} ms). "
        f"Circuits open after {max(opened, default=0):.0f} ms at most "
        f"({sum(ms > OPEN_MS for ms in opened)} of {len(opened)} over {OPEN_MS}). "
        f"Whole after {max(whole, default=0):.0f} ms at most ({sum(ms > WHOLE_MS for ms in whole)} over {WHOLE_MS}). "
        f"Memory of tiers never restarted: {100 * max(grown, default=0):+.1f} % at most. "
        f"Left behind: {', '.join(document['leaks']) or 'nothing'}."
    )


def soak(out: Out = RESULTS, minutes: float = 30.0, rate: float = 0.0, seed: int = 0) -> None:
    """Random troubles for --minutes, at --rate events a second or 70 % of what the fleet does at most."""
    with faulty_fleet() as (fleet, bundle):
        rate = rate or SHARE * most(fleet, bundle)
        print(f"{rate:.0f} events/s", file=sys.stderr, flush=True)
        before, seconds = footprints(fleet), 60 * minutes
        soaked = let_soak(
            fleet, bundle, Oracle(bundle), seconds=seconds, rate=rate, seed=seed, tour=True, progress=_show
        )
        left = leaks(fleet, before)
    document = {"rate": rate, "left_behind": left, **soaked.document()}
    write(out, "soak", document, _page(soaked, rate, left), _draw(soaked))
    grown = max(soaked.growth.values()) >= MOST_GROWTH
    raise typer.Exit(int(bool(soaked.lost or soaked.wrong or left) or grown))


def most(fleet: FaultyFleet, bundle: Bundle) -> float:
    """Events a second that the fleet answers in time, at most."""
    views = [bundle.golden[f"view_{n}"] for n in range(len(fleet.device_urls))]
    return measure(FleetTarget(fleet.device_urls, views), Closed(16), seconds=8, warm_up_s=3).goodput


def _show(soaked: Soaked) -> None:
    """What was wrong last, and a line so far."""
    counts = f"{soaked.asked} requests, {len(soaked.lost)} lost, {len(soaked.wrong)} wrong"
    lines = [*soaked.lost[-1:], *soaked.wrong[-1:], f"{soaked.seconds:.0f} s: {counts}"]
    print("\n".join(lines), file=sys.stderr, flush=True)


def _page(soaked: Soaked, rate: float, left: list[str]) -> str:
    rows = [
        ("length", f"{soaked.seconds / 60:.1f} min, {sum(soaked.troubles.values())} troubles"),
        ("load", f"{rate:.0f} events/s, each seen by six devices"),
        ("requests to living tiers", soaked.asked),
        ("lost", len(soaked.lost)),
        ("wrong", len(soaked.wrong)),
        ("degraded and right, in troubles", sum(soaked.reasons.values())),
        ("degraded and right, between troubles", sum(soaked.calm.values())),
        ("whole again after, at most", f"{max(soaked.whole_s, default=0):.1f} s"),
        ("memory growth over the second half, largest", f"{100 * max(soaked.growth.values()):+.2f} %"),
        ("left behind", ", ".join(left) or "nothing"),
    ]
    return markdown(("", ""), rows)


def _draw(soaked: Soaked) -> Figure:
    """Memory of every tier over time."""
    figure, (axis,) = panels(1, height=3.5)
    minutes = [at / 60 for at, _ in soaked.memory]
    for name in soaked.memory[0][1]:
        axis.plot(minutes, [memory[name] / 1e6 for _, memory in soaked.memory], label=name)
    axis.axvline(soaked.seconds / 120, color="grey", linestyle=":")
    axis.set_ylim(bottom=0)
    entitle(axis, "", "minutes", "resident memory, MB")
    axis.legend(fontsize=7, ncols=4, loc="lower right")
    return figure


if __name__ == "__main__":
    command(__doc__, matrix, soak)
