"""`ddnn up`: a whole fleet on this machine, answering real events; `ddnn serve`: one tier of one."""

import importlib
import os
import secrets
import shlex
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer
from typer import Argument, Option

from ddnn.cli import options
from ddnn.cli.options import command_name, screen

if TYPE_CHECKING:
    from rich.console import Console

    from ddnn.fleet.processes import LocalFleet

__all__ = ["serve", "up"]

Upstream = Annotated[list[str] | None, Option(help="Address of the tier above; again for a copy of it.")]
SectionDelay = Annotated[float | None, Option(help="How many ms a free section waits for more events; 0 by default.")]

_USUAL_PORT: Final = 8000


def up(
    bundle: options.BundleArgument = None,
    base_port: options.BasePort = _USUAL_PORT,
    no_play: Annotated[bool, Option("--no-play", help="Start the fleet and play nothing.")] = False,
    count: options.Count = None,
    rate: options.Rate = None,
    once: Annotated[bool, Option("--once", help="Stop the fleet when the events are played; for scripts.")] = False,
    state: Annotated[Path | None, Option(metavar="DIR", help="Folder in which the policy outlives the fleet.")] = None,
    max_batch: options.MaxBatch = None,
    max_delay_ms: options.MaxDelay = None,
    link: options.LinkShapes = None,
    token: options.Token = None,
    identity: Annotated[
        Path | None, Option(metavar="SITE", help="Tiers know each other by certificates of SITE.")
    ] = None,
    no_room: Annotated[bool, Option("--no-room", help="Serve no control room, and no link to cut.")] = False,
) -> None:
    """Start cloud, edge and devices as processes on loopback, play real events through them, and stay up.

    The cloud listens on the base port, edges from +1, devices from +10. Ctrl-C stops every process.

    With `--identity`, all is https; SITE is made if missing, and `SSL_CERT_FILE=SITE/authority.pem` is for callers.

    The control room, a page on the base port +9, shows it all, with switches that kill, pause and slow parts of it.

    With `DDNN_ADMIN_TOKEN` in the environment, `ddnn policy` may change its policy.

    Example: `ddnn up`, `ddnn up runs/mine --base-port 9000 --count 100`, `ddnn up --link edge-cloud=400ms,56kbit`
    """
    from ddnn.bundle import shipped_bundle
    from ddnn.fleet.events import demonstration, shuffled
    from ddnn.fleet.player import Pace
    from ddnn.fleet.processes import LocalFleet
    from ddnn.fleet.room import show_fleet
    from ddnn.fleet.table import all_to_the_cloud, show
    from ddnn.links import LINKS, LinkShape, parse_links
    from ddnn.types import Tier

    # SIGTERM is a Ctrl-C to whatever handles that at the moment, also where a shell had Ctrl-C ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    console = screen()
    settings = {"DDNN_TOKEN": token, "DDNN_MAX_SECTION_BATCH": max_batch, "DDNN_MAX_DELAY_MS": max_delay_ms}
    env = {name: str(value) for name, value in settings.items() if value is not None}
    shapes = {LINKS[name]: shape for name, shape in parse_links(link or ()).items()}
    if identity:
        os.environ["SSL_CERT_FILE"] = str(identity / "authority.pem")  # the callers in this process trust it
    where: dict[str, Any] = {"base_port": base_port, "state": state, "identity": identity}
    admin_token = os.environ.get("DDNN_ADMIN_TOKEN") or secrets.token_urlsafe(18)
    if room := not (no_room or once):
        env |= {"DDNN_ADMIN_TOKEN": admin_token, "DDNN_SHOW_VIEWS": "1"}
        shapes.setdefault(Tier.EDGE, LinkShape())  # a link that can be cut
    with LocalFleet(bundle or shipped_bundle(), **where, env=env, shapes=shapes) as fleet, ExitStack() as open_rooms:
        _wait(fleet, console)
        if room:
            address = open_rooms.enter_context(show_fleet(fleet, base_port, admin_token, token, state))
            console.print(f"Control room: {address}\n", soft_wrap=True, markup=False)
        tally = None
        if not no_play:
            events = shuffled(demonstration(fleet.bundle), count)
            tally = show(fleet.device_urls, events, Pace(rate), fleet.bundle.manifest.classes, token, console)
            if beside := all_to_the_cloud(fleet.bundle):
                console.print(beside, soft_wrap=True)
        if not once:
            _say_where(fleet, console, token)
            _stay(fleet, console)
    if tally and tally.failed:
        raise typer.Exit(1)


def _wait(fleet: "LocalFleet", console: "Console") -> None:
    name, count = fleet.bundle.manifest.name, len(fleet.members)
    with console.status("") as status:
        fleet.wait_until_ready(
            progress=lambda ready, all: status.update(f"starting {name}: {ready} of {all} processes ready")
        )
    console.print(f"{name} is up: {count} processes, bundle {fleet.bundle.fingerprint[:12]}\n")


