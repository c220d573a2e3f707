"""`ddnn rollout`: a new bundle for a running fleet, and the old one back."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from typer import Argument, Option

from ddnn.cli.options import BasePort, Json, Token, bars, open_bundle, print_json, screen

if TYPE_CHECKING:
    from ddnn.client.admin import Admin

__all__ = ["rollout"]

rollout = typer.Typer(
    name="rollout",
    help="""A new bundle in a running fleet, which nobody notices: start, status, abort, back.

    Example: `ddnn rollout start runs/mine`, `ddnn rollout status`
    """,
    no_args_is_help=True,
)

BundleGiven = Annotated[Path, Argument(metavar="BUNDLE", help="Folder of the bundle, a whole one.")]
Url = Annotated[str | None, Option(metavar="URL", help="Address of the cloud; that of `ddnn up` by default.")]
AdminToken = Annotated[
    str | None, Option(envvar="DDNN_ADMIN_TOKEN", show_envvar=True, help="Admin token that a rollout demands.")
]
Wait = Annotated[float, Option(min=0, metavar="SECONDS", help="How long to look on.")]


@dataclass(frozen=True)
class _Cloud:
    """Where a rollout is, and on whose word: what every command of it takes."""

    url: str | None
    base_port: int
    token: str | None
    admin_token: str | None
    as_json: bool

    def open(self) -> "Admin":
        from ddnn.client.admin import Admin
        from ddnn.fleet.addresses import HOST, parse_addresses, scheme_at

        port = self.base_port
        address = parse_addresses([self.url])[0] if self.url else f"{scheme_at(port)}://{HOST}:{port}"
        return Admin(address, self.token, admin_token=self.admin_token, timeout_s=120.0)


def _of_the_cloud(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command whose first argument is the cloud the options that say which."""
    own = [*inspect.signature(command, eval_str=True).parameters.values()][1:]
    named: dict[str, tuple[Any, Any]] = {
        "base_port": (BasePort, 8000),
        "url": (Url, None),
        "admin_token": (AdminToken, None),
        "token": (Token, None),
        "as_json": (Json, False),
    }

    @functools.wraps(command)
    def run(**given: Any) -> None:
        cloud = _Cloud(**{name: given.pop(name) for name in named})
        command(cloud, **given)

    kind = inspect.Parameter.KEYWORD_ONLY
    more = [inspect.Parameter(name, kind, default=value, annotation=hint) for name, (hint, value) in named.items()]
    parameters = [each.replace(kind=kind) for each in own] + more
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


@rollout.command()
@_of_the_cloud
def start(
    cloud: _Cloud,
    bundle: BundleGiven,
    share: Annotated[float, Option(min=0.001, max=1, help="Share of the events that it answers at first.")] = 0.1,
    events: Annotated[int, Option(min=0, max=1_000_000, help="So many of them, before it answers all.")] = 100,
    wait: Wait = 120.0,
) -> None:
    """Have every tier pull a bundle, prove it on its golden events and serve it: to a share of the events, then to all.

    It is refused at once where its classes, devices, views or edges are other ones, and taken back where more of its
    answers are degraded, they take longer, or more differ from the cloud's. Exit code 1 when it is not served in
    --wait seconds.

    Example: ddnn rollout start runs/mine --share 0.2 --events 500
    """
    from ddnn.fleet.rollout import begin

    opened = open_bundle(bundle)
    with cloud.open() as admin:
        with bars() as progress:
            begin(
                admin,
                opened,
                share=share,
                events=events,
                progress=lambda name, done, files: progress("files to the cloud", done, files),
            )
        _look_on(admin, wait, cloud.as_json)


@rollout.command()
@_of_the_cloud
def status(cloud: _Cloud) -> None:
    """Say how far a rollout is, and what the old and the new bundle did.

    Example: `ddnn rollout status`
    """
    with cloud.open() as admin:
        _say(admin.rollout(), cloud.as_json)


@rollout.command()
@_of_the_cloud
def abort(cloud: _Cloud) -> None:
    """Take back what is being rolled out: events begin in the old bundle again.

    Example: `ddnn rollout abort`
    """
    with cloud.open() as admin:
        _say(admin.administer("POST", "/v2/rollout/abort"), cloud.as_json)


@rollout.command()
@_of_the_cloud
def back(cloud: _Cloud, wait: Wait = 120.0) -> None:
    """Bring back what was served before, in the same way and without a share first.

    Example: `ddnn rollout back`
    """
    with cloud.open() as admin:
        admin.administer("POST", "/v2/rollout/back")
        _look_on(admin, wait, cloud.as_json)


def _look_on(admin: "Admin", seconds: float, as_json: bool) -> None:
    from ddnn.fleet.rollout import wait

    console = screen(stderr=True, soft_wrap=True)
    told = ""

    def seen(document: dict[str, Any]) -> None:
        nonlocal told
        says, stage = _under_way(document), document["stage"]
        if console.is_terminal:
            spinner.update(escape(says))
        # Counts of events go on all the time: a log has a line where something else has changed.
        elif (now := f"{stage} {document['problem']} {document['waits_for']}") != told:
            told = now
            typer.echo(says, err=True)

    with console.status("") as spinner:
        document = wait(admin, seconds, seen)
    _say(document, as_json)
    if document["stage"] != "serving":
        raise typer.Exit(1)


def _under_way(document: dict[str, Any]) -> str:
    from ddnn.serving.rollout.plan import sentence

    return f"{sentence(document)}; it waits: {document['problem']}" if document["problem"] else sentence(document)


def _say(document: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(document)
        return
    typer.echo(_under_way(document))
    for name, seen in (document["figures"] or {}).items():
        typer.echo(
            f"  {name}: {seen['answered']:,} answers, {seen['degraded']:,} degraded, p95 {seen['p95_s'] * 1000:.0f} ms,"
            f" {seen['audited']:,} audited"
        )
