"""The circuit breaker, under a clock of the test's own."""

from ddnn.uplink.health import Breaker, RetryBudget


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def opened(clock: Clock) -> Breaker:
    breaker = Breaker(clock, failures=2, hold_s=1.0, cap_s=3.0)
    for _ in range(2):
        breaker.failed(admitted(breaker))
    return breaker


def admitted(breaker: Breaker) -> int:
    ticket = breaker.admit()
    assert ticket is not None
    return ticket


def circuit(breaker: Breaker) -> str:
    return breaker.circuit


def test_it_opens_after_failures_in_a_row_only() -> None:
    breaker = Breaker(Clock(), failures=2)
    breaker.failed(admitted(breaker))
    breaker.succeeded()
    breaker.failed(admitted(breaker))
    breaker.released(admitted(breaker))
    assert circuit(breaker) == "closed"
    breaker.failed(admitted(breaker))
    assert circuit(breaker) == "open"
    assert not breaker.admit()


def test_two_failures_open_it_when_nothing_else_came_for_half_a_second() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    breaker.failed(admitted(breaker))
    clock.now += 0.4
    breaker.failed(admitted(breaker))
    assert circuit(breaker) == "closed"
    clock.now += 0.1
    breaker.failed(admitted(breaker))
    assert circuit(breaker) == "open"


def test_a_success_between_two_failures_means_they_are_no_fault() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    for _ in range(4):
        breaker.failed(admitted(breaker))
        breaker.succeeded()
        clock.now += 10
    assert circuit(breaker) == "closed"


def test_refusals_open_it_by_their_number_alone() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    for expected in ["closed"] * 4 + ["open"]:
        breaker.failed(admitted(breaker), refused=True)
        clock.now += 10 if expected == "closed" else 0
        assert circuit(breaker) == expected


def test_silence_opens_it_at_once_and_ends_a_probe() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    breaker.silent()
    assert circuit(breaker) == "open"
    clock.now += 1
    probe = admitted(breaker)
    assert breaker.probes(probe)
    breaker.silent()
    assert (circuit(breaker), breaker.probes(probe)) == ("open", False)
    clock.now += 2
    assert circuit(breaker) == "half_open"


def test_half_open_lets_one_probe_through() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 1.0
    assert circuit(breaker) == "half_open"
    assert [breaker.admit() is None for _ in range(3)] == [False, True, True]
    breaker.succeeded()
    assert circuit(breaker) == "closed"
    assert breaker.admit()


def test_a_cancelled_probe_makes_room_for_the_next() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 1.0
    breaker.released(admitted(breaker))
    assert circuit(breaker) == "half_open"
    assert breaker.admit()


def test_failed_probes_double_the_hold_up_to_a_cap() -> None:
    clock = Clock()
    breaker = opened(clock)
    for hold in (1.0, 2.0, 3.0, 3.0):
        clock.now += hold - 0.01
        assert not breaker.admit()
        clock.now += 0.01
        breaker.failed(admitted(breaker))
    assert circuit(breaker) == "open"


def test_failures_that_come_late_do_not_prolong_the_hold() -> None:
    clock = Clock()
    breaker = Breaker(clock, failures=2)
    tickets = [admitted(breaker) for _ in range(4)]
    for ticket, pause in zip(tickets, (0.0, 0.9, 0.1, 0.0), strict=True):
        breaker.failed(ticket)
        clock.now += pause
    clock.now += 0.9
    assert circuit(breaker) == "half_open"


def test_calls_from_before_it_opened_do_not_end_the_probe() -> None:
    clock = Clock()
    breaker = Breaker(clock, failures=2)
    tickets = [admitted(breaker) for _ in range(4)]
    for ticket in tickets[:2]:
        breaker.failed(ticket)
    clock.now += 1.0
    probe = admitted(breaker)
    breaker.released(tickets[2])
    breaker.failed(tickets[3])
    assert circuit(breaker) == "half_open"
    assert breaker.admit() is None
    breaker.failed(probe)
    assert circuit(breaker) == "open"


def test_retries_are_a_tenth_of_the_calls() -> None:
    budget = RetryBudget(share=0.1, burst=3)
    assert [budget.withdraw() for _ in range(4)] == [True, True, True, False]
    retries = 0
    for _ in range(1000):
        budget.deposit()
        retries += budget.withdraw()
    assert 98 <= retries <= 100
