"""`ddnn bench serve`: how fast a fleet answers, and what its answers are worth, over what it is offered."""

import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ddnn.cli.target import BundleArgument, Json, Token, addresses, bundle_path
from ddnn.cli.up import LinkShapes, MaxBatch, MaxDelay
from ddnn.errors import BadInput

if TYPE_CHECKING:
    from rich.console import Console

    from ddnn.bundle import Bundle
    from ddnn.fleet.events import Events
    from ddnn.fleet.processes import LocalFleet
    from ddnn.links import Shape
    from ddnn.types import Tier
    from ddnn_lab.load import Arrivals, Measured, Processes, Target
    from ddnn_lab.load.sweep import Plan

__all__ = ["serve"]

Data = Annotated[
    str | None,
    typer.Argument(
        metavar="[DATA]", help="Data file or built-in set whose test events are sent; by default golden ones."
    ),
]
FleetUrls = Annotated[
    list[str] | None,
    typer.Option(
        "--fleet", metavar="URL", help="Devices of a fleet that runs already, in order, comma-separated or repeated."
    ),
]
Rates = Annotated[
    str | None, typer.Option("--rate", metavar="R,R", help="Events a second that come by themselves (Poisson).")
]
Clients = Annotated[
    str | None, typer.Option("--closed", metavar="N,N", help="Clients, each of which sends when it was answered.")
]
Threshold = Annotated[
    float | None, typer.Option(min=0, max=1, help="Instead of the policy's thresholds; 0 = everything to the cloud.")
]
MaxExit = Annotated[str | None, typer.Option(help="Answer no higher than this exit: device, local, edge or cloud.")]
_NICENESS: Final = 5
"""Of the tiers: sensors do not wait for a tier's processor, so neither may the load generator where it shares it."""
_WIDEST: Final = 200
"""Characters; a table that is cut tells nothing."""

Out = Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for results.json, report.md and plots.")]


