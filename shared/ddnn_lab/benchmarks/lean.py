"""What a lean fleet is to be, target by target, with version 0.1.0 beside it in one run.

`git worktree add OLD be11f56; python -m ddnn_lab.benchmarks.lean --beside OLD --out DIR [--page PAGE]`, twelve minutes
on two idle cores; `--only load --only link` runs those parts, and keeps the others' figures that are in DIR. Each code
has the digits' bundle that came with it; under load also this code with the bundle of 0.1.0, which answers 99 % of the
events at the local exit, is measured. Parts: see `PARTS`.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer
import uvicorn
from fastapi import FastAPI, Request, Response

from ddnn.bundle import Bundle, shipped_bundle
from ddnn.client import EventAnswer
from ddnn.errors import BadInput
from ddnn.fleet.events import golden_events
from ddnn.fleet.processes import LinkProcess
from ddnn.links import LinkShape
from ddnn.runtime import Section
from ddnn.seal import write_atomically
from ddnn.types import Tier
from ddnn_lab.benchmarks import (
    RESULTS,
    Out,
    command,
    environment,
    fan_in,
    free_port,
    listening,
    overload,
    planning,
    wire,
)
from ddnn_lab.benchmarks.hotpath import TIERS, compare
from ddnn_lab.benchmarks.serving import fill
from ddnn_lab.load import FleetTarget, HttpTarget, Outcome, Poisson, measure
from ddnn_lab.planning.ways import ways_of
from ddnn_lab.released import Code
from ddnn_lab.reporting import render

__all__ = ["PARTS", "serve_whole"]

EVENTS: Final = 64
IDLE_S: Final = 60.0
BEFORE_IDLE_S: Final = 20.0  #: of 0.1.0, which asks twice a second
LOAD_S: Final = 5.0
ROUNDS: Final = 2
LINKED_S: Final = 10.0
LINKED_RATE: Final = 10.0
EDGE_CLOUD: Final = LinkShape(0.040, 10e6)
DEVICE_EDGE: Final = LinkShape(0.002, 100e6)
_ASKED: Final = "/infer"
Codes = Mapping[str, Code]


def sent(codes: Codes) -> dict[str, Any]:
    """Bytes of an event and of a fleet that does nothing; whether both transports answer golden events alike."""
    answers: dict[str, list[EventAnswer]] = {"http": [], "stream": []}
    found = {
        transport: wire.count(
            transport, events=EVENTS, idle_s=IDLE_S if transport == "stream" else 0.0, heard=kept.append
        )
        for transport, kept in answers.items()
    }
    pairs = list(zip(answers["http"], answers["stream"], strict=True))
    unlike = sum((one.label, one.exit, one.degraded) != (two.label, two.exit, two.degraded) for one, two in pairs)
    before = {
        name: wire.count("http", events=EVENTS, idle_s=IDLE_S, code=codes[name]) for name in codes if name == "before"
    }
    return {"now": found, "golden": len(pairs), "unlike": unlike, **before}


def load(codes: Codes) -> dict[str, Any]:
    """CPU of an event, events a second, p50, by turns; medians over rounds."""
    before = codes["before"]
    kinds: dict[str, dict[str, Any]] = {"now": {}, "same bundle": {"bundle": before.bundle}, "before": {"code": before}}
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in kinds}
    for turn in range(ROUNDS):
        for name in [*kinds][:: 1 if turn % 2 == 0 else -1]:
            rounds[name].append(wire.load("stream", LOAD_S, **kinds[name]))
    return {name: wire.median_of(each) for name, each in rounds.items()}


def tier(codes: Codes) -> dict[str, Any]:
    """Requests/s of one tier over HTTP, over those of raw ASGI with the same section."""
    return {
        name: {tier.value: compare(tier, 1.0, 3, 0, code=code, kinds=("tier", "asgi"))["of_asgi"] for tier in TIERS}
        for name, code in codes.items()
    }


def link(codes: Codes) -> dict[str, Any]:
    """p50 over the thin link to the cloud, of fleets and of one service that all views go up to."""
    shapes = {Tier.EDGE: EDGE_CLOUD, Tier.DEVICE: DEVICE_EDGE}
    found: dict[str, Any] = {"cloud-only": _whole()}
    for name, code in codes.items():
        events = golden_events(Bundle.open(code.bundle))
        with code.fleet({}, shapes=shapes) as fleet:
            fleet.wait_until_ready()
            target = FleetTarget(fleet.device_urls, events.views, y=events.y, present=events.present)
            measured = measure(target, Poisson(LINKED_RATE), seconds=LINKED_S, warm_up_s=2.0)
        found[name] = (measured.latency_ms or {}).get("p50")
    return found


def _whole() -> float | None:
    """p50 of one FastAPI service beyond the link that has all sections and is sent all views."""
    golden, port = Bundle.open(shipped_bundle()).golden, free_port()
    views = [golden[f"view_{device}"] for device in range(6)]
    bodies = [b"".join(view[row].tobytes() for view in views) for row in range(len(views[0]))]
    call = f"from ddnn_lab.benchmarks.lean import serve_whole; serve_whole({port})"
    with listening("-c", call, port=port), LinkProcess(f"127.0.0.1:{port}", EDGE_CLOUD) as way:
        target = HttpTarget(f"{way.url}{_ASKED}", bodies, lambda _, answer: Outcome(bool(answer)))
        measured = measure(target, Poisson(LINKED_RATE), seconds=LINKED_S, warm_up_s=2.0)
    return (measured.latency_ms or {}).get("p50")


def serve_whole(port: int) -> None:
    """Serve the sections of all devices and the edge as one network, nothing between them packed."""
    bundle, app = Bundle.open(shipped_bundle()), FastAPI()
    shapes = [device.view.shape for device in bundle.topology.devices]
    devices = [Section(bundle.sections(Tier.DEVICE, number)["section"], 1) for number in range(len(shapes))]
    edge, here = Section(bundle.sections(Tier.EDGE, 0)["section"], 1), np.ones((1, len(shapes)), np.bool_)

    @app.post(_ASKED)
    async def infer(request: Request) -> Response:
        views = np.split(np.frombuffer(await request.body(), np.uint8), len(shapes))
        said = [
            section.run(view=view.reshape(1, *shape))
            for section, view, shape in zip(devices, views, shapes, strict=True)
        ]
        together = {name: np.stack([each[name] for each in said], axis=1) for name in said[0]}
        return Response(edge.run(**together, present=here)["scores"].tobytes())

    uvicorn.run(app, port=port, access_log=False, log_level="warning", http="httptools", loop="uvloop")


def pressed(codes: Codes) -> dict[str, Any]:
    """Goodput and p95 at three times the peak, over those at the peak; 0.1.0 has no rule that sheds."""
    rules = {"now": "with", "before": "without"}
    turns = [name for turn in range(ROUNDS) for name in [*codes][:: 1 if turn % 2 == 0 else -1]]
    rounds = [overload.run(rules[name], 6.0, (3.0,), stream=True, code=codes[name]) for name in turns]
    rows = {row["rule"]: row for row in overload.ratios(rounds)}
    return {name: rows[rules[name]] for name in codes}


def plan(codes: Codes) -> dict[str, Any]:
    """What the simulation says over what a real fleet of six does."""
    bundle = Bundle.open(shipped_bundle())
    found = planning.run(bundle, ways_of(bundle), 3.0)
    return {"points": found["points"], "bytes": found["bytes"]["ratios"]}


def many(codes: Codes) -> dict[str, Any]:
    """A thousand edges' streams at one cloud."""
    return fan_in.measure(1000, 2.0)


