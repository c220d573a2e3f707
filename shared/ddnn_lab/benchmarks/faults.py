"""The fleet of `ddnn up`, as processes over links and under steady load, in every kind of trouble.

`python -m ddnn_lab.benchmarks.faults matrix --out results`: every trouble befalls every tier; `--quick` is the core.
`python -m ddnn_lab.benchmarks.faults soak --minutes 30 --out results`: random troubles all the time.

Exit code 1: a request to a living tier was lost, an answer was wrong, something stayed, or memory grew by 1 % or more.
"""

import os
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
from ddnn.plot_style import name as entitle
from ddnn.plot_style import panels
from ddnn_lab.benchmarks import RESULTS, Out, Quick, command, write
from ddnn_lab.faults.fleet import FaultyFleet, footprints, leaks, resealed, spread
from ddnn_lab.faults.oracle import Oracle, Verdict, try_out, until_whole
from ddnn_lab.faults.soaking import Soaked
from ddnn_lab.faults.soaking import soak as let_soak
from ddnn_lab.faults.troubles import TARGETS, TROUBLES, SteadyLoad, Trouble
from ddnn_lab.load import Closed, FleetTarget, measure

__all__ = ["matrix", "soak"]

CORE: Final = {"killed", "paused", "hangs", "error 500", "cut down"}
WARM_UP_S: Final = 3.0
SHARE: Final = 0.7
MOST_GROWTH: Final = 0.01


@contextmanager
def faulty_fleet(*, mutual: bool = False, **shares: float) -> Iterator[tuple[FaultyFleet, Bundle]]:
    """A fleet that is ready, with `mutual` TLS or without, and its bundle, whose exits answer these shares."""
    with tempfile.TemporaryDirectory(prefix="ddnn-faults-") as folder:
        bundle = spread(Bundle.open(shipped_bundle()), Path(folder) / "bundle", **shares)
        site = Path(folder) / "site" if mutual else None
        if site:
            os.environ["SSL_CERT_FILE"] = str(site / "authority.pem")
        with FaultyFleet(bundle.path, other=resealed(bundle, Path(folder) / "other"), identity=site) as fleet:
            fleet.wait_until_ready(seconds=120)
            yield fleet, bundle


def matrix(
    out: Out = RESULTS,
    quick: Quick = False,
    only: str = "",
    rate: float = 12.0,
    deadline_ms: float = 1000.0,
    seconds: float = 2.5,
    identity: bool = False,
) -> None:
    """Every trouble, or those whose name holds --only, for --seconds each, under --rate events a second.

    With --identity, all over mutual TLS.
    """
    troubles = [each for each in TROUBLES if only in each.name and (not quick or each.name in CORE)]
    with faulty_fleet(mutual=identity, local=0.2, edge=0.2) as (fleet, bundle):
        document = _befall(fleet, bundle, troubles, rate, deadline_ms / 1000, seconds)
    document |= {"rate": rate, "deadline_ms": deadline_ms, "seconds": seconds}
    write(out, "faults", document)
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
    return {
        "trials": verdicts,
        "leaks": stayed,
        "memory": memory,
        "growth": max((after / before - 1 for before, after in memory.values()), default=0.0),
        "degraded": sum(sum(row["reasons"].values()) for row in verdicts),
        "asked": len(load.samples),
    }


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
    write(out, "soak", document, _draw(soaked))
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
