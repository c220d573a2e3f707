"""A client of the tier above with a deadline, a retry budget and a circuit breaker."""

from ddnn.uplink.health import Circuit
from ddnn.uplink.transport import NoReply, Reason
from ddnn.uplink.uplink import SILENCE_S, Reply, Uplink

__all__ = ["SILENCE_S", "Circuit", "NoReply", "Reason", "Reply", "Uplink"]
