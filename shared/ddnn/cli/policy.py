"""`ddnn policy`: the running fleet's policy, shown, compared, changed and taken back."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ddnn.cli.target import BasePort, Json, Token, addresses, bundle_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ddnn.fleet.glance import Glance
    from ddnn.fleet.policy import Proposal, Source
    from ddnn.policy import Policy

__all__ = ["policy"]

policy = typer.Typer(
    name="policy",
    help="""The policy of a running fleet: show, diff, apply, rollback.

    Example: `ddnn policy show`, `ddnn policy apply BUNDLE --dry-run`
    """,
    no_args_is_help=True,
)

Urls = Annotated[
    list[str] | None,
    typer.Option(
        "--url", metavar="URL", help="Address of a tier instead of a port; again for each, the cloud among them."
    ),
]
Wanted = Annotated[
    Path, typer.Argument(metavar="FILE|BUNDLE", help="JSON of a policy, or the folder of a bundle that has one.")
]
AdminToken = Annotated[
    str | None,
    typer.Option(envvar="DDNN_ADMIN_TOKEN", show_envvar=True, help="Admin token that writing a policy demands."),
]
_BACKGROUND = ("tuned.", "promise.usual.")
Wait = Annotated[float, typer.Option(min=0, metavar="SECONDS", help="How long to wait for all tiers to follow.")]


@policy.command()
def show(base_port: BasePort = 8000, url: Urls = None, token: Token = None, as_json: Json = False) -> None:
    """Show the policy in force, and which tier has which version of it.

    Example: `ddnn policy show`, `ddnn policy show --json > policy.json`
    """
    from ddnn.fleet.policy import Source, source_of

    glances = _look(base_port, url, token)
    running = Source(source_of(glances).url, token=token).read()
    document = {"etag": running.etag, "policy": running.model_dump(mode="json"), "tiers": [_tier(g) for g in glances]}
    if as_json:
        typer.echo(json.dumps(document, indent=1))
    else:
        _print_policy(running, glances)


@policy.command()
def diff(
    wanted: Wanted, base_port: BasePort = 8000, url: Urls = None, token: Token = None, as_json: Json = False
) -> None:
    """Show key by key what a policy would change in the running fleet.

    Example: `ddnn policy diff BUNDLE`, `ddnn policy diff policy.json --base-port 9000`
    """
    from ddnn.fleet.policy import Source, propose, source_of

    proposal = propose(wanted)
    running = Source(source_of(_look(base_port, url, token)).url, token=token).read()
    _report({"differences": _differences(running, proposal)}, as_json, running)


@policy.command()
def apply(
    wanted: Wanted,
    base_port: BasePort = 8000,
    url: Urls = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Change nothing; try it on the decisions that the tiers recorded.")
    ] = False,
    wait: Wait = 10.0,
    admin_token: AdminToken = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Put a policy in force in the running fleet, and wait until every tier that answers follows it.

    Exit code 1 when one does not follow in time.

    Example: `ddnn policy apply BUNDLE --dry-run`, `ddnn policy apply policy.json`
    """
    from ddnn.fleet.policy import Source, propose, source_of

    proposal = propose(wanted)
    glances = _look(base_port, url, token)
    source = Source(source_of(glances).url, token=token, admin_token=admin_token)
    running = source.read()
    document: dict[str, Any] = {"differences": _differences(running, proposal)}
    if dry_run:
        document |= _try_out(source, proposal, glances, token, admin_token)
    elif document["differences"]:
        document |= {"applied": source.write(proposal.document, over=running)}
        document |= _wait(document["applied"]["etag"], glances, token, wait)
    _report(document, as_json, running)


