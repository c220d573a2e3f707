"""Events for a running fleet: `ddnn infer` asks about one, `ddnn play` is its sensors."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from ddnn.cli import options
from ddnn.cli.options import load_events, open_bundle, print_json, screen
from ddnn.errors import BadInput, DDNNError
from ddnn.formatting import percent

if TYPE_CHECKING:
    from ddnn.client import EventAnswer
    from ddnn.fleet.events import Event

__all__ = ["infer", "play"]

Files = Annotated[
    list[Path] | None,
    Argument(
        metavar="EVENT.npz | PHOTO",
        help="X (D, …) of one event or (N, D, …) of several, or X_i of each that sees; or photographs of one event, "
        "the first for device 0 and so on; by default a golden event.",
    ),
]
BundleOption = Annotated[
    Path | None, Option("--bundle", metavar="BUNDLE", help="What the fleet serves; by default the shipped one.")
]
Save = Annotated[Path | None, Option(metavar="FOLDER", help="Write them as files for `curl -d @FILE`; ask no tier.")]
PlayData = Annotated[
    str | None, Option("--data", metavar="DATA", help="A data file or built-in set; by default golden events.")
]
Threshold = Annotated[float | None, Option(min=0, max=1, help="Answer at the first exit less unsure; 0 = the cloud.")]


def infer(
    files: Files = None,
    device: options.Devices = None,
    base_port: options.BasePort = 8000,
    bundle: BundleOption = None,
    golden: Annotated[int, Option(min=0, help="Which golden event of the bundle, where no file is given.")] = 0,
    event: Annotated[str | None, Option("--event", metavar="ID", help="Event id; a new one by default.")] = None,
    deadline_ms: Annotated[float | None, Option(min=1, help="Time budget; the tiers' own by default.")] = None,
    save: Save = None,
    token: options.Token = None,
    as_json: options.Json = False,
) -> None:
    """Ask the devices of a running fleet about an event, and print the answer.

    The first --device is shown the first view, and so on; without --device those of `ddnn up` on this machine are
    asked.

    Example: `ddnn infer`, `ddnn infer left.jpg right.jpg`,
    `ddnn infer EVENT.npz --device http://10.0.0.7:8010 --device http://10.0.0.8:8010`
    """
    from ddnn.client import Fleet
    from ddnn.fleet.addresses import device_addresses
    from ddnn.fleet.events import Event, golden_events, read_events, write_requests
    from ddnn.fleet.status import NO_TIER, check_served, read_statuses

    opened = open_bundle(bundle)
    if files:
        events = read_events(files, [spec.view.shape for spec in opened.topology.devices])
    else:
        data = golden_events(opened)
        if golden >= len(data):
            raise BadInput(f"--golden is {golden}; {opened.manifest.name} has golden events 0 to {len(data) - 1}")
        events = [Event.of(data, golden)]
    if event is not None and len(events) > 1:
        raise BadInput(f"--event names one event; {files and files[0]} has {len(events)}")
    if save is not None:
        typer.echo("\n".join(map(str, write_requests(save, events[0], event))))
        return
    urls = device_addresses(device or (), base_port, opened.topology)
    tiers = read_statuses(urls, token)
    check_served(tiers, opened, "--bundle")
    if not any(tier.listens for tier in tiers):
        raise DDNNError(NO_TIER)
    with Fleet(urls, token) as fleet:
        answers = [fleet.answer_event(shown.views, event=event, deadline_ms=deadline_ms) for shown in events]
    if as_json:
        print_json([_document(answer, opened.manifest.classes) for answer in answers])
    else:
        for shown, answer in zip(events, answers, strict=True):
            typer.echo(_text(shown, answer, opened.manifest.classes))


def _document(answer: "EventAnswer", classes: Sequence[str]) -> dict[str, Any]:
    same = ("event", "label", "degraded", "degraded_reason", "policy_version", "bytes_up")
    document: dict[str, Any] = {name: getattr(answer, name) for name in same} | {"class": classes[answer.label]}
    document["probabilities"] = [round(float(p), 6) for p in answer.probabilities]
    document |= {"exit": answer.exit.value, "confidence": round(answer.confidence, 6)}
    document["devices"] = answer.devices.tolist()
    document["errors"] = {str(device): str(error) for device, error in answer.errors.items()}
    document["late"] = list(answer.late)
    return document | {"absent": {str(device): why for device, why in _absent(answer).items()}}


def _absent(answer: "EventAnswer") -> dict[int, str]:
    """Why a device that did not fail has no part in the answer."""
    found = {}
    for device in (~answer.devices).nonzero()[0].tolist():
        own = answer.answers[device] if device < len(answer.answers) else None
        if own is None:
            found[device] = "absent: it was shown nothing"
        elif own.degraded:
            found[device] = f"absent: its caller was answered at {own.exit.value}, degraded: {own.degraded_reason}"
        elif device in answer.late:
            found[device] = f"absent: it came after the event was closed; its caller was answered at {own.exit.value}"
        else:
            found[device] = f"absent: not waited for; its caller was answered at {own.exit.value}"
    return {device: why for device, why in found.items() if device not in answer.errors}


def _text(event: "Event", answer: "EventAnswer", classes: Sequence[str]) -> str:
    truth = "" if event.label is None else f"   (the label says {classes[event.label]})"
    runners_up = answer.probabilities.argsort()[-2:-4:-1]
    likely = percent(answer.probabilities[answer.label])
    lines = {
        "event": event.name,
        "answer": f"{classes[answer.label]} {likely}{truth}",
        "next": ", ".join(f"{classes[label]} {percent(answer.probabilities[label])}" for label in runners_up),
        "exit": f"{answer.exit.value}, {percent(answer.confidence)} sure by the policy's criterion",
        "devices": "".join("●" if present else "○" for present in answer.devices),
        "bytes up": f"{answer.bytes_up:,}",
        "policy": f"version {answer.policy_version}",
        **({"degraded": answer.degraded_reason} if answer.degraded else {}),
        **{f"device {device}": str(error) for device, error in sorted((_absent(answer) | {**answer.errors}).items())},
    }
    return "\n".join(f"{name:<10}{value}" for name, value in lines.items()) + "\n"


def play(
    bundle: options.BundleArgument = None,
    device: options.Devices = None,
    base_port: options.BasePort = 8000,
    data: PlayData = None,
    grid: options.Grid = None,
    split: Annotated[str, Option("--split", help="Which part of --data: train, validation, test or all.")] = "test",
    rate: options.Rate = None,
    count: options.Count = None,
    jitter_ms: Annotated[float, Option("--jitter-ms", min=0, help="Each view comes up to this much later.")] = 0.0,
    drop: Annotated[float, Option(min=0, max=1, help="Share of the views that are lost.")] = 0.0,
    seed: Annotated[int, Option("--seed", help="Seed of the order, of what is lost and what is late.")] = 0,
    threshold: Threshold = None,
    health_file: Annotated[Path | None, Option(help="Touch this file whenever an event was answered.")] = None,
    token: options.Token = None,
    as_json: options.Json = False,
) -> None:
    """Show events to the devices of a running fleet and print the answers.

    Exit code 1 when an event was not answered.

    Example: `ddnn play --rate 5 --drop 0.1`, `ddnn play --data mnist5k --grid 3x2 --count 100`
    """
    from ddnn.fleet.addresses import device_addresses
    from ddnn.fleet.events import demonstration, events_of, shuffled
    from ddnn.fleet.player import Pace, Played
    from ddnn.fleet.status import NO_TIER, check_served, read_statuses
    from ddnn.fleet.table import show

    opened = open_bundle(bundle)
    urls = device_addresses(device or (), base_port, opened.topology)
    tiers = read_statuses(urls, token)
    check_served(tiers, opened, "its BUNDLE")
    if not any(tier.listens for tier in tiers):  # containers begin before their fleet: it may come
        options.note(NO_TIER)
    events = events_of(opened, load_events(opened, data, grid), split) if data else demonstration(opened)

    def touch(played: Played) -> None:
        if health_file and played.answer is not None:
            health_file.touch()

    pace, console = Pace(rate, jitter_ms, drop, seed, threshold), screen(stderr=as_json)
    tally = show(urls, shuffled(events, count, seed), pace, opened.manifest.classes, token, console, touch)
    if as_json:
        print_json(tally.document())
    if tally.failed:
        raise typer.Exit(1)
