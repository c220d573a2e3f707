"""`ddnn evaluate`: how right a network is, who answers, and what it costs in bytes."""

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ddnn.cli.options import Json, Token
from ddnn.errors import BadInput

if TYPE_CHECKING:
    from ddnn.bundle import Bundle
    from ddnn.data import Dataset

__all__ = [
    "BundleFolder",
    "Data",
    "Grid",
    "GroupBy",
    "Seed",
    "TestGroups",
    "evaluate",
    "load_events",
    "note",
    "refuse_folder",
]

BundleFolder = Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder of a bundle.")]
Data = Annotated[str, typer.Argument(metavar="DATA", help="`mnist5k`, `synthetic`, or a `.npz` file.")]
Grid = Annotated[
    str | None, typer.Option(metavar="CxR", help="Cut whole images into columns × rows; by default as in training.")
]
GroupBy = Annotated[
    str | None, typer.Option(metavar="NAME", help="Array of the file whose groups the split keeps whole.")
]
TestGroups = Annotated[
    str | None, typer.Option(metavar="G,G", help="Groups of --group-by that are the test split, comma-separated.")
]
Seed = Annotated[int | None, typer.Option(help="Seed of the split, where chance makes it; by default as in training.")]
Split = Annotated[str, typer.Option(help="`train`, `validation` or `test`.")]
Missing = Annotated[
    bool, typer.Option("--missing", help="Also lose each device, and up to six devices every subset of them.")
]


Fleet = Annotated[
    list[str] | None,
    typer.Option(metavar="URL,URL", help="Addresses of the running devices, in order: compare their answers."),
]


def evaluate(
    bundle: BundleFolder,
    data: Data,
    grid: Grid = None,
    split: Split = "test",
    group_by: GroupBy = None,
    test_groups: TestGroups = None,
    seed: Seed = None,
    missing: Missing = False,
    fleet: Fleet = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Say how right a network is, exit by exit and under its policy, and what it costs in bytes.

    With --fleet the same events go through the running devices, and exit code 1 says that they answered otherwise.

    Example: `ddnn evaluate BUNDLE mnist5k --grid 3x2 --missing`
    """
    from rich.console import Console

    from ddnn.bundle import Bundle
    from ddnn.cli.progress import bars
    from ddnn.evaluation import evaluate as evaluated
    from ddnn.evaluation.agreement import agreement
    from ddnn.evaluation.served import ask
    from ddnn.evaluation.table import say, show
    from ddnn.fleet.addresses import parse_addresses

    opened = Bundle.open(bundle)
    events = load_events(opened, data, grid, group_by, test_groups, seed).subset(split)
    served = None
    with bars() as progress:
        document = evaluated(opened, events, missing=missing, progress=progress)
        if fleet:
            seen = events.take([row for row, present in enumerate(events.present) if present.any()])
            answers = asyncio.run(ask(parse_addresses(fleet), opened, seen, token=token, progress=progress))
            served = agreement(opened, seen, answers)
            document["fleet"] = served.document
    if as_json:
        typer.echo(json.dumps(document, indent=1))
    else:
        show(document, Console(highlight=False))
    if served:
        say(served, Console(stderr=True, highlight=False, soft_wrap=True))
        raise typer.Exit(0 if served.ok else 1)


def load_events(
    bundle: "Bundle", data: str, grid: str | None, group_by: str | None, test_groups: str | None, seed: int | None
) -> "Dataset":
    """The events that the options name, as in training where they do not say; a note where that is doubtful."""
    from ddnn.evaluation.source import load_for, split_note

    groups = test_groups.split(",") if test_groups else None
    events = load_for(bundle, data, grid=grid, group_by=group_by, test_groups=groups, seed=seed)
    if sentence := split_note(bundle, events):
        note(sentence)
    return events


def note(sentence: str) -> None:
    """Print a note on stderr."""
    typer.echo(f"note: {sentence}", err=True)


def refuse_folder(out: Path | None) -> None:
    """Raise `BadInput` unless the file `out` can be written, as far as its place tells."""
    if out is not None and (out.is_dir() or not out.parent.is_dir()):
        raise BadInput(f"--out is {out}; expected a file in a folder that exists")
