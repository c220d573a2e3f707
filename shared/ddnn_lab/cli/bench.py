"""`ddnn bench`: whole studies, of accuracy over seeds and of a fleet under load, with tables and plots."""

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from ddnn.cli.target import Json
from ddnn.errors import BadInput
from ddnn_lab.cli.bench_serve import serve

__all__ = ["bench"]

bench = typer.Typer(
    name="bench",
    help="""Whole studies, with their tables and plots.

    Example: `ddnn bench accuracy mnist5k --out study`,
    `ddnn bench serve --out load`
    """,
    no_args_is_help=True,
)

_NOT_PART = {"--json", "--report-only"}


@bench.callback()
def _group() -> None:
    pass


@bench.command()
def accuracy(
    study: Annotated[
        str, typer.Argument(metavar="STUDY", help="A packaged study, `mnist5k` for example, or its TOML file.")
    ],
    data: Annotated[str | None, typer.Option(metavar="PATH", help="Data instead of those that the file names.")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the study; by default the study's name.")
    ] = None,
    seeds: Annotated[str | None, typer.Option(metavar="N,N", help="Seeds instead of the file's.")] = None,
    only: Annotated[list[str] | None, typer.Option(metavar="PART", help="Only this part; may be repeated.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Trainings at once, each with one thread.")] = 1,
    quick: Annotated[bool, typer.Option("--quick", help="One seed, one epoch, few events: does it all work?")] = False,
    report_only: Annotated[bool, typer.Option("--report-only", help="Train nothing: report on the runs made.")] = False,
    as_json: Json = False,
) -> None:
    """Train a study's networks over its seeds, measure them, and write results.json, report.md and plots into DIR.

    Runs that are made are kept in DIR/runs and not made again; after Ctrl-C the same command goes on.

    Example: `ddnn bench accuracy mnist --data mnist.npz --out study --workers 2`
    """
    from ddnn.data.advice import needed_for

    with needed_for("a study", extra="lab"):
        from ddnn_lab.studies import Study, run_study, study_file
        from ddnn_lab.studies.progress import study_progress
    file = study_file(study)
    read = Study.read(file)
    asked = (read.quick() if quick else read).asked(data=data, seeds=_numbers(seeds), only=only or ())
    folder = out or Path(file.stem)
    command = shlex.join(["ddnn", *(word for word in sys.argv[1:] if word not in _NOT_PART)])
    try:
        with study_progress() as progress:
            results = run_study(
                asked, folder, workers=workers, command=command, report_only=report_only, progress=progress
            )
    except KeyboardInterrupt:
        typer.echo("stopped; the same command goes on after the last whole epoch", err=True)
        raise
    if as_json:
        typer.echo(json.dumps(results, indent=1))
    else:
        typer.echo(f"{folder / 'report.md'}, {folder / 'results.json'}", err=True)
    raise typer.Exit(1 if results["failed"] else 0)


bench.command()(serve)


def _numbers(text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise BadInput(f"--seeds is {text!r}; expected whole numbers such as 0,1,2") from error
