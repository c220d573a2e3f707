"""`ddnn play`: the sensors of a running fleet."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ddnn.cli.options import BasePort, BundleArgument, Count, Devices, Json, Rate, Token, bundle_path, print_json

if TYPE_CHECKING:
    from ddnn.bundle import Bundle
    from ddnn.data import Dataset

__all__ = ["play"]

Data = Annotated[
    str | None, typer.Option(metavar="DATA", help="Play a data file or built-in set; golden events by default.")
]
Grid = Annotated[
    str | None, typer.Option(help="How one image becomes views, for example 3x2; by default as in training.")
]
Split = Annotated[str, typer.Option(help="Which part of --data: train, validation, test or all.")]
Jitter = Annotated[float, typer.Option("--jitter-ms", min=0, help="Each view comes up to this much later.")]
Drop = Annotated[float, typer.Option(min=0, max=1, help="Share of the views that are lost.")]
Seed = Annotated[int, typer.Option(help="Seed of the order, of what is lost and what is late.")]
Threshold = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Instead of the policy's: answer at the first exit less unsure; 0 = the cloud."),
]
HealthFile = Annotated[Path | None, typer.Option(help="Touch this file whenever an event was answered.")]


def play(
    bundle: BundleArgument = None,
    device: Devices = None,
    base_port: BasePort = 8000,
    data: Data = None,
    grid: Grid = None,
    split: Split = "test",
    rate: Rate = None,
    count: Count = None,
    jitter_ms: Jitter = 0.0,
    drop: Drop = 0.0,
    seed: Seed = 0,
    threshold: Threshold = None,
    health_file: HealthFile = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Show events to the devices of a running fleet and print the answers.

    Exit code 1 when an event was not answered.

    Example: `ddnn play --rate 5 --drop 0.1`, `ddnn play --data mnist5k --grid 3x2 --count 100`
    """
    from rich.console import Console

    from ddnn.bundle import Bundle
    from ddnn.fleet.addresses import device_addresses
    from ddnn.fleet.events import golden_events, shuffled
    from ddnn.fleet.player import Pace, Played
    from ddnn.fleet.status import check_served, read_statuses
    from ddnn.fleet.table import show

    opened = Bundle.open(bundle_path(bundle))
    urls = device_addresses(device or (), base_port, opened.topology)
    check_served(read_statuses(urls, token), opened, "its BUNDLE")
    events = _events(opened, data, grid, split) if data else golden_events(opened)

    def note(played: Played) -> None:
        if health_file and played.answer is not None:
            health_file.touch()

    tally = show(
        urls,
        shuffled(events, count, seed),
        Pace(rate, jitter_ms, drop, seed, threshold),
        classes=opened.manifest.classes,
        token=token,
        console=Console(stderr=as_json, highlight=False),
        then=note,
    )
    if as_json:
        print_json(tally.document())
    if tally.failed:
        raise typer.Exit(1)


def _events(bundle: "Bundle", source: str, grid: str | None, split: str) -> "Dataset":
    from ddnn.evaluation.source import load_for, split_note
    from ddnn.fleet.events import events_of

    data = load_for(bundle, source, grid=grid)
    if note := split_note(bundle, data):
        typer.echo(f"note: {note}", err=True)
    return events_of(bundle, data, split)