def serve(
    bundle: BundleArgument = None,
    data: Data = None,
    fleet: FleetUrls = None,
    rate: Rates = None,
    closed: Clients = None,
    seconds: Annotated[float, typer.Option(min=0.2, help="Length of each load, warm-up apart.")] = 10.0,
    warm_up: Annotated[float, typer.Option("--warm-up", min=0, help="Seconds before each that do not count.")] = 2.0,
    deadline_ms: Annotated[float, typer.Option(min=1, help="Later answers are no goodput.")] = 2000.0,
    link: LinkShapes = None,
    threshold: Threshold = None,
    max_exit: MaxExit = None,
    max_batch: MaxBatch = None,
    max_delay_ms: MaxDelay = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that make the load.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the arrivals and of the order of events.")] = 0,
    out: Out = None,
    quick: Annotated[bool, typer.Option("--quick", help="Two short loads: does it all work?")] = False,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Load a fleet and show latency, goodput, accuracy and CPU over what it was offered.

    A fleet is started as by `ddnn up`, on free ports, unless --fleet names one. Without --rate and --closed: 16 clients
    find what it does at most, then events come at 25 to 150 % of that.

    Example: `ddnn bench serve --rate 25,50,100 --link edge-cloud=40ms,10mbit --out load`
    """
    from rich.console import Console

    from ddnn.bundle import Bundle
    from ddnn.fleet.links import parse_shapes
    from ddnn.types import Exit
    from ddnn_lab.load import FleetTarget
    from ddnn_lab.load.results import document, write
    from ddnn_lab.load.sweep import Plan

    if max_exit is not None and max_exit not in set(Exit):
        raise BadInput(f"--max-exit is {max_exit!r}; expected one of {', '.join(Exit)}")
    if fleet and (link or max_batch or max_delay_ms is not None):
        raise BadInput("--link, --max-batch and --max-delay-ms are for a fleet that is started here, without --fleet")
    loads = _loads(rate, closed or ("1,4" if quick and not rate else None), seed)
    plan = Plan(*((1.0, 0.3) if quick else (seconds, warm_up)), deadline_ms / 1000, workers, seed)
    shapes, opened = parse_shapes(link or ()), Bundle.open(bundle_path(bundle))
    events, name = _events(opened, data)
    asked = {"threshold": threshold, "max_exit": max_exit}
    parameters = {key: value for key, value in asked.items() if value is not None}
    console = Console(stderr=True, highlight=False)
    settings = {"DDNN_TOKEN": token, "DDNN_MAX_SECTION_BATCH": max_batch, "DDNN_MAX_DELAY_MS": max_delay_ms}
    with _fleet(opened, fleet, shapes, settings, console) as (urls, processes, links):

        def target() -> FleetTarget:
            return FleetTarget(urls, events.views, events.y, events.present, plan.deadline_s, token, parameters, seed)

        points = _measure(target, loads, plan, processes, console)
    found = document(
        points,
        name=opened.manifest.name,
        command=shlex.join(["ddnn", *(word for word in sys.argv[1:] if word != "--json")]),
        bundle=opened.fingerprint,
        data=name,
        events=len(events),
        devices=len(opened.topology.devices),
        links=links,
        asked=parameters,
        seconds=plan.seconds,
        warm_up_s=plan.warm_up_s,
        deadline_ms=deadline_ms,
        seed=seed,
    )
    if out:
        for file in write(found, out):
            console.print(str(file), style="dim", markup=False, soft_wrap=True)
    if as_json:
        import json

        typer.echo(json.dumps(found, indent=1))
    else:
        _show(found)
    if not any(point.answered for point in points):
        raise typer.Exit(1)


def _loads(rate: str | None, closed: str | None, seed: int) -> "list[Arrivals]":
    from ddnn_lab.load import Closed, Poisson

    loads: list[Arrivals] = [Closed(int(value)) for value in _numbers("--closed", closed, whole=True)]
    return loads + [Poisson(value, seed) for value in _numbers("--rate", rate, whole=False)]


def _numbers(flag: str, text: str | None, *, whole: bool) -> list[float]:
    if text is None:
        return []
    try:
        return [int(part) if whole else float(part) for part in text.split(",")]
    except ValueError as error:
        kind = "whole numbers such as 1,4,16" if whole else "numbers such as 50,100,200"
        raise BadInput(f"{flag} is {text!r}; expected {kind}") from error


def _events(bundle: "Bundle", source: str | None) -> "tuple[Events, str]":
    from ddnn.evaluation.source import load_for
    from ddnn.fleet.events import events_of, golden_events

    if source is None:
        return golden_events(bundle), "the bundle's golden set"
    data = load_for(bundle, source)
    return events_of(bundle, data), f"the test split of {data.name}"


@contextmanager
def _fleet(
    bundle: "Bundle",
    given: Sequence[str] | None,
    shapes: "Mapping[Tier, Shape]",
    settings: "Mapping[str, object]",
    console: "Console",
) -> "Iterator[tuple[Sequence[str], Processes, dict[str, str]]]":
    """Addresses of the devices, what they use, and the links by name."""
    from ddnn.cli.target import look_at_devices
    from ddnn.fleet.links import LOWER
    from ddnn.fleet.processes import LocalFleet
    from ddnn_lab.load import Processes

    if given:
        urls, devices = addresses(given), len(bundle.topology.devices)
        if len(urls) != devices:
            raise BadInput(f"--fleet names {len(urls)} addresses; the bundle has {devices} devices")
        token = settings["DDNN_TOKEN"]
        glances = look_at_devices(urls, bundle, None if token is None else str(token), "its BUNDLE")
        if not any(glance.fingerprint for glance in glances):
            raise BadInput(f"none of the addresses of --fleet answers, {urls[0]} for example; is it up?")
        yield urls, Processes(), {}
        return
    env = {name: str(value) for name, value in settings.items() if value is not None}
    with LocalFleet(bundle.path, base_port=0, env=env, shapes=shapes, niceness=_NICENESS) as fleet:
        with console.status("") as status:
            fleet.wait_until_ready(
                progress=lambda ready, wanted: status.update(f"starting: {ready} of {wanted} processes ready")
            )
        ids = {name: fleet.pid(name) for name in fleet.members}
        told = {name: str(shapes[tier]) for name, tier in LOWER.items() if tier in shapes}
        yield fleet.device_urls, Processes(ids, {name: _passed(fleet, LOWER[name]) for name in told}), told


def _passed(fleet: "LocalFleet", lower: "Tier") -> "Callable[[], tuple[int, int]]":
    """What tells how many bytes have passed the links above a kind of tier, up and down."""
    links = [link for name, link in fleet.links.items() if fleet.members[name].tier is lower]

    def passed() -> tuple[int, int]:
        each = [link.state().passed for link in links]
        return sum(up for up, _ in each), sum(down for _, down in each)

    return passed


def _measure(
    target: "Callable[[], Target]",
    loads: "Sequence[Arrivals]",
    plan: "Plan",
    processes: "Processes",
    console: "Console",
) -> "list[Measured]":
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from ddnn_lab.load.results import cells
    from ddnn_lab.load.sweep import sweep

    points: list[Measured] = []
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[events]}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=plan.warm_up_s + plan.seconds, events="")

        def begins(load: "Arrivals") -> None:
            bar.reset(task, description=f"load {len(points) + 1}: {load}", events="")

        def progress(seconds: float, events: int) -> None:
            bar.update(task, completed=seconds, events=f"{events} events")

        for found in sweep(target, loads, plan, processes, begins=begins, progress=progress):
            points.append(found)
            load, _, goodput, p50, *_ = cells(found.document())
            bar.console.print(f"{load}: goodput {goodput}/s, p50 {p50} ms", style="dim", highlight=False)
    return points


def _show(found: "Mapping[str, Any]") -> None:
    from rich.console import Console
    from rich.table import Table

    from ddnn_lab.load.results import COLUMNS, cells

    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in ("load", "answered at") else "right", no_wrap=True)
    for point in found["points"]:
        table.add_row(*cells(point))
    console = Console(highlight=False, width=_WIDEST)
    console.print(table)
    if any(point["client"]["was_the_limit"] for point in found["points"]):
        console.print("! the load generator may have been the limit: too busy (--workers 2), or the machine is")
