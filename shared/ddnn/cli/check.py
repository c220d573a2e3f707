"""`ddnn status`: every tier of a running fleet on one screen; `ddnn doctor`: what is wrong, and what to do about it."""

from collections import Counter
from dataclasses import asdict
from typing import Annotated

import typer
from typer import Option

from ddnn.cli.options import BasePort, BundleArgument, Json, Token, Urls, print_json, screen, tier_addresses

__all__ = ["doctor", "status"]

BundleOnly = Annotated[bool, Option("--bundle-only", help="Check the bundle and the ports, not a running fleet.")]

_MARKS = {"ok": "[green]✓[/]", "warning": "[yellow]![/]", "failed": "[red]✗[/]"}


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
    from ddnn.fleet.status import print_statuses, read_statuses

    tiers = read_statuses(tier_addresses(url, base_port, bundle), token)
    if as_json:
        print_json({"tiers": [tier.document() for tier in tiers]})
    else:
        print_statuses(tiers, screen())
    if not all(tier.ready for tier in tiers):
        raise typer.Exit(1)


def doctor(
    bundle: BundleArgument = None,
    base_port: BasePort = 8000,
    url: Urls = None,
    bundle_only: BundleOnly = False,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Check a bundle and a running fleet; say what to do about each finding.

    The bundle verifies, its sections answer the golden events as torch did, every tier is reachable and ready, all
    serve the same bundle and follow the same policy, and a few golden events come back as they are offline. Exit code
    1 when a check failed.

    Example: `ddnn doctor`, `ddnn doctor runs/mine --bundle-only`, `ddnn doctor --url http://10.0.0.7:8010`
    """
    from rich.markup import escape

    from ddnn.bundle import shipped_bundle
    from ddnn.fleet.diagnostics import Finding, diagnose

    console = screen(stderr=as_json, soft_wrap=True)
    findings: list[Finding] = []
    for finding in diagnose(bundle or shipped_bundle(), base_port, url or (), bundle_only=bundle_only, token=token):
        findings.append(finding)
        console.print(f"{_MARKS[finding.verdict]} {finding.check:<18} {escape(finding.found)}")
        if finding.advice:
            console.print(f"{'':<21}→ {escape(finding.advice)}", style="dim")
    verdicts = Counter[str](finding.verdict for finding in findings)
    if as_json:
        print_json({"ok": not verdicts["failed"], "findings": [asdict(finding) for finding in findings]})
    else:
        console.print(f"\n{_summary(verdicts)}")
    if verdicts["failed"]:
        raise typer.Exit(1)


def _summary(verdicts: Counter[str]) -> str:
    failed, passed, warnings = (verdicts[verdict] for verdict in ("failed", "ok", "warning"))
    if not failed and not warnings:
        return f"all {passed} checks passed"
    parts = [f"{failed} failed"] * bool(failed) + [f"{passed} passed"]
    return ", ".join(parts + [f"{warnings} warning{'s' if warnings > 1 else ''}"] * bool(warnings))
