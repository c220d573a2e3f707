"""`ddnn policy`: the running fleet's policy, shown, compared, changed and taken back."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer import Argument, Option

from ddnn.cli.options import BasePort, Json, Token, Urls, note, print_json, screen, tier_addresses
from ddnn.formatting import NONE, plain_table

if TYPE_CHECKING:
    from ddnn.fleet.policy import FleetPolicy
    from ddnn.policy import Policy

__all__ = ["policy"]

policy = typer.Typer(
    name="policy",
    help="""The policy of a running fleet: show, diff, apply, rollback, its budget, and what it keeps.

    Example: `ddnn policy show`, `ddnn policy apply BUNDLE --dry-run`
    """,
    no_args_is_help=True,
)

Proposed = Annotated[Path, Argument(metavar="FILE|BUNDLE", help="JSON of a policy, or folder of a bundle with one.")]
AdminToken = Annotated[
    str | None, Option(envvar="DDNN_ADMIN_TOKEN", show_envvar=True, help="Admin token that writing a policy demands.")
]
DryRun = Annotated[bool, Option("--dry-run", help="Change nothing; try it on the decisions that the tiers recorded.")]
Wait = Annotated[float, Option(min=0, metavar="SECONDS", help="How long to wait for all tiers to follow.")]
Limits = Annotated[list[str] | None, Option(metavar="KIND=NUMBER", help="What may go up a minute; once for each.")]
_BACKGROUND: Final = ("tuned.", "promise.usual.")  #: fills a screen and changes no answer: --json has it


@policy.command()
def show(base_port: BasePort = 8000, url: Urls = None, token: Token = None, as_json: Json = False) -> None:
    """Show the policy in force, and which tier has which version of it.

    Example: `ddnn policy show`, `ddnn policy show --json > policy.json`
    """
    fleet = _fleet(base_port, url, token)
    running = fleet.read()
    if as_json:
        print_json({"etag": running.etag, "policy": running.model_dump(mode="json"), "tiers": fleet.tiers()})
    else:
        _print_policy(running, fleet.tiers())


@policy.command()
def diff(
    wanted: Proposed, base_port: BasePort = 8000, url: Urls = None, token: Token = None, as_json: Json = False
) -> None:
    """Show key by key what a policy would change in the running fleet.

    Example: `ddnn policy diff BUNDLE`, `ddnn policy diff policy.json --base-port 9000`
    """
    from ddnn.fleet.policy import differences, read_policy

    proposed = read_policy(wanted)
    running = _fleet(base_port, url, token).read()
    _report(running, {"differences": differences(running, proposed)}, as_json)


@policy.command()
def apply(
    wanted: Proposed,
    base_port: BasePort = 8000,
    url: Urls = None,
    dry_run: DryRun = False,
    wait: Wait = 10.0,
    admin_token: AdminToken = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Put a policy in force in the running fleet, and wait until every tier that answers follows it.

    Exit code 1 when one does not follow in time.

    Example: `ddnn policy apply BUNDLE --dry-run`, `ddnn policy apply policy.json`
    """
    from ddnn.fleet.policy import differences, read_policy

    proposed = read_policy(wanted)
    fleet = _fleet(base_port, url, token, admin_token)
    running = fleet.read()
    report: dict[str, Any] = {"differences": differences(running, proposed)}
    if dry_run:
        report |= fleet.try_out(proposed, note=note)
    elif report["differences"]:
        report |= _followed(fleet, fleet.apply(proposed, over=running), wait)
    _report(running, report, as_json)


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
    from ddnn.fleet.policy import differences

    fleet = _fleet(base_port, url, token, admin_token)
    running = fleet.read()
    applied = fleet.roll_back(over=running)
    report = {"differences": differences(running, fleet.read())}
    _report(running, report | _followed(fleet, applied, wait), as_json)


