"""`ddnn identity`: a site's authority, and certificates by which its tiers know each other."""

import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer
from typer import Argument, Option

from ddnn.cli.options import Json, note, open_bundle, print_json, screen
from ddnn.errors import BadInput
from ddnn.formatting import plain_table

if TYPE_CHECKING:
    from ddnn.identity.authority import Issued

__all__ = ["identity"]

identity = typer.Typer(
    name="identity",
    help="""Certificates by which the tiers of a site know each other: init, issue, rotate, revoke, show.

    Example: `ddnn identity init SITE`, then `DDNN_IDENTITY=SITE/device-3 ddnn serve device --index 3 …`
    """,
    no_args_is_help=True,
)

_LOOK_S: Final = 60.0

Site = Annotated[Path, Argument(metavar="SITE", help="Folder of the site's authority.")]
Days = Annotated[float, Option(min=0.0001, max=825, help="Life of a certificate in days.")]
Hosts = Annotated[list[str] | None, Option("--host", metavar="NAME", help="Host by which callers reach it; again.")]
Names = Annotated[list[str] | None, Argument(metavar="TIER", help="Such as `edge-0` or `device-3`; by default all.")]


@identity.command()
def init(
    site: Site,
    bundle: Annotated[Path | None, Option(help="Folder of the bundle; the shipped one by default.")] = None,
    name: Annotated[str, Option(help="Name of the site, in every certificate.")] = "site",
    tier: Annotated[
        list[str] | None, Option(metavar="TIER", help="Only this one, such as `cloud-0`; again for another.")
    ] = None,
    host: Hosts = None,
    days: Days = 30.0,
    keep: Annotated[bool, Option("--keep", help="Stay, and renew what is due, until SIGTERM.")] = False,
    as_json: Json = False,
) -> None:
    """Make an authority and a certificate for each tier of a bundle; again, it makes what is missing or due.

    Each tier needs its own folder alone, SITE/device-3; callers need SITE/authority.pem. SITE/authority stays here.
    With `--keep`, it renews them for as long as it runs.

    Example: `ddnn identity init site --bundle runs/mine`
    """
    from ddnn.fleet.site import furnish

    topology = open_bundle(bundle).topology
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    wishes: dict[str, Any] = {"site": name, "hosts": host or (), "days": days, "only": tier or ()}
    made = furnish(site, topology, **wishes)
    _say(made, "made", as_json)
    while keep:
        time.sleep(min(_LOOK_S, days * 86400 / 10))
        if made := furnish(site, topology, **wishes):
            _say(made, "made", as_json)


@identity.command()
def issue(
    site: Site,
    tier: Annotated[Literal["device", "edge", "cloud"], Argument(help="Which kind of tier.")],
    index: Annotated[int, Argument(min=0, help="Which of them.")] = 0,
    host: Hosts = None,
    days: Days = 30.0,
    as_json: Json = False,
) -> None:
    """Make a certificate for one tier of the site, also for one whose certificates were revoked.

    A site has the tiers of the bundle that `init` was given; `init` with another bundle makes those that are missing.

    Example: `ddnn identity issue site device 3 --host camera-3.local`
    """
    from ddnn.identity.authority import Authority
    from ddnn.types import Tier

    authority = Authority(site)
    if (named := f"{tier}-{index}") not in authority.shown:
        more = "`ddnn identity init SITE --bundle BUNDLE` makes those of a bundle that are missing"
        raise BadInput(f"{site} has no tier {named}; expected one of {', '.join(authority.shown)}; {more}")
    _say([authority.issue(Tier(tier), index, host or (), days=days)], "made", as_json)


@identity.command()
def rotate(
    site: Site,
    tiers: Names = None,
    due: Annotated[bool, Option("--due", help="Only those with less than a third of their life left.")] = False,
    authority: Annotated[bool, Option("--authority", help="The authority itself, a step each time.")] = False,
    days: Days = 30.0,
    as_json: Json = False,
) -> None:
    """Make new keys and certificates; running tiers take them within seconds, and no request is lost.

    What is replaced stays good until it expires: for a key in wrong hands it is `revoke`. With `--authority` the site
    gets another authority in three steps: it is trusted too, it signs all certificates, it is trusted alone. After each
    the folders are brought to their machines, and authority.pem to callers.

    Example: `ddnn identity rotate site`, `ddnn identity rotate site device-3 --days 7`
    """
    from ddnn.identity.authority import Authority

    if authority and (tiers or due):
        raise BadInput("--authority is about all tiers; expected neither TIER nor --due beside it")
    if authority:
        _replace(site, days, as_json)
        return
    opened = Authority(site)
    good = [folder for folder, held in opened.shown.items() if not held.revoked]
    _say(opened.rotate(tiers or good, days=days, due=due), "made", as_json)


@identity.command()
def revoke(
    site: Site,
    tier: Annotated[str, Argument(metavar="TIER", help="Such as `device-3`.")],
    as_json: Json = False,
) -> None:
    """Revoke every certificate of a tier; the others refuse it within seconds of having the new list.

    Example: `ddnn identity revoke site device-3`, then `ddnn identity issue site device 3` for another key
    """
    from ddnn.identity.authority import Authority

    _say(Authority(site).revoke(tier), "revoked", as_json)


@identity.command()
def show(site: Site, as_json: Json = False) -> None:
    """Show which tier has which certificate, and until when.

    Example: `ddnn identity show site`
    """
    from ddnn.identity.authority import Authority

    authority = Authority(site)
    _say([*authority.shown.values()], f"of site {authority.site}", as_json)


def _replace(site: Path, days: float, as_json: bool) -> None:
    """A step of another authority, and what is to be done before the next."""
    from ddnn.identity.authority import Authority

    authority = Authority(site)
    step = authority.replace(days=days)
    if as_json:
        print_json({"step": step, "trusts": authority.trusts})
        return
    done, then = _STEPS[step]
    screen(soft_wrap=True).print(f"{done}: {' and '.join(authority.trusts)}.\n{then}", markup=False)


_BRING: Final = "Bring the folders to their machines, and authority.pem to callers"
_AGAIN: Final = "when `ddnn status --json` shows it at every tier, under `identity`"
_STEPS: Final = {
    1: ("step 1 of 3, another authority is trusted too", f"{_BRING}; {_AGAIN}, the same command once more."),
    2: ("step 2 of 3, it has signed every certificate", f"{_BRING}; {_AGAIN}, the same command once more."),
    0: ("step 3 of 3, it is trusted alone", f"{_BRING}: then what the old one has signed is refused."),
}


def _say(certificates: Sequence["Issued"], what: str, as_json: bool) -> None:
    if as_json:
        from dataclasses import asdict

        print_json([asdict(each) for each in certificates])
        return
    if not certificates:
        note("nothing to do: every tier has a certificate that is not due")
        return
    table = plain_table("tier", "expires", "serial", "hosts", "")
    for each in certificates:
        state = "revoked" if each.revoked else "due" if each.due else ""
        table.add_row(each.folder, each.expires[:16].replace("T", " "), each.serial[:12], ", ".join(each.hosts), state)
    screen().print(table)
    screen().print(f"{len(certificates)} certificates {what}; times are UTC", style="dim")
