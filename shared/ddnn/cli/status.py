"""`ddnn status`: every tier of a running fleet on one screen."""

import typer

from ddnn.cli.options import BasePort, BundleArgument, Json, Token, Urls, print_json, tier_addresses

__all__ = ["status"]


def status(
    bundle: BundleArgument = None,
    base_port: BasePort = 8000,
    url: Urls = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Show every tier of a running fleet: ready, bundle, policy, what it answered, its uplink, its audits.

    Exit code 1 when a tier is not ready.

    Example: `ddnn status`, `ddnn status --base-port 9000`, `ddnn status --url http://10.0.0.7:8010`
    """
    from rich.console import Console

    from ddnn.fleet.status import read_statuses
    from ddnn.fleet.view import print_statuses

    tiers = read_statuses(tier_addresses(url, base_port, bundle), token)
    if as_json:
        print_json({"tiers": [tier.document() for tier in tiers]})
    else:
        print_statuses(tiers, Console(highlight=False))
    if not all(tier.ready for tier in tiers):
        raise typer.Exit(1)
