"""`ddnn watch`: photographs from folders, videos, cameras and MQTT topics, as events for a running fleet."""

import asyncio
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from typer import Argument, Option

from ddnn.cli import options
from ddnn.cli.options import note, open_bundle
from ddnn.errors import BadInput, DDNNError
from ddnn.formatting import clock, percent

if TYPE_CHECKING:
    from ddnn.sources import Watched

__all__ = ["watch"]

YEARS_S: Final = 1e8  #: a time beyond is of the clock, one below of a file

Sources = Annotated[
    list[str],
    Argument(
        metavar="SOURCE",
        help="A folder that fills, a video file, rtsp://…, /dev/video0, mqtt://host/topic; one for each device.",
    ),
]
BundleOption = Annotated[
    Path | None, Option("--bundle", metavar="BUNDLE", help="What `ddnn up` serves here, where no --device is given.")
]
Rate = Annotated[float, Option(min=0.001, max=1000, help="Events a second: of each stretch, a source's first picture.")]
Site = Annotated[str, Option(help="What event ids begin with; the stretch's number since 1970 follows.")]
Queue = Annotated[
    int, Option(min=1, max=10_000, help="Events that wait; of live sources the oldest goes when it is full.")
]


def watch(
    source: Sources,
    device: options.Devices = None,
    base_port: options.BasePort = 8000,
    bundle: BundleOption = None,
    rate: Rate = 1.0,
    site: Site = "site",
    queue: Queue = 16,
    count: Annotated[int | None, Option(min=1, help="End after so many events.")] = None,
    deadline_ms: Annotated[float | None, Option(min=1, help="Time budget; the tiers' own by default.")] = None,
    token: options.Token = None,
    as_json: Annotated[bool, Option("--json", help="Print a JSON document a line, the last one the totals.")] = False,
) -> None:
    """Show a fleet what folders, videos, cameras and MQTT topics see, and print its answers.

    The first --device is shown the first SOURCE, and so on. What the sources see in one stretch of 1 / --rate seconds
    is one event. It goes on until the sources end, or until Ctrl-C; what is dropped under load is counted. Exit code 1
    when an event was not answered.

    A photograph in a folder is taken when two looks, 0.1 s apart, find it unchanged: whoever writes more slowly writes
    under a name that begins with a dot, and renames the file.

    Example: `ddnn watch /srv/left /srv/right --device http://10.0.0.7:8010 --device http://10.0.0.8:8010 --rate 2`
    """
    from ddnn.client import AsyncFleet
    from ddnn.fleet.addresses import device_addresses, parse_addresses
    from ddnn.fleet.status import NO_TIER, read_statuses
    from ddnn.sources import Counts, Plan, open_sources
    from ddnn.sources import watch as watching

    urls = parse_addresses(device or ()) or device_addresses((), base_port, open_bundle(bundle).topology)
    if len(source) > len(urls) or (device and len(source) != len(urls)):
        raise BadInput(f"{len(source)} sources for {len(urls)} devices; expected one each")
    urls = urls[: len(source)]
    if not site.isprintable() or not 0 < len(site) <= 64:
        raise BadInput(f"--site is {site!r}; expected 1 to 64 printable characters")
    sources = open_sources(source, rate, note)
    if not any(tier.listens for tier in read_statuses(urls, token)):
        raise DDNNError(NO_TIER)

    counts = Counts()

    def show(watched: "Watched") -> None:
        nonlocal counts
        counts = watched.counts
        typer.echo(json.dumps(watched.document()) if as_json else _line(watched))

    async def run() -> Counts:
        async with AsyncFleet(urls, token) as fleet:
            return await watching(fleet, sources, Plan(site, rate, queue, count, deadline_ms), show)

    try:
        counts = asyncio.run(run())
    finally:
        if as_json:
            typer.echo(json.dumps(counts.document()))
        else:
            typer.echo(counts.sentence(), err=True)
    if counts.failed:
        raise typer.Exit(1)


def _line(watched: "Watched") -> str:
    seen = "".join("●" if view is not None else "○" for view in watched.event.views)
    at = watched.event.time
    when = time.strftime("%H:%M:%S", time.localtime(at)) if at > YEARS_S else clock(at)
    dropped = f"  {watched.counts.dropped} dropped" if watched.counts.dropped else ""
    start, end = f"{when}  {watched.event.id}  {seen}", f"{watched.milliseconds:.0f} ms{dropped}"
    if (answer := watched.answer) is None:
        return f"{start}  no answer: {watched.error}  {end}"
    degraded = f"  degraded: {answer.degraded_reason}" if answer.degraded else ""
    name = answer.class_name or str(answer.label)
    return (
        f"{start}  {name}  {answer.exit.value} {percent(answer.confidence)}  {answer.bytes_up:,} B up  {end}{degraded}"
    )
