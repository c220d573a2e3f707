"""`ddnn doctor`: what is wrong, and what to do about it."""

from collections import Counter
from dataclasses import asdict
from typing import Annotated, Any

import typer

from ddnn.cli.options import BasePort, BundleArgument, Json, Token, Urls, bundle_path, print_json

__all__ = ["doctor"]

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

    from ddnn.fleet.diagnostics import diagnose

    console = Console(stderr=as_json, highlight=False, soft_wrap=True)
    findings = []
    for finding in diagnose(
        bundle_path(bundle), base_port=base_port, urls=url or (), bundle_only=bundle_only, token=token
    ):
        findings.append(finding)
        console.print(f"{_MARKS[finding.verdict]} {finding.check:<18} {escape(finding.found)}")
        if finding.advice:
            console.print(f"{'':<21}→ {escape(finding.advice)}", style="dim")
    verdicts = Counter(finding.verdict for finding in findings)
    if as_json:
        print_json({"ok": not verdicts["failed"], "findings": [asdict(finding) for finding in findings]})
    else:
        console.print(f"\n{_summary(verdicts)}")
    if verdicts["failed"]:
        raise typer.Exit(1)


def _summary(verdicts: Counter[Any]) -> str:
    failed, passed, warnings = (verdicts[verdict] for verdict in ("failed", "ok", "warning"))
    if not failed and not warnings:
        return f"all {passed} checks passed"
    parts = [f"{failed} failed"] * bool(failed) + [f"{passed} passed"]
    return ", ".join(parts + [f"{warnings} warning{'s' if warnings > 1 else ''}"] * bool(warnings))
