"""Served against offline, with answers made by hand."""

from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from ddnn.bundle import Bundle
from ddnn.client import EventAnswer
from ddnn.data import Dataset
from ddnn.evaluation import decide, evaluate, judge, record
from ddnn.evaluation.agreement import agreement
from ddnn.evaluation.table import say, show
from ddnn.policy import Policy, Thresholds
from ddnn.types import Exit

MakeBundle = Callable[..., Bundle]
MakeData = Callable[..., Dataset]


def with_policy(bundle: Bundle, local: float, edge: float = 0.5) -> Bundle:
    policy = Policy(bundle=bundle.fingerprint, thresholds=Thresholds(local=local, edge=edge))
    return Bundle(bundle.path, bundle.manifest, policy)


def offline_answers(bundle: Bundle, data: Dataset) -> list[EventAnswer]:
    """What a faultless fleet would say."""
    told = decide(record(bundle, data), bundle.policy)
    return [
        EventAnswer(
            event=str(n),
            label=int(told.label[n]),
            probabilities=told.probabilities[n],
            exit=tuple(Exit)[told.exit[n]],
            confidence=float(1 - told.uncertainty[n]),
            devices=told.devices[n],
            degraded=False,
            degraded_reason="",
            policy_version=1,
            bytes_up=0,
            answers=(),
        )
        for n in range(len(data))
    ]


def test_a_faultless_fleet_agrees_in_everything(make_bundle: MakeBundle, make_data: MakeData) -> None:
    bundle, data = with_policy(make_bundle(), 0.6), make_data()
    found = agreement(bundle, data, offline_answers(bundle, data))
    assert found.ok
    assert found.document == {
        "label_agreement": 1.0,
        "exit_agreement": 1.0,
        "max_probability_difference": 0.0,
        "ties": [],
    }


def test_another_label_or_exit_is_found_event_by_event(make_bundle: MakeBundle, make_data: MakeData) -> None:
    bundle, data = with_policy(make_bundle(), 0.6), make_data()
    answers = offline_answers(bundle, data)
    answers[3] = replace(answers[3], label=(answers[3].label + 1) % 3)
    other = Exit.LOCAL if answers[5].exit is Exit.CLOUD else Exit.CLOUD
    answers[5] = replace(answers[5], exit=other)
    found = agreement(bundle, data, answers)
    assert not found.ok
    assert [event["index"] for event in found.differing] == [3, 5]
    assert found.differing[1]["exit_served"] == other.value
    assert found.document["label_agreement"] == pytest.approx(1 - 1 / 40)
    assert found.document["exit_agreement"] == pytest.approx(1 - 1 / 40)


def test_a_degraded_answer_disagrees_even_with_the_right_label(make_bundle: MakeBundle, make_data: MakeData) -> None:
    bundle, data = with_policy(make_bundle(), 0.6), make_data()
    answers = offline_answers(bundle, data)
    answers[0] = replace(answers[0], degraded=True, degraded_reason="circuit_open")
    found = agreement(bundle, data, answers)
    assert (found.ok, found.degraded) == (False, {"circuit_open": 1})
    assert found.document["label_agreement"] == pytest.approx(1 - 1 / 40)


def test_an_event_at_its_threshold_is_listed_and_forgiven(make_bundle: MakeBundle, make_data: MakeData) -> None:
    bundle, data = make_bundle(), make_data()
    u = judge(record(bundle, data), bundle.policy, Exit.LOCAL)[1][7, 0]
    bundle = with_policy(bundle, float(u) + 5e-5)
    answers = offline_answers(bundle, data)
    assert answers[7].exit is Exit.LOCAL
    answers[7] = replace(answers[7], exit=Exit.CLOUD)
    found = agreement(bundle, data, answers)
    assert found.ok
    assert [tie["index"] for tie in found.document["ties"]] == [7]
    assert found.document["ties"][0]["why"].startswith("local criterion 0.")
    assert (found.document["ties"][0]["exit_offline"], found.document["ties"][0]["exit_served"]) == ("local", "cloud")
    assert found.document["exit_agreement"] < 1


def test_a_tie_at_an_exit_that_was_not_reached_is_none(make_bundle: MakeBundle, make_data: MakeData) -> None:
    bundle, data = make_bundle(), make_data()
    u = judge(record(bundle, data), bundle.policy, Exit.EDGE)[1][7, 0]
    bundle = with_policy(bundle, 1.0, float(u))
    found = agreement(bundle, data, offline_answers(bundle, data))
    assert found.document["ties"] == []


def test_other_probabilities_are_found_where_label_and_exit_are_right(
    make_bundle: MakeBundle, make_data: MakeData
) -> None:
    bundle, data = with_policy(make_bundle(), 0.6), make_data()
    answers = [
        replace(answer, probabilities=answer.probabilities * np.float32(0.9))
        for answer in offline_answers(bundle, data)
    ]
    found = agreement(bundle, data, answers)
    assert (found.document["label_agreement"], found.document["exit_agreement"]) == (1, 1)
    assert len(found.differing) == len(data)
    assert found.differing[0]["why"].startswith("probabilities differ by 0.0")


def test_no_probability_at_all_agrees_with_nothing(make_bundle: MakeBundle, make_data: MakeData) -> None:
    bundle, data = with_policy(make_bundle(), 0.6), make_data()
    answers = offline_answers(bundle, data)
    answers[2] = replace(answers[2], probabilities=np.full_like(answers[2].probabilities, np.nan))
    assert [event["index"] for event in agreement(bundle, data, answers).differing] == [2]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"degraded": True, "degraded_reason": "circuit_open"}, "circuit_open"),
        ({"policy_version": 2}, "answered under policy version 2, not 1"),
    ],
)
def test_a_tie_excuses_no_degraded_answer_and_no_other_policy(
    make_bundle: MakeBundle, make_data: MakeData, change: dict[str, Any], why: str
) -> None:
    bundle, data = make_bundle(), make_data()
    u = judge(record(bundle, data), bundle.policy, Exit.LOCAL)[1][7, 0]
    bundle = with_policy(bundle, float(u) + 5e-5)
    answers = offline_answers(bundle, data)
    answers[7] = replace(answers[7], **change)
    found = agreement(bundle, data, answers)
    assert [tie["index"] for tie in found.document["ties"]] == [7]
    assert [(event["index"], event["why"]) for event in found.differing] == [(7, why)]


def test_people_are_shown_what_differs(make_bundle: MakeBundle, make_data: MakeData) -> None:
    bundle, data = with_policy(make_bundle(), 0.6), make_data()
    answers = [
        replace(answer, degraded=True, degraded_reason="unreachable") for answer in offline_answers(bundle, data)
    ]
    found = agreement(bundle, data, answers)
    out = StringIO()
    console = Console(file=out, width=120)
    show({**evaluate(bundle, data), "fleet": found.document}, console)
    say(found, console)
    text = out.getvalue()
    assert "The running fleet against this run" in text
    assert "40 answers degraded: unreachable" in text
    assert "and 20 more" in text
    assert np.isfinite(found.document["max_probability_difference"])
