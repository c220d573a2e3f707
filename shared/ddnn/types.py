"""What the parts hand to each other.

Legend used all over: B events in a request, D devices, E edges, K classes.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Answer", "Array", "Bits", "Bools", "Exit", "Floats", "Ints", "Tier"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Bits = npt.NDArray[np.uint8]


class Tier(StrEnum):
    """One kind of service, lowest first."""

    DEVICE = "device"
    EDGE = "edge"
    CLOUD = "cloud"


class Exit(StrEnum):
    """A point that can answer, lowest first; `local` is the devices' scores fused at the edge."""

    DEVICE = "device"
    LOCAL = "local"
    EDGE = "edge"
    CLOUD = "cloud"

    rank: int  #: 0 for `device` … 3 for `cloud`: a later exit has seen more

    def __init__(self, name: str) -> None:
        self.rank = len(type(self).__members__)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a tier says of one event.

    A row that only asks for features has `need_features` true and `label` -1; a row with `need_features` true and a
    label is final, and its features are wanted in the background (an audit).
    """

    label: int  #: class index, or -1 when there is no answer yet
    probabilities: Floats  #: [K], after softmax at the exit's temperature
    exit: Exit  #: where the answer was given
    confidence: float  #: 1 - criterion, in [0, 1]
    devices: Bools  #: [D], who took part in this answer
    policy_version: int  #: version of the policy of the tier whose exit answered
    bytes_up: int = 0
    """This row's share, in bytes, of the tensors sent upward for the event from this tier on; the rows of one event,
    one a device, add up to all that the event sent."""
    degraded: bool = False  #: a lower exit answered than the policy wanted
    degraded_reason: str = ""  #: why, in a few words; empty when not degraded
    need_features: bool = False  #: the edge wants this row's features
    late: tuple[int, ...] = ()  #: devices that live and had not come when the event was closed: late, or without a view
    class_name: str = ""  #: the label's name, from a device; empty from a tier above, or where there is no label

    def without(self, late: Iterable[int]) -> "Answer":
        """The same, made without these devices too; a row that is no answer stays as it is."""
        return self if self.label < 0 else replace(self, late=tuple(sorted({*self.late, *late})))
