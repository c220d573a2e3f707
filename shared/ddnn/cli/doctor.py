"""`ddnn doctor`: what is wrong, and what to do about it."""

import json
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from ddnn.cli.target import BasePort, BundleArgument, Json, Token, addresses, bundle_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ddnn.bundle import Bundle
    from ddnn.fleet.checkup import Finding

__all__ = ["doctor"]

Urls = Annotated[list[str] | None, typer.Option("--url", metavar="URL", help="Address of a tier, instead of a port.")]
BundleOnly = Annotated[bool, typer.Option("--bundle-only", help="Check the bundle and the ports, not a running fleet.")]

_MARKS = {"ok": "[green]✓[/]", "warning": "[yellow]![/]", "failed": "[red]✗[/]"}


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
    from rich.console import Console
    from rich.markup import escape

    from ddnn.bundle import Bundle
    from ddnn.errors import BadBundle
    from ddnn.fleet.checkup import check_bundle
    from ddnn.fleet.glance import bundle_urls, fleet_urls

    path = bundle_path(bundle)
    console = Console(stderr=as_json, highlight=False, soft_wrap=True)
    try:
        opened = Bundle.open(path)
    except BadBundle:
        opened = None  # `check_bundle` says why
    findings: list[Finding] = []

    def report(found: "Iterator[Finding]") -> None:
        for finding in found:
            findings.append(finding)
            console.print(f"{_MARKS[finding.verdict]} {finding.check:<18} {escape(finding.found)}")
            if finding.advice:
                console.print(f"{'':<21}→ {escape(finding.advice)}", style="dim")

    report(check_bundle(path))
    urls = {each: each for each in addresses(url or ())}
    if not urls and opened is not None and not bundle_only:
        urls = (fleet_urls if bundle is None else bundle_urls)(base_port, opened)
    report(_check_ports(base_port, opened) if bundle_only else _check_running(urls, opened, token))
    failed = sum(finding.verdict == "failed" for finding in findings)
    if as_json:
        typer.echo(json.dumps({"ok": not failed, "findings": [asdict(finding) for finding in findings]}, indent=1))
    else:
        console.print(f"\n{_summary(findings)}")
    if failed:
        raise typer.Exit(1)


def _summary(findings: "Sequence[Finding]") -> str:
    verdicts = Counter(finding.verdict for finding in findings)
    if verdicts["ok"] == len(findings):
        return f"all {len(findings)} checks passed"
    warnings = verdicts["warning"]
    said = [f"{verdicts['failed']} failed"] if verdicts["failed"] else []
    said += [f"{verdicts['ok']} passed"]
    said += [f"{warnings} warning{'s' if warnings > 1 else ''}"] if warnings else []
    return ", ".join(said)


def _check_ports(base_port: int, bundle: "Bundle | None") -> "Iterator[Finding]":
    from ddnn.fleet.checkup import check_ports
    from ddnn.fleet.ports import ports

    if bundle is not None:
        yield from check_ports(ports(base_port, len(bundle.topology.devices), len(bundle.topology.edges)))


def _check_running(urls: "Mapping[str, str]", bundle: "Bundle | None", token: str | None) -> "Iterator[Finding]":
    from ddnn.fleet.checkup import check_answers, check_fleet
    from ddnn.fleet.glance import look

    glances = look(urls, token)
    yield from check_fleet(glances, bundle)
    if bundle is not None:
        yield from check_answers(glances, bundle, token)
