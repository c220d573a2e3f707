"""What audits tell: running estimates, and whether the policy's promise still holds. No HTTP, no network."""

from ddnn.drift.evidence import Evidence
from ddnn.drift.histogram import BINS, distance
from ddnn.drift.interval import wilson
from ddnn.drift.monitor import Alarm, DriftMonitor
from ddnn.drift.sampling import Bucket, audited_exits, sampled

__all__ = ["BINS", "Alarm", "Bucket", "DriftMonitor", "Evidence", "audited_exits", "distance", "sampled", "wilson"]
