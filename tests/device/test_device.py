"""What only a device does: it runs its section on views and hands on what it is not sure of."""

from collections.abc import AsyncIterator

import numpy as np
import pytest

import ddnn_device.app
from ddnn.bundle import Bundle
from ddnn.errors import BadConfig
from ddnn.policy import Thresholds
from ddnn.settings import Settings
from ddnn.task import entropy, probabilities
from ddnn.types import Exit
from ddnn_lab.in_process import NEVER, Fleet
from networks import make_bundle


@pytest.fixture(scope="module")
def lone_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """One device: its exit is the local one."""
    return make_bundle(tmp_path_factory.mktemp("bundles") / "lone", devices=1)


@pytest.fixture
async def lone(lone_bundle: Bundle) -> AsyncIterator[Fleet]:
    fleet = Fleet(Bundle.open(lone_bundle.path))
    fleet.start()
    yield fleet
    await fleet.close()


async def test_its_own_exit_answers_as_torch_did(fleet: Fleet) -> None:
    for device in range(6):
        answers = await fleet.infer(f"device-{device}", {"view": fleet.view(device, slice(0, 8))}, max_exit="device")
        scores = fleet.bundle.golden["device_scores"][:8, device]
        assert np.allclose(np.stack([a.probabilities for a in answers]), probabilities(scores), atol=1e-4)
        assert {(answer.exit, answer.degraded, answer.bytes_up) for answer in answers} == {(Exit.DEVICE, False, 0)}


async def test_a_device_without_an_edge_answers_degraded(tiny_bundle: Bundle) -> None:
    bundle = Bundle.open(tiny_bundle.path)
    fleet = Fleet(bundle)
    fleet.switch.apps["device-2"] = ddnn_device.app.create_app(Settings.load(bundle=bundle.path, index=2))
    (answer,) = await fleet.infer("device-2", {"view": fleet.view(2, slice(0, 1))})
    assert (answer.exit, answer.degraded, answer.degraded_reason) == (Exit.DEVICE, True, "no_upstream")


def test_an_index_the_bundle_does_not_have_is_refused(tiny_bundle: Bundle) -> None:
    with pytest.raises(BadConfig, match=r"DDNN_INDEX is 6; .* so expected 0 to 5"):
        ddnn_device.app.create_app(Settings.load(bundle=tiny_bundle.path, index=6))


async def test_a_request_without_events_is_eager_whatever_the_policy_says(fleet: Fleet) -> None:
    fleet.use(thresholds=NEVER, offload="staged")
    answers = await fleet.infer("device-1", {"view": fleet.view(1, slice(0, 5))})
    assert {answer.exit for answer in answers} == {Exit.CLOUD}
    assert [request.url.host for request in fleet.switch.requests].count("edge") == 1


async def test_a_lone_device_sure_enough_sends_nothing(lone: Fleet) -> None:
    lone.use(thresholds=Thresholds(device=1.0))
    events = np.array([b"a", b"b"], np.object_)
    answers = await lone.infer("device-0", {"view": lone.view(0, slice(0, 2)), "event": events})
    assert {(answer.exit, answer.bytes_up) for answer in answers} == {(Exit.DEVICE, 0)}
    assert [request.url.host for request in lone.switch.requests] == ["device-0"]


async def test_a_lone_devices_unsure_events_go_all_the_way(lone: Fleet) -> None:
    rows = slice(0, 6)
    scores = lone.bundle.golden["device_scores"][rows, 0]
    eta = entropy(probabilities(scores))
    middle = float(np.sort(eta)[2:4].mean())
    lone.use(thresholds=Thresholds(device=middle, local=0.0, edge=0.0))
    answers = await lone.infer("device-0", {"view": lone.view(0, rows)})
    assert [answer.exit is Exit.DEVICE for answer in answers] == (eta < middle).tolist()
    assert {answer.exit for answer in answers} == {Exit.DEVICE, Exit.CLOUD}
    assert not any(answer.degraded for answer in answers)