PARTS: Final[dict[str, Callable[[Codes], dict[str, Any]]]] = {
    "bytes": sent,
    "load": load,
    "tier": tier,
    "link": link,
    "overload": pressed,
    "plan": plan,
    "edges": many,
}


def main(
    beside: Annotated[Path, typer.Option(help="Checkout of version 0.1.0.")],
    out: Out = RESULTS,
    only: Annotated[list[str] | None, typer.Option(help="Only this part; may be repeated.")] = None,
    page: Annotated[Path | None, typer.Option(help="Put the table into this page's block.")] = None,
) -> None:
    """Measure, print, and write `lean.json` and `lean.md`; exit code 1 where a part could not be measured."""
    if unknown := set(only or ()) - PARTS.keys():
        raise BadInput(f"--only is {', '.join(sorted(unknown))}; expected one of {', '.join(PARTS)}")
    codes, failed = {"now": Code(), "before": Code.of(beside)}, []
    file = out / "lean.json"
    document: dict[str, Any] = json.loads(file.read_text()) if only and file.is_file() else {}
    out.mkdir(parents=True, exist_ok=True)
    for name, part in PARTS.items():
        if only and name not in only:
            continue
        began = time.monotonic()
        try:
            document[name] = part(codes)
        except Exception as error:  # the other parts may go well
            document[name] = None
            failed.append(name)
            print(f"{name}: {error}", file=sys.stderr)
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        write_atomically(file, json.dumps({**environment(), **document}, indent=1) + "\n")
    text = render("lean.md", **{name: document.get(name) for name in PARTS})
    write_atomically(out / "lean.md", text)
    print(text)
    if page:
        fill(page, out.absolute().parent)
    if failed:
        raise typer.Exit(1)


if __name__ == "__main__":
    command(__doc__, main)
