"""How many threads a training has, by a clock of the test's own."""

from collections.abc import Callable, Iterator

import pytest
import torch

from ddnn.training.threads import Threads


@pytest.fixture(autouse=True)
def four() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def measured(seconds: Callable[[int], float], steps: int = 30, kept: int | None = None) -> tuple[Threads, list[int]]:
    """Threads of that many steps, each of which takes what `seconds` says of as many threads."""
    now, used = [0.0], list[int]()
    threads = Threads(kept, clock=lambda: now[0])
    with threads.lent():
        for _ in range(steps):
            with threads.step():
                used.append(torch.get_num_threads())
                now[0] += seconds(used[-1])
    return threads, used


def test_all_threads_are_kept_where_they_pay() -> None:
    threads, used = measured(lambda count: 1 / count)
    assert threads.settled == 4
    assert used[:4] == [1, 4, 1, 4]
    assert set(used[12:]) == {4}
    assert torch.get_num_threads() == 4


def test_one_thread_is_kept_where_more_hardly_pay_or_wait_for_each_other() -> None:
    assert measured(lambda count: 1.0 if count == 1 else 0.95)[0].settled == 1
    threads, used = measured(lambda count: 1.0 if count == 1 else 10.0)
    assert threads.settled == 1
    assert used.count(4) == 3


def test_a_processor_that_gets_busy_later_leaves_one_thread() -> None:
    slow = iter([0.3] * 25 + [5.0] * 100)
    threads, used = measured(lambda count: next(slow) * (4 if count == 1 else 1), steps=60)
    assert threads.settled == 1
    assert used.count(4) < 40


def test_one_thread_that_was_settled_before_is_kept_and_more_are_measured_again() -> None:
    assert set(measured(lambda count: 1 / count, kept=1)[1]) == {1}
    assert measured(lambda count: 1 / count, kept=4)[0].settled == 4
    assert measured(lambda count: count, kept=4)[0].settled == 1


def test_one_thread_that_torch_was_given_is_not_measured() -> None:
    torch.set_num_threads(1)
    assert Threads().settled == 1
