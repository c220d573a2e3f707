"""`python -m ddnn.fleet.watchdog ARGS` runs `ddnn ARGS` for as long as the process at the other end of stdin lives.

A parent that is killed hard cannot stop its children; the pipe it held closes all the same, on every system.
"""

import os
import runpy
import signal
import sys
import threading
import time

__all__: list[str] = []

_SECONDS_TO_DRAIN = 15.0


def _follow() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_SECONDS_TO_DRAIN)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_follow, name="watchdog", daemon=True).start()
    runpy.run_module("ddnn", run_name="__main__")
