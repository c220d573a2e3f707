"""`ddnn cost`: what learning together costs, before it is done."""

from typing import Annotated, Any

import typer
from typer import Option

from ddnn.cli.options import BundleArgument, Json, open_bundle, print_json, screen

__all__ = ["cost"]


def cost(
    bundle: BundleArgument = None,
    workers: Annotated[int, Option(min=1, help="How many learn together, or how many sites are drawn.")] = 4,
    every: Annotated[int, Option(min=1, help="Steps between two exchanges, or two checkpoints of replicas.")] = 10,
    fetch_every: Annotated[int, Option(min=1, help="Steps between two fetches of downpour.")] = 10,
    batch: Annotated[int, Option(min=2, help="Events a step, of all workers together.")] = 64,
    events: Annotated[int | None, Option(min=2, help="Training events; the bundle's own by default.")] = None,
    link: Annotated[str, Option(metavar="SHAPE", help="Of each worker: a round trip and a rate.")] = "1ms,1gbit",
    as_json: Json = False,
) -> None:
    """Tell what an epoch of each way to learn together sends and waits, for a bundle's network.

    Example: `ddnn cost mnist5k --workers 4 --every 10 --link 40ms,10mbit`

    Messages and bytes are those that a run counts, to the byte; seconds are the worst of the usual model of a link
    (latency and rate, one port), and compute is in floating-point operations.
    """
    from ddnn.errors import BadInput
    from ddnn.extensions import needed_for, refuse_unlisted
    from ddnn.links import LinkShape
    from ddnn.settings import Settings

    with needed_for("training"):
        from ddnn.training import Config
        from ddnn.training.distributed.pricing import priced
    opened = open_bundle(bundle)
    config = Config.of(opened.manifest.training.config)
    refuse_unlisted(config.network.extensions, Settings.load().extensions)
    count = events or opened.manifest.training.data.get("split", {}).get("train", 0)
    if count < batch:
        raise BadInput(f"there are {count} training events for a batch of {batch}; expected --events, as many or more")
    document = priced(opened, config, workers, every, fetch_every, batch, count, LinkShape.parse(link))
    if as_json:
        print_json(document)
        return
    _show(document)


def _show(document: dict[str, Any]) -> None:
    from ddnn.formatting import size, table

    values = document["model"]["values"]
    title = f"an epoch of {document['steps']} steps; {document['workers']} workers, {values:,} values"
    shown = table(title, "", "messages", "sent", "received", "at a server", "worst time")
    for row in document["modes"]:
        sizes = (size(row[key]) for key in ("sent", "received", "server"))
        shown.add_row(row["name"], f"{row['messages']:,}", *sizes, f"{row['seconds']:,.1f} s")
    screen().print(shown)
    work = document["work"]
    typer.echo(f"an event is {work['whole']:,} operations forward, a step {work['step']:,} a worker")
    apart = f"sections on machines of their own gain at most {work['parallelism']:.2f}×"
    typer.echo(f"of these {work['depth']:,} wait for each other: {apart}, as a full pipeline {work['pipeline']:.2f}×")