@policy.command()
def budget(
    site: Limits = None,
    device: Limits = None,
    burst_s: Annotated[float | None, Option(metavar="SECONDS", help="Seconds' worth that may go up at once.")] = None,
    base_port: BasePort = 8000,
    url: Urls = None,
    wait: Wait = 10.0,
    admin_token: AdminToken = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Show how much may go up to the cloud in a minute, or set it; what is not named stays as it is.

    KIND is `events`, `bytes` or `cloud_seconds`; NUMBER `none` takes a limit away. Beyond it the tier below answers.

    Example: `ddnn policy budget`, `ddnn policy budget --site events=600 --device events=150`
    """
    from ddnn.fleet.policy import differences, with_budget

    fleet = _fleet(base_port, url, token, admin_token)
    running = fleet.read()
    proposed = with_budget(running, site or [], device or [], burst_s)
    report: dict[str, Any] = {"differences": differences(running, proposed)}
    if report["differences"]:
        report |= _followed(fleet, fleet.apply(proposed, over=running), wait)
    if as_json:
        _report(running, report | {"budget": proposed.budget.model_dump(mode="json")}, as_json)
    elif report["differences"]:
        _report(running, report, as_json)
    else:
        table = plain_table("a minute", "site", "each device")
        for kind in type(running.budget.site).model_fields:
            table.add_row(kind, *(_shown(getattr(each, kind)) for each in (running.budget.site, running.budget.device)))
        screen().print(table)


@policy.command()
def doubts(
    events: Annotated[int | None, Option(min=0, help="So many are kept at most; 0: no more are.")] = None,
    size: Annotated[int | None, Option("--bytes", min=0, help="Bytes of them at most, at each tier.")] = None,
    age_s: Annotated[float | None, Option(metavar="SECONDS", help="Older ones go.")] = None,
    per_second: Annotated[float | None, Option(help="Of each kind, so many a second at most.")] = None,
    unsure: Annotated[float | None, Option(help="Kept where the answer's confidence is below; 0: none.")] = None,
    disagreeing: Annotated[bool | None, Option(help="Keep those on which an audit disagreed.")] = None,
    degraded: Annotated[bool | None, Option(help="Keep degraded ones.")] = None,
    random: Annotated[float | None, Option(metavar="SHARE", help="Share of all events that is kept.")] = None,
    views: Annotated[str | None, Option(help="`none`; `kept`, at their devices; `given` to an admin.")] = None,
    base_port: BasePort = 8000,
    url: Urls = None,
    wait: Wait = 10.0,
    admin_token: AdminToken = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Show which events are kept to be labelled, or set it; what is not named stays as it is.

    Example: `ddnn policy doubts`, `ddnn policy doubts --events 500 --unsure 0.6 --views given`
    """
    from ddnn.fleet.policy import differences
    from ddnn.policy import Policy

    given: dict[str, Any] = {
        "events": events,
        "bytes": size,
        "age_s": age_s,
        "per_second": per_second,
        "unsure": unsure,
    }
    given |= {"disagreeing": disagreeing, "degraded": degraded, "random": random, "views": views}
    fleet = _fleet(base_port, url, token, admin_token)
    running = fleet.read()
    document = running.model_dump(mode="json")
    document["doubts"] |= {key: value for key, value in given.items() if value is not None}
    proposed = Policy.of(document)
    report: dict[str, Any] = {"differences": differences(running, proposed)}
    if report["differences"]:
        report |= _followed(fleet, fleet.apply(proposed, over=running), wait)
    if as_json or report["differences"]:
        _report(running, report | {"doubts": document["doubts"]}, as_json)
        return
    table = plain_table()
    for key, value in document["doubts"].items():
        table.add_row(key, _shown(value))
    screen().print(table)


def _fleet(port: int, urls: Sequence[str] | None, token: str | None, admin_token: str | None = None) -> "FleetPolicy":
    from ddnn.fleet.policy import FleetPolicy

    return FleetPolicy(tier_addresses(urls, port), token, admin_token=admin_token)


def _followed(fleet: "FleetPolicy", applied: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    with screen(stderr=True).status("") as status:
        followed = fleet.wait(
            applied["etag"], seconds, lambda *both: status.update("{} of {} tiers follow".format(*both))
        )
    return {"applied": applied, "followed": followed}


def _report(running: "Policy", report: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print_json({"version": running.version, "etag": running.etag, **report})
    else:
        _print_report(running, report)
    if not all(report.get("followed", {}).values()):
        raise typer.Exit(1)


def _print_report(running: "Policy", report: Mapping[str, Any]) -> None:
    console = screen()
    changes = report["differences"]
    if not changes:
        console.print(f"nothing differs from version {running.version}, which is in force")
    if effects := [change for change in changes if not change["key"].startswith(_BACKGROUND)]:
        table = plain_table("key", f"version {running.version}", "instead")
        for change in effects:
            table.add_row(change["key"], _shown(change["running"]), _shown(change["proposed"]))
        console.print(table)
    if more := len(changes) - len(effects):
        console.print(f"{more} keys of what it was tuned on and what was usual there; --json shows them")
    if "dry_run" in report:
        console.print(f"\n{report['dry_run']['says']}", soft_wrap=True, markup=False)
    if applied := report.get("applied"):
        late = [name for name, follows in report["followed"].items() if not follows]
        behind = f"; not yet at {', '.join(late)}" if late else f" at all {len(report['followed'])} tiers that answer"
        console.print(f"\nversion {applied['version']} is in force{behind}", soft_wrap=True, markup=False)
        if applied.get("note"):
            console.print(f"note: {applied['note']}", style="yellow", soft_wrap=True, markup=False)


def _print_policy(running: "Policy", tiers: Sequence[Mapping[str, Any]]) -> None:
    from ddnn.fleet.policy import flat

    values = plain_table()
    for key, value in flat(running.model_dump(mode="json")).items():
        values.add_row(key, _shown(value))
    versions = plain_table("tier", "version", "from", "heard", "kept over a restart")
    for tier in tiers:
        heard = NONE if tier["followed_s_ago"] is None else f"{tier['followed_s_ago']:.1f} s ago"
        kept = NONE if tier["version"] is None else "yes" if tier["kept"] else f"no: {tier['not_kept_because']}"
        versions.add_row(tier["name"], _shown(tier["version"]), tier["source"] or tier["problem"] or NONE, heard, kept)
    screen().print(values, "", versions, sep="\n")


def _shown(value: object) -> str:
    return NONE if value is None else f"{value:g}" if isinstance(value, float) else str(value)
