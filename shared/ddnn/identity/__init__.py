"""Who is who at a site: an authority, a certificate a tier, and what they are checked against while they are in use."""

from ddnn.identity.live import Identity, Peer
from ddnn.identity.names import Name

__all__ = ["Identity", "Name", "Peer"]
