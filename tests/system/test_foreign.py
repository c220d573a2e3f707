"""A section, a codec and a criterion of a user's own, a file each: trained, exported, proved, tuned and served."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ddnn.bundle import Bundle
from ddnn.client import Fleet
from ddnn.data import Dataset
from ddnn.evaluation import Decisions, decide, evaluate, record
from ddnn.evaluation.agreement import agreement
from ddnn.evaluation.served import ask
from ddnn.export import sample_data
from ddnn.fleet.processes import LocalFleet
from ddnn.network.quantise import Quantiser, quantiser
from ddnn.pipeline import make_bundle
from ddnn.topology import Features
from ddnn.training import Config
from ddnn.tuning import tune
from ddnn.types import Exit, Tier

SECTION, CODEC, CRITERION = "foreign.section:make", "foreign.codec:Trits", "foreign.criterion:gini"
CONFIG = {
    "network": {
        "device": {"section": SECTION, "cut_codec": CODEC},
        "edge": {"widths": [8], "cut_width": 9, "cut_codec": "bits4"},
        "cloud": {"section": SECTION},
    },
    "training": {"epochs": 3, "batch": 32, "learning_rate": 0.01},
}


@pytest.fixture(scope="module")
def data() -> Dataset:
    """Two devices, one of them away from every other event."""
    events = sample_data([(6,)] * 2, events=900)
    events.present[::2, 1] = False
    return events


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, data: Dataset) -> Bundle:
    """Trained, exported, proved, and tuned by the foreign criterion."""
    path = tmp_path_factory.mktemp("foreign") / "bundle"
    made = make_bundle(data, Config.of(CONFIG), path, golden_events=60, yardstick=False)
    made.verify()
    validation = record(made, data.subset("validation"))
    tune(validation, made.policy, max_accuracy_drop=0.01, criterion=CRITERION).write(path)
    return Bundle.open(path)


@pytest.fixture(scope="module")
def served(bundle: Bundle) -> Iterator[LocalFleet]:
    """Real processes, which may import the codec and the criterion, and nothing else of the user's."""
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    env = {"DDNN_EXTENSIONS": "foreign.codec,foreign.criterion", "PYTHONPATH": path}
    with LocalFleet(bundle.path, base_port=0, env=env) as fleet:
        fleet.wait_until_ready(seconds=120)
        yield fleet


def decisions(bundle: Bundle, events: Dataset) -> Decisions:
    return decide(record(bundle, events), bundle.policy)


def test_the_bundle_names_the_users_parts_and_takes_shapes_from_their_module(bundle: Bundle) -> None:
    device, edge = (bundle.topology.features(tier) for tier in (Tier.DEVICE, Tier.EDGE))
    assert (device, edge) == (Features(shape=(13,), codec=CODEC), Features(shape=(9,), codec="bits4"))
    assert device is not None
    assert device.bytes == 3
    assert bundle.golden["device_features"].shape == (60, 2, 3)
    assert (bundle.policy.criterion, bundle.policy.tuned and bundle.policy.tuned["criterion"]) == (CRITERION,) * 2
    assert bundle.manifest.training.test["proof"]["events"] == 60


def test_the_codec_gives_back_what_the_section_gave_and_training_saw_the_same() -> None:
    import torch

    features, x = Features(shape=(13,), codec=CODEC), torch.randn(20, 13)
    twin = quantiser(features.coded, features.shape)
    assert isinstance(twin, Quantiser)
    levels = twin.encode(x).numpy()
    assert set(np.unique(levels)) == {0, 1, 2}
    assert (features.unpack(features.pack(levels)) == levels).all()
    torch.testing.assert_close(twin(x), twin.decode(torch.from_numpy(levels)))


def test_it_learns_and_its_exits_share_the_events(bundle: Bundle, data: Dataset) -> None:
    document = evaluate(bundle, data.subset("test"))
    assert document["overall"]["accuracy"] > 0.5
    assert document["exits"]["cloud"]["accuracy"] > 0.5
    made = decisions(bundle, data.subset("test"))
    assert made.share(Exit.LOCAL) > 0
    assert made.share(Exit.CLOUD) > 0


async def test_real_tiers_answer_as_offline_in_the_codecs_bytes(
    bundle: Bundle, served: LocalFleet, data: Dataset
) -> None:
    events = data.subset("test").take(np.arange(120))
    answers = await ask(served.device_urls, bundle, events)
    found = agreement(bundle, events, answers)
    assert found.ok, found.differing
    assert not any(answer.degraded for answer in answers)
    made = decisions(bundle, events)
    scores = bundle.topology.score_codec(Exit.DEVICE).bytes((len(bundle.manifest.classes),))
    for n, answer in enumerate(answers):
        devices = int(events.present[n].sum())
        asked = made.settled[n, 0] not in (Exit.DEVICE.rank, Exit.LOCAL.rank)
        above = 5 + 2 if made.exit[n] == Exit.CLOUD.rank else 0  # 9 values of 4 bits, and who was there
        assert answer.bytes_up == devices * (scores + 3 * asked) + above


@pytest.mark.parametrize("exit", [Exit.LOCAL, Exit.EDGE, Exit.CLOUD])
def test_every_exit_is_served_as_offline(bundle: Bundle, served: LocalFleet, data: Dataset, exit: Exit) -> None:
    everyone = data.subset("test").present.all(axis=1)
    events = data.subset("test").take(np.flatnonzero(everyone)[:30])
    names = [f"{exit} {n}" for n in range(len(events))]
    with Fleet(served.device_urls) as fleet:
        answers = fleet.answer_events(
            [*events.views], events=names, threshold=0.0, max_exit=exit.value, wait_ms=5000, deadline_ms=20_000
        )
    assert {answer.exit for answer in answers} == {exit}
    labels = record(bundle, events).labels(exit)
    assert [answer.label for answer in answers] == (labels if labels.ndim == 1 else labels[:, 0]).tolist()
