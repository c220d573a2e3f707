"""A link between two tiers that is slow, narrow, unsteady and broken, as links are: a proxy for tests and studies."""

import json
from typing import Any

from ddnn.fleet.processes import LinkProcess
from ddnn.links import LinkShape
from ddnn_lab.links.link import FAULTS, Fault, Link

__all__ = ["FAULTS", "Fault", "Link", "link_state", "passed", "set_fault", "set_shape"]


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
