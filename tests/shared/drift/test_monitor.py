"""One policy, watched."""

import pytest

from ddnn.drift import BINS, Bucket, DriftMonitor, distance, sampled
from ddnn.policy import Audits, Policy, Promise, PromisedRecall, Usual
from ddnn.types import Exit

EVEN = (0.1,) * 10


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def watch(*, false_alarm: float = 0.01, clock: Clock | None = None) -> DriftMonitor:
    confident = Usual(share=0.7, confidence=(0.0,) * 9 + (1.0,))
    promise = Promise(disagreement={Exit.LOCAL: 0.02, Exit.EDGE: 0.05}, usual={Exit.LOCAL: confident})
    policy = Policy(bundle="b", audits=Audits(share=0.1, false_alarm=false_alarm), promise=promise)
    return DriftMonitor(policy, exits=(Exit.LOCAL, Exit.EDGE, Exit.DEVICE), clock=clock or Clock())


def test_the_limit_is_shared_out_among_the_promises_that_are_tested() -> None:
    assert watch(false_alarm=0.01).limit == pytest.approx(200)


def test_an_alarm_is_raised_once_and_stays() -> None:
    clock = Clock()
    watched = watch(clock=clock)
    raised = []
    for second in range(40):
        clock.now = float(second)
        if alarm := watched.audited(Exit.LOCAL, same=second % 2 == 0):
            raised.append(alarm)
    assert len(raised) == 1
    assert watched.alarm == raised[0] == watched.alarm_of(Exit.LOCAL)
    assert raised[0].audits == raised[0].since + 1
    assert watched.alarm_of(Exit.EDGE) is None
    for _ in range(200):
        watched.audited(Exit.LOCAL, same=True)
    assert watched.alarm_of(Exit.LOCAL) == raised[0]


def test_a_kept_promise_raises_none() -> None:
    watched = watch()
    for n in range(2_000):
        watched.audited(Exit.EDGE, same=n % 25 != 0)
    assert watched.alarm is None
    estimate = watched.disagreement(Exit.EDGE)
    assert estimate.low < 0.04 < estimate.high
    assert estimate.share == pytest.approx(0.04)


def test_an_exit_without_a_promise_is_estimated_and_not_tested() -> None:
    watched = watch()
    for _ in range(50):
        assert watched.audited(Exit.DEVICE, same=False) is None
    assert watched.disagreement(Exit.DEVICE).low > 0.9
    assert watched.document()["exits"]["device"]["e_value"] is None


def of_classes(*missed: float) -> DriftMonitor:
    recall = {index: PromisedRecall(least=1 - share, events=50, missed=share) for index, share in enumerate(missed)}
    promise = Promise(disagreement={Exit.LOCAL: 0.5}, recall=recall)
    return DriftMonitor(Policy(bundle="b", promise=promise), exits=(Exit.LOCAL, Exit.EDGE), clock=Clock())


def test_a_class_that_exits_begin_to_sell_raises_an_alarm_that_no_exit_does() -> None:
    watched = of_classes(0.05, 0.1)
    assert watched.limit == pytest.approx(300)
    alarms = [
        watched.audited(Exit.LOCAL, same=n % 10 > 0 or n % 20 == 0, label=1 if n % 10 == 0 else 0) for n in range(300)
    ]
    (alarm,) = [alarm for alarm in alarms if alarm]
    assert (alarm.label, alarm.exit, watched.alarm) == (1, Exit.LOCAL, alarm)
    assert watched.alarm_of(Exit.LOCAL) is None
    assert watched.recall(1).low < 0.5 < watched.recall(1).high
    assert watched.recall(0).share == 1
    known = watched.document()["classes"]["1"]
    assert (known["audited"], known["different"], known["promised"]) == (30, 15, 0.9)
    assert known["alarm"]["audits"] == alarm.audits <= 30


def test_at_most_twenty_classes_are_watched_and_promised_ones_go_first() -> None:
    watched = of_classes(*(0.01 * n for n in range(30)))
    assert set(watched.classes) == set(range(10, 30))  # those promised least
    watched.audited(Exit.LOCAL, same=True, label=0)
    assert 0 not in watched.classes
    few = of_classes(0.1)
    for label in range(40):
        assert few.audited(Exit.EDGE, same=False, label=label) is None
    assert few.classes == list(range(20))
    assert few.document()["classes"]["5"]["promised"] is None


def test_the_latest_answers_are_compared_with_what_was_usual() -> None:
    watched = watch()
    for _ in range(49):
        watched.answered(Exit.LOCAL, 0.05)
    assert watched.distance(Exit.LOCAL) is None, "of so few it is chance"
    for _ in range(10_000):
        watched.answered(Exit.LOCAL, 0.05)
    assert watched.distance(Exit.LOCAL) == pytest.approx(1)
    for _ in range(10_000):  # what was before is forgotten
        watched.answered(Exit.LOCAL, 1.0)
    assert watched.distance(Exit.LOCAL) == pytest.approx(0)
    watched.answered(Exit.CLOUD, 0.5)
    assert watched.share(Exit.LOCAL).share == pytest.approx(0.9995)
    assert watched.distance(Exit.CLOUD) is None


def test_its_document_names_what_is_promised_before_anything_happens() -> None:
    document = watch().document()
    assert list(document["exits"]) == ["local", "edge"]
    local = document["exits"]["local"]
    assert (local["audited"], local["promised"], local["e_value"], local["alarm"]) == (0, 0.02, 1.0, None)
    assert local["disagreement"] == {"share": 0.0, "low": 0.0, "high": 1.0}


def test_histograms_apart_and_alike() -> None:
    assert len(EVEN) == BINS
    assert distance(EVEN, EVEN) == 0
    assert distance((1.0, *(0.0,) * 9), (*(0.0,) * 9, 1.0)) == 1
    assert distance((1.0, *(0.0,) * 9), EVEN) == pytest.approx(0.9)


def test_an_event_is_sampled_everywhere_or_nowhere_and_about_as_often_as_asked() -> None:
    ids = [b"door-%d" % n for n in range(5_000)]
    picked = [sampled(event, 0.1) for event in ids]
    assert picked == [sampled(event, 0.1) for event in ids]
    assert 420 < sum(picked) < 580
    assert all(sampled(event, 1.0) and sampled(None, 1.0) for event in ids[:100])
    assert not any(sampled(event, 0.0) or sampled(None, 0.0) for event in ids[:100])


def test_a_bucket_lets_a_burst_through_and_then_its_rate() -> None:
    clock = Clock()
    bucket = Bucket(2.0, 3, clock)
    assert [bucket.take() for _ in range(5)] == [True, True, True, False, False]
    clock.now = 1.0
    assert [bucket.take() for _ in range(3)] == [True, True, False]
    clock.now = 100.0
    assert sum(bucket.take() for _ in range(10)) == 3
