"""`ddnn profile`: how long each section takes, for latency as a cost."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ddnn.cli.evaluate import refuse_folder
from ddnn.cli.options import BundleArgument, Json, bundle_path

if TYPE_CHECKING:
    from rich.table import Table

    from ddnn.tuning.profile import Profile

__all__ = ["profile"]

Batch = Annotated[int, typer.Option(min=1, max=4096, help="Events a run; `tune` takes a profile of 1.")]
Repeat = Annotated[int, typer.Option(min=1, max=1_000_000, help="Runs of each section that count.")]
Threads = Annotated[int, typer.Option(min=1, max=256, help="Threads a section may use.")]
Out = Annotated[Path | None, typer.Option(metavar="FILE", help="Write the times there, for `ddnn tune --profile`.")]


def profile(
    bundle: BundleArgument = None,
    batch: Batch = 1,
    repeat: Repeat = 200,
    threads: Threads = 1,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Measure how long each section takes on this machine, one after the other, on golden events.

    The file is plain JSON: times measured on the machines that will run each tier can be put into it by hand.

    Example: `ddnn profile BUNDLE --out profile.json`
    """
    from rich.console import Console

    from ddnn.bundle import Bundle
    from ddnn.cli.progress import bars
    from ddnn.formatting import count
    from ddnn.tuning.profile import measure

    refuse_folder(out)
    opened = Bundle.open(bundle_path(bundle))
    with bars() as progress:
        found = measure(opened, batch=batch, repeat=repeat, threads=threads, progress=progress)
    if out is not None:
        found.write(out)
    if as_json:
        typer.echo(json.dumps(found.model_dump(mode="json"), indent=1))
        return
    console = Console(highlight=False)
    console.print(f"A run of {count(batch, 'event')} on {count(threads, 'thread')}, {repeat} runs of each section.")
    console.print(_table(found))
    if out is not None:
        console.print(f"Written to {out}.", soft_wrap=True)


def _table(times: "Profile") -> "Table":
    from ddnn.formatting import milliseconds, table

    made = table(None, "section", "median", "p95")
    named = {"device": times.device, "local exit": times.local, "edge": times.edge, "cloud": (times.cloud,)}
    for name, timings in named.items():
        for index, timing in enumerate(timings):
            both = (milliseconds(seconds, 3) for seconds in (timing.median_s, timing.p95_s))
            made.add_row(f"{name} {index}" if len(timings) > 1 else name, *both)
    return made
