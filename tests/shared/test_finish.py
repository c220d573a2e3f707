"""From a trained network to a tuned bundle."""

from pathlib import Path

import pytest

from ddnn.export import finish, sample_data
from ddnn.training import Config, initial_network

SMALL = Config.of(
    {
        "network": {
            "device": {"widths": [4], "cut_width": 8},
            "edge": {"widths": [4], "cut_width": 8},
            "cloud": {"widths": [4]},
        }
    }
)


@pytest.mark.parametrize(("events", "tuned"), [(60, False), (900, True)])
def test_without_events_to_tune_by_everything_goes_to_the_cloud(tmp_path: Path, events: int, tuned: bool) -> None:
    data, told = sample_data([(5,)] * 2, events=events), list[str]()
    network = initial_network(SMALL, data, 0)
    bundle = finish(tmp_path / "b", network, data, config={}, seed=0, golden_events=10, say=told.append)
    thresholds = bundle.policy.thresholds
    if tuned:
        assert (told, bundle.policy.tuned is not None) == ([], True)
    else:
        assert (thresholds.device, thresholds.local, thresholds.edge) == (0.0, 0.0, 0.0)
        assert told[0].startswith("not tuned, so every event goes to the cloud: there are")
