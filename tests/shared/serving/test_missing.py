"""Missing numbers in views over HTTP: the same as in training, and refused where the bundle has no rule for them."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import orjson
import pytest

from ddnn.bundle import Bundle
from ddnn.export import sample_bundle, seal
from ddnn.network import NetworkConfig
from ddnn.topology import View
from ddnn.types import Array
from ddnn.wire import HEADER_LENGTH, decode_response
from ddnn_lab.in_process import INFER, NEVER, Fleet


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return sample_bundle(tmp_path_factory.mktemp("bundles") / "numbers")


@pytest.fixture
async def numbers(bundle: Bundle) -> AsyncIterator[Fleet]:
    fleet = Fleet(bundle)
    fleet.start()
    fleet.use(thresholds=NEVER)
    yield fleet
    await fleet.close()


def view(fleet: Fleet, value: float) -> Array:
    found = fleet.view(0, slice(0, 1)).copy()
    found[0, 1] = value
    return found


async def answered(fleet: Fleet, given: Array) -> Array:
    response = await fleet.post("device-0", {"view": given})
    assert response.status_code == 200, response.text
    return decode_response(response.content, response.headers.get(HEADER_LENGTH)).outputs["probabilities"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
async def test_a_missing_number_counts_as_the_channels_mean(numbers: Fleet, value: float) -> None:
    mean = await answered(numbers, view(numbers, 0.0))  # an untrained network's
    np.testing.assert_array_equal(await answered(numbers, view(numbers, value)), mean)


async def test_in_json_null_is_a_missing_number(numbers: Fleet) -> None:
    given = view(numbers, 0.0)
    data = [None if index == 1 else float(number) for index, number in enumerate(given.ravel())]
    tensor = {"name": "view", "datatype": "FP32", "shape": list(given.shape), "data": data}
    async with numbers.client("device-0") as client:
        response = await client.post(INFER, content=orjson.dumps({"inputs": [tensor]}))
    assert response.status_code == 200, response.text
    by_json = np.array(next(each["data"] for each in response.json()["outputs"] if each["name"] == "probabilities"))
    np.testing.assert_allclose(by_json, (await answered(numbers, given)).ravel(), atol=1e-6)


async def test_a_bundle_without_a_rule_for_missing_numbers_refuses_them(bundle: Bundle, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bundle.path, tmp_path / "bundle"))
    ruled = bundle.topology.devices[0]
    view_alone = ruled.model_copy(update={"view": View(shape=ruled.view.shape, dtype="FP32")})  # as in older bundles
    topology = bundle.topology.model_copy(update={"devices": (view_alone, *bundle.topology.devices[1:])})
    seal(folder, bundle.manifest.model_copy(update={"topology": topology}))
    fleet = Fleet(Bundle.open(folder))
    fleet.start()
    response = await fleet.post("device-0", {"view": view(fleet, np.nan)})
    await fleet.close()
    assert response.status_code == 400
    assert "input tensor 'view' holds nan at element 1; expected finite numbers" in response.json()["error"]


async def test_scores_that_are_null_are_refused(numbers: Fleet) -> None:
    tensor = {"name": "scores", "datatype": "FP32", "shape": [1, 3], "data": [0.0, None, 1.0]}
    async with numbers.client("edge") as client:
        response = await client.post(INFER, content=orjson.dumps({"parameters": {"device": 0}, "inputs": [tensor]}))
    assert response.status_code == 400
    assert "'scores' holds nan at element 1" in response.json()["error"]


async def test_raw_views_with_missing_numbers_reach_the_cloud(tmp_path: Path) -> None:
    raw = sample_bundle(tmp_path / "raw", network=NetworkConfig(device_section=False, edge_section=False))
    fleet = Fleet(raw)
    fleet.start()
    missing, mean = await answered(fleet, view(fleet, np.nan)), await answered(fleet, view(fleet, 0.0))
    await fleet.close()
    np.testing.assert_array_equal(missing, mean)
