"""Which bundles cannot take another's place in a running fleet."""

from ddnn.bundle import Manifest
from ddnn.errors import BadInput

__all__ = ["refuse_unlike"]


def refuse_unlike(old: Manifest, new: Manifest) -> None:
    """Raise `BadInput` where callers, or tiers that have the old bundle yet, could not do with the new one."""
    for what, before, after in (
        ("task", old.task, new.task),
        ("classes", old.classes, new.classes),
        ("devices or views", old.topology.devices, new.topology.devices),
        ("edges", old.topology.edges, new.topology.edges),
    ):
        if before != after:
            names = f"the bundle {new.fingerprint[:12]} has other {what} than {old.fingerprint[:12]}, which is served"
            raise BadInput(f"{names}; expected the same: another network needs a fleet that is started anew")
