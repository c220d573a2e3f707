"""A soak: the fleet of `ddnn up` over links, at 70 % of what it can do, with random faults all the time.

`python -m ddnn_lab.benchmarks.soak --minutes 30 --out results`. Writes soak.json, soak.md and soak.png.
Exit code 1: a request to a living tier was lost, an answer was wrong, or a tier's memory grew by 1 % or more.
"""

import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Final

from ddnn.bundle import Bundle, shipped_bundle
from ddnn.formatting import markdown
from ddnn.plot_style import name as entitle
from ddnn.plot_style import panels
from ddnn_lab.benchmarks.report import environment, options, write
from ddnn_lab.faults.fleet import FaultyFleet, resealed, spread
from ddnn_lab.faults.footprint import footprints, leaks
from ddnn_lab.faults.oracle import Oracle
from ddnn_lab.faults.soaking import Soaked, soak
from ddnn_lab.load import Closed, FleetTarget, measure
from ddnn_lab.plots import save

__all__ = ["main"]

SHARE: Final = 0.7
MOST_GROWTH: Final = 0.01


def main() -> int:
    """Soak, print a line now and then, write what was found."""
    parser = options(__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="how long troubles go on")
    parser.add_argument("--rate", type=float, help="events a second instead of 70 %% of what the fleet does at most")
    parser.add_argument("--seed", type=int, default=0, help="of troubles and arrivals")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ddnn-soak-") as folder:
        bundle = spread(Bundle.open(shipped_bundle()), Path(folder) / "bundle")
        with FaultyFleet(bundle.path, other=resealed(bundle, Path(folder) / "other")) as fleet:
            fleet.wait_until_ready(seconds=120)
            rate = given.rate or SHARE * most(fleet, bundle)
            print(f"{rate:.0f} events/s", file=sys.stderr, flush=True)
            before = footprints(fleet)
            told = soak(
                fleet,
                bundle,
                Oracle(bundle),
                seconds=60 * given.minutes,
                rate=rate,
                seed=given.seed,
                tour=True,
                progress=show,
            )
            left = leaks(fleet, before)
    document = {**environment(), "rate": rate, "left_behind": left, **told.document()}
    write(given.out, "soak", document, page(told, rate, left), partial(draw, told))
    return int(bool(told.lost or told.wrong or left) or max(told.growth.values()) >= MOST_GROWTH)


def most(fleet: FaultyFleet, bundle: Bundle) -> float:
    """Events a second that the fleet answers in time, at most."""
    golden = bundle.golden
    views = [golden[f"view_{n}"] for n in range(len(fleet.device_urls))]
    return measure(FleetTarget(fleet.device_urls, views), Closed(16), seconds=8, warm_up_s=3).goodput


def show(told: Soaked) -> None:
    """One line so far, and what was wrong last."""
    for each in [*told.lost[-1:], *told.wrong[-1:]]:
        print(each, file=sys.stderr)
    print(
        f"{told.seconds:.0f} s: {told.asked} requests, {len(told.lost)} lost, {len(told.wrong)} wrong",
        file=sys.stderr,
        flush=True,
    )


def page(told: Soaked, rate: float, left: list[str]) -> str:
    """What came of it, as Markdown."""
    rows = [
        ("length", f"{told.seconds / 60:.1f} min, {sum(told.troubles.values())} troubles"),
        ("load", f"{rate:.0f} events/s, each seen by six devices"),
        ("requests to living tiers", f"{told.asked}"),
        ("lost", f"{len(told.lost)}"),
        ("wrong", f"{len(told.wrong)}"),
        ("degraded and right, in troubles", f"{sum(told.reasons.values())}"),
        ("degraded and right, between troubles", f"{sum(told.calm.values())}"),
        ("whole again after, at most", f"{max(told.whole_s, default=0):.1f} s"),
        ("memory growth over the second half, largest", f"{100 * max(told.growth.values()):+.2f} %"),
        ("left behind", ", ".join(left) or "nothing"),
    ]
    return markdown(("", ""), rows)


def draw(told: Soaked, file: Path) -> None:
    """Memory of every tier over time."""
    figure, (axis,) = panels(1, height=3.5)
    for name in told.memory[0][1]:
        axis.plot([at / 60 for at, _ in told.memory], [each[name] / 1e6 for _, each in told.memory], label=name)
    axis.axvline(told.seconds / 120, color="grey", linestyle=":")
    axis.set_ylim(bottom=0)
    entitle(axis, "", "minutes", "resident memory, MB")
    axis.legend(fontsize=7, ncols=4, loc="lower right")
    save(figure, file)


if __name__ == "__main__":
    sys.exit(main())
