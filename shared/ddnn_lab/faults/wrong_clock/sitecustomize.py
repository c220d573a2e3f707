"""For tiers under test: a wall clock that is off by as many seconds as the file `WRONG_CLOCK` says, from now to now.

A process started with this folder on its PYTHONPATH imports it before anything else.
"""

import os
import time
from pathlib import Path

__all__: list[str] = []

_time, _time_ns = time.time, time.time_ns
_file = Path(os.environ["WRONG_CLOCK"]) if "WRONG_CLOCK" in os.environ else None


def _off() -> int:
    try:
        return int(_file.read_text() or 0) if _file else 0
    except OSError:
        return 0


if _file:
    time.time = lambda: _time() + _off()
    time.time_ns = lambda: _time_ns() + _off() * 10**9
