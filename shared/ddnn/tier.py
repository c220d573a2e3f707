"""The three kinds of service and the four points that can answer."""

from enum import StrEnum

__all__ = ["Exit", "Tier"]


class Tier(StrEnum):
    """One kind of service, lowest first."""

    DEVICE = "device"
    EDGE = "edge"
    CLOUD = "cloud"


class Exit(StrEnum):
    """A point that can answer, lowest first; `local` is the devices' scores fused at the edge."""

    DEVICE = "device"
    LOCAL = "local"
    EDGE = "edge"
    CLOUD = "cloud"

    @property
    def rank(self) -> int:
        """0 for `device` … 3 for `cloud`: a later exit has seen more."""
        return _RANKS[self]


_RANKS = {exit: rank for rank, exit in enumerate(Exit)}
