"""What audits tell: running estimates, and whether the policy's promise still holds. No HTTP, no network."""

from ddnn.watch.evidence import Evidence
from ddnn.watch.histogram import BINS, distance
from ddnn.watch.interval import wilson
from ddnn.watch.sample import Bucket, audited_exits, sampled
from ddnn.watch.watch import Alarm, Watch

__all__ = ["BINS", "Alarm", "Bucket", "Evidence", "Watch", "audited_exits", "distance", "sampled", "wilson"]
