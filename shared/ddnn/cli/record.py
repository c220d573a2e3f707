"""`ddnn record`: every exit's scores of every event, in a file that tuning reads."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ddnn.cli.evaluate import BundleFolder, Data, Grid, GroupBy, Seed, TestGroups, load_events, refuse_folder
from ddnn.cli.options import Json

__all__ = ["record"]

Out = Annotated[Path, typer.Option(metavar="FILE", help="The `.npz` file to write.")]
Splits = Annotated[
    list[str] | None,
    typer.Option("--split", help="`train`, `validation` or `test`; once for each. By default validation and test."),
]


def record(
    bundle: BundleFolder,
    data: Data,
    out: Out,
    grid: Grid = None,
    split: Splits = None,
    group_by: GroupBy = None,
    test_groups: TestGroups = None,
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Run every section on every event and keep all exits' scores, so that thresholds can be studied without them.

    Example: `ddnn record BUNDLE mnist5k --grid 3x2 --out scores.npz`
    """
    from rich.console import Console

    from ddnn.bundle import Bundle
    from ddnn.cli.progress import bars
    from ddnn.evaluation import record as recorded
    from ddnn.evaluation.recorded import Recorded
    from ddnn.evaluation.report import accuracies
    from ddnn.evaluation.table import accuracies_table
    from ddnn.formatting import size

    refuse_folder(out)
    opened = Bundle.open(bundle)
    events = load_events(opened, data, grid, group_by, test_groups, seed)
    parts = {name: events.subset(name) for name in split or ("validation", "test")}
    with bars() as progress:
        scores = {
            name: recorded(opened, part, progress=lambda what, *rest, name=name: progress(f"{name}, {what}", *rest))
            for name, part in parts.items()
        }
    Recorded.of(opened, scores).save(out)
    document: dict[str, Any] = {
        "file": str(out),
        "bytes": out.stat().st_size,
        "bundle": opened.fingerprint,
        "data": events.name,
        "fingerprint": events.fingerprint,
        "splits": {name: {"events": len(part), "exits": accuracies(part)} for name, part in scores.items()},
    }
    if as_json:
        typer.echo(json.dumps(document, indent=1))
        return
    console = Console(highlight=False)
    console.print(accuracies_table(document["splits"]))
    console.print(f"Written to {out}, {size(document['bytes'])}.", soft_wrap=True)
