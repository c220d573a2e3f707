"""What only the cloud does: it always answers, with what the edge fused or with the devices' features."""

from pathlib import Path

import numpy as np

import ddnn_cloud.app
from ddnn.bundle import Bundle
from ddnn.settings import Settings
from ddnn.task import probabilities
from ddnn.types import Exit
from ddnn_lab.in_process import Fleet
from networks import make_bundle


def one_cloud(bundle: Bundle) -> Fleet:
    fleet = Fleet(bundle)
    fleet.switch.apps["cloud"] = ddnn_cloud.app.create_app(Settings.load(bundle=bundle.path))
    return fleet


async def test_it_answers_as_torch_did_whatever_threshold_is_asked(fleet: Fleet) -> None:
    golden = fleet.bundle.golden
    some = golden["present"].any(axis=1)
    inputs = {"features": golden["edge_features"][some, 0], "present": golden["present"][some].astype(np.bool_)}
    for threshold in (0.0, 1.0):
        answers = await fleet.infer("cloud", inputs, edge=0, threshold=threshold)
        assert {answer.exit for answer in answers} == {Exit.CLOUD}
        given = np.stack([answer.probabilities for answer in answers])
        temperature = fleet.switch.apps["cloud"].state.service.policy.temperatures.of(Exit.CLOUD)
        assert np.allclose(given, probabilities(golden["cloud_scores"][some], temperature), atol=1e-4)
        assert [answer.devices.tolist() for answer in answers] == inputs["present"].tolist()


async def test_an_event_in_which_nobody_took_part_is_refused(fleet: Fleet) -> None:
    features = fleet.bundle.golden["edge_features"][:2, 0]
    present = np.ones((2, 6), np.bool_)
    present[1] = False
    response = await fleet.post("cloud", {"features": features, "present": present})
    assert response.status_code == 400
    assert "'present' has a row, 1, in which no device took part" in response.json()["error"]


async def test_another_edge_than_the_bundles_is_refused(fleet: Fleet) -> None:
    golden = fleet.bundle.golden
    inputs = {"features": golden["edge_features"][:1, 0], "present": np.ones((1, 6), np.bool_)}
    response = await fleet.post("cloud", inputs, edge=1)
    assert response.status_code == 400
    assert "edge" in response.json()["error"]


async def test_without_an_edge_section_it_fuses_the_devices_features(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "passing", devices=3, edge_section=False)
    fleet = one_cloud(bundle)
    golden = bundle.golden
    seen = golden["present"].astype(np.bool_)
    answers = await fleet.infer("cloud", {"features": golden["device_features"], "present": seen})
    assert [answer.label for answer in answers] == golden["cloud_scores"].argmax(axis=-1).tolist()
    noise = golden["device_features"].copy()
    noise[~seen] = 0xA5  # what absent devices hold does not count
    again = await fleet.infer("cloud", {"features": noise, "present": seen})
    assert [a.probabilities.tolist() for a in again] == [a.probabilities.tolist() for a in answers]
    await fleet.close()
