"""Numbers that are finite, and beyond all measure: clipped, refused or degraded, never an answer out of nothing."""

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import orjson
import pytest

from ddnn.bundle import Bundle
from ddnn.export import sample_bundle
from ddnn.golden import score_range
from ddnn.policy import Thresholds
from ddnn.task import probabilities
from ddnn.types import Array
from ddnn_lab.in_process import Fleet
from real_port import post, serving


@pytest.fixture
async def edge(fleet: Fleet) -> AsyncIterator[tuple[Fleet, int]]:
    fleet.use(thresholds=Thresholds(local=1.0), wait_ms=60_000)
    async with serving(fleet.switch.apps["edge"]) as port:
        yield fleet, port


def tensor(name: str, values: Array) -> dict[str, object]:
    return {"name": name, "datatype": "FP32", "shape": list(values.shape), "data": values.ravel().tolist()}


def body(device: int, scores: list[float]) -> bytes:
    event = {"name": "event", "datatype": "BYTES", "shape": [1], "data": ["e"]}
    inputs = [event, tensor("scores", np.array([scores], np.float32))]
    return orjson.dumps({"inputs": inputs, "parameters": {"device": device, "wait_ms": 60_000}})


@pytest.mark.parametrize("largest", [2e38, 3.4e38, 3000.0])
async def test_scores_beyond_all_measure_are_clipped_before_they_are_fused(
    edge: tuple[Fleet, int], largest: float
) -> None:
    _, port = edge
    # Two devices' sum leaves the range of the type; so does what tells the best class from the others.
    bodies = [body(device, [-largest, -largest, largest, -largest]) for device in range(6)]
    for given in await asyncio.gather(*(post(port, each) for each in bodies)):
        outputs = {each["name"]: each["data"] for each in orjson.loads(given.body)["outputs"]}
        assert (given.status, outputs["label"], outputs["exit"]) == (200, [2], ["local"])
        assert (outputs["devices"], outputs["degraded"]) == ([True] * 6, [False])
        assert outputs["probabilities"][2] == pytest.approx(1.0)
        assert outputs["confidence"] == pytest.approx([1.0])


async def test_scores_are_clipped_half_as_far_again_as_what_golden_events_have(tiny_bundle: Bundle) -> None:
    golden = tiny_bundle.golden["device_scores"][:, 2]
    assert score_range(tiny_bundle, device=2) == (min(-10.0, 1.5 * golden.min()), max(10.0, 1.5 * golden.max()))


async def test_a_view_beyond_all_measure_is_refused_and_the_rows_beside_it_are_answered(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    fleet = Fleet(sample_bundle(tmp_path_factory.mktemp("bundles") / "numbers"))
    fleet.start()
    fleet.use(thresholds=Thresholds(device=1.0))
    async with serving(fleet.switch.apps["device-0"]) as port:
        views = np.repeat(fleet.view(0, slice(0, 1)), 2, axis=0)
        views[1] = 3e38 * (-1.0) ** np.arange(views[1].size).reshape(views[1].shape)
        for rows, status in (([1], 400), ([0, 1], 200)):
            given = await post(port, orjson.dumps({"inputs": [tensor("view", views[rows])]}))
            assert given.status == status, given.body
            if status == 400:
                assert "'view' makes no finite scores" in given.error
            else:
                outputs = {each["name"]: each["data"] for each in orjson.loads(given.body)["outputs"]}
                assert (outputs["label"][0] >= 0, outputs["label"][1]) == (True, -1)
                assert outputs["degraded_reason"] == ["", "error"]
    await fleet.close()


def test_probabilities_of_finite_scores_are_never_made_up() -> None:
    scores = np.array([[2e38, -2e38, 0], [-3e38, 3e38, 3e38], [1, 2, 3]], np.float32)
    for temperature in (1e-6, 0.1, 1.0):
        p = probabilities(scores, temperature)
        assert np.isfinite(p).all()
        assert p[0].tolist() == [1, 0, 0]
        assert p[1].tolist() == [0, 0.5, 0.5]
        assert (p[2] == probabilities(scores[2:], temperature)).all()
    assert probabilities(np.array([np.nan, 1], np.float32)).tolist() == [0.5, 0.5]
