"""A cloud that asks for views: trained a little, served on real ports, and held to its offline evaluation."""

from collections.abc import Iterator

import numpy as np
import pytest
from prometheus_client import generate_latest

from ddnn.bundle import Bundle
from ddnn.client import Fleet
from ddnn.data import SPLIT_NAMES, Dataset
from ddnn.data.dataset import Events
from ddnn.evaluation import decide, record
from ddnn.evaluation.agreement import agreement
from ddnn.evaluation.decide import judge_all
from ddnn.evaluation.served import ask
from ddnn.fleet.processes import LocalFleet
from ddnn.levels import picked
from ddnn.pipeline import make_bundle
from ddnn.training import Config
from ddnn.types import Exit, Tier
from ddnn_lab.in_process import NEVER
from ddnn_lab.in_process import Fleet as InProcess

DEVICES, VIEWS = 3, 2


def pictures(events: int = 180, classes: int = 4, size: int = 32) -> Dataset:
    """Noisy patterns of 32 pixels, of which a device that shrinks them sees little."""
    random = np.random.default_rng(0)
    y = random.permutation(np.arange(events) % classes)
    patterns = random.integers(60, 196, (classes, 3, size, size))
    views = tuple(
        np.clip(patterns[y] + random.normal(0, 60, (events, 3, size, size)), 0, 255).astype(np.uint8)
        for _ in range(DEVICES)
    )
    seen = Events.all_seen(views, y, tuple(f"class {label}" for label in range(classes)))
    split = np.array(SPLIT_NAMES)[np.arange(events) * 3 // events]
    return Dataset.of("pictures", seen, split, {"name": "pictures"}, {})


@pytest.fixture(scope="module")
def data() -> Dataset:
    return pictures()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, data: Dataset) -> Bundle:
    """Devices see 16 pixels, the cloud JPEGs of 32 from the two surest of three."""
    network = {
        "shared_weights": True,
        "device": {"input_size": 16, "filters": [4]},
        "edge": {"widths": [16]},
        "cloud": {"takes": "views", "views": VIEWS, "flat": False, "filters": [8, 16], "halve": "all"},
    }
    training = {"epochs": 6, "batch": 32, "rotate": 0, "warp": 0, "scale": 0, "shift": 0, "distil": 0.5}
    folder = tmp_path_factory.mktemp("levels") / "bundle"
    config = Config.of({"network": network, "training": training})
    return make_bundle(data, config, folder, golden_events=24, yardstick=False)


@pytest.fixture(scope="module")
def served(bundle: Bundle, data: Dataset) -> Iterator[LocalFleet]:
    """Each exit below the cloud is sure of a third of the events that it could be asked about."""
    policy = bundle.policy
    judged = judge_all(record(bundle, data.subset("test")), policy)
    third = {exit.value: float(np.quantile(judged[exit].uncertainty, 1 / 3)) for exit in (Exit.LOCAL, Exit.EDGE)}
    thresholds = policy.thresholds.model_copy(update=third)
    policy.model_copy(update={"thresholds": thresholds, "wait_ms": 5000.0}).write(bundle.path)
    with LocalFleet(bundle.path, base_port=0) as fleet:
        fleet.wait_until_ready(seconds=120)
        yield fleet


async def test_unsure_events_get_the_clouds_answer_of_views_and_all_are_as_offline(
    bundle: Bundle, served: LocalFleet, data: Dataset
) -> None:
    bundle, events = Bundle.open(bundle.path), data.subset("test")
    answers = await ask(served.device_urls, bundle, events)
    found = agreement(bundle, events, answers)
    assert found.ok, found.differing
    exits = {answer.exit for answer in answers}
    assert Exit.CLOUD in exits
    assert exits != {Exit.CLOUD}
    assert not any(answer.degraded for answer in answers)
    scores = record(bundle, events)
    for answer, asked in zip(answers, scores.asked, strict=True):
        if answer.exit is Exit.CLOUD:
            assert answer.devices.tolist() == asked.tolist()
            assert asked.sum() == VIEWS


def test_each_event_costs_the_bytes_of_its_own_pictures(bundle: Bundle, served: LocalFleet, data: Dataset) -> None:
    bundle, events = Bundle.open(bundle.path), data.subset("test")
    scores = record(bundle, events)
    decisions = decide(scores, bundle.policy)
    with Fleet(served.device_urls) as fleet:
        answers = fleet.answer_events([*events.views], wait_ms=5000, deadline_ms=20_000)
    assert scores.view_bytes is not None
    features = bundle.topology.own_features
    for row, answer in enumerate(answers):
        assert answer.exit.rank == decisions.exit[row]
        if answer.exit is Exit.CLOUD:
            files = int((scores.view_bytes[row] * scores.asked[row]).sum())
            score = bundle.topology.score_codec(Exit.DEVICE).bytes((4,))
            below = DEVICES * (score + features(Tier.DEVICE, 0).bytes)  # type: ignore[union-attr]
            assert answer.bytes_up == below + 2 * files + 16 + DEVICES


async def test_a_device_that_lost_its_view_is_left_out_and_a_cloud_that_is_gone_degrades(
    bundle: Bundle, data: Dataset
) -> None:
    golden = bundle.golden
    events = data.take(golden["index"])
    fleet = InProcess(Bundle.open(bundle.path))
    fleet.start()
    fleet.use(thresholds=NEVER)
    scores = record(bundle, events)
    # The surest device of the first event has no room for its view.
    surest = int(picked(scores.of(Exit.DEVICE)[0], scores.present[0], 1, "sure").argmax())
    views = fleet.switch.apps[f"device-{surest}"].state.service.engine.offload._views
    views._settings = views._settings.model_copy(update={"bytes": 1})
    answers = [row for (row,) in await fleet.see(rows=slice(0, 1))]
    others = scores.asked[0].copy()
    others[surest] = False
    assert {(answer.exit, answer.degraded) for answer in answers} == {(Exit.CLOUD, False)}
    assert [answer.devices.tolist() for answer in answers] == [others.tolist()] * DEVICES
    service = fleet.switch.apps[f"device-{surest}"].state.service
    assert b"ddnn_views_dropped_total 1.0" in generate_latest(service.metrics.registry)
    del fleet.switch.apps["cloud"]
    answers = [row for (row,) in await fleet.see(rows=slice(1, 2), name="b")]
    assert {(answer.exit, answer.degraded_reason) for answer in answers} == {(Exit.EDGE, "unreachable")}
    await fleet.close()
