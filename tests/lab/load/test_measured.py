"""What counts, and what is made of it."""

from ddnn_lab.load import Closed, Measured, Outcome, Poisson, percentiles
from ddnn_lab.load.drive import Driven, Sample, Used, Window

WINDOW = Window(begin=0.0, warm_up_s=1.0, seconds=10.0)
RIGHT = Outcome(True, label=1, right=True, exit="local", bytes_up=100)
WRONG = Outcome(
    True, label=2, right=False, exit="cloud", bytes_up=300, degraded=True, reason="timeout", errors=("504",)
)
FAILED = Outcome(False, errors=("OVERLOADED", "OVERLOADED"))


def driven(*samples: Sample) -> Driven:
    before, after = Used({"client": 1.0, "cloud": 5.0}, {}, {}), Used({"client": 10.0, "cloud": 7.0}, {"cloud": 9}, {})
    return Driven(list(samples), before, after)


def test_percentiles_are_values_that_were_seen_and_never_flatter() -> None:
    found = percentiles([n / 1000 for n in range(1, 101)])
    assert found is not None
    assert {key: round(value, 6) for key, value in found.items()} == {
        "p50": 51.0,
        "p90": 91.0,
        "p95": 96.0,
        "p99": 100.0,
        "max": 100.0,
        "mean": 50.5,
    }
    assert percentiles([]) is None


def test_counts_shares_and_costs() -> None:
    seen = driven(
        Sample(0.5, 0.5, 0.6, RIGHT),  # warm-up
        Sample(1.0, 1.0, 1.5, RIGHT),
        Sample(2.0, 2.0, 5.0, RIGHT),  # too late
        Sample(3.0, 3.5, 4.0, WRONG),
        Sample(4.0, 4.0, 4.1, FAILED),
    )
    found = Measured.of([seen], Poisson(1), WINDOW, deadline_s=2.0)
    assert (found.events, found.answered, found.in_time) == (4, 3, 2)
    assert found.goodput == 0.2
    assert found.accuracy == 2 / 3
    assert found.errors == {"504": 1, "OVERLOADED": 2}
    assert found.cpu_ms_per_event() == 2000 / 3
    assert found.client_busy == 0.9
    document = found.document()
    assert document["client"]["was_the_limit"]
    assert document["exit_share"] == {"local": 2 / 3, "cloud": 1 / 3}
    assert document["degraded_reasons"] == {"timeout": 1}
    assert document["bytes_up_per_event"] == 500 / 3
    assert document["latency_by_exit_ms"]["cloud"]["max"] == 1000
    assert document["late_ms"]["max"] == 500


def test_a_closed_loop_counts_what_ended_in_the_window() -> None:
    samples = (Sample(0.5, 0.5, 1.5, RIGHT), Sample(10.9, 10.9, 11.2, RIGHT))
    assert Measured.of([driven(*samples)], Closed(1), WINDOW, 2.0).events == 1


def test_several_processes_are_one_load() -> None:
    one, other = driven(Sample(1.0, 1.0, 1.5, RIGHT)), driven(Sample(2.0, 2.0, 2.5, WRONG))
    found = Measured.of([one, other], Poisson(1), WINDOW, 2.0, workers=2)
    assert found.events == 2
    assert found.client_busy == 0.9


def test_a_generator_that_sends_late_says_that_it_may_be_the_limit() -> None:
    seen = Driven([Sample(2.0, 2.9, 3.0, RIGHT)], Used({"client": 0.0}, {}, {}), Used({"client": 0.1}, {}, {}))
    assert Measured.of([seen], Poisson(1), WINDOW, 2.0).client_was_the_limit
    seen = Driven([Sample(2.0, 2.1, 3.0, RIGHT)], seen.before, seen.after)
    assert not Measured.of([seen], Poisson(1), WINDOW, 2.0).client_was_the_limit


def test_shares_of_all_events_are_exactly_one_however_many_there_are() -> None:
    for count in range(1, 400):
        samples = [Sample(1.0, 1.0, 1.5, RIGHT)] * count
        document = Measured.of([driven(*samples)], Poisson(1), WINDOW, deadline_s=2.0).document()
        assert (document["exit_share"], document["bytes_up_per_event"]) == ({"local": 1.0}, 100.0)
