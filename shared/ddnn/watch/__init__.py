"""What audits tell: running estimates, and whether the policy's promise still holds. No HTTP, no network."""

from ddnn.watch.evidence import Evidence
from ddnn.watch.interval import wilson
from ddnn.watch.sample import Bucket, sampled
from ddnn.watch.usual import BINS, distance, histogram, usual
from ddnn.watch.watch import Alarm, Watch

__all__ = ["BINS", "Alarm", "Bucket", "Evidence", "Watch", "distance", "histogram", "sampled", "usual", "wilson"]
