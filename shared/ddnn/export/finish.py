"""From a trained network to a bundle with a tuned policy."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ddnn.bundle import Bundle
from ddnn.data import Dataset
from ddnn.errors import BadData
from ddnn.evaluation import record
from ddnn.export.bundle import seal, write_bundle
from ddnn.network import DDNN
from ddnn.policy import Thresholds
from ddnn.tuning import fit_temperatures, tune
from ddnn.types import Exit

__all__ = ["finish"]


def finish(
    folder: Path,
    network: DDNN,
    data: Dataset,
    *,
    config: Mapping[str, Any],
    seed: int,
    command: str = "",
    max_accuracy_drop: float = 0.005,
    golden_events: int = 256,
    say: Callable[[str], object] = lambda _: None,
) -> Bundle:
    """Export `network` into `folder`, prove it, tune its policy on validation, seal it, and open the bundle.

    With too few validation events to choose thresholds by, every event goes to the cloud, and `say` is told so. Where
    raw views go up there is no threshold, only the cloud's temperature.
    """
    bundle = write_bundle(folder, network, data, command=command, config=config, seed=seed, golden_events=golden_events)
    try:
        scores = record(bundle, data.subset("validation"))
        if Exit.LOCAL not in bundle.topology.exits:
            policy = bundle.policy.model_copy(update={"temperatures": fit_temperatures(scores)})
        else:
            policy = tune(scores, bundle.policy, max_accuracy_drop=max_accuracy_drop)
    except BadData as error:
        say(f"not tuned, so every event goes to the cloud: {error}")
        policy = bundle.policy.model_copy(update={"thresholds": Thresholds(local=0.0, edge=0.0)})
    return seal(folder, bundle.manifest, policy)
