"""`ddnn drift`: a stream that drifts, and what audits would have seen of it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ddnn.cli.evaluate import BundleFolder, Data, Grid
from ddnn.cli.target import Json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["drift"]

_AUDITED: Final = ("audited", "differ", "seen", "unusual", "e-value")

Share = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Share of sure answers that are audited; by default the policy's, or 0.1."),
]
Events = Annotated[int, typer.Option(min=100, max=1_000_000, help="Events of the stream.")]
Fade = Annotated[float, typer.Option(min=0, max=1, help="Contrast that views lose: at 1 only their mean is left.")]
Blur = Annotated[float, typer.Option(min=0, max=100, help="Width of a Gaussian blur, in pixels or samples.")]
Lose = Annotated[int, typer.Option(min=0, help="Devices that get lost, one after the other.")]
Begins = Annotated[float, typer.Option(min=0, max=1, help="Share of the stream that comes before the drift.")]
Over = Annotated[float, typer.Option(min=0, max=1, help="Share of the stream in which the drift grows to all of it.")]
Windows = Annotated[int, typer.Option(min=1, max=100, help="Windows of the stream that the table has.")]
Split = Annotated[str, typer.Option(help="`train`, `validation` or `test`: where the events come from.")]
Seed = Annotated[int, typer.Option(help="Seed of the stream: order, lost devices, audits.")]
Out = Annotated[Path | None, typer.Option(metavar="FILE", help="Also draw a plot, a PNG.")]


def drift(
    bundle: BundleFolder,
    data: Data,
    grid: Grid = None,
    share: Share = None,
    events: Events = 20_000,
    fade: Fade = 0.0,
    blur: Blur = 0.0,
    lose: Lose = 0,
    begins: Begins = 0.5,
    over: Over = 0.2,
    windows: Windows = 10,
    split: Split = "test",
    seed: Seed = 0,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Replay a stream whose views fade, blur and get lost, and show when audits would have raised the alarm.

    Nothing is served. A policy that promises nothing yet is held to what it does on the validation split.

    Example: `ddnn drift BUNDLE fashion_mnist.npz --share 0.1 --fade 0.5 --lose 1 --out drift.png`
    """
    from rich.console import Console

    from ddnn.bundle import Bundle
    from ddnn.cli.progress import bars
    from ddnn.errors import BadInput
    from ddnn.evaluation.source import load_for, split_note
    from ddnn_lab.drifting import Drift, replay

    if out and (out.is_dir() or not out.parent.is_dir()):
        raise BadInput(f"--out is {out}; expected a file in a folder that exists")
    opened = Bundle.open(bundle)
    loaded = load_for(opened, data, grid=grid)
    if note := split_note(opened, loaded):
        typer.echo(f"note: {note}", err=True)
    policy = opened.policy
    with bars() as progress:
        if policy.promise is None:
            from ddnn.evaluation import record
            from ddnn.tuning.promise import promise

            typer.echo("note: the policy promises nothing; what it does on validation stands in", err=True)
            policy = policy.model_copy(update={"promise": promise(record(opened, loaded.subset("validation")), policy)})
        document = replay(
            opened,
            policy,
            loaded.subset(split),
            Drift(fade=fade, blur=blur, lose=lose, begins=begins, over=over),
            events=events,
            share=(policy.audits.share or 0.1) if share is None else share,
            windows=windows,
            seed=seed,
            progress=progress,
        )
    if out:
        _draw(document, out)
    if as_json:
        typer.echo(json.dumps(document, indent=1))
    else:
        _show(document, Console(highlight=False))


def _draw(document: Mapping[str, Any], out: Path) -> None:
    from ddnn.data.advice import needed_for

    with needed_for("a plot", extra="lab"):
        from ddnn_lab.plots.drift import drift as draw
        from ddnn_lab.plots.style import save
    save(draw(document), out)


def _table(*headers: str) -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for header in headers:
        table.add_column(header, justify="left" if header == "exit" else "right", no_wrap=True)
    return table


def _percent(share: float | None) -> str:
    return "—" if share is None else f"{100 * share:.1f} %"


def _show(document: Mapping[str, Any], console: "Console") -> None:
    from rich.markup import escape

    alarm, limit = document["alarm"], document["limit"]
    answers, audits = _table("events", "drift", "accuracy", "cloud's"), _table("events", "exit", *_AUDITED)
    exits = dict.fromkeys(exit for window in document["windows"] for exit in window["exits"])
    for exit in exits:
        answers.add_column(f"at {exit}", justify="right")
    for window in document["windows"]:
        events = "–".join(f"{place:,}" for place in window["events"])
        shares = [window["exits"][exit]["answered"] if exit in window["exits"] else None for exit in exits]
        figures = [window["strength"], window["accuracy"], window["cloud_accuracy"], *shares]
        answers.add_row(events, *map(_percent, figures))
        for exit, told in window["exits"].items():
            known = told["estimate"]
            e, spread = known["e_value"], f"[{100 * known['low']:.1f}, {100 * known['high']:.1f}]"
            audits.add_row(
                events,
                exit,
                f"{told['audited']:,}",
                _percent(told["truth"]),
                f"{_percent(known['share'])} {escape(spread)}",
                "—" if known["distance"] is None else f"{known['distance']:.2f}",
                f"[red]{e:.3g}[/]" if e >= limit else f"{e:.3g}",
            )
            events = ""
    console.print(answers)
    console.print()
    console.print(audits)
    console.print(
        "\ndiffer: from the cloud, in truth; seen: by the latest audits; unusual: how far the latest confidences are"
        " from those the policy was tuned on, 0 to 1.",
        soft_wrap=True,
    )
    promised = ", ".join(f"{100 * most:.1f} % at {exit}" for exit, most in document["policy"]["promised"].items())
    console.print(f"Promised at most: {promised}. Alarm at an e-value of {limit:g}.", soft_wrap=True)
    begins = document["begins"]
    if not alarm:
        console.print("No alarm.")
        return
    when = "" if begins is None else f", {alarm['event'] - begins:+,} events from the first drift"
    console.print(
        f"[red]Alarm[/] of the {alarm['exit']} exit at event {alarm['event']:,}{when}: after {alarm['audits']:,} of its"
        " audits.",
        soft_wrap=True,
    )
