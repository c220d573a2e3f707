"""`ddnn evaluate`: how right a bundle is; `record`: its scores; `profile`: how long its sections take."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from ddnn.cli import options
from ddnn.cli.options import bars, load_events, note_shortfall, open_bundle, print_json, refuse_folder, screen
from ddnn.formatting import count, milliseconds, size, table

if TYPE_CHECKING:
    from rich.table import Table

    from ddnn.tuning.profile import Profile

__all__ = ["evaluate", "profile", "record"]

Missing = Annotated[bool, Option("--missing", help="Also lose each device, and up to six devices each subset of them.")]
Yardstick = Annotated[
    bool, Option("--yardstick", help="Fit simple classifiers on DATA's training events, unless the bundle has them.")
]
Fleet = Annotated[list[str] | None, Option(metavar="URL,URL", help="Running devices, in order: compare their answers.")]
Splits = Annotated[
    list[str] | None, Option("--split", help="`train`, `validation` or `test`, for each; by default the last two.")
]
TimesFile = Annotated[Path | None, Option(metavar="FILE", help="Write the times there, for `ddnn tune --profile`.")]


def evaluate(
    bundle: options.BundleFolder,
    data: options.Data,
    grid: options.Grid = None,
    split: Annotated[str, Option(help="`train`, `validation` or `test`.")] = "test",
    group_by: options.GroupBy = None,
    test_groups: options.TestGroups = None,
    seed: options.Seed = None,
    missing: Missing = False,
    yardstick: Yardstick = False,
    fleet: Fleet = None,
    token: options.Token = None,
    as_json: options.Json = False,
) -> None:
    """Say how right a network is, exit by exit and under its policy, and what it costs in bytes.

    Beside the exits stand the best simple classifiers, where these are the test events that the bundle was made with.
    With --fleet the same events go through the running devices, and exit code 1 says that they answered otherwise.

    Example: `ddnn evaluate BUNDLE mnist5k --grid 3x2 --missing`
    """
    from ddnn.evaluation import evaluate as evaluated
    from ddnn.evaluation.agreement import agreement
    from ddnn.evaluation.served import ask
    from ddnn.evaluation.table import say, show
    from ddnn.evaluation.yardstick import kept_yardstick
    from ddnn.evaluation.yardstick import yardstick as fitted
    from ddnn.fleet.addresses import parse_addresses

    opened = open_bundle(bundle)
    whole = load_events(opened, data, grid, group_by, test_groups, seed)
    events, served = whole.subset(split), None
    with bars() as progress:
        document = evaluated(opened, events, missing=missing, progress=progress)
        found = kept_yardstick(opened, whole, split)
        if yardstick and not found:
            found = fitted(whole, split=split, seed=opened.manifest.training.seed, progress=progress)
        document |= {"yardstick": found} if found else {}
        if fleet:
            seen = events.take([row for row, present in enumerate(events.present) if present.any()])
            answers = asyncio.run(ask(parse_addresses(fleet), opened, seen, token=token, progress=progress))
            served = agreement(opened, seen, answers)
            document["fleet"] = served.document
    if as_json:
        print_json(document)
    else:
        show(document, screen())
    note_shortfall(opened, document)
    if served:
        say(served, screen(stderr=True, soft_wrap=True))
        raise typer.Exit(0 if served.ok else 1)


def record(
    bundle: options.BundleFolder,
    data: options.Data,
    out: Annotated[Path, Option(metavar="FILE", help="The `.npz` file to write.")],
    grid: options.Grid = None,
    split: Splits = None,
    group_by: options.GroupBy = None,
    test_groups: options.TestGroups = None,
    seed: options.Seed = None,
    as_json: options.Json = False,
) -> None:
    """Run every section on every event and keep all exits' scores, so that thresholds can be studied without them.

    Example: `ddnn record BUNDLE mnist5k --grid 3x2 --out scores.npz`
    """
    from ddnn.evaluation import record as recorded
    from ddnn.evaluation.recorded import Recorded
    from ddnn.evaluation.report import accuracies
    from ddnn.evaluation.table import accuracies_table

    refuse_folder(out)
    opened = open_bundle(bundle)
    events = load_events(opened, data, grid, group_by, test_groups, seed)
    parts = {name: events.subset(name) for name in split or ("validation", "test")}
    with bars() as progress:
        scores = {
            name: recorded(opened, part, progress=lambda what, *rest, name=name: progress(f"{name}, {what}", *rest))
            for name, part in parts.items()
        }
    Recorded.of(opened, scores).save(out)
    document: dict[str, Any] = {"file": str(out), "bytes": out.stat().st_size, "bundle": opened.fingerprint}
    document |= {"data": events.name, "fingerprint": events.fingerprint}
    document["splits"] = {name: {"events": len(part), "exits": accuracies(part)} for name, part in scores.items()}
    if as_json:
        print_json(document)
        return
    screen().print(accuracies_table(document["splits"]))
    screen(soft_wrap=True).print(f"Written to {out}, {size(document['bytes'])}.")


def profile(
    bundle: options.BundleArgument = None,
    batch: Annotated[int, Option(min=1, max=4096, help="Events a run; `tune` takes a profile of 1.")] = 1,
    repeat: Annotated[int, Option(min=1, max=1_000_000, help="Runs of each section that count.")] = 200,
    threads: Annotated[int, Option(min=1, max=256, help="Threads a section may use.")] = 1,
    out: TimesFile = None,
    as_json: options.Json = False,
) -> None:
    """Measure how long each section takes on this machine, one after the other, on golden events.

    The file is plain JSON: times measured on the machines that will run each tier can be put into it by hand.

    Example: `ddnn profile BUNDLE --out profile.json`
    """
    from ddnn.tuning.profile import measure

    refuse_folder(out)
    opened = open_bundle(bundle)
    with bars() as progress:
        times = measure(opened, batch=batch, repeat=repeat, threads=threads, progress=progress)
    if out is not None:
        times.write(out)
    if as_json:
        print_json(times.model_dump(mode="json"))
        return
    console = screen()
    console.print(f"A run of {count(batch, 'event')} on {count(threads, 'thread')}, {repeat} runs of each section.")
    console.print(_table(times))
    if out is not None:
        console.print(f"Written to {out}.", soft_wrap=True)


def _table(times: "Profile") -> "Table":
    made = table(None, "section", "median", "p95")
    named = {"device": times.device, "local exit": times.local, "edge": times.edge, "cloud": (times.cloud,)}
    for name, timings in named.items():
        for index, timing in enumerate(timings):
            both = (milliseconds(seconds, 3) for seconds in (timing.median_s, timing.p95_s))
            made.add_row(f"{name} {index}" if len(timings) > 1 else name, *both)
    return made
