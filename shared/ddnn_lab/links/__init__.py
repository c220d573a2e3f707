"""A link between two tiers that is slow, narrow, unsteady and broken, as links are: a proxy for tests and studies."""

import json
import re
from typing import Any, Final

import httpx

from ddnn.fleet.processes import LinkProcess, LocalFleet
from ddnn.links import LinkShape
from ddnn_lab.links.link import FAULTS, Fault, Link

__all__ = ["FAULTS", "Fault", "Link", "link_state", "passed", "passed_for_events", "set_fault", "set_shape"]

_REPORTS: Final = re.compile(r"^ddnn_report_bytes_total (\S+)$", re.MULTILINE)


def set_shape(link: LinkProcess, shape: LinkShape) -> None:
    """Change what it does to whatever passes."""
    link.ask(f"shape {shape}")


def set_fault(link: LinkProcess, fault: Fault) -> None:
    """Change what is wrong with it; raise `BadConfig` for what is no fault."""
    link.ask(f"fault {fault}")


def link_state(link: LinkProcess) -> dict[str, Any]:
    """Its `shape`, its `fault`, the `connections` that are open, and the bytes that have `passed` to and fro."""
    state: dict[str, Any] = json.loads(link.ask("state"))
    return state


def passed(*links: LinkProcess) -> tuple[int, int]:
    """Bytes that these links have delivered together, to the far end and from it."""
    states = [link_state(link)["passed"] for link in links]
    return sum(up for up, _ in states), sum(down for _, down in states)


def passed_for_events(fleet: LocalFleet, *names: str) -> tuple[int, int]:
    """The same of the links above these tiers, less the reports that they send every ten seconds when there is news."""
    told = _reported(fleet, *names)
    while True:
        up, down = passed(*(fleet.links[name] for name in names))
        again = _reported(fleet, *names)
        if again == told:  # no report came between
            return up - told, down
        told = again


def _reported(fleet: LocalFleet, *names: str) -> int:
    with httpx.Client() as client:
        pages = [client.get(f"{fleet.members[name].url}/metrics").text for name in names]
    return sum(int(float(count)) for page in pages for count in _REPORTS.findall(page))
