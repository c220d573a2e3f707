"""What another policy would have made of the decisions recorded at a tier; changes nothing."""

import asyncio
from typing import TYPE_CHECKING, Any

from ddnn.policy import Policy
from ddnn.serving.ledger import compare, merge, replay

if TYPE_CHECKING:
    from ddnn.serving.service import Service

__all__ = ["tried"]


async def tried(service: "Service", policy: Policy) -> dict[str, Any]:
    """What a dry run says; of many decisions it takes tenths of a second, on a thread beside the events."""
    tier, current, ledger = service.tier, service.policy, service.engine.ledger
    document = {"tier": tier, "index": service.settings.index, "version": current.version, "dry_run": True}
    if ledger is None:
        says = f"this {tier} does not see the events that are decided elsewhere; ask the edges"
        return {**document, **merge([]), "says": says}
    if not (decisions := [*ledger]):
        return {**document, **merge([])}
    topology, exits, edge = service.bundle.topology, ledger.exits, ledger.edge

    def both() -> dict[str, Any]:
        before, after = (replay(decisions, each, topology, exits, edge) for each in (current, policy))
        return compare(before, after)

    return {**document, **await asyncio.to_thread(both)}
