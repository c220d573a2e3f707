"""`ddnn bench`: whole studies, of accuracy over seeds and of a fleet under load, with tables and plots."""

import json
import shlex
import sys
from collections.abc import Callable, Collection
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from ddnn.cli.options import BundleArgument, Json, LinkShapes, MaxBatch, MaxDelay, Token, open_bundle
from ddnn.errors import BadInput

__all__ = ["bench"]

bench = typer.Typer(
    name="bench",
    help="""Whole studies, with their tables and plots.

    Example: `ddnn bench accuracy mnist5k --out study`, `ddnn bench serve --out load`
    """,
    no_args_is_help=True,
)
T = TypeVar("T")


@bench.command()
def accuracy(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="A packaged study such as `mnist5k`, or a TOML file.")],
    data: Annotated[str | None, typer.Option(metavar="PATH", help="Data instead of those that the file names.")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the study; by default the study's name.")
    ] = None,
    seeds: Annotated[str | None, typer.Option(metavar="N,N", help="Seeds instead of the file's.")] = None,
    only: Annotated[list[str] | None, typer.Option(metavar="PART", help="Only this part; may be repeated.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Trainings at once, each with one thread.")] = 1,
    quick: Annotated[bool, typer.Option("--quick", help="One seed, one epoch, few events: does it all work?")] = False,
    bundle: Annotated[
        Path | None, typer.Option(help="The study's own network, trained before with its config, data and seed.")
    ] = None,
    report_only: Annotated[bool, typer.Option("--report-only", help="Train nothing: report on the runs made.")] = False,
    as_json: Json = False,
) -> None:
    """Train a study's networks over its seeds, measure them, and write results.json, report.md and plots into DIR.

    Runs that are made are kept in DIR/runs and not made again; after Ctrl-C the same command goes on.

    Example: `ddnn bench accuracy mnist --data mnist.npz --out study --workers 2`
    """
    from ddnn.extensions import needed_for

    with needed_for("a study", extra="lab"):
        from ddnn_lab.studies import Study, run_study, study_file
        from ddnn_lab.studies.progress import study_progress
    file = study_file(study)
    read = Study.read(file)
    own_seeds = _numbers("--seeds", seeds, int, "whole numbers such as 0,1,2")
    asked = (read.quick() if quick else read).asked(data=data, seeds=own_seeds, only=only or ())
    folder, command = out or Path(file.stem), _command(without={"--json", "--report-only"})
    try:
        with study_progress() as progress:
            results = run_study(
                asked,
                folder,
                workers=workers,
                command=command,
                report_only=report_only,
                bundle=open_bundle(bundle) if bundle else None,
                progress=progress,
            )
    except KeyboardInterrupt:
        typer.echo("stopped; the same command goes on after the last whole epoch", err=True)
        raise
    if as_json:
        typer.echo(json.dumps(results, indent=1))
    else:
        typer.echo(f"{folder / 'report.md'}, {folder / 'results.json'}", err=True)
    raise typer.Exit(1 if results["failed"] else 0)