@policy.command()
def rollback(
    base_port: BasePort = 8000,
    url: Urls = None,
    wait: Wait = 10.0,
    admin_token: AdminToken = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Put the policy before the one in force in force again, as a new version; once more takes that back.

    Example: `ddnn policy rollback`
    """
    from ddnn.fleet.policy import Source, source_of

    glances = _look(base_port, url, token)
    source = Source(source_of(glances).url, token=token, admin_token=admin_token)
    running = source.read()
    applied = source.roll_back(over=running)
    differences = _changes(running, source.read())
    document = {"differences": differences, "applied": applied, **_wait(applied["etag"], glances, token, wait)}
    _report(document, as_json, running)


def _look(base_port: int, url: "Sequence[str] | None", token: str | None) -> "list[Glance]":
    from ddnn.bundle import Bundle
    from ddnn.fleet.glance import fleet_urls, look

    given = addresses(url or ())
    urls = {each: each for each in given} or fleet_urls(base_port, Bundle.open(bundle_path(None)))
    return look(urls, token)


def _differences(running: "Policy", proposal: "Proposal") -> list[dict[str, Any]]:
    return _changes(running, proposal.policy)


def _changes(running: "Policy", proposed: "Policy") -> list[dict[str, Any]]:
    from ddnn.fleet.policy import differences

    return [{"key": key, "running": was, "proposed": will} for key, was, will in differences(running, proposed)]


def _try_out(
    source: "Source", proposal: "Proposal", glances: "Sequence[Glance]", token: str | None, admin_token: str | None
) -> dict[str, Any]:
    """Ask every tier that has recorded decisions; the source alone must take the admin token."""
    from ddnn.errors import DDNNError
    from ddnn.fleet.policy import Source
    from ddnn.serving.ledger import merge

    told = [source.try_out(proposal.document)]
    for glance in glances:
        if glance.url != source.url and (glance.status or {}).get("recorded"):
            try:
                told.append(Source(glance.url, token=token, admin_token=admin_token).try_out(proposal.document))
            except DDNNError as error:
                typer.echo(f"note: {glance.name} was not asked: {error}", err=True)
    return {"dry_run": merge(told), "tiers": [tier for tier in told if tier["events"]]}


def _wait(etag: str, glances: "Sequence[Glance]", token: str | None, seconds: float) -> dict[str, Any]:
    from rich.console import Console

    from ddnn.fleet.policy import followers

    urls = {glance.name: glance.url for glance in glances if glance.status is not None}
    with Console(stderr=True).status("") as status:

        def progress(done: int, of: int) -> None:
            status.update(f"{done} of {of} tiers follow")

        return {"followed": followers(urls, etag, token=token, seconds=seconds, progress=progress)}


def _report(document: dict[str, Any], as_json: bool, running: "Policy") -> None:
    if as_json:
        typer.echo(json.dumps({"version": running.version, "etag": running.etag, **document}, indent=1))
    else:
        _print(document, running)
    if not all(document.get("followed", {}).values()):
        raise typer.Exit(1)


def _print(document: "Mapping[str, Any]", running: "Policy") -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    changes = document["differences"]
    if not changes:
        console.print(f"nothing differs from version {running.version}, which is in force")
    else:
        table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
        for header in ("key", f"version {running.version}", "instead"):
            table.add_column(header)
        # How it was found fills a screen and changes no answer: --json has it.
        effects = [change for change in changes if not change["key"].startswith(_BACKGROUND)]
        for change in effects:
            table.add_row(change["key"], _shown(change["running"]), _shown(change["proposed"]))
        if effects:
            console.print(table)
        if more := len(changes) - len(effects):
            console.print(f"{more} keys of what it was tuned on and what was usual there; --json shows them")
    if "dry_run" in document:
        console.print(f"\n{document['dry_run']['says']}", soft_wrap=True, markup=False)
    if applied := document.get("applied"):
        late = [name for name, there in document["followed"].items() if not there]
        behind = f"; not yet at {', '.join(late)}" if late else f" at all {len(document['followed'])} tiers that answer"
        console.print(f"\nversion {applied['version']} is in force{behind}", soft_wrap=True, markup=False)
        if applied.get("note"):
            console.print(f"note: {applied['note']}", style="yellow", soft_wrap=True, markup=False)


def _print_policy(running: "Policy", glances: "Sequence[Glance]") -> None:
    from rich.console import Console
    from rich.table import Table

    from ddnn.fleet.policy import flat

    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    for key, value in flat(running.model_dump(mode="json")).items():
        table.add_row(key, _shown(value))
    console.print(table)
    console.print()
    tiers = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for header in ("tier", "version", "from", "heard", "kept over a restart"):
        tiers.add_column(header)
    for tier in map(_tier, glances):
        heard = "—" if tier["followed_s_ago"] is None else f"{tier['followed_s_ago']:.1f} s ago"
        why = tier["not_kept_because"]
        kept = "—" if tier["version"] is None else "yes" if tier["kept"] else f"no: {why}"
        tiers.add_row(tier["name"], _shown(tier["version"]), tier["source"] or tier["problem"] or "—", heard, kept)
    console.print(tiers)


def _tier(glance: "Glance") -> dict[str, Any]:
    said = (glance.status or {}).get("policy") or {}
    keys = ("version", "etag", "source", "kept", "not_kept_because", "followed_s_ago", "not_followed_because")
    return {"name": glance.name, "url": glance.url, "problem": glance.problem, **{key: said.get(key) for key in keys}}


def _shown(value: object) -> str:
    return "—" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
