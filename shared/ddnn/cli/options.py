"""Options that several commands have, and what they mean: which bundle, addresses, token, events; where output goes."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from ddnn.errors import BadInput

if TYPE_CHECKING:
    from rich.console import Console

    from ddnn.bundle import Bundle
    from ddnn.data import Dataset
    from ddnn.evaluation.scores import Progress

__all__ = [
    "Balanced",
    "BasePort",
    "BundleArgument",
    "BundleFolder",
    "Count",
    "Data",
    "Devices",
    "Grid",
    "GroupBy",
    "Json",
]
__all__ += ["LinkShapes", "MaxBatch", "MaxDelay", "MinRecall", "Rate", "Seed", "TestGroups", "Token", "Urls"]
__all__ += [
    "bars",
    "command_name",
    "load_events",
    "note",
    "note_shortfall",
    "open_bundle",
    "print_json",
    "refuse_folder",
    "screen",
]
__all__ += ["tier_addresses"]


def _named(path: Path | None) -> Path | None:
    from ddnn.bundle import named

    return named(path) if path else None


BundleArgument = Annotated[
    Path | None,
    Argument(
        metavar="BUNDLE", callback=_named, help="A bundle, or a shipped one's name: `mnist5k`, the default, `grocery6`."
    ),
]
BundleFolder = Annotated[
    Path, Argument(metavar="BUNDLE", callback=_named, help="Folder of a bundle, or a shipped one's name.")
]
Data = Annotated[
    str, Argument(metavar="DATA", help="`mnist5k`, `synthetic`, a `.npz` file, a folder or table of photographs.")
]
Grid = Annotated[str | None, Option(metavar="CxR", help="Cut images into columns × rows; by default as in training.")]
GroupBy = Annotated[str | None, Option(metavar="NAME", help="Array of the file whose groups the split keeps whole.")]
TestGroups = Annotated[str | None, Option(metavar="G,G", help="Groups of --group-by that are the test split.")]
MinRecall = Annotated[
    list[str] | None,
    Option(metavar="CLASS=SHARE", help="The least recall of a class, `rare=0.95`, or of all, `0.95`; repeatable."),
]
Balanced = Annotated[bool, Option("--balanced", help="Accuracy is balanced accuracy, the mean recall of all classes.")]
Seed = Annotated[int | None, Option(help="Seed of the split, where chance makes it; by default as in training.")]
BasePort = Annotated[int, Option(min=0, max=65535, help="Port of the cloud; edges follow from +1, devices from +10.")]
Devices = Annotated[
    list[str] | None, Option("--device", metavar="URL", help="Address of a device; each in order, or comma-separated.")
]
Urls = Annotated[
    list[str] | None, Option("--url", metavar="URL", help="Address of a tier instead of a port; each, the cloud too.")
]
Token = Annotated[str | None, Option(envvar="DDNN_TOKEN", show_envvar=True, help="Bearer token the tiers demand.")]
Count = Annotated[int | None, Option(min=0, help="How many events; each once by default, 0 = without end.")]
Rate = Annotated[float | None, Option(min=0.001, help="Events a second; by default each when the last was answered.")]
MaxBatch = Annotated[int | None, Option(min=1, help="Most events in a run of a section, at every tier; 64 by default.")]
MaxDelay = Annotated[float | None, Option(min=0, help="How many ms a free section waits for more; 0 by default.")]
LinkShapes = Annotated[
    list[str] | None,
    Option("--link", metavar="NAME=SHAPE", help="A slow link: edge-cloud=40ms,10mbit,5ms (round trip, rate, jitter)."),
]
Json = Annotated[bool, Option("--json", help="Print one JSON document on stdout, nothing else.")]


def open_bundle(path: Path | None) -> "Bundle":
    """The bundle in `path`, or the shipped one of that name; by default the digits, which ship with the package."""
    from ddnn.bundle import Bundle, shipped_bundle

    return Bundle.open(_named(path) or shipped_bundle())


def tier_addresses(given: Sequence[str] | None, base_port: int, bundle: Path | None = None) -> Mapping[str, str]:
    """By name, the addresses a person gave, else those of the fleet that runs on `base_port`."""
    from ddnn.fleet.addresses import parse_addresses
    from ddnn.fleet.status import running_addresses

    urls = parse_addresses(given or ())
    return {url: url for url in urls} or running_addresses(base_port, open_bundle(bundle).topology)


def load_events(
    bundle: "Bundle",
    data: str,
    grid: str | None,
    group_by: str | None = None,
    test_groups: str | None = None,
    seed: int | None = None,
) -> "Dataset":
    """The events that the options name, as in training where they do not say; a note where that is doubtful."""
    from ddnn.data.summary import left_out
    from ddnn.evaluation.source import load_for, split_note

    groups = test_groups.split(",") if test_groups else None
    wishes: dict[str, Any] = {"grid": grid, "group_by": group_by, "test_groups": groups, "seed": seed}
    with bars() as progress:
        events = load_for(bundle, data, **wishes, progress=progress)
    if events.odd:
        note(left_out(events))
    if sentence := split_note(bundle, events):
        note(sentence)
    return events


def refuse_folder(out: Path | None) -> None:
    """Raise `BadInput` unless the file `out` can be written, as far as its place tells."""
    if out is not None and (out.is_dir() or not out.parent.is_dir()):
        raise BadInput(f"--out is {out}; expected a file in a folder that exists")


def command_name() -> str:
    """`ddnn` as it can be typed here: with its path when that is how it was called."""
    return sys.argv[0] if Path(sys.argv[0]).name == "ddnn" else "ddnn"


def print_json(document: Mapping[str, Any] | Sequence[Any]) -> None:
    """Print what `--json` promises."""
    typer.echo(json.dumps(document, indent=1))


def note(sentence: str) -> None:
    """Print a note on stderr."""
    typer.echo(f"note: {sentence}", err=True)


def note_shortfall(bundle: "Bundle", document: Mapping[str, Any]) -> None:
    """Print a note where simple classifiers are right more often than `bundle` in this evaluation, and what to do."""
    from ddnn.evaluation.yardstick import shortfall

    recipe = bundle.manifest.training.data.get("recipe")
    if "yardstick" in document and (sentence := shortfall(document, recipe)):
        note(sentence)


def screen(*, stderr: bool = False, soft_wrap: bool = False) -> "Console":
    """Where people read: tables and sentences whose numbers have no colours of their own."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=soft_wrap)


@contextmanager
def bars() -> Iterator["Progress"]:
    """Give a callback that draws one bar for each thing being done; nothing where stderr is no terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    console = screen(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as drawn:
        tasks: dict[str, TaskID] = {}

        def progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = drawn.add_task(what, total=total)
            drawn.update(tasks[what], completed=done)

        yield progress
