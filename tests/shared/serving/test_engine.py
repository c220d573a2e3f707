"""The engine: each event under its own policy, each request timed once."""

import numpy as np
import pytest

from ddnn.policy import Policy, Temperatures, Thresholds
from ddnn.serving.engine import judge_events
from ddnn.task import entropy, margin, probabilities
from ddnn.types import Array, Exit
from ddnn_lab.in_process import Fleet
from event_bench import make_event

DEVICES = [0]
SCORES = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)


async def test_every_event_is_judged_under_its_own_policy() -> None:
    first = Policy(bundle="b", version=1)
    second = Policy(bundle="b", version=2, criterion="margin", temperatures=Temperatures(edge=2.0))
    events = [make_event(policy=policy) for policy in (first, second, first)]
    verdicts = judge_events(Exit.EDGE, SCORES, events)
    answers = [verdict.answer for verdict in verdicts]
    assert [answer.policy_version for answer in answers] == [1, 2, 1]
    cool = probabilities(SCORES, 2.0)
    assert np.allclose(answers[1].probabilities, cool[1])
    assert np.allclose(answers[2].probabilities, probabilities(SCORES)[2])
    criterion = [entropy(probabilities(SCORES))[0], margin(cool)[1], entropy(probabilities(SCORES))[2]]
    assert [answer.confidence for answer in answers] == pytest.approx([1 - value for value in criterion])
    assert [answer.label for answer in answers] == SCORES.argmax(axis=1).tolist()
    assert [verdict.sure for verdict in verdicts] == [value < 0.5 for value in criterion]


@pytest.mark.parametrize("asked", [0.0, 0.999])
async def test_a_requests_threshold_moves_exits_that_answer_at_all_and_not_the_cloud(asked: float) -> None:
    policy = Policy(bundle="b", thresholds=Thresholds(device=0.0, local=0.5, edge=0.5))
    event = make_event(policy=policy, threshold=asked)
    sure = [verdict.suits(event.options) for exit in Exit for verdict in judge_events(exit, SCORES[:1], [event])]
    assert sure == [False, asked > 0, asked > 0, True]


@pytest.mark.parametrize("host", ["device-0", "edge", "cloud"])
async def test_a_batch_is_timed_once_however_many_rows_it_has(fleet: Fleet, host: str) -> None:
    service = fleet.switch.apps[host].state.service
    inputs, parameters = service_example(fleet, host)
    response = await fleet.post(host, inputs, **{**parameters, "max_exit": host.split("-")[0]})
    assert response.status_code == 200, response.text
    stages = [part.partition(";")[0].strip() for part in response.headers["server-timing"].split(",")]
    assert len(set(stages)) == len(stages)
    own = {step.exit.value for step in service.engine.steps}
    tier = host.split("-")[0]
    assert set(stages) == {f"{tier}-{stage}" for stage in {*own, "receive", "decode", "queue", "decide"}}


def service_example(fleet: Fleet, host: str) -> tuple[dict[str, Array], dict[str, int]]:
    """The same request for 40 rows."""
    golden = fleet.bundle.golden
    inputs: dict[str, Array] = {
        "device-0": {"view": golden["view_0"][:1]},
        "edge": {"scores": golden["device_scores"][:1, 0], "features": golden["device_features"][:1, 0]},
        "cloud": {"features": golden["edge_features"][:1, 0], "present": np.ones((1, 6), np.bool_)},
    }[host]
    return {name: np.repeat(rows, 40, axis=0) for name, rows in inputs.items()}, {"device": 0} if host == "edge" else {}


async def test_scores_too_large_to_add_up_are_answered_as_unsure(fleet: Fleet) -> None:
    """Finite numbers whose sum is not: no NaN comes out, and the local exit does not answer."""
    golden = fleet.bundle.golden
    inputs = {"scores": golden["device_scores"][:1, 0].copy(), "features": golden["device_features"][:1, 0]}
    inputs["scores"][0, :2] = 3.4e38, -3.4e38
    (answer,) = await fleet.infer("edge", inputs, device=0, max_exit="local")
    assert np.isfinite(answer.probabilities).all()
    assert answer.probabilities.sum() == pytest.approx(1)
