"""What `ddnn bench serve` loads and shows: a fleet that runs or is started, each load in turn, and a table."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, Progress, TimeRemainingColumn

from ddnn.bundle import Bundle
from ddnn.data import Dataset
from ddnn.errors import BadInput
from ddnn.evaluation.source import load_for
from ddnn.fleet.addresses import parse_addresses
from ddnn.fleet.events import events_of, golden_events
from ddnn.fleet.processes import LocalFleet
from ddnn.fleet.status import check_served, read_statuses
from ddnn.formatting import table
from ddnn.links import LINKS, parse_links
from ddnn.types import Tier
from ddnn_lab.links import passed
from ddnn_lab.load import Arrivals, Measured, Processes, Target
from ddnn_lab.load.sweep import COLUMNS, Plan, cells, sweep

__all__ = ["LoadedFleet", "events_for", "measured", "running_fleet", "show", "started_fleet"]

_NICENESS: Final = 5
"""Of the tiers: sensors do not wait for a tier's processor, so neither may the load generator where it shares it."""
_WIDEST: Final = 200  #: characters; a table that is cut tells nothing


def events_for(bundle: Bundle, source: str | None) -> tuple[Dataset, str]:
    """The test events of a data source, or the golden ones, and what a report calls them."""
    if source is None:
        return golden_events(bundle), "the bundle's golden set"
    data = load_for(bundle, source)
    return events_of(bundle, data), f"the test split of {data.name}"


class LoadedFleet(NamedTuple):
    """Addresses of the devices in order, what is known of the processes, and the shapes of links by name."""

    urls: Sequence[str]
    processes: Processes
    links: Mapping[str, str]


def running_fleet(bundle: Bundle, given: Sequence[str], token: str | None) -> LoadedFleet:
    """A fleet that runs already; raise `BadInput` where it does not, or serves another bundle."""
    urls, devices = parse_addresses(given), len(bundle.topology.devices)
    if len(urls) != devices:
        raise BadInput(f"--fleet names {len(urls)} addresses; the bundle has {devices} devices")
    tiers = read_statuses(urls, token)
    check_served(tiers, bundle, "its BUNDLE")
    if not any(tier.fingerprint for tier in tiers):
        raise BadInput(f"none of the addresses of --fleet answers, {urls[0]} for example; is it up?")
    return LoadedFleet(urls, Processes(), {})


@contextmanager
def started_fleet(
    bundle: Bundle, links: Sequence[str], settings: Mapping[str, object], console: Console
) -> Iterator[LoadedFleet]:
    """A fleet on this machine for the time of the block, with links as slow as asked and settings of its tiers."""
    named = parse_links(links)
    shapes = {LINKS[name]: shape for name, shape in named.items()}
    env = {name: str(value) for name, value in settings.items() if value is not None}
    with LocalFleet(bundle.path, base_port=0, env=env, shapes=shapes, niceness=_NICENESS) as fleet:
        with console.status("") as status:
            fleet.wait_until_ready(
                progress=lambda ready, count: status.update(f"starting: {ready} of {count} processes ready")
            )
        counted = {name: _passed(fleet, LINKS[name]) for name in named}
        ids = {name: fleet.pid(name) for name in fleet.members}
        yield LoadedFleet(
            fleet.device_urls, Processes(ids, counted), {name: str(shape) for name, shape in named.items()}
        )


def _passed(fleet: LocalFleet, lower: Tier) -> Callable[[], tuple[int, int]]:
    """What tells how many bytes have passed the links above a kind of tier, up and down."""
    links = [link for name, link in fleet.links.items() if fleet.members[name].tier is lower]
    return lambda: passed(*links)


def measured(
    target: Callable[[], Target], loads: Sequence[Arrivals], plan: Plan, processes: Processes, console: Console
) -> list[Measured]:
    """Measure each load on a new target, and show how it goes on."""
    points: list[Measured] = []
    columns = ("{task.description}", BarColumn(), TimeRemainingColumn(), "{task.fields[events]}")
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=plan.warm_up_s + plan.seconds, events="")

        def begins(load: Arrivals) -> None:
            bar.reset(task, description=f"load {len(points) + 1}: {load}", events="")

        def progress(seconds: float, events: int) -> None:
            bar.update(task, completed=seconds, events=f"{events} events")

        for point in sweep(target, loads, plan, processes, begins=begins, progress=progress):
            points.append(point)
            load, _, goodput, p50, *_ = cells(point.document())
            bar.console.print(f"{load}: goodput {goodput}/s, p50 {p50} ms", style="dim", highlight=False)
    return points


def show(results: Mapping[str, Any]) -> None:
    """Print the table."""
    shown = table(None, *COLUMNS)
    for point in results["points"]:
        shown.add_row(*cells(point))
    console = Console(highlight=False, width=_WIDEST)
    console.print(shown)
    if any(point["client"]["was_the_limit"] for point in results["points"]):
        console.print("! the load generator may have been the limit: too busy (--workers 2), or the machine is")
