"""What audits tell: running estimates, and whether the policy's promise still holds. No HTTP, no network."""

from ddnn.drift.evidence import Evidence
from ddnn.drift.monitor import BINS, Alarm, DriftMonitor, distance, wilson
from ddnn.drift.outliers import FEWEST, OutlierMonitor, others
from ddnn.drift.sampling import Bucket, audited_exits, sampled

__all__ = ["BINS", "FEWEST", "Alarm", "Bucket", "DriftMonitor", "Evidence", "OutlierMonitor"]
__all__ += ["audited_exits", "distance", "others", "sampled", "wilson"]
