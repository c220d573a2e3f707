"""What happens when devices fail after training: overall accuracy under the policy, without training again."""

from itertools import combinations
from typing import Any, Final

import numpy as np

from ddnn.evaluation.decide import decide
from ddnn.evaluation.scores import Progress, Recorder
from ddnn.policy import Policy
from ddnn.types import Ints

__all__ = ["MOST_DEVICES", "missing"]

MOST_DEVICES: Final = 6
"""Up to here every subset is tried, 2^D - 1 of them."""


def missing(recorder: Recorder, policy: Policy, y: Ints, progress: Progress | None = None) -> dict[str, Any]:
    """The `missing` part of the `evaluate --json` document.

    `one`: each single device lost, none for a lone device. `subsets`: only these devices left; none above six devices.
    """
    count = len(recorder.topology.devices)
    every = tuple(range(count))
    sizes = range(1, count + 1) if count <= MOST_DEVICES else (count - 1,)
    groups = [group for size in sizes for group in combinations(every, size) if group]
    accuracy: dict[tuple[int, ...], float] = {}
    for done, group in enumerate(groups, start=1):
        present = np.broadcast_to(np.isin(every, group), (len(y), count))
        accuracy[group] = decide(recorder.scores(present), policy).accuracy(y)
        if progress:
            progress("subsets of devices", done, len(groups))
    each = [accuracy[tuple(i for i in every if i != lost)] for lost in every] if count > 1 else []
    subsets = {"+".join(map(str, group)): value for group, value in accuracy.items()}
    return {
        "one": {"mean": float(np.mean(each)), "worst": min(each), "each": each} if each else None,
        "subsets": subsets if count <= MOST_DEVICES else None,
    }
