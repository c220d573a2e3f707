"""`ddnn drift`: a stream that drifts, and what audits would have seen of it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ddnn.cli.options import BundleFolder, Data, Grid, Json

__all__ = ["drift"]

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
    from ddnn.bundle import Bundle
    from ddnn.cli.options import bars
    from ddnn.errors import BadInput
    from ddnn.evaluation import record
    from ddnn.evaluation.source import load_for, split_note
    from ddnn.extensions import needed_for
    from ddnn.tuning.promise import promise

    with needed_for("a drifting stream", extra="lab"):
        from ddnn_lab.drifting import Drift, replay

    if out and (out.is_dir() or not out.parent.is_dir()):
        raise BadInput(f"--out is {out}; expected a file in a folder that exists")
    opened = Bundle.open(bundle)
    policy, loaded = opened.policy, load_for(opened, data, grid=grid)
    if note := split_note(opened, loaded):
        typer.echo(f"note: {note}", err=True)
    with bars() as progress:
        if policy.promise is None:
            typer.echo("note: the policy promises nothing; what it does on validation stands in", err=True)
            policy = policy.model_copy(update={"promise": promise(record(opened, loaded.subset("validation")), policy)})
        wear, stream = Drift(fade, blur, lose, begins, over), loaded.subset(split)
        audited = (policy.audits.share or 0.1) if share is None else share
        counts = {"events": events, "windows": windows, "seed": seed}
        document = replay(opened, policy, stream, wear, **counts, share=audited, progress=progress)
    if out:
        with needed_for("a plot", extra="lab"):
            from ddnn_lab.plots import save
            from ddnn_lab.plots.serving import draw_drift
        save(draw_drift(document), out)
    if as_json:
        typer.echo(json.dumps(document, indent=1))
    else:
        _show(document)


def _show(document: Mapping[str, Any]) -> None:
    """Print what became of the windows, what audits saw in each, and the alarm."""
    from rich.console import Console
    from rich.markup import escape

    from ddnn.formatting import NONE, percent, table

    windows, alarm, limit = document["windows"], document["alarm"], document["limit"]
    exits = dict.fromkeys(exit for window in windows for exit in window["exits"])
    answers = table(None, "events", "drift", "accuracy", "cloud's", *(f"at {exit}" for exit in exits))
    audits = table(None, "events", "exit", "audited", "differ", "seen", "unusual", "e-value")
    for window in windows:
        events = "–".join(f"{event:,}" for event in window["events"])
        answered = [window["exits"][exit]["answered"] if exit in window["exits"] else None for exit in exits]
        shares = [window["strength"], window["accuracy"], window["cloud_accuracy"], *answered]
        answers.add_row(events, *map(percent, shares))
        for exit, seen in window["exits"].items():
            estimate = seen["estimate"]
            e, distance = estimate["e_value"], estimate["distance"]
            interval = escape(f"[{100 * estimate['low']:.1f}, {100 * estimate['high']:.1f}]")
            unusual, evidence = NONE if distance is None else f"{distance:.2f}", f"{e:.3g}"
            rates = percent(seen["truth"]), f"{percent(estimate['share'])} {interval}"
            evidence = f"[red]{evidence}[/]" if e >= limit else evidence
            audits.add_row(events, exit, f"{seen['audited']:,}", *rates, unusual, evidence)
            events = ""
    promised = ", ".join(f"{percent(most)} at {exit}" for exit, most in document["policy"]["promised"].items())
    verdict = "No alarm."
    if alarm:
        begins = document["begins"]
        when = "" if begins is None else f", {alarm['event'] - begins:+,} events from the first drift"
        verdict = f"[red]Alarm[/] of the {alarm['exit']} exit at event {alarm['event']:,}{when}:"
        verdict += f" after {alarm['audits']:,} of its audits."
    console = Console(highlight=False)
    console.print(answers, audits)
    console.print(
        "differ: from the cloud, in truth; seen: by the latest audits; unusual: how far the latest confidences are from"
        f" those the policy was tuned on, 0 to 1.\nPromised at most: {promised}. Alarm at an e-value of {limit:g}."
        f"\n{verdict}",
        soft_wrap=True,
    )
