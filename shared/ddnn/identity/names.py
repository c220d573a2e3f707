"""Whom a certificate speaks for: `ddnn://SITE/TIER/INDEX`, its one URI among the subject's alternative names."""

import re
from dataclasses import dataclass
from typing import Any, Final

from ddnn.types import Tier

__all__ = ["AUTHORITY_FILE", "REVOKED_FILE", "TIER_FILE", "Name"]

TIER_FILE: Final = "tier.pem"  #: a tier's key and certificate, in one file so that both change at once
AUTHORITY_FILE: Final = "authority.pem"  #: whom a tier, or a caller, trusts
REVOKED_FILE: Final = "revoked.pem"  #: a list that each of those authorities has signed
_URI: Final = re.compile(r"ddnn://([a-z0-9][a-z0-9.-]{0,62})/(device|edge|cloud)/(0|[1-9][0-9]{0,5})")


@dataclass(frozen=True, slots=True)
class Name:
    """One tier of one site."""

    site: str
    tier: Tier
    index: int

    @classmethod
    def parse(cls, uri: str) -> "Name | None":
        """The name that is written so; None where none is."""
        match = _URI.fullmatch(uri)
        return cls(match[1], Tier(match[2]), int(match[3])) if match else None

    @classmethod
    def of(cls, certificate: dict[str, Any]) -> "Name | None":
        """The name in a certificate as `ssl` gives it; None where there is none, or more than one."""
        uris = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "URI"]
        return cls.parse(uris[0]) if len(uris) == 1 else None

    @property
    def uri(self) -> str:
        return f"ddnn://{self.site}/{self.tier}/{self.index}"

    @property
    def folder(self) -> str:
        """Name of the folder that holds what the tier needs."""
        return f"{self.tier}-{self.index}"

    def __str__(self) -> str:
        return f"{self.tier} {self.index} of {self.site}"
