"""The validation events that training looks at after each epoch, to keep its best one."""

from typing import Final

import numpy as np

from ddnn.types import Ints

__all__ = ["watched"]

MOST: Final = 2000
"""More would cost a third of an epoch's time."""


def watched(events: int) -> Ints:
    """Their rows among `events` validation events, evenly taken."""
    return np.linspace(0, events - 1, min(events, MOST)).astype(np.int64)
