"""A stream between two tiers: a connection that is kept, upgraded from HTTP/1.1, on which compact frames go both ways.

It carries what HTTP carries between tiers, in a tenth of the bytes.
"""

from ddnn.stream.client import Stream
from ddnn.stream.frames import PATH, PROTOCOL, read_share
from ddnn.stream.lower import Broken, Refusal, Unspoken

__all__ = ["PATH", "PROTOCOL", "Broken", "Refusal", "Stream", "Unspoken", "read_share"]