Data = Annotated[
    str | None,
    typer.Argument(
        metavar="DATA", help="Data file or built-in set whose test events are sent; by default golden ones."
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


@bench.command()
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
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="For results.json, report.md and plots.")] = None,
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

    from ddnn.types import Exit
    from ddnn_lab.cli.load import events_for, measured, running_fleet, show, started_fleet
    from ddnn_lab.load import Arrivals, Closed, FleetTarget, Poisson
    from ddnn_lab.load.sweep import Plan, document, write

    if max_exit is not None and max_exit not in set(Exit):
        raise BadInput(f"--max-exit is {max_exit!r}; expected one of {', '.join(Exit)}")
    if fleet and (link or max_batch or max_delay_ms is not None):
        raise BadInput("--link, --max-batch and --max-delay-ms are for a fleet that is started here, without --fleet")
    closed = closed or ("1,4" if quick and not rate else None)
    clients = _numbers("--closed", closed, int, "whole numbers such as 1,4,16")
    rates = _numbers("--rate", rate, float, "numbers such as 50,100,200")
    loads: list[Arrivals] = [*(Closed(count) for count in clients), *(Poisson(value, seed) for value in rates)]
    plan = Plan(*((1.0, 0.3) if quick else (seconds, warm_up)), deadline_ms / 1000, workers, seed)
    opened, console = open_bundle(bundle), Console(stderr=True, highlight=False)
    events, source = events_for(opened, data)
    asked = {"threshold": threshold, "max_exit": max_exit}
    parameters = {key: value for key, value in asked.items() if value is not None}
    settings = {"DDNN_TOKEN": token, "DDNN_MAX_SECTION_BATCH": max_batch, "DDNN_MAX_DELAY_MS": max_delay_ms}
    running = nullcontext(running_fleet(opened, fleet, token)) if fleet else None
    with running or started_fleet(opened, link or (), settings, console) as (urls, processes, links):

        def target() -> FleetTarget:
            return FleetTarget(urls, events.views, events.y, events.present, plan.deadline_s, token, parameters, seed)

        points = measured(target, loads, plan, processes, console)
    about: dict[str, Any] = {
        "name": opened.manifest.name,
        "command": _command(without={"--json"}),
        "bundle": opened.fingerprint,
    }
    about |= {"data": source, "events": len(events), "devices": len(opened.topology.devices), "links": links}
    about |= {"asked": parameters, "seconds": plan.seconds, "warm_up_s": plan.warm_up_s, "deadline_ms": deadline_ms}
    results = document(points, **about, seed=seed)
    if out:
        for file in write(results, out):
            console.print(str(file), style="dim", markup=False, soft_wrap=True)
    if as_json:
        typer.echo(json.dumps(results, indent=1))
    else:
        show(results)
    if not any(point["answered"] for point in results["points"]):
        raise typer.Exit(1)


@bench.command()
def privacy(
    bundle: BundleArgument = None,
    data: Annotated[
        str | None,
        typer.Argument(metavar="DATA", help="Data file or built-in set; by default what the bundle was trained on."),
    ] = None,
    events: Annotated[int, typer.Option(min=3, max=20_000, help="Most training events to learn from.")] = 5000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the events taken.")] = 0,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="For results.json, report.md and views.png.")] = None,
    as_json: Json = False,
) -> None:
    """Train decoders on what each link carries, and show how near the views they rebuild are to the true ones.

    They learn from training events and are judged on test events, beside JPEG of that size. Images are compared by PSNR
    and SSIM, series and vectors by PSNR alone.

    Example: `ddnn bench privacy BUNDLE mnist5k --out privacy`
    """
    from ddnn.cli.options import bars, load_events, print_json
    from ddnn.extensions import needed_for

    with needed_for("a study of privacy", extra="lab"):
        from ddnn_lab.privacy import measure
        from ddnn_lab.privacy_report import show, write
    opened = open_bundle(bundle)
    named = data or opened.manifest.training.data.get("name")
    if not named:
        raise BadInput("the bundle does not say what it was trained on; expected DATA")
    loaded = load_events(opened, str(named), None)
    with bars() as progress:
        found, views = measure(opened, loaded, events=events, seed=seed, progress=progress)
    results = {**found, "command": _command(without={"--json"})}
    if out:
        for file in write(results, views, loaded.grid, out):
            typer.echo(str(file), err=True)
    if as_json:
        print_json(results)
    else:
        show(results)


def _command(*, without: Collection[str]) -> str:
    """The command line as it can be typed again, less what does not change the results."""
    return shlex.join(["ddnn", *(word for word in sys.argv[1:] if word not in without)])


def _numbers(flag: str, text: str | None, kind: Callable[[str], T], expected: str) -> list[T]:
    try:
        return [] if text is None else [kind(part) for part in text.split(",")]
    except ValueError as error:
        raise BadInput(f"{flag} is {text!r}; expected {expected}") from error
