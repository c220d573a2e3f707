"""Load on a fleet or on any HTTP service: arrivals, targets, and what was measured.

```
target = FleetTarget(urls, views, y)
measured = measure(target, Poisson(100), seconds=10, processes=Processes({"cloud": pid}))
measured.goodput, measured.latency_ms["p99"], measured.cpu_ms_per_event()
```
"""

from ddnn_lab.load.drive import Arrivals, Closed, Outcome, Poisson, Processes, Target
from ddnn_lab.load.measured import Measured, measure, measure_async, percentiles
from ddnn_lab.load.target import FleetTarget, HttpTarget

__all__ = ["Arrivals", "Closed", "FleetTarget", "HttpTarget", "Measured", "Outcome"]
__all__ += ["Poisson", "Processes", "Target", "measure", "measure_async", "percentiles"]