def _say_where(fleet: "LocalFleet", console: "Console", token: str | None) -> None:
    from ddnn.bundle import shipped_as, shipped_bundle
    from ddnn.fleet.events import Event, demonstration, file_of, golden_events, request_text
    from ddnn.links import LinkShape

    views = [view for view in Event.of(golden_events(fleet.bundle), 0).views if view is not None]
    device = max(range(len(views)), key=lambda device: float(views[device].std()))  # the one that sees most
    shown = [view for view in demonstration(fleet.bundle)[0].views if view is not None]
    if file := file_of(shown[device]):
        body, data = fleet.folder / "view.jpg", "--data-binary"
        body.write_bytes(file)
    else:
        body, data = fleet.folder / "view.json", "-d"
        body.write_text(request_text(views[device]))
    header = ['-H "Authorization: Bearer $DDNN_TOKEN"'] if token else []
    console.print()
    for member in fleet.members.values():
        joins = fleet.below(member) if len(fleet.edge_urls) > 1 else ()  # with one edge it is plain which joins which
        joining = f"  joins {', '.join(joins)}" if joins else ""
        shape = fleet.links[member.name].shape if member.name in fleet.links else None
        uplink = f"  its uplink: {shape}" if shape not in (None, LinkShape()) else ""
        console.print(f"{member.name:<9} {member.url}{joining}{uplink}", markup=False, soft_wrap=True)
    console.print("Each has its pages at /docs and its figures at /metrics.\n\nAsk one device yourself:\n", style="dim")
    authority = shlex.quote(os.environ["SSL_CERT_FILE"]) if fleet.cloud_url.startswith("https:") else ""
    trust = f"--cacert {authority} " if authority else ""
    request = [
        f"curl -s {trust}{fleet.device_urls[device]}/v2/models/ddnn/infer",
        *header,
        f"{data} @{shlex.quote(str(body))}",
    ]
    console.print("  " + " \\\n    ".join(request) + "\n", soft_wrap=True, markup=False)
    trusting = f"SSL_CERT_FILE={authority} " if authority else ""
    command, path, port = trusting + shlex.quote(command_name()), fleet.bundle.path, fleet.members["cloud"].port
    where = "" if port == _USUAL_PORT else f" --base-port {port}"
    other = "" if path.resolve() == shipped_bundle().resolve() else f" {shlex.quote(shipped_as(path) or str(path))}"
    commands = ("status", f"infer --bundle{other}" if other else "infer", f"play{other}")
    then = ", ".join(f"{command} {arguments}{where}" for arguments in commands)
    console.print(f"Then: {then}. Ctrl-C stops the fleet.", style="dim", soft_wrap=True, markup=False)


def _stay(fleet: "LocalFleet", console: "Console") -> None:
    reported: set[str] = set()
    try:
        while True:
            for member in fleet.stopped():
                if member.name not in reported:
                    again = f"To start it again, in another terminal:\n\n  {fleet.command(member.name)}\n"
                    ended = f"{member.how_it_ended()}. The others stay up. {again}"
                    console.print(ended, style="yellow", markup=False, soft_wrap=True)
                    reported.add(member.name)
            time.sleep(0.3)
    except KeyboardInterrupt:
        console.print("\nstopping", style="dim")


def serve(
    tier: Annotated[Literal["device", "edge", "cloud"], Argument(help="Which kind of tier.")],
    bundle: Annotated[Path | None, Option(help="Folder of the bundle; the shipped one by default.")] = None,
    index: Annotated[int | None, Option(help="Which device, or which edge, this is.")] = None,
    upstream: Upstream = None,
    host: Annotated[str | None, Option(help="Address to bind.")] = None,
    port: Annotated[int | None, Option(help="Port to bind.")] = None,
    max_batch: Annotated[int | None, Option(help="Most events in one run of a section.")] = None,
    max_delay_ms: SectionDelay = None,
    ray: Annotated[bool, Option("--ray", help="The cloud's section runs on Ray Serve; needs the extra `ray`.")] = False,
    log_level: Annotated[str | None, Option(help="debug, info, warning or error.")] = None,
) -> None:
    """Serve one tier until SIGTERM; every setting also comes as DDNN_… from the environment.

    Example: ddnn serve device --index 3 --upstream http://127.0.0.1:8001 --port 8013
    """
    from ddnn.errors import BadConfig
    from ddnn.serving.logs import log_to_stderr
    from ddnn.serving.server import serve_app
    from ddnn.settings import Settings

    if ray and tier != "cloud":
        raise BadConfig(f"--ray is given to the tier {tier}; expected it at the cloud, whose section it is for")
    where = {"bundle": bundle, "index": index, "upstream": tuple(upstream) if upstream else None}
    batching = {"max_section_batch": max_batch, "max_delay_ms": max_delay_ms}
    settings = Settings.load(**where, **batching, host=host, port=port, log_level=log_level)
    if ray and not settings.ray.replicas:
        settings = settings.model_copy(update={"ray": settings.ray.model_copy(update={"replicas": 1})})
    log = log_to_stderr(settings.log_level)
    try:
        module = importlib.import_module(f"ddnn_{tier}.app")
    except ModuleNotFoundError as error:
        raise BadConfig(f"the {tier} tier is not installed here ({error}); expected the package ddnn_{tier}") from error
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # while starting; and when uvicorn raises it again, drained
    app = module.create_app(settings)
    log.count_with(app.state.service.metrics.dropped_lines.inc)
    serve_app(app, settings)
