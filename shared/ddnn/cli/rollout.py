"""`ddnn rollout`: a new bundle for a running fleet, and the old one back."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from ddnn.cli.options import BasePort, Json, Token, open_bundle, print_json, screen

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

Url = Annotated[str | None, Option(metavar="URL", help="Address of the cloud; that of `ddnn up` by default.")]
AdminToken = Annotated[
    str | None, Option(envvar="DDNN_ADMIN_TOKEN", show_envvar=True, help="Admin token that a rollout demands.")
]
Wait = Annotated[float, Option(min=0, metavar="SECONDS", help="How long to look on.")]


@rollout.command()
def start(
    bundle: Annotated[Path, Argument(metavar="BUNDLE", help="Folder of the bundle, a whole one.")],
    share: Annotated[float, Option(min=0.001, max=1, help="Share of the events that it answers at first.")] = 0.1,
    events: Annotated[int, Option(min=0, max=1_000_000, help="So many of them, before it answers all.")] = 100,
    base_port: BasePort = 8000,
    url: Url = None,
    wait: Wait = 120.0,
    admin_token: AdminToken = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Have every tier pull a bundle, prove it on its golden events and serve it: to a share of the events, then to all.

    It is taken back where more of its answers are degraded, they take longer, or more differ from the cloud's. Exit
    code 1 when it is not served in --wait seconds.

    Example: ddnn rollout start runs/mine --share 0.2 --events 500
    """
    from ddnn.fleet.rollout import begin

    opened = open_bundle(bundle)
    with _admin(url, base_port, token, admin_token) as admin:
        with screen(stderr=True).status("") as status:
            begin(
                admin,
                opened,
                share=share,
                events=events,
                progress=lambda name, done, files: status.update(f"{name}, {done + 1} of {files} files"),
            )
        _look_on(admin, wait, as_json)


@rollout.command()
def status(base_port: BasePort = 8000, url: Url = None, token: Token = None, as_json: Json = False) -> None:
    """Say how far a rollout is, and what the old and the new bundle did.

    Example: `ddnn rollout status`
    """
    with _admin(url, base_port, token) as admin:
        _say(admin.rollout(), as_json)


@rollout.command()
def abort(
    base_port: BasePort = 8000,
    url: Url = None,
    admin_token: AdminToken = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Take back what is being rolled out: events begin in the old bundle again.

    Example: `ddnn rollout abort`
    """
    with _admin(url, base_port, token, admin_token) as admin:
        _say(admin.administer("POST", "/v2/rollout/abort"), as_json)


@rollout.command()
def back(
    base_port: BasePort = 8000,
    url: Url = None,
    wait: Wait = 120.0,
    admin_token: AdminToken = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Bring back what was served before, in the same way and without a share first.

    Example: `ddnn rollout back`
    """
    with _admin(url, base_port, token, admin_token) as admin:
        admin.administer("POST", "/v2/rollout/back")
        _look_on(admin, wait, as_json)


def _admin(url: str | None, base_port: int, token: str | None, admin_token: str | None = None) -> "Admin":
    from ddnn.client.admin import Admin
    from ddnn.fleet.addresses import HOST, parse_addresses, scheme_at

    address = parse_addresses([url])[0] if url else f"{scheme_at(base_port)}://{HOST}:{base_port}"
    return Admin(address, token, admin_token=admin_token, timeout_s=120.0)


def _look_on(admin: "Admin", seconds: float, as_json: bool) -> None:
    from ddnn.fleet.rollout import sentence, wait

    with screen(stderr=True).status("") as status:
        document = wait(admin, seconds, lambda document: status.update(sentence(document)))
    _say(document, as_json)
    if document["stage"] != "serving":
        raise typer.Exit(1)


def _say(document: dict[str, Any], as_json: bool) -> None:
    from ddnn.fleet.rollout import sentence

    if as_json:
        print_json(document)
        return
    typer.echo(sentence(document))
    if document["problem"]:
        typer.echo(f"the cloud waits: {document['problem']}")
    for name, seen in (document["figures"] or {}).items():
        typer.echo(
            f"  {name}: {seen['answered']:,} answers, {seen['degraded']:,} degraded, p95 {seen['p95_s'] * 1000:.0f} ms,"
            f" {seen['audited']:,} audited"
        )
