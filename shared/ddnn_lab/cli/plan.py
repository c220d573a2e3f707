"""`ddnn plan`: how many edges and cloud cores so many devices need, by a simulation on measured service times."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from typer import Option

from ddnn.cli.options import BundleArgument, Json, open_bundle, print_json, screen

__all__ = ["plan"]

Devices = Annotated[int, Option(min=1, max=100_000_000, help="Devices, of all sites together.")]
Rate = Annotated[float, Option(min=1e-6, max=1e6, help="Events a second of each site, in the mean of a day.")]
Peak = Annotated[float, Option(min=1, max=1000, help="The busiest hour has so many times the mean; it is planned for.")]
Link = Annotated[
    list[str] | None,
    Option(
        "--link", metavar="SHAPE", help="Of each device and edge, `40ms,1mbit`; `edge-cloud=40ms,10mbit`: of one kind."
    ),
]
P95 = Annotated[float, Option(min=1, help="The 95th percentile of what callers wait, at most, in milliseconds.")]
Busy = Annotated[float, Option(min=0.01, max=0.99, help="Share of a core, or of a link, that may be in use.")]
Away = Annotated[float, Option(min=0, max=0.99, help="Share of its events that a device misses.")]
Fails = Annotated[
    list[str] | None,
    Option("--fails", metavar="WHAT=UP,AWAY", help="`edge=30d,10m`; `edge-cloud`, the link; `cloud`, a core of it."),
]
CostsFile = Annotated[Path | None, Option("--costs", metavar="FILE", help="What was measured; by default, as shipped.")]
MeasureFile = Annotated[
    Path | None,
    Option("--measure", metavar="FILE", help="Measure it first, on this machine, a minute or two; write it there."),
]
Http = Annotated[bool, Option("--http", help="With --measure: tiers ask each other by HTTP, not over streams.")]
Events = Annotated[int, Option(min=500, max=1_000_000, help="Events simulated in each try.")]
SeedOption = Annotated[int, Option(help="Seed of the simulation.")]


def plan(
    bundle: BundleArgument = None,
    devices: Devices = 1000,
    rate: Rate = 0.2,
    peak: Peak = 1.0,
    link: Link = None,
    p95: P95 = 1000.0,
    busy: Busy = 0.7,
    away: Away = 0.0,
    fails: Fails = None,
    costs: CostsFile = None,
    measure: MeasureFile = None,
    http: Http = False,
    events: Events = 6000,
    seed: SeedOption = 0,
    as_json: Json = False,
) -> None:
    """Tell how many edges and cloud cores so many devices need, and what callers then wait.

    The bundle's own policy decides each of its golden events; what these cost was measured on real processes. Exit code
    3: no number of cores would do.

    Example: `ddnn plan --devices 100000 --rate 0.2 --link 1mbit`
    """
    from ddnn.errors import BadInput
    from ddnn.extensions import needed_for

    opened = open_bundle(bundle)
    if measure and costs:
        raise BadInput("--measure and --costs are both given; expected one of them")
    if measure and (measure.is_dir() or not measure.parent.is_dir()):
        raise BadInput(f"--measure is {measure}; expected a file in a folder that exists")
    near, far = _links(link or [])
    with needed_for("a plan", extra="plan"):
        from ddnn_lab.planning.costs import Costs
        from ddnn_lab.planning.outages import parse_outages
        from ddnn_lab.planning.sizing import Wanted, cores_by_hour, sized
        from ddnn_lab.planning.ways import ways_of

        if measure:
            from ddnn_lab.planning.measuring import measured
    from rich.console import Console

    outages = parse_outages(fails or [])
    with Console(stderr=True).status("") as status:
        ways = ways_of(opened, away=away, seed=seed)
        if measure:
            found = measured(opened, stream=not http, say=lambda what: status.update(f"measuring {what}"))
            found.save(measure)
        else:
            found = Costs.load(costs, opened) if costs else Costs.shipped(opened)
        wanted = Wanted(devices, rate, peak, near, far, p95 / 1000, busy, events, outages)
        document = sized(found, ways, wanted, seed=seed, progress=lambda what: status.update(f"simulating {what}"))
    document |= {"bundle": {"name": found.name, "fingerprint": found.bundle}, "transport": found.transport}
    document["hours"] = cores_by_hour(document)
    if as_json:
        print_json(document)
    else:
        _show(document)


_AWAY: Final = {"edge": "an edge", "edge-cloud": "its link to the cloud", "cloud": "the whole cloud"}


def _links(given: list[str]) -> tuple[Any, Any]:
    """Of devices and of edges; a shape without a name is both's."""
    from ddnn.links import LINKS, LinkShape, parse_links

    bare = [text for text in given if "=" not in text]
    shapes = dict.fromkeys(LINKS, LinkShape.parse(bare[-1]) if bare else LinkShape())
    shapes |= parse_links([text for text in given if "=" in text])
    return shapes["device-edge"], shapes["edge-cloud"]


def _show(document: Mapping[str, Any]) -> None:
    from ddnn.formatting import NONE, percent, size, table

    edges, cloud, wait = document["edges"], document["cloud"], document["latency_ms"]
    title = f"{document['devices']:,} devices, {document['sites']:,} sites, {document['rate']:g} events a second each"
    if document["peak"] > 1:
        title += f", {document['peak']:g} times that in the busiest hour"
    shown = table(title, "", "processes", "cores", "in use", "memory", "Mbit/s up", "down")
    flow = {name: [f"{bits / 1e6:,.1f}" for bits in both] for name, both in document["bits_per_s"].items()}
    rows = (
        ("devices", document["devices"], document["devices"], document["device_busy"], None, flow["device-edge"]),
        ("edges", edges["services"], edges["cores"], edges["busy"], edges["memory_bytes"], flow["edge-cloud"]),
        ("cloud", cloud["cores"], cloud["cores"], cloud["busy"], cloud["memory_bytes"], (NONE, NONE)),
    )
    for name, processes, cores, busy, memory, sent in rows:
        held = NONE if memory is None else size(round(memory))
        shown.add_row(name, f"{processes:,}", f"{cores:,}", percent(busy), held, *sent)
    screen().print(shown)
    exits = ", ".join(f"{percent(share)} at {exit}" for exit, share in document["exits"].items() if share)
    typer.echo(f"answered {exits}; {percent(document['accuracy'])} right on the bundle's golden events")
    typer.echo(f"callers wait {wait['p50']:,.0f} ms (p50), {wait['p95']:,.0f} ms (p95), {wait['p99']:,.0f} ms (p99)")
    typer.echo(
        f"an edge's core bears {edges['sites_per_core']:,} sites; cloud: {cloud['events_per_s']:,.1f} events a second"
    )
    if below := {name: share for name, share in document["degraded"].items() if share}:
        told = ", ".join(f"{100 * share:.2g} % as {_AWAY[name]} is away" for name, share in below.items())
        typer.echo(f"degraded, answered below: {told}")
    if document["peak"] > 1:
        hours = document["hours"]
        day = sum(hour["edge_cores"] + hour["cloud_cores"] for hour in hours)
        whole = 24 * (edges["cores"] + cloud["cores"])
        typer.echo(f"a day that follows the load takes {day:,.0f} core hours, {whole:,} without")
